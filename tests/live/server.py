"""A real server with a dialplan that has something of everything, and with files of call records."""

from __future__ import annotations

import pathlib

from tests.asterisk.server import AsteriskServer

ETC = pathlib.Path(__file__).with_name("etc")
LOADED = ("cdr_csv.so", "cel_custom.so", "res_cdrel_custom.so")


class StormServer(AsteriskServer):
    """A server whose configuration is that of the other tests, with some files replaced by those beside this one."""

    def _write_files(self) -> None:
        super()._write_files()
        for name in ("cdr-csv", "cel-custom"):
            (self.run_dir / "log" / name).mkdir(exist_ok=True)
        for source in ETC.glob("*.conf"):
            text = source.read_text("utf-8").replace("@PJSIP_PORT@", str(self._pjsip_port))
            (self.run_dir / "etc" / source.name).write_text(text, "utf-8")
        modules = self.run_dir / "etc" / "modules.conf"
        lines = modules.read_text("utf-8").splitlines(keepends=True)
        modules.write_text("".join(line for line in lines if not line.strip().endswith(LOADED)), "utf-8")
        features = self.run_dir / "etc" / "features.conf"
        features.write_text("[general]\ntransferdigittimeout = 1\n[featuremap]\nblindxfer = #1\natxfer = *2\n", "utf-8")

    @property
    def cdr(self) -> pathlib.Path:
        """Return the file of call detail records."""
        return self.run_dir / "log" / "cdr-csv" / "Master.csv"

    @property
    def cel(self) -> pathlib.Path:
        """Return the file of channel events."""
        return self.run_dir / "log" / "cel-custom" / "cel.csv"

"""The example of a listener to many servers does what it says."""

from __future__ import annotations

import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

from pyami_sync.testing import Simulator

EXAMPLE = Path(__file__).parents[2] / "examples" / "cluster_listener.py"


def test_it_prints_what_happens_until_interrupted(tmp_path: Path) -> None:
    with Simulator() as a, Simulator() as b:
        config = tmp_path / "nodes.toml"
        config.write_text(f"[nodes]\nparis = '{a.url}'\ntokyo = '{b.url}'\n", "utf-8")
        command = [sys.executable, "-W", "error", str(EXAMPLE), str(config)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines: queue.Queue[str] = queue.Queue()
            reader = threading.Thread(target=lambda: [lines.put(line.strip()) for line in process.stdout or ()])
            reader.start()

            def wait_for(wanted: str) -> None:
                while lines.get(timeout=20) != wanted:
                    pass

            try:
                wait_for("2 of 2 nodes are there")
                b.emit("Hangup", {"Channel": "PJSIP/alice-00000001", "Cause": 16, "Cause-txt": "Normal Clearing"})
                wait_for("tokyo: PJSIP/alice-00000001 hung up: Normal Clearing")
                a.drop()
                wait_for("paris: Reconnected")
                process.send_signal(signal.SIGINT)
                wait_for("bye")
                assert process.wait(20) == 0
            finally:
                process.kill()
            reader.join()
            assert process.stderr is not None
            assert "Traceback" not in process.stderr.read()

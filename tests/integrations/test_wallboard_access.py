"""Who may use the wallboard, whose requests place and end calls."""

from __future__ import annotations

import base64
from pathlib import Path

from pyami_sync.testing import Simulator

from .processes import free_port, serving


def test_a_password_and_its_own_name_are_needed(tmp_path: Path) -> None:
    port = free_port()
    with Simulator() as simulator:
        environment = {"AMI_URL": simulator.url, "WALLBOARD_PASSWORD": "planted-word"}
        with serving(tmp_path / "log", "wallboard", str(port), port=port, **environment) as service:
            call = ("POST", "/api/calls", {"from": "PJSIP/100", "to": "106"})
            assert service.request(*call)[0] == 401
            wrong = base64.b64encode(b"any:planted-wore").decode()
            service.headers = {"Authorization": f"Basic {wrong}"}
            assert service.request(*call)[0] == 401
            assert not simulator.actions.find("Originate")
            right = base64.b64encode(b"any:planted-word").decode()
            service.headers = {"Authorization": f"Basic {right}"}
            assert service.request(*call)[0] == 202
            service.headers["Host"] = "evil.example"
            assert service.request(*call)[0] == 421
            assert len(simulator.actions.find("Originate")) == 1
        assert "WALLBOARD_PASSWORD is not set" not in (tmp_path / "log").read_text("utf-8")


def test_without_a_password_it_warns_where_it_starts(tmp_path: Path) -> None:
    port = free_port()
    with (
        Simulator() as simulator,
        serving(tmp_path / "log", "wallboard", str(port), port=port, AMI_URL=simulator.url) as service,
    ):
        assert service.request("GET", "/api/state")[0] == 200
        service.headers = {"Host": "evil.example"}
        assert service.request("GET", "/api/state")[0] == 421
        assert "WALLBOARD_PASSWORD is not set" in (tmp_path / "log").read_text("utf-8")

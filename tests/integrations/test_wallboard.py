"""The wallboard, in a browser and by its API, on a simulated and a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from pyami_sync import connect
from pyami_sync.testing import Simulator

from .browser import browser, shoot
from .processes import Service, free_port, serving
from .servers import Server, server
from .waiting import until

__all__ = ["browser", "server"]

DEVICE, NUMBER = "Local/100@default/n", "101"


@pytest.fixture
def wallboard(server: Server, tmp_path: Path) -> Iterator[Service]:
    port = free_port()
    with serving(tmp_path / "log", "wallboard", str(port), port=port, AMI_URL=server.url) as service:
        yield service


class Page:
    """The page as somebody sees it."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        browser.get(url)

    def text(self, selector: str) -> str:
        return self.browser.find_element(By.CSS_SELECTOR, selector).text

    def wait(self, selector: str, text: str, timeout: float = 20.0) -> None:
        def shown() -> bool:
            return text in self.browser.execute_script(
                "const found = document.querySelector(arguments[0]); return found ? found.innerText : ''", selector
            )

        until(shown, f"{text!r} in {selector}", timeout)

    def rows(self) -> list[str]:
        script = "return [...document.querySelectorAll('#channels tr')].map(row => row.innerText)"
        found: list[str] = self.browser.execute_script(script)
        return found

    def wait_rows(self, count: int) -> None:
        until(lambda: len(self.rows()) == count, f"{count} channels", 20)


def test_in_a_browser(server: Server, wallboard: Service, browser: webdriver.Chrome, tmp_path: Path) -> None:
    kind = type(server).__name__.lower()
    page = Page(browser, wallboard.url)
    page.wait("#link", "Connected to 127.0.0.1")
    page.wait("#queues", "support")
    assert page.rows() == []
    assert browser.find_element(By.ID, "none").is_displayed()

    # A call, with the keyboard alone.
    field = browser.find_element(By.ID, "from")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(DEVICE, Keys.TAB, NUMBER, Keys.ENTER)
    page.wait("#notice", f"{DEVICE}: answered")
    page.wait_rows(2)
    page.wait("#channels", "Up")
    assert all("Local/100@default-" in row for row in page.rows())
    assert page.text("#count") == "2"

    # A queue gets a member and somebody who waits.
    with connect(server.url) as ami:
        ami.send("QueueAdd", Queue="empty", Interface="Local/109@default/n", MemberName="Erika Beispiel", Paused=True)
        page.wait("#queues", "Erika Beispiel")
        page.wait("#queues", "paused")
        ami.originate("Local/100@default/n", Context="default", Exten="501", Priority=1, CallerID="Caller <5550001>")
        page.wait("[aria-labelledby=queue-empty] .figures div:first-child dd", "1")
        page.wait_rows(4)
    shoot(browser, f"wallboard-{kind}-calls", tmp_path)

    # Hung up by the page: the row with the focus goes, and the focus goes somewhere useful.
    button = browser.find_element(By.CSS_SELECTOR, "#channels tr:first-child button")
    assert button.accessible_name.startswith("Hang up Local/100@default-")
    button.send_keys(Keys.ENTER)
    page.wait_rows(2)
    page.wait("#notice", "Hungup")

    # The server is killed, and comes back without its calls.
    server.kill()
    page.wait("#link", "coming back")
    shoot(browser, f"wallboard-{kind}-lost", tmp_path)
    status, said = wallboard.request("POST", "/api/calls", {"from": DEVICE, "to": NUMBER})
    assert status == 503, said
    server.restart()
    page.wait("#link", "Connected to", 60)
    page.wait_rows(0)
    field.send_keys(Keys.ENTER)
    page.wait_rows(2)

    # On a phone.
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 780, "deviceScaleFactor": 2, "mobile": True}
    )
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    shoot(browser, f"wallboard-{kind}-phone", tmp_path)
    browser.execute_script("document.getElementById('channels-title').scrollIntoView()")
    shoot(browser, f"wallboard-{kind}-phone-channels", tmp_path)
    small = browser.execute_script(
        "return [...document.querySelectorAll('button, input')].filter(e => e.offsetHeight < 40).length"
    )
    assert small == 0

    Page(browser, wallboard.url + "/api/docs").wait("main", "/api/channels/{uniqueid}")
    shoot(browser, f"wallboard-{kind}-docs", tmp_path)
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


CONTRAST = Path(__file__).with_name("contrast.js").read_text("utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(browser: webdriver.Chrome, tmp_path: Path, scheme: str) -> None:
    port = free_port()
    with (
        Simulator() as simulator,
        serving(tmp_path / "log", "wallboard", str(port), port=port, AMI_URL=simulator.url) as service,
    ):
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        page = Page(browser, service.url)
        page.wait("#queues", "support")
        service.request("POST", "/api/calls", {"from": DEVICE, "to": NUMBER})
        page.wait_rows(2)
        shoot(browser, f"wallboard-{scheme}", tmp_path)
        assert browser.execute_script(CONTRAST) == []
        assert browser.execute_script("return document.documentElement.lang") == "en"
        names = [each.accessible_name for each in browser.find_elements(By.CSS_SELECTOR, "button, input, a")]
        assert all(names)
        assert len(set(names)) == len(names)
        assert browser.find_element(By.ID, "link").aria_role == "status"
        assert len(browser.find_elements(By.CSS_SELECTOR, "h1")) == 1
        # In the order in which it is read, everything is reached with the Tab key.
        reached = []
        for _ in names:
            browser.switch_to.active_element.send_keys(Keys.TAB)
            reached.append(browser.switch_to.active_element.accessible_name)
        assert reached == names


def validator(api: Any, schema: Any) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": api["components"]})


def test_the_api_is_as_its_document_says(server: Server, wallboard: Service) -> None:
    api = wallboard.get("/openapi.json")
    validate(api)
    seen = set()

    def call(method: str, template: str, body: Any = None, **names: str) -> tuple[int, Any]:
        path = template
        for name, value in names.items():
            path = path.replace("{" + name + "}", quote(value, safe="/@;"))
        status, found = wallboard.request(method, path, body)
        answer = api["paths"][template][method.lower()]["responses"][str(status)]
        if "$ref" in answer:
            answer = api["components"]["responses"][answer["$ref"].rpartition("/")[2]]
        content = answer["content"].get("application/json")
        if content:
            validator(api, content["schema"]).validate(found)
        seen.add((method.lower(), template))
        return status, found

    def state() -> Any:
        return call("GET", "/api/state")[1]

    with wallboard.stream("/api/stream") as pictures:
        schema = api["components"]["schemas"]["Picture"]
        validator(api, schema).validate(next(pictures))
        until(lambda: state()["link"]["state"] == "connected", "the link")
        assert {queue["name"] for queue in state()["queues"]} == {"support", "empty"}
        said = {"message": f"{DEVICE}: answered"}
        assert call("POST", "/api/calls", {"from": DEVICE, "to": NUMBER}) == (200, said)
        for picture in pictures:
            validator(api, schema).validate(picture)
            if [channel["state"] for channel in picture["channels"]] == ["Up", "Up"]:
                break
    channel = state()["channels"][0]
    assert call("DELETE", "/api/channels/{uniqueid}", uniqueid=channel["id"])[0] == 200
    until(lambda: not state()["channels"], "no channel")
    assert call("DELETE", "/api/channels/{uniqueid}", uniqueid=channel["id"])[0] == 404
    member = {"interface": "Local/109@default"}
    assert call("POST", "/api/queues/{queue}/members", member, queue="empty")[0] == 201
    until(lambda: [len(queue["members"]) for queue in state()["queues"] if queue["name"] == "empty"] == [1], "a member")
    assert call("DELETE", "/api/queues/{queue}/members/{interface}", queue="empty", **member)[0] == 200
    assert call("POST", "/api/queues/{queue}/members", member, queue="nowhere")[0] == 422
    busy = {"message": "Local/103@default: busy (user busy)"}
    assert call("POST", "/api/calls", {"from": "Local/103@default", "to": NUMBER}) == (200, busy)
    assert call("POST", "/api/calls", {"from": "x\r\nAction: Foo", "to": "1"})[0] == 400
    assert call("POST", "/api/calls", {"from": DEVICE, "to": "1\r\nFoo: x"})[0] == 400
    assert call("GET", "/health")[0] == 200
    assert "pyami_up" in call("GET", "/metrics")[1]
    seen.add(("get", "/api/stream"))
    assert seen == {(method, path) for path, methods in api["paths"].items() for method in methods}
    # A form of another site can't do anything.
    request = wallboard.request("POST", "/api/calls", raw=b"from=PJSIP/alice&to=100")
    assert request[0] == 400


def test_says_when_the_login_is_refused(tmp_path: Path) -> None:
    port = free_port()
    with Simulator() as simulator:
        simulator.refuse_logins()
        with serving(tmp_path / "log", "wallboard", str(port), port=port, AMI_URL=simulator.url) as service:
            until(lambda: service.get("/api/state")["link"]["state"] == "refused", "the refusal")
            assert service.request("GET", "/health")[0] == 503
            assert service.request("POST", "/api/calls", {"from": DEVICE, "to": NUMBER})[0] == 503


def test_with_nothing_but_its_command(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path / "log", "wallboard", str(port), port=port, AMI_URL="") as service:
        until(lambda: service.get("/api/state")["channels"], "somebody calls", 30)

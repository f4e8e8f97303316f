"""The wallboard, in a browser and by its API, on a simulated and a real server."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from pyami_sync import AMIClient, connect
from pyami_sync.testing import Simulator
from tests.faults.proxy import Proxy

from .browser import browser, shoot
from .processes import Service, free_port, serving
from .servers import Server, server
from .waiting import until

__all__ = ["browser", "server"]

PASSWORD = "correct horse"
ARABIC = "محمد عبد الرحمن بن عبد العزيز آل سعود من الرياض يتصل بكم الآن بشأن الفاتورة رق"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def wallboard(server: Server, tmp_path: Path) -> Iterator[Service]:
    port = free_port()
    environment = {
        "AMI_URL": server.url,
        "WALLBOARD_PASSWORD": PASSWORD,
        "WALLBOARD_THRESHOLDS": json.dumps({"longest": [1, 3]}),
    }
    with serving(tmp_path / "log", "wallboard", str(port), port=port, **environment) as service:
        yield service


@pytest.fixture
def behind_a_proxy(tmp_path: Path) -> Iterator[tuple[Simulator, Proxy, Service]]:
    """The wallboard of a server whose link a test can break."""
    port = free_port()
    with Simulator() as simulator, Proxy(simulator.port) as proxy:
        url = simulator.url.replace(f":{simulator.port}", f":{proxy.port}")
        with serving(tmp_path / "log", "wallboard", str(port), port=port, AMI_URL=url) as service:
            yield simulator, proxy, service


class Page:
    """The page as somebody sees it."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        browser.get(url)

    def text(self, selector: str) -> str:
        found: str = self.browser.execute_script(
            "const found = document.querySelector(arguments[0]); return found ? found.innerText : ''", selector
        )
        return found

    def wait(self, selector: str, text: str, timeout: float = 20.0) -> None:
        until(lambda: text in self.text(selector), f"{text!r} in {selector}", timeout)

    def wait_gone(self, selector: str, text: str, timeout: float = 20.0) -> None:
        until(lambda: text not in self.text(selector), f"no {text!r} in {selector}", timeout)

    def shown_at(self, text: str) -> None:
        """Have the page note the moment at which it shows a text; see :meth:`delay`."""
        self.browser.execute_script(
            "const text = arguments[0]; window.moments = window.moments || {};"
            "const look = () => document.body.innerText.includes(text) && !(text in moments)"
            " ? (moments[text] = Date.now(), true) : false;"
            "new MutationObserver((_, watch) => look() && watch.disconnect())"
            ".observe(document.body, {subtree: true, childList: true, characterData: true})",
            text,
        )

    def delay(self, text: str, since: float) -> float:
        """Return how many seconds after a moment the page showed a text that it was told to look out for."""
        until(lambda: self.browser.execute_script("return arguments[0] in window.moments", text), text, 20)
        at: float = self.browser.execute_script("return window.moments[arguments[0]]", text)
        return at / 1000 - since

    def click(self, selector: str) -> None:
        self.browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def size(browser: webdriver.Chrome, width: int, height: int) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )


def queue(ami: AMIClient, name: str, number: str = "5550001", exten: str = "501") -> None:
    """Let somebody call a queue."""
    ami.originate("Local/100@default/n", Context="default", Exten=exten, Priority=1, CallerID=f'"{name}" <{number}>')


def test_the_wall_shows_what_happens(
    server: Server, wallboard: Service, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    kind = type(server).__name__.lower()
    size(browser, 1920, 1080)
    page = Page(browser, wallboard.url)
    page.wait("#servers", "connected")
    page.wait("#queues", "support")
    page.wait("#calls-count", "0")
    shoot(browser, f"wall-{kind}-calm", tmp_path)
    empty = '[aria-label="Queue empty"]'
    with connect(server.url) as ami:
        # A caller joins, waits, and turns red.
        queue(ami, "Erika Beispiel")
        page.wait(f"{empty} .callers", "Erika Beispiel (5550001)", 5)
        assert page.text(f"{empty} .big dd") == "1"
        page.wait("#calls", "waits in")
        until(lambda: "red" in page.browser.find_element(By.CSS_SELECTOR, empty).get_attribute("class"), "red", 10)
        queue(ami, SCRIPT, "5550002")
        queue(ami, ARABIC, "5550003")
        page.wait(f"{empty} .callers", SCRIPT)
        page.wait(f"{empty} .callers", ARABIC[:20])
        shoot(browser, f"wall-{kind}-trouble", tmp_path)
        for width, height in ((1280, 800), (390, 844)):
            size(browser, width, height)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            shoot(browser, f"wall-{kind}-{width}", tmp_path)
        size(browser, 1920, 1080)
        # Somebody answers.
        ami.send("QueuePause", Interface="Local/801@members/n", Paused=True, Reason="lunch")
        page.wait("#agents", "paused: lunch")
        ami.send("QueuePause", Interface="Local/802@members/n", Paused=True)
        ami.send("QueueAdd", Queue="support", Interface="Local/101@default/n", MemberName="Alice Agent")
        page.wait("#agents", "Alice Agent")
        queue(ami, "Max Muster", "5550009", "500")
        until(lambda: "talking" in page.text("#agents") or "in use" in page.text("#agents"), "an agent talks", 20)
        page.wait("#calls", "↔")
        shoot(browser, f"wall-{kind}-busy", tmp_path)
        ami.send("QueueRemove", Queue="support", Interface="Local/101@default/n")
        page.wait_gone("#agents", "Alice Agent")
        assert wallboard.request("POST", "/api/calls", {"from": "PJSIP/a", "to": "1"})[0] == 401

    # The server is killed, and comes back without its calls.
    server.kill()
    page.wait("#servers", "connection lost")
    assert "stale" in browser.find_element(By.TAG_NAME, "body").get_attribute("class")
    shoot(browser, f"wall-{kind}-lost", tmp_path)
    server.restart()
    page.wait("#servers", "connected", 60)
    until(lambda: page.text("#calls-count") == "0", "no calls", 30)
    assert page.text(f"{empty} .big dd") == "0"
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_shows_an_event_within_a_second(server: Server, wallboard: Service, browser: webdriver.Chrome) -> None:
    """The moment of the event is that at which a client gets it; the best of a few tries counts, on a busy machine."""
    page = Page(browser, wallboard.url)
    page.wait("#servers", "connected")
    page.wait("#queues", "support")

    def delay(ami: AMIClient, event: str, text: str, act: Callable[[], object]) -> float:
        page.shown_at(text)
        with ami.expect(event, timeout=30) as seen:
            act()
        received = seen.result().received_at
        assert received is not None
        return page.delay(text, received.timestamp())

    with connect(server.url) as ami:
        joined, paused = [], []
        for number in range(3):
            caller, reason = f"Caller No {number}", f"reason {number}"
            joined.append(delay(ami, "QueueCallerJoin", caller, lambda name=caller: queue(ami, name)))  # type: ignore[misc]
            pause = {"Interface": "Local/801@members/n", "Paused": True, "Reason": reason}
            paused.append(delay(ami, "QueueMemberPause", reason, lambda how=pause: ami.send("QueuePause", **how)))  # type: ignore[misc]
            page.wait('[aria-label="Queue empty"] .callers', caller)
        ami.send("Hangup", Channel="/^Local/", check=False)
        page.wait("#calls-count", "0")
    assert min(joined) < 1, joined
    assert min(paused) < 1, paused


def test_a_lost_link_is_shown_and_made_good(
    behind_a_proxy: tuple[Simulator, Proxy, Service], browser: webdriver.Chrome
) -> None:
    simulator, proxy, service = behind_a_proxy
    page = Page(browser, service.url)
    page.wait("#servers", "connected")
    with connect(simulator.url) as ami:
        queue(ami, "Before The Gap")
        page.wait("#queues", "Before The Gap")
        proxy.cut_after = 1  # of each new connection, too
        proxy.drop()
        page.wait("#servers", "connection lost")
        assert "stale" in browser.find_element(By.TAG_NAME, "body").get_attribute("class")
        assert "Before The Gap" in page.text("#queues")  # the last that is known, and marked as such
        ami.send("Hangup", Channel="/^Local/", check=False)
        queue(ami, "In The Gap")
        proxy.cut_after = None
        page.wait("#servers", "connected", 60)
        page.wait("#queues", "In The Gap")
        assert "Before The Gap" not in page.text("#queues")
        assert "stale" not in browser.find_element(By.TAG_NAME, "body").get_attribute("class")


def test_shows_only_what_the_address_asks_for(browser: webdriver.Chrome, tmp_path: Path) -> None:
    port = free_port()
    with Simulator() as one, Simulator() as two:
        nodes = tmp_path / "nodes.toml"
        nodes.write_text(f"[nodes]\nparis = '{one.url}'\ntokyo = '{two.url}'\n")
        with serving(tmp_path / "log", "wallboard", str(port), port=port, AMI_URL="", AMI_NODES=str(nodes)) as service:
            page = Page(browser, service.url)
            page.wait("#servers", "paris: connected")
            page.wait("#servers", "tokyo: connected")
            until(lambda: len(browser.find_elements(By.CSS_SELECTOR, ".queue")) == 4, "two queues of each", 20)
            page = Page(browser, service.url + "/?server=tokyo&queue=support")
            until(lambda: len(browser.find_elements(By.CSS_SELECTOR, ".queue")) == 1, "one queue", 20)
            assert "tokyo" in page.text("#queues h2")
            assert "paris" not in page.text("#servers")


def log_in(page: Page, url: str) -> None:
    page.browser.get(url + "/operator")
    page.browser.find_element(By.ID, "password").send_keys(PASSWORD, Keys.ENTER)
    page.wait("h1", "Operator")
    page.wait("#servers", "connected")


def test_an_operator_acts(server: Server, wallboard: Service, browser: webdriver.Chrome, tmp_path: Path) -> None:
    kind = type(server).__name__.lower()
    size(browser, 1280, 800)
    page = Page(browser, wallboard.url)
    log_in(page, wallboard.url)
    with connect(server.url) as ami:
        queue(ami, SCRIPT)
        page.wait("#calls", SCRIPT)
        page.wait("#calls", "queued in empty")
        shoot(browser, f"operator-{kind}", tmp_path)
        # A transfer, and a hang-up, each after it was confirmed.
        page.click("#calls tr:first-child .buttons button:nth-child(2)")
        page.wait("#confirm-text", "Transfer")
        page.browser.find_element(By.ID, "confirm-input").send_keys("101", Keys.ENTER)
        page.wait("#notice", "Redirect")
        page.wait_gone("#calls", "queued in empty")
        page.click("#calls tr:first-child .buttons button.end")
        page.wait("#confirm-text", "Hang up")
        page.click("#confirm-no")
        page.click("#calls tr:first-child .buttons button.end")
        until(lambda: browser.find_element(By.ID, "confirm").get_attribute("open"), "the question again", 10)
        page.click("#confirm-yes")
        page.wait("#notice", "Hungup")
        until(lambda: page.text("#calls-count") == "0", "no calls", 20)
        # A pause with its reason, and its end.
        page.wait("#agents", "Alice")
        page.click("#agents tr:first-child button")
        page.wait("#confirm-text", "Pause Alice")
        page.browser.find_element(By.ID, "confirm-input").send_keys("lunch")
        page.click("#confirm-yes")
        page.wait("#agents tr:first-child", "paused: lunch")
        page.click("#agents tr:first-child button")
        page.wait_gone("#agents tr:first-child", "paused")
    page.click("#logout")
    page.wait("h1", "Wallboard")
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_click_to_call_tells_the_outcome(server: Server, wallboard: Service, browser: webdriver.Chrome) -> None:
    page = Page(browser, wallboard.url)
    log_in(page, wallboard.url)
    page.browser.find_element(By.ID, "from").send_keys("Local/103@default")
    page.browser.find_element(By.ID, "to").send_keys("100", Keys.ENTER)
    page.wait("#notice", "busy", 30)
    field = page.browser.find_element(By.ID, "from")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys("Local/106@default", Keys.ENTER)
    page.wait("#notice", "answered", 30)
    page.wait("#notice", "cause 16", 30)


CONTRAST = Path(__file__).with_name("contrast.js").read_text("utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(browser: webdriver.Chrome, tmp_path: Path, scheme: str) -> None:
    port = free_port()
    environment = {"WALLBOARD_PASSWORD": PASSWORD}
    with (
        Simulator() as simulator,
        serving(tmp_path / "log", "wallboard", str(port), port=port, AMI_URL=simulator.url, **environment) as service,
        connect(simulator.url) as ami,
    ):
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        page = Page(browser, service.url)
        queue(ami, "Erika Beispiel")
        page.wait("#queues", "Erika Beispiel")
        shoot(browser, f"wall-{scheme}", tmp_path)
        assert browser.execute_script(CONTRAST) == []
        log_in(page, service.url)
        page.wait("#calls", "Erika Beispiel")
        shoot(browser, f"operator-{scheme}", tmp_path)
        assert browser.execute_script(CONTRAST) == []
        assert browser.execute_script("return document.documentElement.lang") == "en"
        shown = "main button, main input, nav a, nav button"
        names = [each.accessible_name for each in browser.find_elements(By.CSS_SELECTOR, shown)]
        assert all(names)
        assert len(set(names)) == len(names)
        assert browser.find_element(By.ID, "servers").aria_role == "status"
        assert len(browser.find_elements(By.CSS_SELECTOR, "h1")) == 1


class Operator:
    """A logged-in operator's requests."""

    def __init__(self, service: Service, password: str = PASSWORD) -> None:
        self.service = service
        self.cookie = self.token = ""
        status, headers, _ = self.ask("POST", "/login", f"password={quote(password)}", form=True)
        self.status = status
        if status == 302:
            self.cookie = (headers["Set-Cookie"] or "").partition(";")[0]
            page = self.ask("GET", "/operator")[2]
            self.token = re.search(r'data-token="([^"]+)"', page)[1]  # type: ignore[index]

    def ask(self, method: str, path: str, body: Any = None, *, form: bool = False, token: str | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=30)
        kind = "application/x-www-form-urlencoded" if form else "application/json"
        headers = {"Cookie": self.cookie, "X-CSRF-Token": self.token if token is None else token, "Content-Type": kind}
        data = None if body is None else body if form else json.dumps(body)
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            found = json.loads(text) if (answer.headers["Content-Type"] or "").startswith("application/json") else text
            return answer.status, answer.headers, found
        finally:
            connection.close()


ACTING = [
    ("POST", "/api/calls", {"from": "PJSIP/alice", "to": "100"}),
    ("DELETE", "/api/channels/PJSIP/alice-1", None),
    ("POST", "/api/transfers", {"channel": "x", "to": "1"}),
    ("POST", "/api/spies", {"from": "PJSIP/alice", "channel": "x"}),
    ("POST", "/api/agents/pause", {"interface": "x", "paused": True}),
    ("POST", "/api/queues/empty/members", {"interface": "PJSIP/alice"}),
    ("DELETE", "/api/queues/empty/members/PJSIP/alice", None),
    ("POST", "/logout", None),
]


def test_nobody_acts_without_login_and_token(tmp_path: Path) -> None:
    port = free_port()
    with (
        Simulator() as simulator,
        serving(
            tmp_path / "log", "wallboard", str(port), port=port, AMI_URL=simulator.url, WALLBOARD_PASSWORD=PASSWORD
        ) as service,
    ):
        assert Operator(service, "wrong").status == 401
        operator = Operator(service)
        for method, path, body in ACTING:
            assert service.request(method, path, body)[0] == 401, path
            assert operator.ask(method, path, body, token="")[0] == 403, path
            assert operator.ask(method, path, body, token="guessed")[0] == 403, path
        for name in ("Originate", "Hangup", "Redirect", "QueuePause", "QueueAdd", "QueueRemove"):
            simulator.assert_not_sent(name)
        assert operator.ask("POST", "/logout")[0] == 200


def test_is_known_by_its_own_names_only(tmp_path: Path) -> None:
    port = free_port()
    with (
        Simulator() as simulator,
        serving(tmp_path / "log", "wallboard", str(port), port=port, AMI_URL=simulator.url) as service,
    ):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/api/state", headers={"Host": "evil.example"})
        assert connection.getresponse().status == 421
        connection.close()
        assert service.request("GET", "/api/state")[0] == 200


def test_the_operators_page_is_off_without_a_password(tmp_path: Path) -> None:
    port = free_port()
    with (
        Simulator() as simulator,
        serving(
            tmp_path / "log", "wallboard", str(port), port=port, AMI_URL=simulator.url, WALLBOARD_PASSWORD=""
        ) as service,
    ):
        assert service.request("GET", "/operator")[0] == 403
        assert service.request("GET", "/login")[0] == 403
        assert service.request("POST", "/login")[0] == 403
        assert service.request("GET", "/")[0] == 200


def validator(api: Any, schema: Any) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": api["components"]})


def test_the_api_is_as_its_document_says(server: Server, wallboard: Service) -> None:
    api = wallboard.get("/openapi.json")
    validate(api)
    seen = {("get", "/api/stream")}
    operator = Operator(wallboard)

    def call(method: str, template: str, body: Any = None, **names: str) -> tuple[int, Any]:
        path = template
        for name, value in names.items():
            path = path.replace("{" + name + "}", quote(value, safe="/@;"))
        status, _, found = operator.ask(method, path, body)
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
        until(lambda: state()["servers"][0]["state"] == "connected", "the link", 20)
        assert {queue["name"] for queue in state()["queues"]} == {"support", "empty"}
        status, placed = call("POST", "/api/calls", {"from": "Local/100@default/n", "to": "101"})
        assert status == 202
        for picture in pictures:
            validator(api, schema).validate(picture)
            if picture["calls"]:
                break
    until(lambda: call("GET", "/api/calls/{id}", id=placed["id"])[1]["outcome"] == "ANSWERED", "the answer", 20)
    assert call("GET", "/api/calls/{id}", id="nonsense")[0] == 404
    channel = state()["calls"][0]["from"]["channel"]
    assert call("POST", "/api/transfers", {"channel": channel, "to": "100"})[0] == 200
    assert call("POST", "/api/transfers", {"channel": channel, "to": "no number"})[0] == 400
    assert call("POST", "/api/spies", {"from": "Local/100@default/n", "channel": channel})[0] == 202
    assert call("DELETE", "/api/channels/{channel}", channel=channel)[0] == 200
    assert call("DELETE", "/api/channels/{channel}", channel="PJSIP/nobody-1")[0] == 422
    member = {"interface": "Local/109@default"}
    assert call("POST", "/api/queues/{queue}/members", member, queue="empty")[0] == 201
    until(lambda: [len(queue["agents"]) for queue in state()["queues"] if queue["name"] == "empty"] == [1], "a member")
    assert call("POST", "/api/agents/pause", {**member, "paused": True, "reason": "lunch"})[0] == 200
    assert call("DELETE", "/api/queues/{queue}/members/{interface}", queue="empty", **member)[0] == 200
    assert call("POST", "/api/queues/{queue}/members", member, queue="nowhere")[0] == 422
    assert call("POST", "/api/calls", {"from": "x\r\nAction: Foo", "to": "1"})[0] == 400
    assert call("POST", "/api/calls", {"from": "Local/100@default", "to": "1\r\nFoo: x"})[0] == 400
    assert call("GET", "/health")[0] == 200
    assert "pyami_up" in call("GET", "/metrics")[1]
    assert seen == {(method, path) for path, methods in api["paths"].items() for method in methods}


def test_says_when_the_login_is_refused(tmp_path: Path) -> None:
    port = free_port()
    with Simulator() as simulator:
        simulator.refuse_logins()
        with serving(tmp_path / "log", "wallboard", str(port), port=port, AMI_URL=simulator.url) as service:
            until(lambda: service.get("/api/state")["servers"][0]["state"] == "refused", "the refusal")
            assert service.request("GET", "/health")[0] == 503


def test_with_nothing_but_its_command(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path / "log", "wallboard", str(port), port=port, AMI_URL="") as service:
        until(lambda: service.get("/api/state")["calls"], "somebody calls", 30)

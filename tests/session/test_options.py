"""How a session is to be: from arguments, a URL or the environment; no message ever shows the secret."""

from __future__ import annotations

import ssl

import pytest

from pyami_sync.connection.tls import TLS
from pyami_sync.session.options import Options, event_mask, make_options, options_from_url
from pyami_sync.session.reconnect import ReconnectPolicy
from pyami_sync.wire.protocol import Limits


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv("AMI_URL", raising=False)
    monkeypatch.delenv("AMI_SECRET", raising=False)


class TestOptions:
    def test_defaults(self):
        options = Options()
        assert (options.host, options.port, options.timeout, options.keepalive) == ("localhost", 5038, 10.0, 30.0)
        assert (options.auth, options.tls, options.event_mask, options.when_down) == ("md5", None, None, "wait")
        assert options.reconnect == ReconnectPolicy()
        assert options.limits == Limits()
        assert options.address == "localhost:5038"

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *(("host", each) for each in ("", "a b", "a\nb", "a\r\nb", None, 5)),
            *(("host", each) for each in ("user:hunter2@pbx", "pbx/x", "pbx?x", "pbx#x", "pbx:5038", "user:hunter2")),
            *(("port", each) for each in (0, -1, 65536, "5038", None, 1.5)),
            *(("auth", each) for each in ("MD5", "none", None)),
            ("when_down", "raise"),
            *(("timeout", each) for each in (0, -1, "5")),
            *(("connect_timeout", each) for each in (0, float("nan"))),
            ("keepalive", 0),
            ("keepalive_timeout", -5),
            *(("encoding", each) for each in ("nonsense", "utf-16", "utf-7", "cp037", "rot13", "iso2022_jp", "hz")),
            *(("username", each) for each in ("a\r\nAction: x", "a\nb", "a\0b", 5)),
            *(("secret", each) for each in ("hunter2\r\nx", "hunter2\n", "hunter2\0", None)),
        ],
    )
    def test_values_that_can_not_be(self, name, value):
        with pytest.raises(ValueError, match=name) as caught:
            Options(**{name: value})
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize(
        "encoding", ["utf-8", "latin-1", "cp1252", "ascii", "koi8-r", "gb18030", "shift_jis", "euc_kr"]
    )
    def test_encodings(self, encoding):
        assert Options(encoding=encoding).encoding == encoding

    @pytest.mark.parametrize("host", ["pbx", "10.0.0.1", "::1", "pbx.example.org", "fe80::1%eth0"])
    def test_hosts(self, host):
        assert Options(host=host).host == host

    def test_no_limits(self):
        options = Options(timeout=None, keepalive=None, reconnect=None)
        assert (options.timeout, options.keepalive, options.reconnect) == (None, None, None)

    def test_the_secret_does_not_show(self):
        assert "hunter2" not in repr(Options(secret="hunter2"))

    def test_for_a_node(self):
        options = Options(host="pbx", node="pbx-1")
        assert (options.node, options.host) == ("pbx-1", "pbx")


class TestMaking:
    def test_forms_that_users_may_give(self):
        assert make_options({"tls": True}).tls == TLS()
        assert make_options({"tls": True}).port == 5039
        assert make_options({"tls": True, "port": 1234}).port == 1234
        assert make_options({"tls": TLS(verify=False)}).port == 5039
        assert make_options({"tls": False}).tls is None
        assert make_options({"tls": False}).port == 5038
        context = ssl.create_default_context()
        assert make_options({"tls": context}).tls is context
        assert make_options({"reconnect": False}).reconnect is None
        assert make_options({"reconnect": True}).reconnect == ReconnectPolicy()
        assert make_options({"event_mask": ["call", "agent"]}).event_mask == "call,agent"

    def test_unknown_ones(self):
        with pytest.raises(TypeError, match=r"no such option: hots; did you mean host\? passwrod") as caught:
            make_options({"hots": "x", "passwrod": "hunter2"})
        assert "hunter2" not in str(caught.value)


class TestEventMask:
    @pytest.mark.parametrize(
        ("mask", "text"),
        [
            (None, None),
            (True, "on"),
            (False, "off"),
            ("on", "on"),
            ("All", "on"),
            ("none", "off"),
            ("no", "off"),
            ("call", "call"),
            (" Call , AGENT ", "call,agent"),
            (("call", "cdr"), "call,cdr"),
        ],
    )
    def test_spellings(self, mask, text):
        assert event_mask(mask) == text

    @pytest.mark.parametrize("mask", ["cal", "call,,agent", "", "call log", [], "on,call", "call\r\nX: 1"])
    def test_a_server_would_silently_send_nothing(self, mask):
        with pytest.raises(ValueError, match="no such event class"):
            event_mask(mask)


class TestURL:
    def test_all_of_it(self):
        options = options_from_url(
            "amis://ad%20min:s%40c%2Fr%23t@pbx.example:5040/?timeout=2.5&keepalive=none&event_mask=call,agent&auth=plain"
            "&ca_file=/a/b.pem&cert_file=c&key_file=k&server_name=x&verify=no&reconnect=off&wait_fully_booted=yes"
            "&encoding=latin-1&name=me&when_down=fail&connect_timeout=3&keepalive_timeout=4"
        )
        assert (options.host, options.port) == ("pbx.example", 5040)
        assert (options.username, options.secret) == ("ad min", "s@c/r#t")
        assert (options.timeout, options.keepalive, options.event_mask) == (2.5, None, "call,agent")
        assert (options.auth, options.encoding, options.name, options.when_down) == ("plain", "latin-1", "me", "fail")
        assert options.tls == TLS("/a/b.pem", "c", "k", "x", False)
        assert (options.reconnect, options.wait_fully_booted) == (None, True)
        assert (options.connect_timeout, options.keepalive_timeout) == (3, 4)

    @pytest.mark.parametrize(
        ("url", "host", "port"),
        [
            ("ami://pbx", "pbx", 5038),
            ("amis://pbx", "pbx", 5039),
            ("AMI://u:p@PBX", "pbx", 5038),
            ("ami://u:p@[::1]:6000/", "::1", 6000),
            ("pbx", "pbx", 5038),
            ("pbx:5040", "pbx", 5040),
            ("[::1]:5040", "::1", 5040),
            ("[::1]", "::1", 5038),
            ("::1", "::1", 5038),
            ("fe80::1:5040", "fe80::1:5040", 5038),
        ],
    )
    def test_places(self, url, host, port):
        options = options_from_url(url)
        assert (options.host, options.port) == (host, port)

    def test_a_user_and_a_place_without_a_scheme(self):
        options = options_from_url("admin@pbx:5040", {"tls": True})
        assert (options.username, options.host, options.port) == ("admin", "pbx", 5040)
        assert options_from_url("pbx", {"tls": True}).port == 5039
        with pytest.raises(ValueError, match="scheme") as caught:
            options_from_url("admin:hunter2@pbx:5040")
        assert "hunter2" not in str(caught.value)

    def test_a_host_may_have_a_port(self):
        options = make_options({"host": "pbx:5040"})
        assert (options.host, options.port) == ("pbx", 5040)
        for wrong in ({"host": "pbx:99999"}, {"host": "pbx:1", "port": 2}, {"host": "pbx:"}):
            with pytest.raises(ValueError, match="port"):
                make_options(wrong)

    def test_options_win(self):
        options = options_from_url("ami://u:p@pbx:1?timeout=5", {"timeout": 7, "username": "v", "port": 2})
        assert (options.timeout, options.username, options.secret, options.port) == (7, "v", "p", 2)

    def test_the_secret_from_the_environment(self, monkeypatch):
        monkeypatch.setenv("AMI_SECRET", "other")
        monkeypatch.setenv("AMI_URL", "ami://u@elsewhere")
        assert options_from_url(None).secret == "other"
        assert options_from_url(None, {"secret": "given"}).secret == "given"
        assert not options_from_url("ami://u@here").secret  # it is the secret of AMI_URL's server
        monkeypatch.setenv("AMI_URL", "ami://u:p@elsewhere")
        assert options_from_url(None).secret == "p"

    def test_the_environment(self, monkeypatch):
        monkeypatch.setenv("AMI_URL", "ami://u:p@elsewhere")
        assert options_from_url(None).host == "elsewhere"
        assert options_from_url(None, {"port": 1}).port == 1
        assert options_from_url("ami://here").host == "here"

    def test_no_server_at_all(self, monkeypatch):
        with pytest.raises(ValueError, match="set AMI_URL"):
            options_from_url(None)
        monkeypatch.setenv("AMI_URL", "")
        with pytest.raises(ValueError, match="set AMI_URL"):
            options_from_url(None)
        assert options_from_url(None, {"host": "pbx"}).host == "pbx"

    @pytest.mark.parametrize(
        "url",
        [
            "http://u:hunter2@pbx",
            "ami://u:hunter2@pbx:port",
            "ami://u:hunter2@pbx:99999",
            "ami://u:hunter2@",
            "ami://u:hun#ter2@pbx",
            "ami://u:hun/ter2@pbx",
            "ami://u:1/hunter2@pbx",
            "ami://u:1#hunter2@pbx",
            "ami://u:hunter2@[pbx",
            "u:hunter2@pbx",
            "u:hunter2@pbx:5038",
            "ami://u:hunter2@pbx?timeout=soon",
            "ami://u:hunter2@pbx?verify=maybe",
            "ami://u:hunter2@pbx?colour=red",
            "ami://u:hunter2@pbx?timeout=0",
            "ami://u:hunter2@pbx?ca_file=x",
            "ami://u:hunter2@pbx?secret=hunter2",
            "ami://u:hunter2%0d%0aAction:%20x@pbx",
            "ami://u%0a:hunter2@pbx",
            "ami://u:hunter2%00@pbx",
            "ami://u:hunter2@pb x",
            "",
        ],
    )
    def test_those_that_can_not_be_read(self, url):
        with pytest.raises(ValueError) as caught:
            options_from_url(url)
        exc: BaseException | None = caught.value
        while exc is not None and not exc.__suppress_context__:
            assert "hunter2" not in str(exc)
            exc = exc.__cause__ or exc.__context__
        assert "ter2" not in str(caught.value)

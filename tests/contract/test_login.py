"""Who gets in, and what each then sees and may do."""

from __future__ import annotations

import pytest

from pyami_sync import (
    ActionError,
    AMIClient,
    ConnectError,
    LoginRejected,
    WaitTimeout,
)

from .conftest import Target


@pytest.mark.parametrize("auth", ["md5", "plain"])
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_logs_in(target: Target, auth: str, tls: bool) -> None:
    with target.client(auth=auth, tls=tls) as ami:
        assert ami.ping() > 0
        assert ami.ami_version is not None
        assert ami.ami_version >= (5, 0)
        assert ami.server_version is not None
        assert ami.server_version.startswith(str(target.major))


@pytest.mark.promise(14)
def test_secret_goes_out_hashed_or_not_as_asked(target: Target) -> None:
    for auth in ("md5", "plain"):
        seen: list[bytes] = []
        ami = target.client(auth=auth)
        ami.on_wire(lambda direction, raw, seen=seen: seen.append(raw))
        with ami:
            ami.ping()
        wire = b"".join(seen)
        assert b"admin-secret" not in wire
        assert (b"AuthType: MD5" in wire) is (auth == "md5")


@pytest.mark.parametrize(
    ("user", "secret", "auth"),
    [("admin", "wrong", "md5"), ("nobody", "wrong", "plain"), ("admin", "Admin-Secret", "plain")],
)
def test_wrong_credentials_are_rejected(target: Target, user: str, secret: str, auth: str) -> None:
    with pytest.raises(LoginRejected, match=r"manager\.conf") as info:
        target.client(user, secret=secret, auth=auth).open()
    assert info.value.username == user
    assert (info.value.host, info.value.port) == ("127.0.0.1", target.port)
    assert secret not in str(info.value)


def test_acl_is_a_rejection(real: Target) -> None:
    with pytest.raises(LoginRejected, match="permit"):
        real.client("acl").open()


def test_second_login_of_a_single_user_says_why(real: Target) -> None:
    with real.client("single"):
        with pytest.raises(LoginRejected, match="elsewhere"):
            real.client("single").open()
    with real.client("single") as again:
        assert again.ping() > 0


def test_limited_user(target: Target) -> None:
    with target.client("limited") as ami, target.client(event_mask="off") as admin:
        with pytest.raises(ActionError, match="write class"):
            ami.command("core show version")
        with pytest.raises(ActionError, match="Permission denied"):
            ami.send("DBPut", Family="a", Key="b", Val="c")
        assert ami.server_version is None
        with ami.expect("UserEvent") as unseen, ami.expect("Newchannel") as seen:
            admin.send("UserEvent", UserEvent="ForOthers")
            admin.originate("Local/106@default", Application="NoOp")
            assert seen.result(20)["Channel"].startswith("Local/106@default")
            assert not unseen.done()
            unseen.cancel()  # leaving the block would wait for it


@pytest.mark.parametrize("user", ["limited", "noevents", "admin"])
@pytest.mark.parametrize("mask", [None, "off", "call"])
def test_waiting_for_the_boot_hangs_for_nobody(target: Target, user: str, mask: str | None) -> None:
    with target.client(user, wait_fully_booted=True, event_mask=mask, connect_timeout=15) as ami:
        assert ami.ping() > 0


def test_event_mask(target: Target) -> None:
    with (
        target.client(event_mask="user") as users,
        target.client(event_mask="off") as none,
        target.client() as everything,
        target.client(event_mask="off") as admin,
    ):
        with users.events() as some, none.events() as nothing, everything.events() as all_events:
            admin.originate("Local/106@default", Application="NoOp")
            all_events.timeout = 20
            assert any(event.name == "Hangup" for event in all_events)
            admin.send("UserEvent", UserEvent="Last")
            assert some.get(20)["UserEvent"] == "Last"
            none.ping()
            assert nothing.pending == 0
        none.send("Events", EventMask="user")
        with none.events() as now:
            admin.send("UserEvent", UserEvent="Seen")
            assert now.get(20)["UserEvent"] == "Seen"


def test_mistyped_masks_raise_before_anything_is_sent(target: Target) -> None:
    with pytest.raises(ValueError, match="calls"):
        target.client(event_mask="calls")


def test_filters_of_the_account_and_of_the_session(real: Target) -> None:
    with real.client("filtered") as filtered, real.client() as own, real.client(event_mask="off") as admin:
        own.send("Filter", Operation="Add", Filter="UserEvent: Wanted")
        with filtered.events() as by_account, own.events() as by_session:
            for name in ("Hidden", "Wanted", "Other"):
                admin.send("UserEvent", UserEvent=name)
            assert by_account.get(20)["UserEvent"] == "Wanted"
            assert by_account.get(20)["UserEvent"] == "Other"
            assert by_session.get(20)["UserEvent"] == "Wanted"
            own.ping()
            with pytest.raises(WaitTimeout):
                by_session.get(0.05)


def test_login_to_a_closed_port_says_what_to_check(target: Target) -> None:
    with pytest.raises(ConnectError, match="nothing listens") as info:
        AMIClient("127.0.0.1", 1, username="admin", secret="s").open()
    assert info.value.port == 1


@pytest.mark.promise(15)
def test_injection_through_credentials_sends_nothing(target: Target) -> None:
    for user, secret in (("ad\r\nmin", "s"), ("admin", "a\nb")):
        with pytest.raises(ValueError, match="CR"):
            target.client(user, secret=secret, auth="plain").open()

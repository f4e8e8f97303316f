"""The end of a client that nobody closes: dropped, at exit, or the parent's after a fork made in C."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from pyami_sync import AMIClient, ClusterPool, ConnectionLost, LoginRejected, State, connect
from pyami_sync.engine.handle import Handle
from pyami_sync.live import Queue
from pyami_sync.testing import Simulator

from .support.peer import eventually


@pytest.fixture
def sim():
    with Simulator() as made:
        yield made


def run(sim, code, seconds=30):
    """Run a program; return what it printed and how many seconds it took."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "AMI_URL": sim.url},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr, time.monotonic() - began


class TestDropped:
    def open_descriptors(self):
        return len(os.listdir("/proc/self/fd"))

    def test_a_client_that_nobody_refers_to_is_cleaned_up(self, sim):
        gc.collect()
        before = self.open_descriptors()
        threads = threading.active_count()
        for _ in range(5):
            ami = connect(sim.url)
            ami.ping()
            del ami
            gc.collect()
        eventually(lambda: threading.active_count() == threads)
        eventually(lambda: not sim.sessions)
        eventually(lambda: self.open_descriptors() <= before)

    def test_one_with_a_callback_goes_on(self, sim):
        seen = threading.Event()

        def register():
            connect(sim.url).on("UserEvent", lambda event: seen.set())

        register()
        gc.collect()
        sim.emit("UserEvent", UserEvent="x")
        assert seen.wait(10)
        from pyami_sync.client.client import anchors

        for ami in list(anchors):
            ami.close()
        assert not anchors

    def test_one_whose_stream_is_used_goes_on(self, sim):
        stream = connect(sim.url).events("UserEvent")
        gc.collect()
        sim.emit("UserEvent", UserEvent="x")
        assert stream.get(10).name == "UserEvent"
        del stream
        gc.collect()
        eventually(lambda: not sim.sessions)


@pytest.mark.promise(9)
class TestExit:
    @pytest.mark.parametrize("timeout", ["10", "None"])
    def test_a_call_made_at_exit_ends_at_once(self, sim, timeout):
        out, seconds = run(
            sim,
            f"""
            import atexit

            def late():
                try:
                    ami.ping(timeout={timeout})
                except Exception as exc:
                    print(type(exc).__name__, exc)

            atexit.register(late)
            import pyami_sync
            ami = pyami_sync.connect()
            """,
        )
        assert "ConnectionClosed" in out
        assert "interpreter is shutting down" in out
        assert seconds < 8

    def test_one_that_opens_at_exit(self, sim):
        out, seconds = run(
            sim,
            """
            import atexit

            def late():
                try:
                    connect()
                except Exception as exc:
                    print(type(exc).__name__)

            atexit.register(late)
            from pyami_sync import connect
            """,
        )
        assert "ConnectionClosed" in out
        assert seconds < 8

    def test_in_a_finalizer(self, sim):
        out, seconds = run(
            sim,
            """
            import pyami_sync

            class Owner:
                def __init__(self):
                    self.ami = pyami_sync.connect()

                def __del__(self):
                    try:
                        self.ami.ping(timeout=None)
                    except pyami_sync.AMIError as exc:
                        print(type(exc).__name__)

            owner = Owner()
            owner.me = owner
            """,
        )
        assert "ConnectionClosed" in out
        assert seconds < 8


@pytest.mark.promise(10)
@pytest.mark.skipif(sys.platform != "linux", reason="calls the C library")
class TestForkInC:
    def test_the_child_opens_a_session_of_its_own(self, sim):
        """As uWSGI makes its workers: no Python hook runs in the child."""
        out, _ = run(
            sim,
            """
            import ctypes, os, sys, time
            import pyami_sync
            ami = pyami_sync.connect()
            assert ami.ping() < 5
            future = ami.submit("WaitEvent", timeout=None)
            time.sleep(0.3)  # such a fork is only safe while no other thread asks for the interpreter's lock
            pid = ctypes.PyDLL(None).fork()  # holds the GIL, as uWSGI does
            if pid == 0:
                try:
                    print("ping", ami.ping(timeout=5) < 5)
                    with ami.events("UserEvent") as stream:
                        ami.send("UserEvent", UserEvent="child")
                        print("event", stream.get(5).name)
                    ami.close()
                    print("future", type(future.exception(5)).__name__)
                except BaseException as exc:
                    print(repr(exc))
                sys.stdout.flush()
                os._exit(0)
            os.waitpid(pid, 0)
            print("parent", ami.ping(timeout=5) < 5)
            ami.close()
            """,
        )
        assert "ping True" in out, out
        assert "event UserEvent" in out, out
        assert "future ConnectionLost" in out, out
        assert "parent True" in out, out
        assert sim.accepted == 2

    def test_a_cluster(self, sim):
        out, _ = run(
            sim,
            """
            import ctypes, os, sys, time
            import pyami_sync
            pool = pyami_sync.ClusterPool({"a": os.environ["AMI_URL"]}).open()
            time.sleep(0.3)  # such a fork is only safe while no other thread asks for the interpreter's lock
            pid = ctypes.PyDLL(None).fork()
            if pid == 0:
                try:
                    print("ping", pool.send_to("a", "Ping", timeout=5).ok)
                    pool.close()
                except BaseException as exc:
                    print(repr(exc))
                sys.stdout.flush()
                os._exit(0)
            os.waitpid(pid, 0)
            print("parent", pool.send_to("a", "Ping", timeout=5).ok)
            pool.close()
            """,
        )
        assert "ping True" in out, out
        assert "parent True" in out, out


def test_the_version_is_asked_again_after_a_login(sim):
    with connect(sim.url) as ami:
        assert ami.server_version
        ami.server_version  # noqa: B018 - known now
        assert sim.actions.names().count("CoreSettings") == 1
        sim.drop()
        eventually(lambda: sim.accepted == 2 and ami.state is State.CONNECTED)
        assert ami.server_version
        assert sim.actions.names().count("CoreSettings") == 2


class TestHandles:
    def test_a_decorated_function_stays_usable(self, sim):
        ami = AMIClient.from_url(sim.url)
        states = []

        @ami.on_state
        def note(state):
            "Note it."
            states.append(state)
            return 5

        assert note("by hand") == 5
        assert (note.__name__, note.__doc__) == ("note", "Note it.")
        with ami:
            eventually(lambda: State.CONNECTED in states)
            note.cancel()
        assert State.CLOSED not in states

    def test_three_ways_to_end_it(self):
        ended = []
        handle = Handle(print, lambda: ended.append(1))
        handle()
        handle.cancel()
        with handle:
            pass
        assert len(ended) == 3
        assert "print" in repr(handle)

    @pytest.mark.parametrize(
        "register",
        [
            lambda ami, function: ami.on("Hangup", function),
            lambda ami, function: ami.on("Hangup")(function),
            lambda ami, function: ami.on_state(function),
            lambda ami, function: ami.on_error(function),
            lambda ami, function: ami.on_action(function),
            lambda ami, function: ami.on_wire(function),
        ],
    )
    def test_all_registrations_are_alike(self, sim, register):
        def function(*args):
            """Note it."""
            return args

        with connect(sim.url) as ami:
            check_handle(register(ami, function))

    def test_those_of_the_live_model_and_of_clusters_too(self, sim):
        def function(*args):
            """Note it."""
            return args

        with ClusterPool({"a": sim.url}) as pool, connect(sim.url) as ami, ami.live("queues") as live:
            for handle in (pool.on("Hangup", function), pool.on_health(function), pool.on_error(function)):
                check_handle(handle)
            check_handle(live.on(Queue, function))


def check_handle(handle):
    assert isinstance(handle, Handle)
    assert handle.__name__ == "function"
    assert handle.__doc__ == "Note it."
    assert handle(1, 2) == (1, 2)  # a decorated function stays usable
    handle.cancel()
    handle()
    with handle as same:
        assert same is handle


class TestClusters:
    def test_looking_whether_it_is_over_connects_nothing(self, sim):
        pool = ClusterPool({"a": sim.url})
        assert not pool._over()
        assert not pool._members.opened
        pool.close()
        assert pool._over()

    def test_a_process_without_descriptors_can_open_it_later(self, sim, monkeypatch):
        from pyami_sync import ClusterError

        pool = ClusterPool({"a": sim.url, "b": sim.url})

        def full():
            raise OSError(24, "Too many open files")

        with monkeypatch.context() as patch:
            patch.setattr(pool.engine, "start", full)
            with pytest.raises(ClusterError, match="lacks resources"):
                pool.open()
        with pool:
            assert sum(node.connected for node in pool.nodes.values()) == 2


def test_a_future_under_way_at_a_fork(sim):
    out, _ = run(
        sim,
        """
        import os, sys
        import pyami_sync
        ami = pyami_sync.connect()
        future = ami.submit("WaitEvent", timeout=None)
        pid = os.fork()
        if pid == 0:
            try:
                print(type(future.exception(5)).__name__)
            except BaseException as exc:
                print(repr(exc))
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(pid, 0)
        ami.close()
        """,
    )
    assert ConnectionLost.__name__ in out


def test_a_secret_that_was_forgotten(sim):
    with pytest.raises(LoginRejected, match="no secret was given"):
        connect(host="127.0.0.1", port=sim.port, username="admin")
    with ClusterPool({"a": f"ami://admin@127.0.0.1:{sim.port}"}) as pool:
        assert "no secret was given" in str(pool.health()["a"].last_error)
    assert not sim.actions.names()

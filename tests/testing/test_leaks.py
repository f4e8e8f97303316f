"""The check that nothing is left behind."""

from __future__ import annotations

import socket
import threading

import pytest

from pyami_sync.testing import assert_no_leaks


def test_nothing_left() -> None:
    with assert_no_leaks(), socket.socket():
        pass


def test_a_socket_left() -> None:
    with socket.socket() as kept:
        kept.close()
        with pytest.raises(AssertionError, match=r"1 socket\(s\)"), assert_no_leaks(0.05):
            kept = socket.socket()
        kept.close()


def test_a_thread_left() -> None:
    go = threading.Event()
    thread = threading.Thread(target=go.wait, name="pyami-left")
    with pytest.raises(AssertionError, match=r"threads \[pyami-left\]"), assert_no_leaks(0.05):
        thread.start()
    go.set()
    thread.join()


def test_what_ends_in_time_is_no_leak() -> None:
    with assert_no_leaks(5.0):
        threading.Timer(0.05, lambda: None).start()
        thread = threading.Thread(target=threading.Event().wait, args=(0.05,), name="pyami-soon")
        thread.start()

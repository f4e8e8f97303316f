"""Waiting for sockets: both ways behave alike."""

from __future__ import annotations

import select
import socket

import pytest

from pyami_sync.engine.poller import EVENTS, READ, WRITE, Epoll, Selector, make_poller

needs_epoll = pytest.mark.skipif(not hasattr(select, "epoll"), reason="this platform has no epoll")


class Link:
    def __init__(self, interest=READ):
        self.mine, self.other = socket.socketpair()
        self.interest = interest

    def fileno(self):
        return self.mine.fileno()

    def close(self):
        self.mine.close()
        self.other.close()


@pytest.fixture(params=[pytest.param("epoll", marks=needs_epoll), "selectors"])
def poller(request):
    made = Epoll() if request.param == "epoll" else Selector()
    yield made
    made.close()


@pytest.fixture
def link():
    made = Link()
    yield made
    made.close()


def test_what_is_ready_and_for_what(poller, link):
    poller.add(link)
    assert poller.poll(0) == []
    link.other.send(b"x")
    assert poller.poll(5) == [(link, READ)]
    link.interest = READ | WRITE
    poller.rearm(link)
    assert poller.poll(5) == [(link, READ | WRITE)]
    link.interest = WRITE
    poller.rearm(link)
    assert poller.poll(5) == [(link, WRITE)]


def test_no_interest_for_a_while(poller, link):
    poller.add(link)
    link.other.send(b"x")
    link.interest = 0
    poller.rearm(link)
    assert poller.poll(0) == []
    link.interest = READ
    poller.rearm(link)
    assert poller.poll(5) == [(link, READ)]


def test_no_interest_from_the_beginning(poller, link):
    link.interest = 0
    poller.add(link)
    link.other.send(b"x")
    assert poller.poll(0) == []
    link.interest = READ
    poller.rearm(link)
    assert poller.poll(5) == [(link, READ)]


def test_removed(poller, link):
    poller.remove(link)
    poller.rearm(link)
    poller.add(link)
    link.other.send(b"x")
    poller.remove(link)
    poller.remove(link)
    poller.rearm(link)
    assert poller.poll(0) == []
    poller.add(link)
    assert poller.poll(5) == [(link, READ)]


def test_the_end_of_the_stream(poller, link):
    poller.add(link)
    link.other.close()
    ((found, mask),) = poller.poll(5)
    assert found is link
    assert mask & READ


def test_a_number_that_is_another_sockets_by_now(poller, link):
    old = Link()
    number = old.fileno()
    poller.add(old)
    poller.remove(old)
    old.mine.detach()
    link.mine.close()
    link.mine = socket.socket(fileno=number)
    try:
        poller.add(link)
        old.interest = 0
        old.fileno = lambda: number
        poller.rearm(old)
        poller.remove(old)
        old.other.send(b"x")
        assert poller.poll(5) == [(link, READ)]
    finally:
        poller.remove(link)
        old.other.close()


@needs_epoll
def test_epolls_own_constants():
    assert EVENTS == {
        0: 0,
        READ: select.EPOLLIN,
        WRITE: select.EPOLLOUT,
        READ | WRITE: select.EPOLLIN | select.EPOLLOUT,
    }


@needs_epoll
def test_the_choice_of_a_poller(monkeypatch):
    made = make_poller()
    assert isinstance(made, Epoll)
    made.close()
    monkeypatch.delattr("select.epoll")
    made = make_poller()
    assert isinstance(made, Selector)
    made.close()


def test_once_more_from_within(poller, link):
    """As from a signal's handler or a finalizer, which run in the middle of anything."""

    class Curious(Link):
        def fileno(self):
            poller.rearm(link)
            poller.remove(link)
            return super().fileno()

    other = Curious()
    try:
        poller.add(link)
        poller.add(other)
        other.other.send(b"x")
        assert poller.poll(5) == [(other, READ)]
    finally:
        other.close()

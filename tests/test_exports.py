"""The public names: all there, each documented, none by accident."""

from __future__ import annotations

import importlib
import inspect
import pathlib
import pkgutil

import pytest

import pyami_sync

PROMISED = """
    connect AMIClient ClusterPool Action Event Response Message actions events
    AMIError ConnectError LoginRejected ConnectionClosed ConnectionLost ProtocolError LocalProtocolError
    RemoteProtocolError InvalidAction ActionError ActionTimeout WaitTimeout EventsLost ConcurrencyError ClusterError
    UnknownNode NoNodeAvailable
    EventStream Subscription Limits ReconnectPolicy TLS State Stats
""".split()
MODULES = [
    each.name
    for each in pkgutil.iter_modules(pyami_sync.__path__)
    if not each.ispkg and each.name not in ("schema", "__main__")  # schema needs an extra
]


@pytest.mark.parametrize("name", PROMISED)
def test_promised_names(name):
    assert name in pyami_sync.__all__
    assert getattr(pyami_sync, name) is not None


def test_all_names_exist_and_are_sorted():
    assert len(set(pyami_sync.__all__)) == len(pyami_sync.__all__)
    for name in pyami_sync.__all__:
        getattr(pyami_sync, name)


@pytest.mark.parametrize("name", sorted(set(pyami_sync.__all__) - {"__version__"}))
def test_public_names_are_documented(name):
    assert inspect.getdoc(getattr(pyami_sync, name))


@pytest.mark.parametrize("module", MODULES)
def test_modules_say_what_they_export(module):
    loaded = importlib.import_module(f"pyami_sync.{module}")
    assert loaded.__doc__
    for name in loaded.__all__:
        assert hasattr(loaded, name), name


@pytest.mark.parametrize("name", ["AMIClient", "EventStream", "Subscription", "Message", "Event", "Response", "Action"])
def test_public_methods_are_documented(name):
    cls = getattr(pyami_sync, name)
    for method, member in vars(cls).items():
        if not method.startswith("_") and (callable(member) or isinstance(member, property | classmethod)):
            assert inspect.getdoc(getattr(cls, method)), f"{name}.{method}"


def test_the_package_is_typed():
    assert (pathlib.Path(pyami_sync.__file__).parent / "py.typed").exists()


def test_the_version():
    assert pyami_sync.__version__.count(".") == 2

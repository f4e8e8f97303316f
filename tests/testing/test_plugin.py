"""The pytest plugin, used as users use it."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture
def run(pytester: pytest.Pytester, pytestconfig: pytest.Config) -> pytest.Pytester:
    """A throwaway folder for tests that use the plugin."""
    # An installed package brings its plugin along; a mere checkout has to name it.
    named = "" if pytestconfig.pluginmanager.has_plugin("pyami_sync") else " -p pyami_sync.testing.plugin"
    pytester.makeini(f"[pytest]\naddopts = --strict-markers -p no:cacheprovider{named}")
    return pytester


def test_fixtures(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import pytest
        from pyami_sync import ActionError

        def test_calls(ami_no_leaks, ami_simulator, ami_client):
            ami_client.send("QueueAdd", Queue="support", Interface="PJSIP/alice")
            ami_simulator.assert_sent("QueueAdd", Queue="support")
            with ami_client.expect("Hangup") as hung_up:
                ami_simulator.emit("Hangup", Channel="PJSIP/alice-1")
                assert hung_up.result(5)["Channel"] == "PJSIP/alice-1"

        @pytest.mark.ami_simulator(asterisk="16")
        def test_marker(ami_simulator, ami_client):
            assert ami_simulator.major == 16
            assert ami_client.send("CoreSettings")["AMIversion"] == "5.0.4"

        def test_errors(ami_simulator, ami_client):
            ami_simulator.on("Hangup", {"Response": "Error", "Message": "no"})
            with pytest.raises(ActionError, match="no"):
                ami_client.send("Hangup", Channel="x")
        """
    )
    run.runpytest_subprocess().assert_outcomes(passed=3)


def test_readable_failures(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        def test_wrong(ami_simulator, ami_client):
            ami_client.send("QueueAdd", Queue="sales", Interface="PJSIP/alice", check=False)
            ami_simulator.assert_sent("QueueAdd", Queue="support")
        """
    )
    result = run.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*QueueAdd with Queue='support' was not sent*", "*Queue is 'sales', not 'support'*"])


def test_a_failing_reply_fails_the_test(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        def test_wrong(ami_simulator, ami_client):
            ami_simulator.on("Ping", lambda action, session: 1 / 0)
            ami_client.send("Ping", check=False)
        """
    )
    result = run.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*1 scripted replies failed*"])


def test_leaks_are_found(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        from pyami_sync.testing import Simulator

        kept = []

        def test_leak(ami_no_leaks):
            kept.append(Simulator().start())
        """
    )
    result = run.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*left behind: threads [[]pyami-simulator[]]*"])

"""Timed steps, with a bar for those who watch."""

from __future__ import annotations

import pytest

from pyfunc_packaging.progress import Steps, is_watched


def test_nothing_is_shown_to_nobody(capfd):
    assert not is_watched()
    steps = Steps(1, "package m")
    with steps.step("write"):
        pass
    assert capfd.readouterr() == ("", "")
    assert steps.timings["write"] >= 0


def test_every_step_is_named(capfd):
    steps = Steps(2, "package m", shown=True)
    for name in ("write", "check"):
        with steps.step(name):
            pass
    shown = capfd.readouterr().err
    assert "package m" in shown
    assert "write" in shown
    assert "check" in shown
    assert "2/2 [" in shown
    assert shown.rstrip().endswith("done]")


def test_a_terminal_is_watched(monkeypatch):
    # a mock: no test runs in a terminal
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert is_watched()


def test_failing_step_ends_the_bar(capfd):
    steps = Steps(2, "package m", shown=True)
    with pytest.raises(ZeroDivisionError), steps.step("write"):
        raise ZeroDivisionError
    assert steps.timings == {}
    assert steps._bar.disable
    assert capfd.readouterr().err.endswith("\n")

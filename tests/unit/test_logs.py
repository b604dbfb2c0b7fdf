"""Every line of a JSON log is an object, whatever is logged."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlserver import ModelSettings, Settings
from mlserver.context import model_context

from mlserver_pyfunc.logs import REQUEST_ID, JSONFormatter, choose_logging
from pyfunc_packaging.errors import InvalidSetting


def make_line(message: Any, *arguments: Any, exc_info: Any = None) -> Any:
    record = logging.LogRecord("x.y", logging.ERROR, "", 0, message, arguments, exc_info)
    text = JSONFormatter().format(record)
    assert "\n" not in text
    assert text.isascii()
    return json.loads(text)


@settings(deadline=None)
@given(st.text(alphabet=st.characters(codec=None)))
def test_any_message_is_one_line(message: str) -> None:
    assert make_line("%s", message)["message"] == message


def test_what_a_line_has() -> None:
    line = make_line("%d of %s", 1, "2")
    assert list(line) == ["timestamp", "level", "logger", "message"]
    assert (line["level"], line["logger"], line["message"]) == ("ERROR", "x.y", "1 of 2")
    assert line["timestamp"].endswith("Z")


def test_model_and_request_are_said_where_they_are_known() -> None:
    settings = ModelSettings(name="houses", implementation="mlserver_pyfunc.PyFuncRuntime")
    token = REQUEST_ID.set("order \ud800" + "6" * 9000)
    try:
        with model_context(settings):
            line = make_line("…")
    finally:
        REQUEST_ID.reset(token)
    assert line["model"] == "houses"
    assert line["request_id"] == "order \ud800" + "6" * 193
    assert "version" not in line


def test_a_traceback_is_a_field() -> None:
    try:
        raise ZeroDivisionError("no")
    except ZeroDivisionError as error:
        line = make_line("failed", exc_info=(type(error), error, error.__traceback__))
    assert line["message"] == "failed"
    assert line["traceback"].startswith("Traceback (most recent call last)")
    assert line["traceback"].endswith("ZeroDivisionError: no")


def test_text_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(debug=False)
    for chosen in ("text", ""):
        monkeypatch.setenv("PYFUNC_LOG_FORMAT", chosen)
        choose_logging(settings)
        assert settings.logging_settings is None


def test_another_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYFUNC_LOG_FORMAT", "xml")
    with pytest.raises(InvalidSetting, match="should be 'json' or 'text', found 'xml'"):
        choose_logging(Settings(debug=False))


def test_two_configurations_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYFUNC_LOG_FORMAT", "json")
    with pytest.raises(InvalidSetting, match="logging_settings"):
        choose_logging(Settings(debug=False, logging_settings="logging.json"))

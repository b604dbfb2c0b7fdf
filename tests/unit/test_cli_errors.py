"""What goes wrong is one line on stderr, and an exit status that says what kind of thing it was."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from pyfunc_packaging import cli_serve, terminal
from pyfunc_packaging.cli import main
from pyfunc_packaging.commands import Command
from pyfunc_packaging.errors import UnsuitableData


def run(*arguments: str, **options: Any) -> Any:
    return CliRunner().invoke(main, arguments, **options)


def assert_one_line(result: Any, status: int) -> str:
    """Nothing on stdout, one line on stderr; the line without its beginning."""
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith("\n")
    assert "Traceback" not in result.stderr
    return str(result.stderr[len("Error: ") : -1])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("inspct", "no such command 'inspct' (did you mean 'inspect'?); see `pyfunc --help`"),
        ("compair a b", "no such command 'compair' (did you mean 'compare'?); see `pyfunc --help`"),
        ("xyzzy", "no such command 'xyzzy'; see `pyfunc --help`"),
        (
            "inspect a --jsn",
            "no such option '--jsn' (did you mean '--json'?); see `pyfunc inspect --help`",
        ),
        ("--verson", "no such option '--verson' (did you mean '--version'?); see `pyfunc --help`"),
        ("verify a --xyzzy", "no such option '--xyzzy'; see `pyfunc verify --help`"),
        (
            "serve a --http-prot 1",
            "no such option '--http-prot' (did you mean '--http-port'?); see",
        ),
        ("inspect", "missing argument 'BUNDLE'; see `pyfunc inspect --help`"),
        ("compare a", "missing argument 'B'; see `pyfunc compare --help`"),
        ("sign a", "missing option '--private-key'; see `pyfunc sign --help`"),
        ("inspect a b", "got unexpected extra argument (b); see `pyfunc inspect --help`"),
        (
            "compare a b --fail-on x",
            "invalid value for '--fail-on': 'x' is not one of 'breaking', 'predictions'; see",
        ),
        ("compare a b --input-format csv", "--input-format says how --input is read; add --input"),
        ("compare a b --missing NA", "--missing says how --input is read; add --input FILE"),
        ("serve --http-port 65536 a", "invalid value for '--http-port': 65536 is not in the range"),
        (
            "completion tcsh",
            "invalid value for 'SHELL': 'tcsh' is not one of 'bash', 'zsh', 'fish'",
        ),
        ("verify a --public-key k --certificate c", "--public-key and --certificate exclude"),
        ("manifest x --name y --diff setup.cfg --output y", "--diff only compares; leave --output"),
    ],
)
def test_wrong_usage(arguments: str, line: str) -> None:
    assert assert_one_line(run(*arguments.split()), 2).startswith(line)


@pytest.mark.parametrize("command", ["inspect", "verify", "compare", "image", "sign", "serve"])
@pytest.mark.parametrize("uri", ["s3://bucket/model", "models:/Price@production", "runs:/1/model"])
def test_a_uri_where_a_directory_is_wanted(command: str, uri: str) -> None:
    rest = {
        "compare": (uri,),
        "image": ("--output", "context"),
        "sign": ("--private-key", "k"),
    }.get(command, ())
    assert assert_one_line(run(command, uri, *rest), 2) == (
        f"BUNDLE should be a local directory, found {uri!r}; copy the files here first"
        f" (`pyfunc resolve {uri}` says where they are)"
    )


def test_a_file_where_a_directory_is_wanted(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"")
    line = assert_one_line(run("inspect", str(file)), 2)
    assert line.startswith(
        f"BUNDLE should be a directory that package_model() wrote, found the file '{file}'; see"
    )


def test_a_directory_with_a_colon_is_no_uri(california: Any, tmp_path: Path) -> None:
    path = shutil.copytree(california[2].path, tmp_path / "s3:" / "bundle")
    result = subprocess.run(
        [sys.executable, "-Im", "pyfunc_packaging", "verify", "s3:/bundle"],
        cwd=path.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


def empty(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def alter(path: Path) -> None:
    (path / "data" / "profile.json").write_text("{}")


@pytest.mark.parametrize("command", ["inspect", "verify", "inspect --json"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, "no such directory"),
        (empty, "no bundle (data/manifest.json is not there)"),
        (alter, "data/profile.json is not the file that was packaged"),
    ],
)
def test_refusals(
    california: Any, tmp_path: Path, command: str, damage: Callable[[Path], None], words: str
) -> None:
    path = Path(shutil.copytree(california[2].path, tmp_path / "copy"))
    damage(path)
    assert words in assert_one_line(run(*command.split(), str(path)), 1)


@pytest.mark.parametrize("name", ["", "data", "data/manifest.json", "data/model.onnx"])
def test_what_cannot_be_read(california: Any, name: str) -> None:
    superuser = os.geteuid() == 0  # may read everything, so it steps down for a moment
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        Path(folder).chmod(0o755)
        path = Path(shutil.copytree(california[2].path, Path(folder, "copy")))
        assert run("inspect", str(path)).exit_code == 0  # everything is imported, too
        mode = (path / name).stat().st_mode
        (path / name).chmod(0)
        if superuser:
            os.seteuid(65534)
        try:
            result = run("inspect", str(path))
        finally:
            if superuser:
                os.seteuid(0)
            (path / name).chmod(mode)
    line = assert_one_line(result, 1)
    file = name if Path(name).suffix else "data/manifest.json"  # of a folder, its first file
    assert line == f"{path}/{file}: cannot be read: Permission denied"


# --- our own faults -----------------------------------------------------------------------------


def make_command(fault: BaseException) -> Command:
    @click.command(cls=Command, name="pyfunc")
    def command() -> None:
        click.echo("before")
        raise fault

    return command


def test_a_fault_of_ours_shows_where_it_is() -> None:
    result = CliRunner().invoke(make_command(KeyError("engine")), [])
    assert result.exit_code == 70
    lines = result.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2] == "KeyError: 'engine'"
    assert lines[-1].startswith("Error: a fault of pyfunc's own, not yours (KeyError); please")
    assert any("test_cli_errors.py" in line for line in lines)


@pytest.mark.parametrize(
    ("fault", "status", "stderr"),
    [
        (UnsuitableData("two\nlines \x1b[31m"), 1, "Error: two lines \\x1b[31m\n"),
        (click.ClickException("refused"), 1, "Error: refused\n"),
        (
            PermissionError(13, "Permission denied", "bundle"),
            1,
            "Error: bundle: Permission denied\n",
        ),
        (OSError(28, "No space left"), 1, "Error: the output cannot be written (No space left)\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (BrokenPipeError(), 141, ""),
        (SystemExit(5), 5, ""),
        (SystemExit(), 0, ""),
        (SystemExit("why"), 1, "Error: why\n"),
        (click.exceptions.Exit(4), 4, ""),
    ],
)
def test_exit_status(fault: BaseException, status: int, stderr: str) -> None:
    result = CliRunner().invoke(make_command(fault), [])
    assert (result.exit_code, result.stderr, result.stdout) == (status, stderr, "before\n")


def test_an_unknown_error_of_the_system_is_a_fault_of_ours() -> None:
    assert CliRunner().invoke(make_command(OSError(107, "not connected")), []).exit_code == 70


def test_serving_without_mlserver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    line = assert_one_line(run("serve", str(tmp_path)), 1)
    assert line.endswith("install mlserver-pyfunc[runtime]")


def test_serve_hands_its_arguments_on_as_they_came(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A stand-in for exec, which would replace the test's own process."""
    found = []
    monkeypatch.setattr(cli_serve.os, "execve", lambda *words: found.append(words))
    monkeypatch.setattr(cli_serve.signal, "pthread_sigmask", lambda *_: None)
    arguments = ["--name", "a b", str(tmp_path), "--http-port=0"]
    assert run("serve", *arguments).exit_code == 0
    ((program, command, env),) = found
    assert program == sys.executable
    assert command[1:] == ["-P", "-m", "mlserver_pyfunc", *arguments]
    assert env["OMP_NUM_THREADS"] == os.environ["OMP_NUM_THREADS"]


# --- colours and encodings ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, False),
        ({"FORCE_COLOR": ""}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": ""}, True),
    ],
)
@pytest.mark.parametrize("command", ["inspect", "inspect BUNDLE"])
def test_colours(california: Any, env: dict[str, str], coloured: bool, command: str) -> None:
    arguments = command.replace("BUNDLE", str(california[2].path)).split()
    done = subprocess.run(
        [sys.executable, "-Im", "pyfunc_packaging", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "TERM": "xterm", "LANG": "C.UTF-8", **env},
    )
    assert done.returncode == (2 if command == "inspect" else 0), done.stderr
    assert ("\x1b[" in done.stdout + done.stderr) is coloured


@pytest.mark.parametrize("env", [{"LANG": "C"}, {"LC_ALL": "POSIX"}, {"PYTHONIOENCODING": "ascii"}])
def test_no_encoding_is_too_small(california: Any, env: dict[str, str]) -> None:
    done = [
        subprocess.run(
            [sys.executable, "-P", "-m", "pyfunc_packaging", *arguments, str(california[2].path)],
            capture_output=True,
            check=False,
            env={"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", **env},
        )
        for arguments in (["inspect"], ["inspect", "--json"])
    ]
    assert [each.returncode for each in done] == [0, 0]
    assert [each.stderr for each in done] == [b"", b""]
    assert b"median_house_value: R? 0.9" in done[0].stdout
    assert json.loads(done[1].stdout.decode("ascii"))["name"] == california[2].name


def test_json_has_no_numbers_that_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_json({"a": [float("nan"), 1.5], "b": (float("inf"),), "c": "µ"})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.5], "b": [None], "c": "µ"}


class Unread(io.StringIO):
    """Standard output that nobody reads any more."""

    def flush(self) -> None:
        raise BrokenPipeError


def test_a_table_that_nobody_reads_ends_as_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """rich alone would exit with status 1, which here is a refusal."""
    monkeypatch.setattr(sys, "stdout", Unread())
    with pytest.raises(BrokenPipeError):
        terminal.print_table(terminal.make_console(), "a line")

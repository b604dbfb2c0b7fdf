"""``pyfunc`` as a person has it: in a terminal, in a pipe, in a shell that completes."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pexpect
import pytest
from sklearn.linear_model import LinearRegression

from pyfunc_packaging import package_model

pytestmark = pytest.mark.usefixtures("all_unchecked")

PATIENCE = 60
BIN = Path(sys.executable).parent
PYFUNC = str(BIN / "pyfunc")
#: Shells of this machine that can be taught; bash is always there.
SHELLS = [shell for shell in ("bash", "zsh", "fish") if shutil.which(shell)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = pd.DataFrame({"rooms": [1.0, 2.0, 3.0]})
    model = LinearRegression().fit(rows, rows["rooms"] * 10)
    path = tmp_path_factory.mktemp("terminal") / "bundle"
    return package_model(model, rows, path=path, name="houses", report=False).path


@pytest.fixture
def silent_service() -> Iterator[str]:
    """Takes connections, and never answers: a registry that hangs. Its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        for each in held:
            each.close()


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, **options
    )


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return run("bash", "-o", "pipefail", "-c", line, env={**os.environ, "PYFUNC": PYFUNC})


# --- start-up -----------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("--help",), ("--version",)])
def test_it_answers_at_once(arguments: tuple[str, ...]) -> None:
    """Processor time, which a busy machine does not lengthen as it does the time on the wall."""
    taken = []
    for _ in range(20):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(PYFUNC, *arguments)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert statistics.median(taken) < 0.3


# --- pipes and streams --------------------------------------------------------------------------


def test_a_pipe_that_ends_early(bundle: Path) -> None:
    done = shell(f'("$PYFUNC" inspect {bundle}; echo "status $?" >&2) | head -c 0')
    assert done.stderr in ("status 141\n", "status 0\n")  # 0 when head was slower to end
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as unread:
        ended = subprocess.run(
            [PYFUNC, "inspect", str(bundle)],
            stdout=unread,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.parametrize("command", ["inspect BUNDLE", "inspect BUNDLE --json", "--help"])
@pytest.mark.parametrize(
    ("redirect", "reason"),
    [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")],
)
def test_an_output_that_cannot_be_written(
    bundle: Path, command: str, redirect: str, reason: str
) -> None:
    done = shell(f'"$PYFUNC" {command.replace("BUNDLE", str(bundle))} {redirect}')
    assert done.returncode == 1
    assert done.stderr == f"Error: the output cannot be written ({reason})\n"


def test_without_stderr(bundle: Path, tmp_path: Path) -> None:
    assert shell(f'"$PYFUNC" verify {bundle} 2>&-').returncode == 0
    done = shell(f'"$PYFUNC" verify {tmp_path / "none"} 2>&-')
    assert (done.returncode, done.stdout) == (1, "")


# --- terminals ----------------------------------------------------------------------------------


def spawn(*arguments: str, **env: str) -> pexpect.spawn:
    """A process in a terminal of its own, 80 columns wide."""
    given = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return pexpect.spawn(
        arguments[0],
        list(arguments[1:]),
        env={**given, "TERM": "xterm", "LANG": "C.UTF-8", **env},
        dimensions=(24, 80),
        encoding="utf-8",
        timeout=PATIENCE,
    )


def finish(process: pexpect.spawn) -> tuple[str, int | None]:
    """What it wrote, and its exit status."""
    process.expect(pexpect.EOF)
    process.close()
    return process.before, process.exitstatus


def test_colours_are_for_terminals(bundle: Path) -> None:
    written, status = finish(spawn(PYFUNC, "inspect", str(bundle)))
    assert status == 0
    assert "\x1b[1mname" in written
    written, status = finish(spawn(PYFUNC, "inspect", str(bundle), NO_COLOR="1"))
    assert status == 0
    assert "name     houses\r\n" in written
    assert "\x1b[1m" not in written


def test_what_is_waited_for_is_shown_in_terminals(silent_service: str) -> None:
    """And Ctrl-C ends it at once, without a word."""
    options = ("--tracking-uri", silent_service)
    process = spawn(PYFUNC, "resolve", "models:/Price@production", *options)
    process.expect("resolving models:/Price@production")
    process.sendintr()
    written, status = finish(process)
    assert status == 130
    assert "Traceback" not in written
    assert "Error" not in written


def test_ctrl_c_where_nobody_watches(silent_service: str) -> None:
    process = subprocess.Popen(
        [PYFUNC, "resolve", "models:/Price@production", "--tracking-uri", silent_service],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONFAULTHANDLER": ""},
    )
    # it has to be in the middle of things: connected, and waiting for the answer
    connected = f":{int(silent_service.rpartition(':')[2]):04X} "
    table = Path(f"/proc/{process.pid}/net/tcp")
    while not any(connected in line and " 01 " in line for line in table.read_text().splitlines()):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (130, "", "")


# --- completion ---------------------------------------------------------------------------------


def test_a_shell_is_there_to_test_with() -> None:
    assert "bash" in SHELLS


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("pyfunc insp", "pyfunc inspect"),
        ("pyfunc serve --http", "pyfunc serve --http-port"),
        ("pyfunc compare a b --fail-on pred", "pyfunc compare a b --fail-on predictions"),
        ("pyfunc inspect bundle-of-t", "pyfunc inspect bundle-of-ten"),
    ],
)
def test_completion(name: str, typed: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "bundle-of-ten").mkdir()
    path = f"{BIN}:{os.environ['PATH']}"
    if name == "fish":
        word = typed.rsplit(maxsplit=1)[-1]
        done = run(
            "fish",
            "--no-config",
            "-c",
            f'pyfunc completion fish | source; complete --do-complete "{typed}"',
            env={"PATH": path, "HOME": str(tmp_path)},
            cwd=tmp_path,
        )
        found = [line.split("\t")[0] for line in done.stdout.splitlines()]
        assert expected.removeprefix(typed.removesuffix(word)) in [
            each.rstrip("/") for each in found
        ]
        return
    start = {
        "bash": ["bash", "--norc", "--noprofile", "-i"],
        "zsh": ["zsh", "--no-rcs", "-i"],
    }[name]
    process = spawn(*start, PATH=path, PS1="ready> ", TERM="dumb", HOME=str(tmp_path))
    process.sendline(f"cd {tmp_path}")
    if name == "zsh":
        process.sendline("autoload -U compinit && compinit -u -D; unsetopt zle_bracketed_paste")
    process.sendline(f'eval "$(pyfunc completion {name})"; echo lo"aded"')
    process.expect("\\bloaded")
    process.expect("ready> ")
    process.send(f"{typed}\t")
    process.expect_exact(expected.removeprefix(typed.rsplit(" ", 1)[0]).strip())
    process.close(force=True)

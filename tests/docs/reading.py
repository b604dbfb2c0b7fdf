"""Run the code blocks of a page of the documentation, in order, as a reader would.

A comment before a block says what the block alone does not:

- ``<!-- file: NAME -->``: the reader saves it under this name;
- ``<!-- fails -->``: it ends with an error, which is shown below;
- ``<!-- output of: COMMAND -->``: what a command prints that the page does not show;
- ``<!-- not run: REASON -->``: nothing runs it, or compares it with anything.

Everything else is run (``python`` in one kernel a page, ``bash``), or is the output of the block
above it. In an output, ``…`` stands for anything; numbers with a point may differ by a thousandth,
as sums over threads do from one machine to another.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"(?:^<!-- ([^\n]*) -->\n+)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NUMBER = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?")
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
#: Commands that go on until somebody ends them, and the ports that pages show.
_SERVERS = ("pyfunc serve", "mlserver start", "mlflow models serve")
_PORTS = {":8080": "http", ":8081": "grpc", ":8082": "metrics", ":5000": "http"}


@dataclass(frozen=True)
class Block:
    """A fenced block, and what the comment before it says."""

    language: str
    text: str
    line: int
    directive: str

    @property
    def reason(self) -> str | None:
        """Why it is not run, if it is not."""
        return self.directive.partition("not run: ")[2] or None


def read_blocks(page: Path) -> list[Block]:
    """Every block of a page; none can hide behind a fence that this does not know."""
    text = page.read_text(encoding="utf-8")
    blocks = [
        Block(found[2], found[3], text[: found.start(2)].count("\n") + 1, found[1] or "")
        for found in _BLOCK.finditer(text)
    ]
    fences = re.findall(r"^[ >\d.*-]*(?:```|~~~)", text, re.MULTILINE)
    assert len(fences) == 2 * len(blocks), f"{page.name}: a fence that is no block"
    return blocks


@dataclass
class Reader:
    """Someone who types what a page shows into an empty folder."""

    folder: Path
    client: NotebookClient
    start: Callable[[str, Path], Any]
    server: Any = None
    cells: int = 0
    done: list[Block] = field(default_factory=list)

    def follow(self, page: Path) -> None:
        """Do all of it, and compare."""
        output: str | None = None
        for block in read_blocks(page):
            where = f"{page.name}:{block.line}"
            if block.reason is not None:
                continue
            if block.directive.startswith("file: "):
                self._save(block)
            elif block.language in ("python", "bash"):
                assert block.directive in ("", "fails"), f"{where}: {block.directive}"
                run = self._python if block.language == "python" else self._bash
                output = run(block, where)
            else:
                if block.directive.startswith("output of: "):
                    output = self._shell(block.directive.partition(": ")[2], environment(), where)
                assert output is not None, f"{where}: neither run nor an output; say which"
                _compare(block, output, where)
                output = None
            self.done.append(block)

    def _save(self, block: Block) -> None:
        file = self.folder / block.directive.partition("file: ")[2]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text, encoding="utf-8")

    def _python(self, block: Block, where: str) -> str:
        cell = nbformat.v4.new_code_cell(self._here(block.text))
        self.client.nb.cells.append(cell)
        self.cells += 1
        try:
            self.client.execute_cell(cell, self.cells - 1)
        except CellExecutionError as error:
            if block.directive != "fails":
                raise
            return f"{error.ename}: {error.evalue}"
        assert block.directive != "fails", f"{where}: this should have failed"
        texts = {"stdout": "", "stderr": ""}
        for output in cell.outputs:
            if output.output_type == "stream":
                texts[output.name] += output.text
            elif output.output_type == "execute_result":
                texts["stdout"] += output.data["text/plain"]
        assert "Warning" not in texts["stderr"], f"{where}: {texts['stderr']}"
        return texts["stdout"]

    def _bash(self, block: Block, where: str) -> str:
        script = block.text.replace("\\\n", " ")
        env = environment()
        if any(name in script for name in _SERVERS):
            (command,) = script.strip().splitlines()
            if block.directive != "fails":
                if self.server is not None:
                    self.server.stop()
                self.server = self.start(command, self.folder)
                return str(self.server.log)
            # one that should end by itself: it is this very process, so that it ends with a timeout
            script = f"exec env {command}"
            env |= {f"MLSERVER_{port}_PORT": "0" for port in ("HTTP", "GRPC", "METRICS")}
        return self._shell(script, env, where, fails=block.directive == "fails")

    def _shell(self, script: str, env: dict[str, str], where: str, *, fails: bool = False) -> str:
        done = subprocess.run(
            ["bash", "-euc", self._here(script)],
            cwd=self.folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if fails else subprocess.PIPE,
            text=True,
            timeout=240,
            check=False,
        )
        assert (done.returncode != 0) is fails, (
            f"{where}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def _here(self, text: str) -> str:
        """The same, with the ports that the server has here."""
        if self.server is None:
            return text
        for shown, name in _PORTS.items():
            here = f"127.0.0.1:{self.server.ports[name]}"
            text = re.sub(rf"(127\.0\.0\.1|localhost){shown}\b", here, text)
        return text


def environment() -> dict[str, str]:
    """What a reader's shell has after ``source .venv/bin/activate``."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "COLUMNS": "100", "NO_COLOR": "1"}


def _compare(block: Block, found: str, where: str) -> None:
    found = _ESCAPE.sub("", found)
    if block.language == "json":
        same = _same(json.loads(block.text), json.loads(found))
    else:
        same = _matches(block.text, found)
    assert same, f"{where}: shown\n{block.text}\nfound\n{found}"


def _same(shown: Any, found: Any) -> bool:
    if isinstance(shown, dict):
        return (
            isinstance(found, dict)
            and shown.keys() == found.keys()
            and all(_same(value, found[key]) for key, value in shown.items())
        )
    if isinstance(shown, list):
        return (
            isinstance(found, list)
            and len(shown) == len(found)
            and all(_same(*pair) for pair in zip(shown, found, strict=True))
        )
    if isinstance(shown, float):
        return isinstance(found, float) and found == pytest.approx(shown, rel=1e-3)
    if isinstance(shown, str):
        return isinstance(found, str) and _matches(shown, found)
    return type(shown) is type(found) and shown == found


def _matches(shown: str, found: str) -> bool:
    shown, found = (
        "\n".join(line.rstrip() for line in _UUID.sub("UUID", text).strip().splitlines())
        for text in (shown, found)
    )
    pattern = re.escape(_NUMBER.sub("\0", shown)).replace("…", ".*?")
    match = re.fullmatch(pattern.replace("\0", f"({_NUMBER.pattern})"), found, re.DOTALL)
    if match is None:
        return False
    numbers = [float(number) for number in _NUMBER.findall(shown)]
    return [float(number) for number in match.groups()] == pytest.approx(numbers, rel=1e-3)

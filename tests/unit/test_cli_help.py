"""What every command says of itself, how fast, and that the documentation says the same."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mlserver_pyfunc.__main__ import main as runtime
from pyfunc_packaging.cli import main

DOCS = Path(__file__).resolve().parents[2] / "docs"
COMMANDS = list(main.commands)
#: What only a command that needs it may import.
HEAVY = {"rich", "yaml", "numpy", "pandas", "packaging", "tqdm", "sklearn", "onnxruntime", "mlflow"}


def help_of(*command: str, width: int = 80) -> str:
    result = CliRunner().invoke(main, [*command, "--help"], env={"COLUMNS": str(width)})
    assert result.exit_code == 0
    return str(result.stdout)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], [], ["inspct"], ["serve", "-h"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        f"import sys; sys.argv[1:] = {arguments!r}\n"
        "from pyfunc_packaging.cli import main\n"
        "try: main()\n"
        "except SystemExit: print('', *sys.modules, sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()}
    assert "click" in loaded
    assert not HEAVY & loaded


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, width: int) -> None:
    text = help_of(command, width=width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= min(width, 100)
    assert lines[0].startswith(f"Usage: pyfunc {command} ")
    headings = [line for line in lines if re.fullmatch(r"[A-Z][a-z ]+:", line)]
    assert headings == ["Options:", "Exit status:", "Examples:"]
    statuses = text.partition("Exit status:\n")[2].partition("\n\n")[0]
    assert re.findall(r"^  (\d+)  ", statuses, flags=re.M)[:3] == ["0", "1", "2"]
    assert f"pyfunc {command} " in text.partition("Examples:\n")[2]
    assert "\x1b" not in text


@pytest.mark.parametrize("command", COMMANDS)
def test_options_are_alike_everywhere(command: str) -> None:
    found = main.commands[command]
    for option in (each for each in found.params if isinstance(each, click.Option)):
        assert option.help, option.name
        ending = option.help.partition("  ")[0]
        assert ending[-1] in ".)", option.help  # whole sentences
        takes = not option.is_flag and not isinstance(option.type, click.Choice)
        assert option.metavar is not None or not takes, option.name
        if "--json" in option.opts:
            assert (option.name, option.help) == ("as_json", "Print JSON, for programs.")
    assert found.short_help is not None
    assert len(found.short_help) <= 66
    assert found.short_help.endswith(".")


def test_the_list_of_commands_is_that_of_a_models_life() -> None:
    text = help_of()
    listed = re.findall(r"^  ([a-z]+)  ", text.partition("Commands:\n")[2], flags=re.M)
    assert listed == COMMANDS
    assert listed[0] == "inspect"
    for status in ("0", "1", "2", "3", "70", "130", "141"):
        assert re.search(rf"^  {status} +\w|^  {status} +`", text, flags=re.M), status


def test_serve_says_the_same_as_the_runtime() -> None:
    result = CliRunner().invoke(
        runtime, ["--help"], prog_name="pyfunc serve", env={"COLUMNS": "80"}
    )
    assert result.exit_code == 0
    assert result.stdout == help_of("serve")


def page() -> Any:
    spec = importlib.util.spec_from_file_location("docs_cli", DOCS / "cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.page()


def test_the_page_is_what_the_commands_say() -> None:
    written = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert page() == written, "run: python docs/cli.py"
    for command in COMMANDS:
        assert f"### `pyfunc {command}`\n\n```text\n{help_of(command)}```" in written


def test_the_page_names_every_exit_status_and_json() -> None:
    written = (DOCS / "cli.md").read_text(encoding="utf-8").partition("## Every command")[0]
    statuses = {status for each in (main, *main.commands.values()) for status in each.exits}
    assert statuses == {0, 1, 2, 3, 70, 130, 141}
    for status in statuses:
        assert f"\n| {status} | " in written
    for name, command in main.commands.items():
        has_json = any("--json" in each.opts for each in command.params)
        assert (f"`pyfunc {name} --json`" in written) is has_json, name


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert f"_PYFUNC_COMPLETE={shell}_complete" in result.stdout


def complete(*words: str) -> list[str]:
    env = {
        "_PYFUNC_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["pyfunc", *words]),
        "COMP_CWORD": str(len(words)),
    }
    result = CliRunner().invoke(main, [], prog_name="pyfunc", env=env)
    assert result.exit_code == 0
    return [str(line) for line in result.stdout.split()]


def test_completion_knows_commands_options_choices_and_directories() -> None:
    assert complete("c") == ["plain,compare", "plain,completion"]
    assert complete("serve", "--http") == ["plain,--http-port"]
    assert complete("completion", "") == ["plain,bash", "plain,zsh", "plain,fish"]
    assert complete("compare", "a", "b", "--fail-on", "br") == ["plain,breaking"]
    assert complete("inspect", "bun") == ["dir,bun"]
    assert complete("sign", "bundle", "--private-key", "pr") == ["file,pr"]

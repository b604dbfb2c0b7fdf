"""Write the tables of docs/compilation.md from the cases that tests/compile proves.

python docs/compilation.py
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE / "compilation.md"
TESTS = HERE.parent / "tests" / "compile"
HEADING = "## What is covered"
#: Parameters that say nothing about what is compiled.
SILENT = {
    "allow_writing_files",
    "cv",
    "max_iter",
    "n_estimators",
    "n_jobs",
    "random_state",
    "thread_count",
    "verbose",
}
LONGEST = 60


def page() -> str:
    """The whole page: what is written by hand, and the tables."""
    text = PAGE.read_text(encoding="utf-8")
    end = text.index("\n\n", text.index("python docs/compilation.py", text.index(HEADING)))
    return text[:end] + "\n" + "".join(_section(path) for path in sorted(TESTS.glob("test_*.py")))


def _section(path: Path) -> str:
    spec = importlib.util.spec_from_file_location(f"cases_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lists = [value for name, value in vars(module).items() if name.startswith("CASES")]
    covered: dict[str, tuple[list[str], list[str]]] = {}
    for case in (case for cases in lists for case in cases):
        estimator, *rest = case if isinstance(case, tuple) else (case,)
        if not hasattr(estimator, "get_params"):
            continue
        parameters, tables = covered.setdefault(type(estimator).__name__, ([], []))
        text = _parameters(estimator)
        if text not in parameters:
            parameters.append(text)
        tables += [data for data in rest[:1] if isinstance(data, str) and data not in tables]
    if not covered:
        return ""
    title = module.__doc__.strip().splitlines()[0]
    title = re.split(r"[.:]", title)[0]
    lines = [f"\n### {title}\n", "| estimator | parameters | proven on |", "| --- | --- | --- |"]
    lines += [
        f"| `{name}` | {'; '.join(parameters)} | {', '.join(tables)} |"
        for name, (parameters, tables) in sorted(covered.items())
    ]
    return "\n".join(lines) + "\n"


def _parameters(estimator: Any) -> str:
    """What differs from the defaults, as one would write it."""
    try:
        defaults = type(estimator)().get_params(deep=False)
    except TypeError:  # it has a required argument
        defaults = {}
    parts = []
    for name, value in estimator.get_params(deep=False).items():
        if name in SILENT or repr(value) == repr(defaults.get(name)):
            continue
        parts.append(f"`{name}={_short(value)}`")
    return " ".join(parts) or "defaults"


def _short(value: Any) -> str:
    if isinstance(value, type):
        return value.__name__
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    text = re.sub(r"\s+", " ", repr(value)).replace("|", "\\|")
    text = re.sub(r"<function ([^ ]+) at 0x[0-9a-f]+>", r"\1", text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))
    PAGE.write_text(page(), encoding="utf-8")

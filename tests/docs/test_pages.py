"""Every code block of the documentation is run, or says why it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import ROOT, Block, Reader, read_blocks

#: Blocks of each page that are run, saved or compared: a page that silently runs none is noticed.
RUN = {
    "README.md": 10,
    "docs/boosting.md": 10,
    "docs/classifiers.md": 12,
    "docs/compilation.md": 1,
    "docs/errors.md": 2,
    "docs/index.md": 4,
    "docs/migrate.md": 26,
    "docs/own-code.md": 11,
    "docs/package.md": 13,
    "docs/reference-runtime.md": 1,
    "docs/sign.md": 16,
    "docs/tutorial.md": 18,
    "models/california_housing/README.md": 3,
}
#: Why the others are not, page by page.
NOT_RUN = {
    "CONTRIBUTING.md": ["what CI runs"],
    "README.md": ["the tests run in what these commands make"],
    "docs/benchmarks.md": ["takes ten minutes, and needs the environment of mlserver-mlflow"],
    "docs/bundle-format.md": [
        "a part of a manifest",
        "a part of a manifest",
        "sign.md runs these commands",
    ],
    "docs/compilation.md": ["pipeline, X and y are those of the reader"],
    "docs/tutorial.md": ["the tests run in what these commands make"],
}
#: Pages that need an MLflow server, S3 or Spark, or are generated, have tests of their own.
ELSEWHERE = {
    "docs/batch.md": "tests/e2e/test_batch.py",
    "docs/cli.md": "tests/unit/test_cli_help.py",
    "docs/deploy.md": "tests/e2e/test_deploy_docs.py",
    "docs/monitoring.md": "tests/serving/test_monitoring.py",
}


@pytest.fixture(scope="module")
def pages() -> dict[str, list[Block]]:
    """The blocks of every page that has some."""
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    files += [*ROOT.glob("docs/**/*.md"), *ROOT.glob("models/**/*.md")]
    found = {file.relative_to(ROOT).as_posix(): read_blocks(file) for file in files}
    return {page: blocks for page, blocks in found.items() if blocks}


@pytest.mark.timeout(600)  # one makes the environment of mlserver-mlflow
@pytest.mark.parametrize("page", RUN)
def test_the_page_does_what_it_shows(page: str, reader: Reader) -> None:
    reader.follow(ROOT / page)
    assert len(reader.done) == RUN[page]


def test_no_page_is_left_out(pages: dict[str, list[Block]]) -> None:
    assert set(pages) == {*RUN, *NOT_RUN, *ELSEWHERE}
    assert all((ROOT / test).is_file() for test in ELSEWHERE.values())


def test_what_is_not_run_says_why(pages: dict[str, list[Block]]) -> None:
    reasons = {
        page: [block.reason for block in blocks if block.reason] for page, blocks in pages.items()
    }
    assert {page: each for page, each in reasons.items() if each} == NOT_RUN


def test_a_page_that_shows_something_else_fails(reader: Reader, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for shown, found in (("2", "3"), ("2.0", "2.1"), ("a … c", "a b"), ("…", "")):
        code = f"```python\nprint({found!r})\n```\n\n```text\n{shown}\n```\n"
        page.write_text(code, encoding="utf-8")
        if shown == "…":
            reader.follow(page)
            continue
        with pytest.raises(AssertionError, match=r"page\.md:5: shown"):
            reader.follow(page)
    page.write_text("```python\n1 / 0\n```\n", encoding="utf-8")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        reader.follow(page)
    page.write_text("```json\n{}\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="neither run nor an output"):
        reader.follow(page)
    page.write_text("1. ```python\n   1 / 0\n   ```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="a fence that is no block"):
        reader.follow(page)

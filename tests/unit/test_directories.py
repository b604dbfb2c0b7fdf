"""Directories are made out of sight, and put in place at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyfunc_packaging import directories
from pyfunc_packaging.directories import staging_beside, swap


def make(folder: Path, content: str) -> Path:
    folder.mkdir()
    (folder / "file").write_text(content)
    return folder


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    abandoned = make(tmp_path / ".model-staging-0a_bcdef", "half")
    others = [
        make(tmp_path / name, "mine")
        for name in (".model-staging", ".model-staging-0a_bcdefg", ".models-staging-0a_bcdef")
    ]
    with staging_beside(tmp_path / "model") as staging:
        assert sorted(tmp_path.iterdir()) == sorted([*others, staging])
    assert not abandoned.exists()
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_what_another_one_makes_at_the_same_time_is_left_alone(tmp_path: Path) -> None:
    with staging_beside(tmp_path / "model") as one, staging_beside(tmp_path / "model") as other:
        assert one != other
        assert {one, other} == set(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def write_half() -> None:
        with staging_beside(tmp_path / "deep" / "model") as staging:
            (staging / "file").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert list((tmp_path / "deep").iterdir()) == []


@pytest.mark.parametrize("exchanges", [True, False], ids=["exchanged", "one after the other"])
def test_swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool) -> None:
    if not exchanges:
        monkeypatch.setattr(directories, "_exchange", lambda one, other: False)
    path, staging = make(tmp_path / "model", "old"), make(tmp_path / "new", "new")
    identity = staging.stat().st_ino
    swap(staging, path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_ino == identity
    assert (path / "file").read_text() == "new"


def test_the_names_change_places_in_one_step(tmp_path: Path) -> None:
    one, other = make(tmp_path / "one", "1"), make(tmp_path / "other", "2")
    assert directories._exchange(one, other)
    assert [(each / "file").read_text() for each in (one, other)] == ["2", "1"]
    assert not directories._exchange(one, tmp_path / "missing")

"""Steps of a long call: how long each takes, and a bar for those who watch."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def is_watched() -> bool:
    """Whether a person sees what is printed: in a notebook, or in a terminal."""
    return _is_notebook() or (sys.stderr is not None and sys.stderr.isatty())


def _is_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config


class _Output:
    """A file whose last line is what a notebook shows, so that no line is left behind."""

    #: By which tqdm knows that the bar may be one of blocks.
    encoding = "utf-8"

    def __init__(self) -> None:
        self._handle: Any = None

    def write(self, text: str) -> None:
        from IPython import display

        line = text.strip("\r\n")
        if not line.strip():
            return
        content = {"text/plain": line}
        if self._handle is None:
            self._handle = display.DisplayHandle()  # type: ignore[no-untyped-call]  # not typed
            self._handle.display(content, raw=True)
        else:
            self._handle.update(content, raw=True)

    def flush(self) -> None:
        """All is shown."""


class Steps:
    """Time steps that follow one another.

    Parameters
    ----------
    total : int
        How many there will be.
    title : str
        What they are about.
    shown : bool, optional
        Whether to show a bar; by default where somebody watches.

    Examples
    --------
    >>> steps = Steps(1, "a model", shown=False)
    >>> with steps.step("write"):
    ...     pass
    >>> list(steps.timings)
    ['write']
    """

    def __init__(self, total: int, title: str, *, shown: bool | None = None) -> None:
        #: Seconds by step.
        self.timings: dict[str, float] = {}
        self._bar: Any = None
        if is_watched() if shown is None else shown:
            self._bar = _make_bar(total, title)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what is done within, under this name."""
        if self._bar is not None:
            self._bar.set_postfix_str(name)
        start = time.perf_counter()
        try:
            yield
        except BaseException:
            self._close()
            raise
        self.timings[name] = time.perf_counter() - start
        if self._bar is not None:
            self._bar.update()
            if len(self.timings) == self._bar.total:
                self._bar.set_postfix_str("done")
                self._close()

    def _close(self) -> None:
        """Let the bar end where it is."""
        if self._bar is not None:
            self._bar.close()


def _make_bar(total: int, title: str) -> Any:
    with warnings.catch_warnings():
        # MLflow imports it, too, and nobody here misses the widgets that it would warn of
        warnings.simplefilter("ignore")
        import tqdm.auto

    return tqdm.tqdm(
        total=total,
        desc=title,
        file=_Output() if _is_notebook() else None,
        bar_format="{desc} |{bar:20}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]",
    )

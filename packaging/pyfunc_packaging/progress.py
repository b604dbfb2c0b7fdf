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
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None and "IPKernelApp" in shell.config:
        return True
    return sys.stderr is not None and sys.stderr.isatty()


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
        warnings.simplefilter("ignore")  # without ipywidgets the bar is text, which is fine
        from tqdm.auto import tqdm
    return tqdm(total=total, desc=title, unit="step", leave=True)

"""The thread that predicts: a bounded queue before it, and a successor when it hangs.

``concurrent.futures`` has neither: its queue grows without end, it cannot give a thread up, and the
process would wait for a thread that hangs before it ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import Any, Generic, TypeVar

from mlserver.logging import logger

from pyfunc_packaging.errors import (
    ClientGone,
    InvalidSetting,
    ModelFailure,
    PredictTimeout,
    ServerBusy,
)

#: How many requests may wait for the thread; more are refused, as they would only wait longer.
QUEUE_VARIABLE, DEFAULT_QUEUE = "PYFUNC_MAX_QUEUE", 128

#: Seconds after which a predict counts as hanging; no client waits that long.
TIMEOUT_VARIABLE, DEFAULT_TIMEOUT = "PYFUNC_PREDICT_TIMEOUT", 300.0

#: So many threads may hang, each with its memory and maybe a core, until the process is to be
#: started anew.
MAX_HUNG = 3

#: The ASGI ``receive`` of the request that is being answered: says when its client is gone. It is
#: read only when work goes to the thread.
CLIENT: ContextVar[Callable[[], Awaitable[Any]] | None] = ContextVar("CLIENT", default=None)

Result = TypeVar("Result")


class ExecutorClosed(RuntimeError):
    """The executor takes no new work; the model is being unloaded."""


class _Job(Generic[Result]):
    """One call, and the future of its result, which lives on the event loop."""

    __slots__ = ("context", "function", "future", "watched")

    def __init__(
        self, function: Callable[[], Result], future: asyncio.Future[Result], watched: bool
    ) -> None:
        self.function = function
        self.context = copy_context()  # so that the log says which request it was
        self.future = future
        self.watched = watched

    def run(self) -> None:
        try:
            result = self.context.run(self.function)
        except Exception as error:  # noqa: BLE001 - whoever waits for the job gets it
            self._settle(self.fail, error)
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a model must end no server
            failure = ModelFailure(
                f"the model raised {type(error).__name__}; the server's log has the details"
            )
            failure.__cause__ = error
            self._settle(self.fail, failure)
        else:
            self._settle(self._succeed, result)

    def _settle(self, how: Callable[[Any], None], value: Any) -> None:
        with suppress(RuntimeError):  # the loop has ended, and whoever waited with it
            self.future.get_loop().call_soon_threadsafe(how, value)

    def _succeed(self, result: Result) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, error: Exception) -> None:
        """Let the waiting coroutine raise; nothing happens if it waits no more."""
        if not self.future.done():
            self.future.set_exception(error)


class _Worker:
    """A thread, and what it is doing since when."""

    def __init__(self, work: Callable[[_Worker], None]) -> None:
        self.job: _Job[Any] | None = None
        self.began = 0.0
        # a daemon: a predict that hangs must not keep the process from ending
        self._thread = threading.Thread(
            target=work, args=(self,), name="pyfunc-predict", daemon=True
        )
        self._thread.start()

    def find_place(self) -> str:
        """Where the thread is, for the log."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        if frame is None:
            return "nowhere"
        code = frame.f_code
        return f"{code.co_filename}:{frame.f_lineno} in {code.co_name}"


class Executor:
    """Runs one call at a time in a thread of its own; to be used from one event loop.

    Parameters
    ----------
    max_queue : int
        How many calls may wait while one runs.
    timeout : float
        Seconds that a call may run before the thread is given up.

    Examples
    --------
    >>> asyncio.run(Executor(max_queue=1, timeout=60).run(lambda: 6 * 7))
    42
    """

    def __init__(self, *, max_queue: int, timeout: float) -> None:
        self.max_queue = max_queue
        self._timeout = timeout
        self._waiting: deque[_Job[Any]] = deque()
        #: Guards everything here that threads share.
        self._changed = threading.Condition()
        self._worker: _Worker | None = None
        self._hung = 0
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._is_full = False  # and the log says so already

    @property
    def alive(self) -> bool:
        """Whether calls can run: not when so many hang that the process should be restarted."""
        return self._hung < MAX_HUNG

    @property
    def waiting(self) -> int:
        """How many calls wait for the one that runs."""
        return len(self._waiting)

    async def run(self, function: Callable[[], Result], *, watched: bool = True) -> Result:
        """Call a function in the thread, after all that waits there.

        Parameters
        ----------
        function : callable
        watched : bool
            Whether the timeout holds for it.

        Raises
        ------
        ServerBusy
            If too many calls wait, or too many hang.
        PredictTimeout
            If the call runs longer than the timeout; its thread goes on, and is given up.
        ClientGone
            If the client went away before the call began.
        ModelFailure
            If the function tries to end the process.
        ExecutorClosed
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        job = _Job(function, future, watched)
        self._submit(job)
        # what loads a model is no request, though it may be begun by one
        receive = CLIENT.get() if watched else None
        watcher = None
        if receive is not None:
            watcher = asyncio.ensure_future(_wait_until_gone(receive))
            watcher.add_done_callback(lambda done: self._drop_if_gone(job, done))
        try:
            return await future
        except asyncio.CancelledError:  # gRPC cancels a call when its client is gone
            self._drop(job)
            raise
        finally:
            if watcher is not None:
                watcher.cancel()

    def close(self) -> None:
        """Take no new calls; what is waiting still runs, then the thread ends."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _submit(self, job: _Job[Any]) -> None:
        with self._changed:
            if self._closed:
                raise ExecutorClosed("the executor was closed")
            if not self.alive:
                raise ServerBusy(_STUCK)
            if self._worker is None:
                self._worker = _Worker(self._work)
            running = self._worker.job is not None
            if len(self._waiting) + running > self.max_queue:
                self._note_full()
                raise ServerBusy(
                    f"{self.max_queue} requests are waiting already; try again later, or have more"
                    f" replicas"
                )
            self._is_full = self._is_full and bool(self._waiting)
            self._waiting.append(job)
            self._changed.notify()
        if self._timer is None:
            self._timer = job.future.get_loop().call_later(self._timeout, self._check)

    def _note_full(self) -> None:
        if not self._is_full:  # once, and again when the queue has been empty meanwhile
            logger.warning(
                "%d requests wait for the model: more are refused with status 503 (%s)",
                self.max_queue,
                QUEUE_VARIABLE,
            )
        self._is_full = True

    def _drop_if_gone(self, job: _Job[Any], watcher: asyncio.Future[None]) -> None:
        if not watcher.cancelled() and watcher.exception() is None:
            self._drop(job)

    def _drop(self, job: _Job[Any]) -> None:
        """Take a call out of the queue, if it still waits there."""
        with self._changed:
            try:
                self._waiting.remove(job)
            except ValueError:  # it runs, or ran
                return
        job.fail(ClientGone("the client went away before its request was looked at"))

    def _work(self, worker: _Worker) -> None:
        """What the thread does."""
        while True:
            with self._changed:
                while not self._waiting:
                    if self._closed:
                        return
                    self._changed.wait()
                worker.job = self._waiting.popleft()
                worker.began = time.monotonic()
            worker.job.run()
            with self._changed:
                worker.job = None
                if worker is not self._worker and not self._come_back(worker):
                    return

    def _come_back(self, worker: _Worker) -> bool:
        """A thread that was given up has finished: whether it goes on, as it has no successor."""
        self._hung -= 1
        logger.warning("a predict that seemed to hang has ended; %d still do", self._hung)
        if self._worker is None:
            self._worker = worker
        return self._worker is worker

    def _check(self) -> None:
        """Give the thread up if its call hangs, and look again when the next one might."""
        self._timer = None
        with self._changed:
            worker, job = self._worker, self._worker.job if self._worker else None
            if worker is None or (job is None and not self._waiting):
                return
            left = self._timeout
            if job is not None and job.watched:
                left = worker.began + self._timeout - time.monotonic()
            if job is not None and left <= 0:
                self._give_up(worker, job)
                left = self._timeout
        self._timer = asyncio.get_running_loop().call_later(left, self._check)

    def _give_up(self, worker: _Worker, job: _Job[Any]) -> None:
        self._hung += 1
        logger.error(
            "a predict has run for %g s (%s): given up, at %s; %d of at most %d hang",
            self._timeout,
            TIMEOUT_VARIABLE,
            worker.find_place(),
            self._hung,
            MAX_HUNG,
        )
        job.fail(
            PredictTimeout(
                f"the model took longer than {self._timeout:g} s; send fewer rows in a request, or"
                f" let it take longer with {TIMEOUT_VARIABLE}"
            )
        )
        if self.alive:
            self._worker = _Worker(self._work)
            return
        logger.critical("too many predicts hang: not live until one ends, restart this process")
        self._worker = None
        while self._waiting:
            self._waiting.popleft().fail(ServerBusy(_STUCK))


_STUCK = "too many predicts hang, the server has to be restarted; try another replica"


async def _wait_until_gone(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def make_executor() -> Executor:
    """The executor that the environment asks for.

    Raises
    ------
    InvalidSetting
        If ``PYFUNC_MAX_QUEUE`` or ``PYFUNC_PREDICT_TIMEOUT`` is no positive number.
    """
    queue = os.environ.get(QUEUE_VARIABLE) or str(DEFAULT_QUEUE)
    if not (queue.isascii() and queue.isdigit()) or int(queue) == 0:
        raise InvalidSetting(
            f"{QUEUE_VARIABLE} should be a number of requests, found {queue!r:.80}"
        )
    given = os.environ.get(TIMEOUT_VARIABLE) or str(DEFAULT_TIMEOUT)
    try:
        timeout = float(given)
    except ValueError:
        timeout = 0.0
    if not 0 < timeout < threading.TIMEOUT_MAX:  # nor NaN
        raise InvalidSetting(
            f"{TIMEOUT_VARIABLE} should be a number of seconds, found {given!r:.80}"
        )
    return Executor(max_queue=int(queue), timeout=timeout)

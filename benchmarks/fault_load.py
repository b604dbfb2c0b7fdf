"""Load and faults for a running server, and what became of each request; ours or anybody's.

Each function takes a port and ends by itself. Requests are raw HTTP/1.1 over asyncio, so that a
request counts as lost only where its connection ends without a whole answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

#: Seconds after which a request counts as lost.
PATIENCE = 60.0

Body = tuple[bytes, Callable[[int, bytes], bool]]


@dataclass
class Tally:
    """What became of requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    #: answered otherwise than they should have been
    wrong: int = 0
    #: of those, with 200: wrong values, or any values for a client's mistake
    wrong_200: int = 0
    #: closed in the middle of an answer, or never answered
    lost: int = 0
    #: closed before a byte of an answer, as HTTP lets a server do that ends
    closed: int = 0
    refused: int = 0
    milliseconds: list[float] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """Answers that blame the server."""
        return sum(number for status, number in self.statuses.items() if status >= 500)

    @property
    def p99(self) -> float:
        return float(np.percentile(self.milliseconds, 99))


class Connection:
    """One connection that is kept alive."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        #: the last answer said that no more will come over this connection
        self.ends = False

    @classmethod
    async def open(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Send a request and read its answer.

        Raises
        ------
        ConnectionResetError
            If nothing of an answer came.
        asyncio.IncompleteReadError
            If a part of it came.
        """
        method = "GET" if body is None else "POST"
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        length = f"Content-Length: {len(body or b'')}\r\n\r\n"
        self.writer.write((head + length).encode() + (body or b""))
        try:
            answer = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            raise ConnectionResetError("closed without an answer") from error
        self.ends = b"\r\nconnection: close\r\n" in answer.lower()
        length_found = re.search(rb"content-length: (\d+)", answer, re.IGNORECASE)
        try:
            content = await self.reader.readexactly(int(length_found[1]) if length_found else 0)
        except ConnectionError as error:
            raise asyncio.IncompleteReadError(answer, None) from error
        return int(answer.split(None, 2)[1]), content

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


async def ask_until(
    port: int,
    path: str,
    bodies: Sequence[Body | None],
    tally: Tally,
    *,
    stop: Callable[[], bool],
    seed: int = 0,
    pause: float = 0.0,
) -> None:
    """Send requests of these kinds, one after the other, over one connection; None is a GET."""
    order = random.Random(seed)  # noqa: S311 - nothing secret
    connection: Connection | None = None
    while not stop():
        try:
            connection = connection or await Connection.open(port)
        except OSError:
            tally.refused += 1
            return
        body = order.choice(bodies)
        start = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE):
                status, answer = await connection.ask(path, body[0] if body else None)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError) as error:
            if isinstance(error, ConnectionError):
                tally.closed += 1
            else:
                tally.lost += 1
            await connection.close()
            connection = None
            continue
        tally.milliseconds.append(1000 * (time.perf_counter() - start))
        tally.statuses[status] += 1
        if body is not None and not body[1](status, answer):
            tally.wrong += 1
            tally.wrong_200 += status == 200
        if connection.ends:
            await connection.close()
            connection = None
        if pause:
            await asyncio.sleep(pause)
    if connection:
        await connection.close()


async def dawdle(port: int, path: str, seed: int, stop: Callable[[], bool]) -> int:
    """A client that sends a request byte by byte, leaves in its middle, or sends rubbish."""
    order = random.Random(seed)  # noqa: S311 - nothing secret
    wire = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode()
    rubbish = bytes(order.randrange(256) for _ in range(64)) + b"\r\n\r\n"
    done = 0
    while not stop():
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            connection = await Connection.open(port)
            for byte in order.choice((wire, rubbish)):
                if stop() or order.random() < 0.01:
                    break
                connection.writer.write(bytes([byte]))
                await connection.writer.drain()
                await asyncio.sleep(0.005)
            connection.writer.transport.abort()
        done += 1
    return done


async def mixed(
    port: int, path: str, bodies: Sequence[Body], *, requests: int, clients: int = 8
) -> Tally:
    """So many requests of these kinds, in a seeded order."""
    tally = Tally()
    left = iter(range(requests))
    await asyncio.gather(
        *(
            ask_until(port, path, bodies, tally, stop=lambda: next(left, None) is None, seed=client)
            for client in range(clients)
        )
    )
    return tally


async def crowd(
    port: int, path: str, good: Body, *, clients: int, broken: int, seconds: float
) -> Tally:
    """Many clients at once, and slow and broken ones among them; the good ones' tally."""
    tally = Tally()
    end = time.monotonic() + seconds

    def stop() -> bool:
        return time.monotonic() > end

    await asyncio.gather(
        *(ask_until(port, path, [good], tally, stop=stop) for _ in range(clients - broken)),
        *(dawdle(port, path, seed, stop) for seed in range(broken)),
    )
    return tally


async def probes(
    port: int, path: str, good: Body, *, clients: int, seconds: float
) -> tuple[Tally, Tally]:
    """Probes twenty times a second during saturating load; the probes' tally and the load's."""
    load, probed = Tally(), Tally()
    end = time.monotonic() + seconds

    def stop() -> bool:
        return time.monotonic() > end

    await asyncio.gather(
        *(ask_until(port, path, [good], load, stop=stop) for _ in range(clients)),
        ask_until(port, "/v2/health/live", [None], probed, stop=stop, pause=0.05),
        ask_until(port, "/v2/health/ready", [None], probed, stop=stop, pause=0.05),
    )
    return probed, load


async def ending(
    port: int, path: str, good: Body, *, clients: int, end: Callable[[], None]
) -> Tally:
    """Load until the server, which ``end`` asks to end, takes no more."""
    tally = Tally()
    deadline = time.monotonic() + PATIENCE

    def stop() -> bool:
        return time.monotonic() > deadline

    async def ask_it_to_end() -> None:
        while tally.statuses.total() < 20 * clients and not stop():
            await asyncio.sleep(0.01)
        end()

    await asyncio.gather(
        *(ask_until(port, path, [good], tally, stop=stop) for _ in range(clients)),
        ask_it_to_end(),
    )
    return tally


def expect(body: object, values: Sequence[float]) -> Body:
    """A request, and that these values are its one right answer."""

    def check(status: int, answer: bytes) -> bool:
        if status != 200:
            return False
        return bool(np.allclose(json.loads(answer)["outputs"][0]["data"], values, rtol=1e-9))

    return json.dumps(body).encode(), check


def refuse(body: bytes) -> Body:
    """A request that can only be a client's mistake."""
    return body, lambda status, _: 400 <= status < 500

"""A TCP proxy on loopback that makes a host as far away as asked: half of the round trip is added each way.

The lab's kernel may lack netem. Only what travels is delayed, not the TCP handshake with the proxy itself, so each
connection saves one round trip; that holds for everything measured here alike.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

CHUNK = 1 << 16


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Pass bytes on, each chunk `seconds` after it came; chunks in flight overlap, as on a long wire."""
    loop = asyncio.get_running_loop()
    line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, chunk = await line.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not chunk:
                break
            writer.write(chunk)
            await writer.drain()
        writer.close()

    delivery = asyncio.create_task(deliver())
    try:
        while chunk := await reader.read(CHUNK):
            line.put_nowait((loop.time() + seconds, chunk))
    finally:
        line.put_nowait((loop.time() + seconds, b""))
        await asyncio.gather(delivery, return_exceptions=True)


async def _serve(target: tuple[str, int], seconds: float) -> asyncio.Server:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*target)
        ways = (_pump(reader, far_writer, seconds), _pump(far_reader, writer, seconds))
        await asyncio.gather(*ways, return_exceptions=True)

    return await asyncio.start_server(connected, "127.0.0.1", 0)


async def _end(servers: list[asyncio.Server]) -> None:
    for server in servers:
        server.close()
    pending = asyncio.all_tasks() - {asyncio.current_task()}
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


@contextmanager
def delayed(targets: dict[str, tuple[str, int]], round_trip: float) -> Iterator[dict[str, int]]:
    """Ports on 127.0.0.1 behind which the targets are `round_trip` seconds away: {"ssh": 40123, …}."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(10)

    servers = {name: wait(_serve(target, round_trip / 2)) for name, target in targets.items()}
    try:
        yield {name: server.sockets[0].getsockname()[1] for name, server in servers.items()}
    finally:
        wait(_end([*servers.values()]))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()

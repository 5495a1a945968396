"""A network between client and server that can fall silent, as when a cable is pulled: nobody is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class DyingLink:
    """Forwards TCP connections; those that are open when it dies carry nothing more, later ones do again."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._alive = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.address = ""

    def die(self) -> None:
        """Carry nothing more in either direction, and keep every connection open."""
        for task in self._tasks:
            task.cancel()

    def cut(self) -> None:
        """Reset every connection, as the system does for a process that is killed."""
        for writer in self._writers:
            writer.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        self._writers += (writer, far_writer)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self._tasks.add(asyncio.create_task(_pump(source, sink)))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(1 << 16):
        sink.write(data)
        await sink.drain()
    sink.close()


@asynccontextmanager
async def dying_link(target: str) -> AsyncIterator[DyingLink]:
    link = DyingLink(target)
    server = await asyncio.start_server(link.accept, "127.0.0.1", 0)
    link.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield link
    link.die()
    server.close()

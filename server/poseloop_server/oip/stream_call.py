"""One ModelStreamInfer call: requests are read ahead, and answered in their order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # missing in its type stubs
Context = grpc.aio.ServicerContext[bytes, bytes]


class StreamCall:
    """Reads requests and writes answers at the same time.

    Args:
        context: of the call.
        answer: turns a request into its answer; what it raises ends the call.
        read_ahead: how many requests may be under way; then no more is read, and their sender has to wait.
    """

    def __init__(self, context: Context, answer: Callable[[bytes], Awaitable[bytes]], read_ahead: int) -> None:
        self._context = context
        self._answer = answer
        self._room = asyncio.Semaphore(read_ahead)
        self._answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue()
        self._under_way: set[asyncio.Task[bytes]] = set()
        self._reader: asyncio.Task[None] | None = None
        self.ended = asyncio.Event()

    async def run(self) -> None:
        """Answer until the client has sent its last request, or `stop` is called."""
        self._reader = asyncio.create_task(self._read())
        self._reader.add_done_callback(lambda _: self._answers.put_nowait(None))
        try:
            while (task := await self._answers.get()) is not None:
                await self._context.write(await task)
                self._room.release()
            if not self._reader.cancelled():
                self._reader.result()
        finally:
            self._reader.cancel()
            for task in self._under_way:
                task.cancel()
            self.ended.set()

    def stop(self) -> None:
        """Read no more; what was read is still answered."""
        if self._reader is not None:
            self._reader.cancel()

    async def _read(self) -> None:
        while True:
            await self._room.acquire()
            data: Any = await self._context.read()
            if data is _EOF:
                return
            task = asyncio.create_task(self._answer_one(data))
            self._under_way.add(task)
            task.add_done_callback(self._done)
            self._answers.put_nowait(task)

    def _done(self, task: asyncio.Task[bytes]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # seen, even where an earlier one has ended the call

    async def _answer_one(self, data: bytes) -> bytes:
        return await self._answer(data)

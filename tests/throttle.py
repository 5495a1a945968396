"""A slow network between two real sockets: a TCP proxy that lets a set number of bytes a second through, each way.

It holds only little: its sockets' buffers are small, and a piece of data is read when the link is free for it. So what
a sender hands over faster than the link carries it stays with the sender, as at a real network card.
"""

from __future__ import annotations

import math
import socket
import threading
import time
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType
from typing import Self

_PIECE_BYTES = 4096
_BUFFER_BYTES = 16384


class Bucket:
    """One direction of the link: bytes pass one after the other, at a rate that may change at any time."""

    def __init__(self, bytes_per_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self.passed = 0
        self._lock = threading.Lock()
        self._free_s = 0.0

    def carry(self, count: int) -> None:
        """Wait until this many more bytes have passed; the time while nothing passes is not saved up."""
        with self._lock:
            self._free_s = max(self._free_s, time.monotonic()) + count / self.bytes_per_s
            self.passed += count
            until_s = self._free_s
        time.sleep(max(0.0, until_s - time.monotonic()))


class ThrottledLink:
    """A proxy in front of ``target``, at ``address``; every connection through it shares the one link."""

    def __init__(self, target: str, bytes_per_s: float = math.inf, delay_s: float = 0.0) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._delay_s = delay_s
        self._end_delay_s = 0.0
        self.up = Bucket(bytes_per_s)
        self.down = Bucket(bytes_per_s)
        self._sockets: list[socket.socket] = []
        self._listener = socket.socket()
        # Before listen(), for accepted sockets inherit it, and the window that TCP offers to the sender with it.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def set_bandwidth(self, bytes_per_s: float) -> None:
        """Carry so many bytes a second from now on, each way."""
        self.up.bytes_per_s = self.down.bytes_per_s = bytes_per_s

    def time_for(self, count: int) -> float:
        """Measure how long this many bytes take to pass upwards and be answered, in seconds; nothing else may pass."""
        with socket.create_server(("127.0.0.1", 0)) as sink:
            target, self._target = self._target, sink.getsockname()
            host, _, port = self.address.rpartition(":")
            with socket.create_connection((host, int(port))) as source:
                received, _ = sink.accept()
                self._target = target
                with received:
                    answering = threading.Thread(target=_answer_when_complete, args=(received, count))
                    answering.start()
                    started_s = time.monotonic()
                    source.sendall(bytes(count))
                    source.recv(1)
                    took_s = time.monotonic() - started_s
                    answering.join()
        return took_s

    def break_off(self, late_s: float) -> None:
        """Break every connection at the target's end, and so much later at the other; new ones can be made at once."""
        self._end_delay_s = late_s
        sockets, self._sockets = self._sockets, []
        for far in sockets[1::2]:
            _shut(far)

    def close(self) -> None:
        """Break every connection."""
        for each in (self._listener, *self._sockets):
            _shut(each)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target)
            except OSError:  # the server is away
                _shut(near)
                continue
            self._sockets += [near, far]
            for each in (near, far):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, sink, bucket in ((near, far, self.up), (far, near, self.down)):
                threading.Thread(target=self._pass_on, args=(source, sink, bucket), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, bucket: Bucket) -> None:
        # On its way a piece is nobody's: it is written later, while the next one is read.
        on_the_way: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
        threading.Thread(target=_deliver, args=(on_the_way, sink), daemon=True).start()
        with suppress(OSError):
            while data := source.recv(_PIECE_BYTES):
                bucket.carry(len(data))
                on_the_way.put((time.monotonic() + self._delay_s, data))
        on_the_way.put((time.monotonic() + self._end_delay_s, b""))
        _shut(source)


def _deliver(on_the_way: SimpleQueue[tuple[float, bytes]], sink: socket.socket) -> None:
    with suppress(OSError):
        data = b"first"
        while data:
            at_s, data = on_the_way.get()
            time.sleep(max(0.0, at_s - time.monotonic()))
            sink.sendall(data)
    _shut(sink)


def _answer_when_complete(received: socket.socket, count: int) -> None:
    while count > 0:
        count -= len(received.recv(65536))
    received.sendall(b"\0")


def _shut(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()

"""The Network Events plugin as its Source/NetworkEvents.cpp answers, to the letter, on a REP socket."""

from __future__ import annotations

import shlex
import threading

import zmq


class Plugin:
    """A signal chain with one Network Events plugin.

    Attributes:
        ttl: (line, state) of every TTL event that went into the data, in order.
        messages: texts that were broadcast into the signal chain.
        asked: every text that came.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.acquiring = True
        self.recording = False
        self.recordings: list[dict[str, str]] = []
        self.ttl: list[tuple[int, int]] = []
        self.messages: list[str] = []
        self.asked: list[str] = []
        self.mute = False
        self.answers: dict[str, str] = {}
        self.start()

    def start(self) -> None:
        self._end = threading.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(f"tcp://127.0.0.1:{self.port or '*'}")
        self.port = int(self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join()
        self._socket.close(linger=0)
        self._context.term()

    def _run(self) -> None:
        while not self._end.is_set():
            if self._socket.poll(10):
                text = self._socket.recv().decode()
                self.asked.append(text)
                self.messages.append(text)  # every text is broadcast, commands too
                while self.mute and not self._end.wait(0.005):
                    pass
                if not self._end.is_set():
                    self._socket.send(self._handle(text).encode())

    def _handle(self, text: str) -> str:
        command = text.split(" ")[0]
        pairs = dict(
            part.split("=", 1)
            for part in shlex.split(text[len(command) :].strip() if "=" in text else "")
            if "=" in part
        )
        if command in self.answers:
            return self.answers[command]
        match command.lower():
            case "startacquisition":
                self.acquiring = True
                return "StartedAcquisition"
            case "stopacquisition":
                self.acquiring = False
                return "StoppedAcquisition"
            case "startrecord" if not self.recording:
                self.recording = True
                self.recordings.append(pairs)
                return "StartedRecording"
            case "stoprecord":
                self.recording = False
                return "StoppedRecording"
            case "isacquiring":
                return str(int(self.acquiring))
            case "isrecording":
                return str(int(self.recording))
            case "ttl":
                return self._ttl({key.lower(): value for key, value in pairs.items()})
        return "NotHandled"

    def _ttl(self, pairs: dict[str, str]) -> str:
        line, state = int(pairs.get("line", 1)), int(pairs.get("state", 0))
        if not 1 <= line <= 256:
            return "InvalidChannel"
        if self.acquiring:
            self.ttl.append((line, state))
        return f"TTLHandled: Line={line} State={state}"

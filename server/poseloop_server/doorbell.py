"""What a model's thread waits for while frames come through shared memory: an event that the senders ring themselves.

A thread in between, that would wait for the frames and wake the model's, costs a hand-over of 0.1 to 0.2 ms a frame.
"""

from __future__ import annotations

import threading
from typing import Any

from poseloop.local import events, tried, wait_for

# Senders of one model at a time, this process included; further ones send over gRPC.
_MOST_RINGERS = 257


class Doorbell:
    """An iceoryx2 event; any thread, and any process of this user, may ring it.

    Attributes:
        name: of the event, which senders open.
    """

    def __init__(self, name: str) -> None:
        """Make the event.

        Raises:
            LocalTransportError: the host's shared memory can't be used.
        """
        import iceoryx2 as iox2

        self.name = name
        self._lock = threading.Lock()  # a notifier that is used after its end aborts the process
        event = tried(
            events(name).max_listeners(1).max_notifiers(_MOST_RINGERS).max_nodes(_MOST_RINGERS).create, "made"
        )
        self._listener: Any = tried(event.listener_builder().create, "made")
        # Otherwise it would take SIGTERM and Ctrl-C for itself.
        waiting = iox2.WaitSetBuilder.new().signal_handling_mode(iox2.SignalHandlingMode.Disabled)
        self._listeners: Any = tried(lambda: waiting.create(iox2.ServiceType.Ipc), "made")
        self._guard: Any = tried(lambda: self._listeners.attach_notification(self._listener), "made")
        self._notifier: Any = tried(event.notifier_builder().create, "made")

    def ring(self) -> None:
        """Wake the thread that waits, or the next one that would."""
        with self._lock:
            if self._notifier is not None:
                self._notifier.notify()

    def wait(self, seconds: float) -> None:
        """Wait until it rings, or for so long."""
        wait_for(self._listener, seconds)

    def rest(self, nanoseconds: int) -> bool:
        """Wait until it rings, or for so long less a part of a millisecond; returns whether it rang.

        A `wait` for a time may end 4 ms too late, but takes less time over a ring.
        """
        import iceoryx2 as iox2

        milliseconds = nanoseconds // 1_000_000
        if milliseconds < 1:  # which would be without end
            return False
        rang, _ = self._listeners.wait_and_process_with_timeout(iox2.Duration.from_millis(milliseconds))
        if rang:
            self._listener.try_wait()
        return bool(rang)

    def close(self) -> None:
        """Take the event away."""
        with self._lock:
            notifier, self._notifier = self._notifier, None
        if notifier is not None:
            notifier.delete()
            self._guard.delete()
            self._listeners.delete()
            self._listener.delete()

"""Publishes poses through this host's shared memory, ahead of ZeroMQ, which carries them too."""

from __future__ import annotations

from typing import Final

from poseloop.local_poses import PosePort, service_name

from poseloop_server.sinks.base import pose_topic

_POSES: Final = pose_topic("").encode()


class LocalPublisher:
    """Hands poses to the subscribers of this host.

    Attributes:
        name: of the service, which the server's status tells.
    """

    def __init__(self, server_id: str) -> None:
        """Make the service.

        Raises:
            LocalTransportError: the host's shared memory can't be used.
        """
        self.name = service_name(server_id)
        self._port = PosePort(self.name)

    @property
    def dropped(self) -> int:
        """Poses that shared memory had no room for."""
        return self._port.dropped

    def publish(self, topic: bytes, payload: bytes) -> None:
        """Pass a pose on; whatever else there is goes over ZeroMQ alone."""
        if topic.startswith(_POSES):
            self._port.publish(topic, payload)

    def close(self) -> None:
        """Take the service away."""
        self._port.close()

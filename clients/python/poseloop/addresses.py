"""The two addresses of a server, checked before anything waits on them."""

from __future__ import annotations

import re

from poseloop.errors import InvalidInputError

DEFAULT_SERVER = "localhost:50051"
DEFAULT_ENDPOINT = "tcp://localhost:5557"

_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})")
_STREAM = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def _is_host_and_port(text: str) -> bool:
    match = _HOST_AND_PORT.fullmatch(text)
    return match is not None and 0 < int(match["port"]) < 65536


def check_server(address: str) -> str:
    """Return the gRPC address of a server.

    Raises:
        InvalidInputError: it is neither ``host:port`` nor ``unix:PATH``.
    """
    if _is_host_and_port(address) or (address.startswith("unix:") and len(address) > len("unix:")):
        return address
    hint = " (that is a ZeroMQ endpoint: use poseloop.subscribe)" if address.startswith(("tcp://", "ipc://")) else ""
    raise InvalidInputError(f"{address!r} is not a server's address{hint}; write host:port, such as {DEFAULT_SERVER}")


def check_endpoint(endpoint: str) -> str:
    """Return the ZeroMQ endpoint that poses are published on.

    Raises:
        InvalidInputError: it is neither ``tcp://host:port`` nor ``ipc://PATH``.
    """
    scheme, _, rest = endpoint.partition("://")
    if (scheme == "tcp" and _is_host_and_port(rest)) or (scheme == "ipc" and rest):
        return endpoint
    raise InvalidInputError(
        f"{endpoint!r} is not an endpoint of poses; write tcp://host:port, such as {DEFAULT_ENDPOINT}"
    )


def check_stream(name: str) -> str:
    """Return a stream's name.

    Raises:
        InvalidInputError: it is not 1 to 64 of the letters that a name may have.
    """
    if _STREAM.fullmatch(name):
        return name
    raise InvalidInputError(f"{name!r} is not a stream's name; use 1 to 64 of A-Z a-z 0-9 _ . -")

"""What can go wrong, said in one sentence: what, where, what to do."""

from __future__ import annotations


class PoseloopError(Exception):
    """Base of every error that poseloop raises on purpose; its text is fit to be shown to a user as it is."""


class InvalidInputError(PoseloopError, ValueError):
    """A value that a user gave is wrong; the text names the value, what was expected and what to do."""


class MissingExtraError(PoseloopError, ImportError):
    """A part of poseloop that is not installed was asked for."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs more than the base install; run: pip install 'poseloop[{extra}]'")
        self.extra = extra


class ServerUnavailableError(PoseloopError, ConnectionError):
    """No server answers at the address, or it went away and did not come back in time."""


class RequestRefusedError(PoseloopError):
    """The server refused a request.

    Attributes:
        code: name of the gRPC status code, for example ``"NOT_FOUND"``.
        field: the field of the request that was wrong, or ``""``.
    """

    def __init__(self, message: str, code: str, field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class NoPoseError(PoseloopError, TimeoutError):
    """No pose arrived in the time that was allowed."""

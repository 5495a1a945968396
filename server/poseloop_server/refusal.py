"""How a request is refused: a gRPC status, a sentence, and the name of the field that was wrong."""

from __future__ import annotations

from typing import NoReturn, Protocol

import grpc

FIELD_KEY = "poseloop-field"


class _AbortableContext(Protocol):
    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: tuple[tuple[str, str], ...] = ()
    ) -> NoReturn: ...


class RefusedError(Exception):
    """A request is refused.

    Attributes:
        code: the gRPC status.
        field: the field of the request, also sent in the trailing metadata ``poseloop-field``; ``""`` where none is.
        sentence: what is wrong, where, and what to do.
    """

    def __init__(self, code: grpc.StatusCode, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.field = field
        self.sentence = f"{field}: {sentence}" if field else sentence

    async def abort(self, context: _AbortableContext) -> NoReturn:
        """End the call with this refusal."""
        # HTTP/2 carries a status text percent-encoded, and metadata in ASCII only.
        metadata = ((FIELD_KEY, self.field),) if self.field else ()
        await context.abort(self.code, self.sentence, metadata)


def invalid(field: str, sentence: str) -> RefusedError:
    """Return a refusal of a value that can't be right."""
    return RefusedError(grpc.StatusCode.INVALID_ARGUMENT, field, sentence)


def unavailable(sentence: str) -> RefusedError:
    """Return a refusal of something that may work later."""
    return RefusedError(grpc.StatusCode.UNAVAILABLE, "", sentence)

"""What the server package carries with it: one small model of the synthetic arena."""

from __future__ import annotations

from pathlib import Path

from poseloop.errors import InvalidInputError

_ARENA_MODEL = Path(__file__).parent / "models" / "arena.onnx"


def arena_model_path() -> Path:
    """Return the path of the bundled arena model.

    Raises:
        InvalidInputError: this copy of the package was built without it.
    """
    if not _ARENA_MODEL.is_file():
        raise InvalidInputError(
            f"the bundled model is not at {_ARENA_MODEL}; install the package again, or name a model with --model."
        )
    return _ARENA_MODEL

"""What is wrong with an expression, and where in its text."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from poseloop.errors import InvalidInputError

_BARE = re.compile(r"[^\W\d]\w*(?:\.\w+)*\Z")
_WORDS = frozenset({"and", "or", "not", "in", "true", "false"})
_LISTED = 12  # known names that an error shows where none is near


class ExpressionError(InvalidInputError):
    """An expression can't be used; the text says in one sentence why, and what to write instead.

    Attributes:
        message: the sentence, without the place.
        column: of the mistake in the text, from 1.
        quantity: the named quantity in whose text it is; "" where it is in the text that was given.
    """

    def __init__(self, message: str, column: int, quantity: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.column = column
        self.quantity = quantity


def written(name: str) -> str:
    """Return a name as an expression has to write it: in quotes where it is not a plain word."""
    if _BARE.match(name) and name not in _WORDS:
        return name
    return f"'{name}'" if '"' in name else f'"{name}"'


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence that names what was probably meant, or else all that is known."""
    by_lower = {each.lower(): each for each in known}
    if not by_lower:
        return "; there are none"
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {written(by_lower[close[0]])}?"
    shown = [written(each) for each in list(by_lower.values())[:_LISTED]]
    more = ", ..." if len(by_lower) > _LISTED else ""
    return f"; known: {', '.join(shown)}{more}"

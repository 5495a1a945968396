"""Which keypoints a mirror exchanges, guessed from names: leftear and rightear, wingL and wingR, l_hip and r_hip."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

Pair = tuple[str, str]

_WORDS = {"left": "right", "Left": "Right", "LEFT": "RIGHT"}
# A lone letter says a side at the start or end of a word; a capital one anywhere, as in "FLpaw".
_LETTER = re.compile(r"(?<![A-Za-z])[lL]|l(?![A-Za-z])|L")


def guess_swap_pairs(names: Sequence[str]) -> tuple[Pair, ...]:
    """Return the pairs (left, right) whose names differ in their side only.

    A name that could belong to two pairs belongs to none: a wrong pair would teach a model to exchange body parts.
    """
    known = set(names)
    pairs = [(name, other) for name in names for other in dict.fromkeys(_counterparts(name)) if other in known]
    counts: dict[str, int] = {}
    for pair in pairs:
        for name in pair:
            counts[name] = counts.get(name, 0) + 1
    return tuple(pair for pair in pairs if counts[pair[0]] == counts[pair[1]] == 1)


def _counterparts(name: str) -> Iterator[str]:
    for left, right in _WORDS.items():
        for match in re.finditer(left, name):
            yield name[: match.start()] + right + name[match.end() :]
    for match in _LETTER.finditer(name):
        right = "R" if match.group() == "L" else "r"
        yield name[: match.start()] + right + name[match.end() :]

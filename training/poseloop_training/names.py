"""Which keypoints a mirror exchanges, guessed from names: leftear and rightear, wingL and wingR, l_hip and r_hip."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

Pair = tuple[str, str]

_WORD = re.compile("left", re.IGNORECASE)
# A letter that is a part of the name by itself, between separators, digits and changes of case: l_hip, wingL4, LEar.
_ALONE = r"(?:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))(?:{})(?![A-Za-z])|(?<![A-Za-z])(?:{})(?=[A-Z][a-z])"
_LETTER = re.compile(_ALONE.format("[lL]", "[lL]") + "|(?<=[a-z])L(?=[A-Z][a-z])")
# One of two capitals: FLpaw, LF. Not of three, for LED and RED are no left and right.
_INITIAL = re.compile(r"(?<![A-Z])(?:L(?=[A-Z](?![A-Z]))|(?<=[A-Z])L(?![A-Z]))|(?<=(?<![A-Z])[A-Z])L(?![A-Z])")
# Fused with a word that is long enough to be one: lhip, Lhip, hipl.
_FUSED = re.compile(r"(?<![A-Za-z])[lL](?=[a-z]{3})|(?<=[a-z]{3})l(?![A-Za-z])")
_LIGHT = re.compile(r"(?<![A-Za-z])light(?![a-z])", re.IGNORECASE)
# A name that says a side: the word at an end of a part (and not that of "bright"), or a letter alone.
_SIDED = re.compile(
    r"(?:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))(?i:left|right)|(?<=[a-z]{3})(?:left|right)(?![a-z])|"
    + _ALONE.format("[lLrR]", "[lLrR]")
)


def guess_swap_pairs(names: Sequence[str]) -> tuple[Pair, ...]:
    """Return the pairs (left, right) whose names differ in their side only.

    A name that could belong to two pairs belongs to none: a wrong pair would teach a model to exchange body parts.
    """
    pairs = [(name, other) for name in names for other in dict.fromkeys(_counterparts(name, names))]
    counts: dict[str, int] = {}
    for pair in pairs:
        for name in pair:
            counts[name] = counts.get(name, 0) + 1
    return tuple(pair for pair in pairs if counts[pair[0]] == counts[pair[1]] == 1)


def sided_alone(names: Sequence[str], pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Return the names that say left or right and are in none of the pairs."""
    paired = {name for pair in pairs for name in pair}
    return tuple(name for name in names if name not in paired and _SIDED.search(name))


def _counterparts(name: str, names: Sequence[str]) -> Iterator[str]:
    """Yield the keypoints that may be the right one to this left one."""
    for match in _WORD.finditer(name):
        word = match.group()
        other = _with(name, match, "RIGHT" if word.isupper() else "Right" if word[0].isupper() else "right")
        yield from [other] if other in names else (known for known in names if known.lower() == other.lower())
    for kind in (_LETTER, _INITIAL, _FUSED):
        for match in kind.finditer(name):
            letters = "Rr" if match.group() == "L" else "rR"
            others = [_with(name, match, letter) for letter in (letters if kind is _LETTER else letters[0])]
            if not _LIGHT.match(name, match.start()):
                yield from [other for other in others if other in names][:1]


def _with(name: str, match: re.Match[str], right: str) -> str:
    return name[: match.start()] + right + name[match.end() :]

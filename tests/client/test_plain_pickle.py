"""Pickles in files that were given: nothing runs, and little memory is taken, whatever stands in them."""

from __future__ import annotations

import contextlib
import pickle
import struct
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from poseloop.plain_pickle import load_plain

PLAIN = st.recursive(
    st.text(max_size=5) | st.integers() | st.none() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple),
    max_leaves=20,
)
DTYPE = b"cnumpy\ndtype\n(X\x02\x00\x00\x00%s\x89\x88tR"
# A record of one pointer to an object that says it were none, so that numpy takes the bytes of a file for the pointer.
FORGED = (
    b"cnumpy._core.multiarray\nscalar\n("
    + (DTYPE % b"V8")
    + b"(K\x03X\x01\x00\x00\x00|N(X\x01\x00\x00\x00at}X\x01\x00\x00\x00a("
    + (DTYPE % b"O8")
    + b"K\x00tsK\x08K\x01K\x00tb"
    + b"U\x08AAAAAAAAtR"
)
HARMFUL = {
    "forged record": FORGED,
    "forged objects": (DTYPE % b"O8") + b"(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
    "shared dtype": b"cnumpy\ndtype\n(X\x02\x00\x00\x00f8\x89\x89tR",
    "room for objects": b"cnumpy\nndarray\n((I400000000\ntX\x01\x00\x00\x00OtR",
    "reconstructed room": b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I400000000\ntU\x01btR",
    "slow codec": b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x08\x00\x00\x00punycodetR",
    "places": b"Nr" + struct.pack("<I", 2**32 - 1),
    "places in text": b"Np4000000000\n",
    "places before a zero": b"Np4000000000\0x\n",
    "places in a tuple": b"(tr" + struct.pack("<I", 2**32 - 1),
}


@given(PLAIN, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_are_read(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    assert load_plain(data) == value


@pytest.mark.parametrize("harmful", HARMFUL.values(), ids=HARMFUL)
def test_nothing_that_harms_is_built(harmful: bytes) -> None:
    with pytest.raises(ValueError, match=r"it would|holds more|invalid literal"):
        load_plain(b"\x80\x02" + harmful + b".")


@given(st.binary(max_size=40), st.sampled_from(sorted(HARMFUL.values())), st.integers(0, 200))
def test_no_damage_lets_code_or_memory_through(noise: bytes, harmful: bytes, place: int) -> None:
    damaged = harmful[:place] + noise + harmful[place:] + b"."
    with contextlib.suppress(ValueError):
        load_plain(damaged)


@pytest.mark.parametrize("empty", [b"}", b"(d"])
def test_names_in_dictionaries_are_refused(empty: bytes) -> None:
    """Tuples of the same tuples, 40 deep: their hash takes days."""
    deep = b"\x80\x02" + empty + b"(U\x01x\x85" + b"2\x86" * 40 + b"Nu."
    again = b"".join(b"q%ch%c\x86" % (level, level) for level in range(40))
    for data in (deep, deep.replace(b"2\x86" * 40, again)):
        with pytest.raises(ValueError, match="more than lists of names"):
            load_plain(data)


def test_little_memory_is_taken() -> None:
    code = (
        "import contextlib, resource; from poseloop.plain_pickle import load_plain\n"
        "from tests.client.test_plain_pickle import HARMFUL\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for data in HARMFUL.values():\n"
        "    with contextlib.suppress(ValueError):\n"
        "        load_plain(b'\\x80\\x02' + data + b'.')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    pytest.importorskip("resource")
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(ended.stdout) < 100_000

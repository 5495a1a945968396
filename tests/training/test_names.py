"""Left and right are told from names, and nothing else is."""

from __future__ import annotations

import pytest
from poseloop_training.names import guess_swap_pairs


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("leftear", "rightear"),
        ("LeftEar", "RightEar"),
        ("ear_left", "ear_right"),
        ("EAR LEFT", "EAR RIGHT"),
        ("l_ear", "r_ear"),
        ("L_ear", "R_ear"),
        ("ear-l", "ear-r"),
        ("wingL", "wingR"),
        ("forelegL4", "forelegR4"),
        ("FLpaw", "FRpaw"),
        ("lhip", "rhip"),
        ("lEar", "rEar"),
        ("l", "r"),
        ("hipl", "hipr"),
        ("leftleg_left2", "rightleg_left2"),
    ],
)
def test_pairs(left: str, right: str) -> None:
    assert guess_swap_pairs(["snout", right, "tail", left]) == ((left, right),)


@pytest.mark.parametrize(
    "names",
    [
        ["snout", "tailbase"],
        ["leftear", "snout"],
        ["belly", "berry"],
        ["pole", "pore"],
        ["left_l", "right_l", "left_r"],  # left_l may belong to either
    ],
)
def test_no_pairs(names: list[str]) -> None:
    assert guess_swap_pairs(names) == ()


def test_several_pairs_in_the_order_of_the_names() -> None:
    names = ["eyeL", "eyeR", "hindlegR4", "head", "hindlegL4"]
    assert guess_swap_pairs(names) == (("eyeL", "eyeR"), ("hindlegL4", "hindlegR4"))

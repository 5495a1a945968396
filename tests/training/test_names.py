"""Left and right are told from names, and nothing else is."""

from __future__ import annotations

import pytest
from poseloop_training.names import guess_swap_pairs, sided_alone


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
        ("Left_ear", "right_ear"),
        ("left ear", "Right Ear"),
        ("earLeft", "earRight"),
        ("earleft", "earright"),
        ("frontleftpaw", "frontrightpaw"),
        ("frontLeftPaw", "frontRightPaw"),
        ("L_ear", "r_ear"),
        ("Lhip", "Rhip"),
        ("LHip", "RHip"),
        ("earL", "earR"),
        ("earLTip", "earRTip"),
        ("L1", "R1"),
        ("LF", "RF"),
        ("paw_HL", "paw_HR"),
        ("left_light", "right_light"),
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
        ["LED", "RED"],
        ["led", "red"],
        ["Led", "Red"],
        ["LED_1", "RED_1"],
        ["light", "right"],
        ["Light", "Right"],
        ["house_light", "house_right"],
        ["lip", "rip"],
        ["lEar", "rear"],
        ["Left_ear", "right_ear", "RIGHT_EAR"],  # Left_ear may belong to either
        ["left_l", "right_l", "left_r"],  # left_l may belong to either
    ],
)
def test_no_pairs(names: list[str]) -> None:
    assert guess_swap_pairs(names) == ()


def test_several_pairs_in_the_order_of_the_names() -> None:
    names = ["eyeL", "eyeR", "hindlegR4", "head", "hindlegL4"]
    assert guess_swap_pairs(names) == (("eyeL", "eyeR"), ("hindlegL4", "hindlegR4"))


def test_sides_without_a_counterpart_are_known() -> None:
    sided = ["leftear", "Left_paw", "hip_right", "earleft", "tailL", "r_eye", "frontRightPaw", "L4"]
    plain = ["snout", "bright", "upright", "LED", "RED", "light", "tail", "cleft", "belly", "rear", "lhip"]
    assert sided_alone([*plain, *sided], ()) == tuple(sided)
    assert sided_alone([*sided, "rightear"], [("leftear", "rightear")]) == tuple(sided[1:])

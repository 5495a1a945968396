"""Which releases of gRPC are asked to read as they once did."""

from __future__ import annotations

import pytest
from poseloop.grpc_threads import can_be_asked


@pytest.mark.parametrize(
    ("release", "can"),
    [
        ("1.76.0", False),
        ("1.80.0", True),
        ("1.85.3", True),
        ("1.81.0rc1", True),
        ("1.86.0", False),
        ("2.0.0", False),
        ("1", False),
        ("main", False),
        ("", False),
    ],
)
def test_only_releases_that_know_the_pool_by_name_are_asked(release: str, can: bool) -> None:
    assert can_be_asked(release) is can

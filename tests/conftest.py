from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A deadline is a timing, and a busy machine breaks it.
settings.register_profile("poseloop", deadline=None)
settings.load_profile("poseloop")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings and labels; a test that needs it is skipped where it is absent."""
    folder = os.environ.get("POSELOOP_TEST_DATA")
    path = Path(folder) if folder else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (path / "openfield").is_dir():
        pytest.skip(f"the real data is not at {path}; set POSELOOP_TEST_DATA to its folder to run this test")
    return path

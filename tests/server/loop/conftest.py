"""How Hypothesis runs here: without a limit on time, which a busy machine would break."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

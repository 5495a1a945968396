"""Silences what Lightning says to its developers; what a user has to know, poseloop says itself."""

from __future__ import annotations

import logging
import warnings


def quiet_lightning() -> None:
    """Silence tips, device lists and advice about workers and intervals; errors still show."""
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning(\.|$)")
    warnings.filterwarnings("ignore", message=r".*(num_workers|log_every_n_steps|does not have many workers).*")

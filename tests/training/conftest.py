from __future__ import annotations

from poseloop_training.tuning import share_the_processor

# Before any test imports PyTorch: tests run beside other programs.
share_the_processor()

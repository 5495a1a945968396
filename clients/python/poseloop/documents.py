"""Poses as JSON documents, the same as the server publishes on its JSON endpoint (docs/pose.schema.json)."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from poseloop.types import Pose


def pose_document(pose: Pose) -> dict[str, Any]:
    """Return a pose as a document of the schema; JSON has no NaN, so an absent coordinate is None."""
    return {
        "kind": "pose",
        "stream": pose.stream,
        "sequence": pose.sequence,
        "model": pose.model,
        "server_id": pose.server_id,
        "session_id": pose.session_id,
        "model_sha256": pose.model_sha256,
        "width": pose.width,
        "height": pose.height,
        "stamps": asdict(pose.stamps),
        "counters": asdict(pose.counters),
        "instances": [
            {
                name: {"x": _finite(x), "y": _finite(y), "confidence": confidence}
                for name, (x, y, confidence) in zip(pose.keypoint_names, instance, strict=True)
            }
            for instance in pose.keypoints.tolist()
        ],
        "crop": None if pose.crop is None else asdict(pose.crop),
    }


def without_nan(value: Any) -> Any:
    """Return dictionaries and lists with None in place of each float that JSON does not have."""
    if isinstance(value, dict):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(each) for each in value]
    return _finite(value) if isinstance(value, float) else value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

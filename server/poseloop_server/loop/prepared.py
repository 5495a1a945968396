"""The outputs that a configuration names, made and checked, but not yet opened."""

from __future__ import annotations

from collections.abc import Iterable

from poseloop.errors import InvalidInputError

from poseloop_server.loop.config import LoopConfig
from poseloop_server.loop.config_errors import InvalidConfigurationError, nearest
from poseloop_server.outputs.base import Output, OutputServices


def prepare_outputs(config: LoopConfig, services: OutputServices) -> dict[str, Output]:
    """Make every output, and let it hear of what triggers may ask of it; nothing is connected.

    Raises:
        InvalidConfigurationError: some actions do not fit their outputs.
    """
    outputs: dict[str, Output] = {
        name: config.kinds.outputs[entry.kind](name, entry.config, services) for name, entry in config.outputs.items()
    }
    mistakes: dict[str, None] = {}
    for path, entry in config.actions():
        try:
            outputs[entry.output].prepare(entry.action)
        except InvalidInputError as error:
            mistakes[f"{config.source.where(path)}output {entry.output}: {error}"] = None
    if mistakes:
        raise InvalidConfigurationError(list(mistakes))
    return outputs


def require_keypoints(config: LoopConfig, keypoints: Iterable[str]) -> None:
    """Check the keypoints that outputs name, of poses that may be any model's.

    Args:
        config: of the experiment.
        keypoints: of all models that there are.

    Raises:
        InvalidConfigurationError: no model has one of them.
    """
    known = tuple(dict.fromkeys(keypoints))
    mistakes = [
        f"{config.source.where(('outputs', output))}output {output}: no model has a keypoint {name!r}; "
        f"{nearest(name, known, 'keypoints')}"
        for output, entry in config.outputs.items()
        for name in entry.config.keypoints
        if name not in known
    ]
    if mistakes:
        raise InvalidConfigurationError(mistakes)

"""Checks a configuration as the start of an experiment does, without a camera, a device or a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from poseloop.errors import InvalidInputError

from poseloop_server.loop.compiled import compile_stream
from poseloop_server.loop.config import ANY_STREAM, LoopConfig
from poseloop_server.loop.config_errors import InvalidConfigurationError, nearest
from poseloop_server.loop.prepared import prepare_outputs, require_keypoints
from poseloop_server.outputs.base import OutputServices
from poseloop_server.sinks.base import Sinks


@dataclass(frozen=True, slots=True)
class StreamCheck:
    """What is configured for one stream, all of it in order.

    Attributes:
        stream: its name.
        stages: their kinds.
        zones: their names.
        triggers: their names.
    """

    stream: str
    stages: tuple[str, ...]
    zones: tuple[str, ...]
    triggers: tuple[str, ...]


def check_outputs(config: LoopConfig, keypoints: Sequence[str]) -> None:
    """Check what outputs are configured with, and what triggers ask of them; nothing is connected.

    Raises:
        InvalidConfigurationError: with the mistakes.
    """
    require_keypoints(config, keypoints)
    prepare_outputs(config, OutputServices(Sinks(), "rehearsal"))


def check_streams(config: LoopConfig, streams: Sequence[str], keypoints: Sequence[str]) -> list[StreamCheck]:
    """Compile what is configured for streams.

    Raises:
        InvalidConfigurationError: with the mistakes of all of them.
    """
    checks: list[StreamCheck] = []
    mistakes: list[str] = []
    for name in streams:
        configured = config.stream(name)
        assert configured is not None, "`streams_of` names streams that are configured"
        try:
            compiled = compile_stream(config, name, keypoints)
        except InvalidConfigurationError as error:
            mistakes += error.mistakes
            continue
        triggers = tuple(trigger.name for trigger in compiled.triggers)
        checks.append(StreamCheck(name, tuple(kind for kind, _ in compiled.stages), tuple(configured.zones), triggers))
    if mistakes:
        raise InvalidConfigurationError(mistakes)
    return checks


def streams_of(config: LoopConfig, wanted: str | None, model: str | None) -> list[str]:
    """Return the streams that a model or recording may be for.

    Args:
        config: of the experiment.
        wanted: by name; None: all that the model fits.
        model: its name; None: it is not known.

    Raises:
        InvalidInputError: nothing is configured for the wanted stream, or it is to use another model, or all are.
    """
    names = list(config.streams) if wanted is None else [wanted]
    if wanted is not None and config.stream(wanted) is None:
        raise InvalidInputError(
            f"{config.source.where(('streams',))}nothing is configured for a stream {wanted!r}; "
            f"{nearest(wanted, config.streams, 'streams')}"
        )
    fitting = [name for name in names if model is None or _model_of(config, name) in (None, model)]
    if not fitting:
        name = names[0]
        where = config.source.where((*config.stream_path(name), "model"))
        raise InvalidInputError(
            f"{where}stream {name} is to use the model {_model_of(config, name)}, and this is {model}; give that "
            "model's file with --model, or change `model`"
        )
    return fitting


def stream_of(config: LoopConfig, wanted: str | None, model: str | None) -> str:
    """Return the one stream to rehearse; as `streams_of`.

    Raises:
        InvalidInputError: there are several.
    """
    fitting = streams_of(config, wanted, model)
    if len(fitting) > 1:
        raise InvalidInputError(
            f"{config.source.where(('streams',))}there are the streams {', '.join(fitting)}; choose one with --stream"
        )
    return "rehearsal" if fitting == [ANY_STREAM] else fitting[0]


def _model_of(config: LoopConfig, stream: str) -> str | None:
    configured = config.stream(stream)
    return None if configured is None else configured.model

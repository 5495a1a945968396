"""What is configured for one stream, made ready for the keypoints of its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from poseloop.errors import InvalidInputError

from poseloop_server.loop.config import LoopConfig, StreamConfig
from poseloop_server.loop.config_errors import InvalidConfigurationError
from poseloop_server.loop.language import Expression, ExpressionError, Names, compile_condition
from poseloop_server.loop.language.compiler import compile_quantity
from poseloop_server.loop.trigger_config import TriggerConfig
from poseloop_server.loop.yaml_lines import KeyPath
from poseloop_server.stages.base import Stage, StageContext


@dataclass(frozen=True, slots=True)
class CompiledTrigger:
    """A trigger with its conditions compiled.

    Attributes:
        name: in the configuration.
        config: from there.
        when: the condition.
        until: of its end; None: it is over when ``when`` is not true.
    """

    name: str
    config: TriggerConfig
    when: Expression
    until: Expression | None


@dataclass(frozen=True, slots=True)
class CompiledStream:
    """Everything that a stream needs.

    Attributes:
        stages: by the name of their kind, in order; each new.
        names: that the expressions were compiled with; what a scene is made of.
        triggers: in the order of the configuration.
    """

    stages: tuple[tuple[str, Stage], ...]
    names: Names
    triggers: tuple[CompiledTrigger, ...]


def compile_stream(config: LoopConfig, stream: str, keypoints: Sequence[str]) -> CompiledStream:
    """Make what is configured for a stream, which checks the rest of what can be wrong with it.

    Args:
        config: of the experiment.
        stream: its name.
        keypoints: of its model, in the order of their axis.

    Raises:
        InvalidConfigurationError: a stage can't be made, or an expression names what is not there or means nothing.
    """
    return _Compilation(config, stream, tuple(keypoints)).run()


def check_streams(config: LoopConfig, models: Mapping[str, Sequence[str]]) -> None:
    """Check the streams whose model the configuration names.

    Args:
        config: of the experiment.
        models: keypoints of the models that there are, by name.

    Raises:
        InvalidConfigurationError: with the mistakes of all of them.
    """
    mistakes: list[str] = []
    for name, stream in config.streams.items():
        if stream.model is None:
            continue
        path = ("streams", name, "model")
        if stream.model not in models:
            known = ", ".join(models)
            mistakes.append(f"{config.source.where(path)}there is no model {stream.model!r}; the server has {known}")
            continue
        try:
            compile_stream(config, name, models[stream.model])
        except InvalidConfigurationError as error:
            mistakes += error.mistakes
    if mistakes:
        raise InvalidConfigurationError(mistakes)


class _Compilation:
    def __init__(self, config: LoopConfig, stream: str, keypoints: tuple[str, ...]) -> None:
        self._config = config
        self._stream_name = stream
        self._stream = config.stream(stream) or StreamConfig()
        self._path = config.stream_path(stream)
        self._keypoints = keypoints
        self._mistakes: list[str] = []

    def run(self) -> CompiledStream:
        stages = self._stages()
        self._stop_at_mistakes()
        names = self._names([stage for _, stage in stages])
        self._quantities(names)
        triggers = [self._trigger(name, trigger, names) for name, trigger in self._stream.triggers.items()]
        self._stop_at_mistakes()
        return CompiledStream(tuple(stages), names, tuple(trigger for trigger in triggers if trigger is not None))

    def _stages(self) -> list[tuple[str, Stage]]:
        context = StageContext(self._stream_name, self._keypoints, str(self._config.folder), self._stream.zones)
        stages = []
        for index, entry in enumerate(self._stream.stages):
            try:
                stages.append((entry.kind, self._config.kinds.stages[entry.kind](entry.config, context)))
            except InvalidInputError as error:
                self._mistaken((*self._path, "stages", index, entry.kind), str(error))
        return stages

    def _names(self, stages: list[Stage]) -> Names:
        stream = self._stream
        values = [name for stage in stages for name in getattr(stage, "value_names", ())]
        try:
            return Names(
                self._keypoints,
                zones=stream.zones,
                quantities=stream.quantities,
                values=tuple(dict.fromkeys((*values, *stream.values))),
                unit=stream.unit,
                pixels_per_cm=stream.pixels_per_cm,
            )
        except InvalidInputError as error:
            self._mistaken(self._path, str(error))
            raise InvalidConfigurationError(self._mistakes) from None

    def _quantities(self, names: Names) -> None:
        for name in names.quantities:
            try:
                if name not in names.compiled:
                    compile_quantity(name, names)
            except ExpressionError as error:
                self._misexpressed((*self._path, "quantities", name), error)

    def _trigger(self, name: str, trigger: TriggerConfig, names: Names) -> CompiledTrigger | None:
        path = (*self._path, "triggers", name)
        when = self._condition((*path, "when"), trigger.when, names)
        until = None if trigger.until is None else self._condition((*path, "until"), trigger.until, names)
        return None if when is None else CompiledTrigger(name, trigger, when, until)

    def _condition(self, path: KeyPath, text: str, names: Names) -> Expression | None:
        try:
            return compile_condition(text, names)
        except ExpressionError as error:
            self._misexpressed(path, error)
            return None

    def _misexpressed(self, path: KeyPath, error: ExpressionError) -> None:
        """Note a mistake in a text, or in the quantity that the text names."""
        if error.quantity:
            path = (*self._path, "quantities", error.quantity)
        self._mistakes.append(f"{self._config.source.where(path, error.column - 1)}{error.message}")

    def _mistaken(self, path: KeyPath, message: str) -> None:
        self._mistakes.append(f"{self._config.source.where(path)}{message}")

    def _stop_at_mistakes(self) -> None:
        if self._mistakes:
            raise InvalidConfigurationError(list(dict.fromkeys(self._mistakes)))

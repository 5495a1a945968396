"""One experiment's configuration: outputs, and for each stream its stages, zones, quantities and triggers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.functional_validators import ModelWrapValidatorHandler

from poseloop_server.loop.config_errors import InvalidConfigurationError, refuse, sentences
from poseloop_server.loop.language.errors import ExpressionError
from poseloop_server.loop.language.parser import parse
from poseloop_server.loop.registered import ActionEntry, Kinds, Output, OutputEntry, Stage, all_kinds
from poseloop_server.loop.trigger_config import Part, TriggerConfig
from poseloop_server.loop.yaml_lines import Document, KeyPath, read_document
from poseloop_server.loop.zones import ZoneConfig

ANY_STREAM: Final = "*"
STREAM_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}")


def _off(value: object) -> object:
    """Take YAML's `off`, which is false to its parser, as nothing; a key that was left empty is no `off`."""
    if value is False or value == "off":
        return None
    if not isinstance(value, str | Path):
        refuse("the folder of the record is missing; give one, such as `records`, or say `off`")
    return value


def _or_off(folder: Path | None) -> str:
    return "off" if folder is None else str(folder)


Name = Annotated[str, Field(min_length=1, max_length=100)]
Text = Annotated[str, Field(min_length=1)]


class StreamConfig(Part):
    """What is done with the poses of one stream."""

    model: str | None = Field(None, description="That the stream will use, so that keypoints are checked at the start.")
    stages: tuple[Stage, ...] = Field((), description="What changes the poses, in this order.")
    values: tuple[Name, ...] = Field((), description="Names of what own stages add to a pose's values, for conditions.")
    unit: Literal["px", "cm"] = Field("px", description="Of lengths in conditions that have no unit behind them.")
    pixels_per_cm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Of the camera's picture, on the floor of the arena; needed where centimetres are used."
    )
    zones: dict[Name, ZoneConfig] = Field(default_factory=dict, description="Parts of the frame.")
    quantities: dict[Name, Text] = Field(default_factory=dict, description="Names for parts of conditions.")
    triggers: dict[Name, TriggerConfig] = Field(default_factory=dict)


class LoopConfig(Part):
    """Everything that decides what an experiment's poses do."""

    experiment: str = Field(description="Names the log: letters, digits, blanks, dots, dashes and underscores.")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="Of the triggers' chances.")
    record: Annotated[Path | None, BeforeValidator(_off), PlainSerializer(_or_off, when_used="json")] = Field(
        Path("records"), description="Folder of the log, which relative paths reach from the configuration's; or off."
    )
    outputs: dict[Name, Output] = Field(default_factory=dict)
    streams: dict[Name, StreamConfig] = Field(min_length=1, description="By name; `*` stands for any other.")

    _source: Document = PrivateAttr(default_factory=lambda: Document("", {}))
    _folder: Path = PrivateAttr(default_factory=Path)
    _kinds: Kinds = PrivateAttr(default_factory=lambda: Kinds({}, {}))

    @field_validator("experiment")
    @classmethod
    def _experiment_names_a_file(cls, value: str) -> str:
        if not _FILE_NAME.fullmatch(value):
            raise ValueError(
                f"{value[:80]!r} can't name a log; use up to 80 letters, digits, blanks, dots, dashes and underscores, "
                "a letter or digit first"
            )
        return value

    @field_validator("streams")
    @classmethod
    def _streams_can_be_opened(cls, value: dict[str, StreamConfig]) -> dict[str, StreamConfig]:
        for name in value:
            if name != ANY_STREAM and not STREAM_NAME.fullmatch(name):
                refuse(
                    "no stream can have this name; use up to 64 letters, digits, dots, dashes and underscores, "
                    'or "*" for any other stream',
                    (name,),
                )
        return value

    @field_validator("outputs", mode="wrap")
    @classmethod
    def _outputs_tell_their_actions(
        cls, value: object, handler: ModelWrapValidatorHandler[Any], info: ValidationInfo
    ) -> dict[str, OutputEntry]:
        """Let what can be asked of each output be known to the triggers, which are read after the outputs."""
        kinds = Kinds.of(info)
        if isinstance(value, dict):
            kinds.actions.update(dict.fromkeys(value))
        entries: dict[str, OutputEntry] = handler(value)
        kinds.actions.update({name: kinds.outputs[entry.kind].action for name, entry in entries.items()})
        return entries

    @property
    def source(self) -> Document:
        """The file, which says where each part was written."""
        return self._source

    @property
    def folder(self) -> Path:
        """Of the file; relative paths in it start here."""
        return self._folder

    @property
    def kinds(self) -> Kinds:
        """The kinds of stages and outputs that it was read with."""
        return self._kinds

    @property
    def code(self) -> tuple[str, ...]:
        """The files of own stages, as the configuration names them."""
        return tuple(dict.fromkeys(file for name in self.streams for file in self.code_of(name)))

    @property
    def record_folder(self) -> Path | None:
        """Where the log goes; None: nowhere."""
        return None if self.record is None else self._folder / self.record

    def code_of(self, stream: str) -> tuple[str, ...]:
        """Return the files of a stream's own stages, as the configuration names them."""
        stages = (self.stream(stream) or StreamConfig()).stages
        return tuple(dict.fromkeys(entry.config.file for entry in stages if hasattr(entry.config, "file")))

    def stream(self, name: str) -> StreamConfig | None:
        """Return what is configured for a stream; None: nothing."""
        return self.streams.get(name, self.streams.get(ANY_STREAM))

    def stream_path(self, name: str) -> KeyPath:
        """Return where `stream` finds it in the file."""
        return ("streams", name if name in self.streams else ANY_STREAM)

    def expressions(self) -> Iterator[tuple[KeyPath, str]]:
        """Yield the text of every quantity and condition, with its place in the file."""
        for stream, config in self.streams.items():
            for name, text in config.quantities.items():
                yield ("streams", stream, "quantities", name), text
            for name, trigger in config.triggers.items():
                yield ("streams", stream, "triggers", name, "when"), trigger.when
                if trigger.until is not None:
                    yield ("streams", stream, "triggers", name, "until"), trigger.until

    def actions(self) -> Iterator[tuple[KeyPath, ActionEntry]]:
        """Yield everything that a trigger may ask of an output, with the place of its list in the file."""
        for stream, config in self.streams.items():
            for name, trigger in config.triggers.items():
                path = ("streams", stream, "triggers", name)
                yield from (((*path, "on_rise"), entry) for entry in trigger.on_rise)
                if trigger.while_true is not None:
                    yield from (((*path, "while_true", "do"), entry) for entry in trigger.while_true.do)
                yield from (((*path, "on_fall"), entry) for entry in trigger.on_fall)


def load_loop(path: Path, kinds: Kinds | None = None) -> LoopConfig:
    """Read an experiment's configuration.

    What depends on the keypoints of a model is checked by `poseloop_server.loop.compiled.compile_stream`.

    Args:
        path: of the YAML file.
        kinds: of stages and outputs that it may name; None: all there are.

    Raises:
        InvalidInputError: it can't be read, or is mistaken; `InvalidConfigurationError` with all mistakes found.
    """
    return read_loop(read_document(path), path.parent, kinds)


def read_loop(document: Document, folder: Path, kinds: Kinds | None = None) -> LoopConfig:
    """Return the configuration that a document holds; as `load_loop`."""
    kinds = replace(kinds or all_kinds(), actions={})
    try:
        config = LoopConfig.model_validate(document.values, context=kinds)
    except ValidationError as error:
        said = sentences(error, LoopConfig)
        raise InvalidConfigurationError([f"{document.where(path)}{what}" for path, what in said]) from None
    config._source, config._folder, config._kinds = document, folder, kinds
    check_syntax(config)
    return config


def check_syntax(config: LoopConfig) -> None:
    """Check what conditions and quantities say as far as it can be known without the keypoints.

    Raises:
        InvalidConfigurationError: some are no expressions.
    """
    mistakes = []
    for path, text in config.expressions():
        try:
            parse(text)
        except ExpressionError as error:
            mistakes.append(f"{config.source.where(path, error.column - 1)}{error.message}")
    if mistakes:
        raise InvalidConfigurationError(mistakes)

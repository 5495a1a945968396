"""Parts of a configuration whose keys depend on a kind: stages, outputs, and what can be asked of an output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, ValidationInfo
from pydantic_core import to_jsonable_python

from poseloop_server.loop.config_errors import Location, checked, collected, nearest, refuse


@dataclass(frozen=True, slots=True)
class Kinds:
    """The kinds of stages and outputs that a configuration may name; the context in which it is validated.

    Attributes:
        stages: classes by name.
        outputs: classes by name.
        actions: what can be asked of each output that the configuration names, as a pydantic model; None where the
            outputs are mistaken themselves. Filled while a configuration is read.
    """

    stages: Mapping[str, Any]
    outputs: Mapping[str, Any]
    actions: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, info: ValidationInfo) -> Kinds:
        """Return the context of a validation."""
        if not isinstance(info.context, cls):
            raise TypeError("a configuration is read with load_loop or loop_from_json")
        return info.context


def all_kinds() -> Kinds:
    """Return every kind that there is."""
    from poseloop_server.outputs.kinds import OUTPUTS
    from poseloop_server.stages.kinds import STAGES

    return Kinds(STAGES, OUTPUTS)


@dataclass(frozen=True, slots=True)
class StageEntry:
    """``- KIND: {...}``: a stage of a stream; ``config`` is an instance of the stage's ``config``."""

    kind: str
    config: Any


@dataclass(frozen=True, slots=True)
class OutputEntry:
    """``NAME: {type: KIND, ...}``: an output; ``config`` is an instance of the output's ``config``."""

    kind: str
    config: Any


@dataclass(frozen=True, slots=True)
class ActionEntry:
    """``OUTPUT: {...}``: something to ask of an output; ``action`` is an instance of the output's ``action``."""

    output: str
    action: Any


def _read_stage(value: object, info: ValidationInfo) -> StageEntry:
    name, settings = _named(
        value, "a stage is written as `- NAME: {...}`, each with a dash of its own, such as `- one_euro: {}`"
    )
    stages = Kinds.of(info).stages
    if name not in stages:
        refuse(f"there is no stage {name!r}; {nearest(name, stages, 'stages')}", (name,))
    return StageEntry(name, checked(stages[name].config, settings, (name,)))


def _read_output(value: object, info: ValidationInfo) -> OutputEntry:
    outputs = Kinds.of(info).outputs
    if not (isinstance(value, dict) and "type" in value):
        refuse(f"an output needs its type, as `{{type: TYPE, ...}}`; {nearest('', outputs, 'types of outputs')}")
    settings = dict(value)
    kind = settings.pop("type")
    if not isinstance(kind, str) or kind not in outputs:
        refuse(f"there is no type of output {kind!r}; {nearest(str(kind), outputs, 'types of outputs')}", ("type",))
    return OutputEntry(kind, checked(outputs[kind].config, settings, ()))


def _read_actions(value: object, info: ValidationInfo) -> tuple[ActionEntry, ...]:
    """Read ``{OUTPUT: ACTION, ...}``, or a list of such for several actions of one output."""
    known = Kinds.of(info).actions
    wanted: list[tuple[object, Location]] = []
    if isinstance(value, dict):
        wanted = [({output: action}, ()) for output, action in value.items()]
    elif isinstance(value, list | tuple):
        wanted = [(one, (index,)) for index, one in enumerate(value)]
    else:
        refuse("actions are written as `OUTPUT: {...}`, such as `laser: {pulse_ms: 10}`")
    return collected(partial(_read_action, one, at, known) for one, at in wanted)


def _read_action(value: object, location: Location, known: Mapping[str, Any]) -> ActionEntry:
    output, action = _named(
        value, "an action is written as `OUTPUT: {...}`, each of a list with a dash of its own", location
    )
    at = (*location, output)
    if output not in known:
        refuse(f"there is no output {output!r}; {nearest(output, known, 'outputs')}", at)
    return ActionEntry(output, None if known[output] is None else checked(known[output], action, at))


def _named(value: object, remedy: str, location: Location = ()) -> tuple[str, object]:
    """Return the one key and what it holds; a word alone is a key that holds nothing."""
    if isinstance(value, str):
        return value, None
    if not (isinstance(value, dict) and len(value) == 1):
        refuse(remedy, location)
    return next(iter(value.items()))


def no_actions() -> tuple[ActionEntry, ...]:
    """Return none."""
    return ()


def _dump(config: Any) -> Any:
    return _as_json(config.model_dump(by_alias=True))


def _as_json(value: Any) -> Any:
    """Return what a dump holds in JSON's types; bytes as the list of numbers that they are read from."""
    if isinstance(value, dict):
        return {key: _as_json(one) for key, one in value.items()}
    if isinstance(value, bytes | list | tuple):
        return [_as_json(one) for one in value]
    return to_jsonable_python(value)


Stage = Annotated[
    StageEntry,
    PlainValidator(_read_stage),
    PlainSerializer(lambda entry: {entry.kind: _dump(entry.config)}),
]
Output = Annotated[
    OutputEntry,
    PlainValidator(_read_output),
    PlainSerializer(lambda entry: {"type": entry.kind, **_dump(entry.config)}),
]
Actions = Annotated[
    tuple[ActionEntry, ...],
    PlainValidator(_read_actions),
    PlainSerializer(lambda entries: [{entry.output: _dump(entry.action)} for entry in entries]),
]

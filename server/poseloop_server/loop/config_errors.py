"""Mistakes in a configuration, each as one sentence that says what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, NoReturn, TypeVar, get_args, get_origin

from poseloop.errors import InvalidInputError
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

Location = tuple[str | int, ...]
_T = TypeVar("_T")

_OURS = "poseloop"
_MEANT = re.compile(r"the key '[^']*' is unknown; did you mean '([^']*)'\?")
_NUMBER_AND_MORE = re.compile(r"(?P<number>[-+]?\d+(\.\d+)?)\s*(?P<more>%|,\d+|[a-zA-Z]+)")
_UNIT_OF_KEY = re.compile(r"_(ms|s|px|hz)$")
_NOT_A_NUMBER = ("float_parsing", "float_type", "int_parsing", "int_type", "finite_number")
_NOT_A_MAPPING = ("model_type", "model_attributes_type", "dict_type", "dataclass_type")
_NOT_A_LIST = ("tuple_type", "list_type")


class InvalidConfigurationError(InvalidInputError):
    """A configuration can't be used; its text is one line for each mistake.

    Attributes:
        mistakes: each one sentence, with the line of the file and what to do.
    """

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


def nearest(name: str, known: Iterable[str], kind: str = "") -> str:
    """Return a remedy: the known name that was probably meant, or all there are.

    Args:
        name: that is not known.
        known: names.
        kind: of what they are, in the plural, for the case that there is none, such as ``"outputs"``.
    """
    names = list(dict.fromkeys(known))
    if not names:
        return f"there are no {kind}" if kind else "nothing can be given here"
    if whole := [known for known in names if name and known.startswith(f"{name}_")]:
        return f"did you mean {whole[0]!r}?"
    if near := difflib.get_close_matches(name, names, n=1, cutoff=0.6):
        return f"did you mean {near[0]!r}?"
    return f"known {'is' if len(names) == 1 else 'are'} {', '.join(sorted(names))}"


def refuse(message: str, location: Location = ()) -> NoReturn:
    """Refuse what a validator of pydantic was given, in our words, at a location within it."""
    raise ValidationError.from_exception_data("configuration", [_said(message, location)])


def checked(model: Any, value: object, location: Location) -> Any:
    """Return the value as an instance of a pydantic model that only the configuration's own words have chosen.

    Raises:
        ValidationError: with our sentences, at ``location`` and within it.
    """
    try:
        return model.model_validate({} if value is None else value)
    except ValidationError as error:
        raise ValidationError.from_exception_data(
            error.title, [_said(what, (*location, *at)) for at, what in sentences(error, model)]
        ) from None


def collected(reads: Iterable[Callable[[], _T]]) -> tuple[_T, ...]:
    """Call each and return what they return.

    Raises:
        ValidationError: with the mistakes of all of them.
    """
    results, mistakes = [], []
    for read in reads:
        try:
            results.append(read())
        except ValidationError as error:
            mistakes += [_said(one["msg"], one["loc"]) for one in error.errors()]
    if mistakes:
        raise ValidationError.from_exception_data("configuration", mistakes)
    return tuple(results)


def sentences(error: ValidationError, model: type[BaseModel]) -> list[tuple[Location, str]]:
    """Return each mistake's location and its sentence; a key that is missing as it is misspelt is told of once."""
    said = [(one["loc"], sentence(one, model)) for one in error.errors()]
    meant = {(*at[:-1], match[1]) for at, what in said if (match := _MEANT.search(what))}
    return [
        (at, what)
        for (at, what), one in zip(said, error.errors(), strict=True)
        if one["type"] != "missing" or at not in meant
    ]


def sentence(error: ErrorDetails, model: type[BaseModel]) -> str:
    """Return what pydantic found as what a user can act on.

    Args:
        error: one of those of a `ValidationError`.
        model: that was validated, whose fields are the known keys.
    """
    kind, limits = error["type"], error.get("ctx", {})
    shown = _shown(error["input"])
    key = str(error["loc"][-1]) if error["loc"] else ""
    if kind == _OURS:
        return error["msg"]
    if kind == "value_error":
        return error["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden" and error["input"] is None and set("()<>") & set(key):
        return f"{key!r} is taken for a key, since within {{ }} a comma ends a text; put the whole text in quotes"
    if kind == "extra_forbidden":
        return f"the key {key!r} is unknown; {nearest(key, _keys_at(model, error['loc'][:-1]))}"
    if kind == "missing":
        return f"the key {key!r} is missing; give it"
    if bound := _bound(kind, limits):
        return f"{shown} is {bound}"
    if kind in _NOT_A_NUMBER:
        return f"{shown} is not a{' whole' if kind.startswith('int') else ''} number{_number_in(error['input'], key)}"
    if kind in _NOT_A_MAPPING:
        keys = ", ".join(sorted(_keys_at(model, error["loc"]))) if error["loc"] and kind != "dict_type" else ""
        return f"{shown} is given, but `key: value` lines are needed{f', with {keys}' if keys else ''}"
    if kind in _NOT_A_LIST:
        return f"{shown} is given, but a list is needed"
    return (
        _other(kind, limits, shown, error["input"])
        or f"{shown} is not valid: {error['msg'][:1].lower()}{error['msg'][1:]}"
    )


def _other(kind: str, limits: Mapping[str, Any], shown: str, error_input: object) -> str:
    if kind.startswith("bool"):
        return f"{shown} is neither true nor false"
    if kind == "int_from_float":
        return f"{shown} is not a whole number"
    if kind == "string_type" and (error_input is None or isinstance(error_input, dict | list)):
        return f"{shown} is given, but a text is needed"
    if kind == "string_type":
        return f"{shown} is not text; put it in quotes"
    if kind == "string_pattern_mismatch" and str(limits["pattern"]).startswith("^/"):
        return f"{shown} has to begin with / and to hold no blanks"
    if kind == "string_too_short":
        return "the text is empty; give one, or leave the key out"
    if kind in ("literal_error", "enum"):
        return f"{shown} is not known; give {limits['expected']}"
    return ""


def _number_in(value: object, key: str) -> str:
    """Return a remedy for a number that has its unit behind it, or a comma in it."""
    if not (isinstance(value, str) and (match := _NUMBER_AND_MORE.fullmatch(value.strip()))):
        return ""
    if match["more"].startswith(","):
        return "; write a point, not a comma"
    if unit := _UNIT_OF_KEY.search(key):
        return f"; write the number alone, in {unit[1]}"
    if match["more"] == "%":
        return f"; write {float(match['number']) / 100:g}"
    return "; write the number alone"


def no_truths(model: type[BaseModel], values: Any) -> Any:
    """Refuse yes, no, on, off, true and false where a key takes a number; pydantic takes them as 1 and 0.

    For a validator of a pydantic model that comes before all others.
    """
    for name, known in model.model_fields.items():
        given = values.get(known.alias or name) if isinstance(values, dict) else None
        if isinstance(given, bool) and set(_leaves(known.annotation)) <= {int, float, type(None)}:
            refuse(f"{_shown(given)} is not a number", (name,))
    return values


def _leaves(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from _leaves(get_args(annotation)[0])
    elif arguments := get_args(annotation):
        for argument in arguments:
            yield from _leaves(argument)
    else:
        yield annotation


def _bound(kind: str, limits: Mapping[str, Any]) -> str:
    if kind == "greater_than_equal":
        return f"too small; give {limits['ge']:g} or more"
    if kind == "greater_than":
        return f"too small; give more than {limits['gt']:g}"
    if kind == "less_than_equal":
        return f"too large; give {limits['le']:g} at most"
    if kind == "less_than":
        return f"too large; give less than {limits['lt']:g}"
    return ""


def _said(message: str, location: Location) -> InitErrorDetails:
    said = PydanticCustomError(_OURS, "{message}", {"message": message})
    return InitErrorDetails(type=said, loc=location, input=None)


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list | tuple):
        return "a list" if not isinstance(value, dict) else "a mapping"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _keys_at(model: type[BaseModel], location: Location) -> list[str]:
    """Return the keys that the models at a location take; keys of dictionaries and indices lead through."""
    models = [model]
    for part in location:
        fields = [known for one in models for name, known in one.model_fields.items() if part in (name, known.alias)]
        if fields:
            models = [found for field in fields for found in _models_in(field.annotation)]
    return [known.alias or name for one in models for name, known in one.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)

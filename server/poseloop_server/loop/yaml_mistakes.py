"""What is wrong with a file that is not valid YAML, in the words of someone who wrote a configuration."""

from __future__ import annotations

from typing import Final

import yaml

_BEGINS_NO_TEXT: Final = "a text that begins with {} needs quotes around the whole of it"


def place_and_remedy(error: yaml.MarkedYAMLError, text: str) -> tuple[int | None, str]:
    """Return the line of the mistake, counted from 1, and what to do; None: PyYAML does not know the line.

    Args:
        error: that reading ``text`` raised.
        text: of the file.
    """
    problem = error.problem or error.context or "it can't be read"
    context = error.context or ""
    mark = error.problem_mark or error.context_mark
    line = None if mark is None else mark.line + 1
    began = line if error.context_mark is None else error.context_mark.line + 1
    if "quoted scalar" in context and "end of stream" in problem:
        return began, "the quotation mark that is opened here is not closed"
    if "flow mapping" in context or "flow sequence" in context:
        bracket = "{" if "flow mapping" in context else "["
        return began, f"the {bracket} of this line is not closed, or a comma or a quotation mark is missing behind it"
    if "could not find expected ':'" in problem:
        return began, "a `:` with a blank behind it is missing, as in `hold_ms: 100`"
    lines = ["", *text.split("\n"), ""]
    return _remedied(problem, context, lines, line)


def _remedied(problem: str, context: str, lines: list[str], number: int | None) -> tuple[int | None, str]:
    """Return the line of a mistake that was noticed in the line of that number, and what to do."""
    for near in () if number is None else (number, number - 1):
        if "\u00a0" in lines[near]:
            return near, "there is a non-breaking blank, which looks like a blank and is none; write blanks instead"
    return number, _remedy(problem, context, "" if number is None else lines[number])


def _remedy(problem: str, context: str, line: str) -> str:
    """Return what to do about a mistake in that line."""
    value = line.partition(":")[2].strip()
    if "'\\t'" in problem:
        return "there is a tab; indent with spaces"
    if "alias" in context and line.lstrip().startswith("*"):
        return 'a name that begins with * needs quotes, as in `"*":`'
    if "block scalar" in context or "cannot start any token" in problem:
        return _BEGINS_NO_TEXT.format(value[:1])
    if "block mapping" in context and value[:1] in ("'", '"'):
        return (
            "a text that begins with a quotation mark needs others around the whole of it, as in '\"tail tip\" in nest'"
        )
    if "mapping values are not allowed" in problem:
        return "a `: ` too many, or a wrong indentation; put text that holds `: ` in quotes"
    if "block mapping" in context or "block collection" in context:
        return "this line does not fit the indentation of those above it"
    return problem

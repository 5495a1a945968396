"""A YAML file as plain values that know where in the file they were written.

What is read is what ``yaml.safe_load`` reads, and less: a key that is given twice, a file that is too large, and
anchors that expand to very much are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from poseloop.errors import InvalidInputError

from poseloop_server.loop.yaml_mistakes import place_and_remedy

KeyPath = tuple[str | int, ...]

MAX_FILE_BYTES: Final = 256 * 1024
MAX_VALUES: Final = 20_000
MAX_DEPTH: Final = 40

_MAP, _SEQ, _MERGE = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:merge"
_AS_TYPED: Final = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float")}
_NUMBERS: Final = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
_OTHER_BASE: Final = re.compile(r"[-+]?(0[0-7_]+$|[0-9][0-9_]*:)")  # octal and base 60 in YAML 1.1
_AS_TEXT: Final = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in a file, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """A file's values, and where each was written.

    Attributes:
        file: that it was read from, as errors name it; "" for values that stand in no file.
        values: dictionaries with text as keys, lists, text, numbers, booleans and None.
        text: of the file.
    """

    file: str
    values: Any
    text: str = ""
    _keys: dict[KeyPath, yaml.Mark] = field(default_factory=dict)
    _nodes: dict[KeyPath, yaml.Node] = field(default_factory=dict)

    def where(self, path: KeyPath, offset: int | None = None) -> str:
        """Return ``FILE:LINE: KEY.PATH: ``, what the sentence about a mistake begins with.

        Args:
            path: of the mistaken value; what stands around it is named where it is not there itself.
            offset: of the mistaken character in a text, from 0; then it is ``FILE:LINE:COLUMN: KEY.PATH: ``.
        """
        keys = ".".join(str(part) for part in path)
        keys = f"{keys}: " if keys else ""
        if not self._nodes:
            return f"{self.file}: {keys}" if self.file else keys
        known = path
        while known and known not in self._nodes:
            known = known[:-1]
        if offset is not None and known == path:
            place = self._place_in_text(path, offset)
            return f"{self.file}:{place.line}:{place.column}: {keys}"
        return f"{self.file}:{self.line(known)}: {keys}"

    def line(self, path: KeyPath) -> int:
        """Return the line of a key, or of a list's entry."""
        mark = self._keys.get(path) or self._nodes[path].start_mark
        return int(mark.line) + 1

    def _place_in_text(self, path: KeyPath, offset: int) -> Place:
        """Return where a character of a text stands in the file.

        YAML folds lines, strips indentation and knows quotes. What it never changes is the order of the characters
        that are not blank, so the one looked for has as many of them before it in the file as in the text.
        """
        node = self._nodes[path]
        start, end = node.start_mark.index, node.end_mark.index
        value = node.value if isinstance(node.value, str) else ""
        before = len("".join(value[:offset].split()))
        solid = [index for index in range(start, end) if not self.text[index].isspace()]
        skipped = self._decoration(node)
        if offset >= len(value.rstrip()):
            at = solid[min(skipped + before, len(solid)) - 1] + 1
        else:
            at = solid[min(skipped + before, len(solid) - 1)]
        line = self.text.count("\n", 0, at)
        return Place(line + 1, at - (self.text.rfind("\n", 0, at) + 1) + 1)

    def _decoration(self, node: yaml.Node) -> int:
        """Return how many characters that are not blank stand in the file before a text's first."""
        style = getattr(node, "style", None)
        if style in ("'", '"'):
            return 1
        if style in ("|", ">"):
            header = self.text[node.start_mark.index :].split("\n", 1)[0]
            return len("".join(header.split()))
        return 0


def read_document(file: Path) -> Document:
    """Read a YAML file.

    Raises:
        InvalidInputError: it can't be read, is too large, is not valid YAML, gives a key twice, or holds something else
            than ``key: value`` lines; the text says where and what to do.
    """
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise InvalidInputError(
                f"the configuration {file} is larger than {MAX_FILE_BYTES // 1024} KiB; is it the right file?"
            )
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInputError(f"the configuration {file} can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InvalidInputError(f"{file}:{line}: the configuration is not text in UTF-8; save it as that") from None
    return parse_document(text, str(file))


def parse_document(text: str, file: str) -> Document:
    """Read the text of a YAML file; as `read_document`, where ``file`` is what errors call it."""
    reader = _Reader(file)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = {} if node is None else reader.read(node, (), 0)
    except RecursionError:
        raise InvalidInputError(f"{file}: it is nested too deeply; no configuration needs that") from None
    except yaml.MarkedYAMLError as error:
        line, remedy = place_and_remedy(error, text)
        raise InvalidInputError(f"{file}{f':{line}' if line else ''}: this is not valid YAML: {remedy}") from None
    except yaml.YAMLError as error:
        raise InvalidInputError(f"{file}: this is not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise InvalidInputError(f"{file}:1: the configuration must hold `key: value` lines, such as `experiment: NAME`")
    return Document(file, values, text, reader.keys, reader.nodes)


class _Reader:
    """Makes values of the nodes of a YAML file, and notes where each stands."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._entries: dict[int, dict[str, tuple[yaml.Node, yaml.Node]]] = {}
        self._scalars = yaml.SafeLoader("")
        self.keys: dict[KeyPath, yaml.Mark] = {}
        self.nodes: dict[KeyPath, yaml.Node] = {}

    def read(self, node: yaml.Node, path: KeyPath, depth: int) -> Any:
        """Return the value of a node."""
        self.nodes[path] = node
        if depth > MAX_DEPTH:
            raise self._refused(node, path, f"it is nested more than {MAX_DEPTH} deep; no configuration needs that")
        if len(self.nodes) > MAX_VALUES:
            raise self._refused(node, path, f"the file holds more than {MAX_VALUES} values with its anchors expanded")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
            return [self.read(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, depth: int) -> dict[str, Any]:
        values = {}
        for key, (key_node, value_node) in self._entries_of(node, path, ()).items():
            self.keys[(*path, key)] = key_node.start_mark
            values[key] = self.read(value_node, (*path, key), depth + 1)
        return values

    def _entries_of(
        self, node: yaml.MappingNode, path: KeyPath, merging: tuple[int, ...]
    ) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Return a mapping's entries by key, with what ``<<`` brings where the mapping doesn't say otherwise."""
        if node.tag != _MAP:
            raise self._refused(node, path, f"the tag {node.tag} is not known; leave it out")
        if id(node) in merging:
            raise self._refused(node, path, "`<<` merges this into itself; leave it out")
        if (known := self._entries.get(id(node))) is not None:
            return known
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                for source in self._merged_by(value_node, path):
                    for key, entry in self._entries_of(source, path, (*merging, id(node))).items():
                        merged.setdefault(key, entry)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._refused(key_node, path, "a key must be one word, not a list or a mapping")
            key = key_node.value
            if key in own:
                first = own[key][0].start_mark.line + 1
                raise self._refused(
                    key_node, (*path, key), f"this key is given in line {first} already; keep one of the two"
                )
            own[key] = (key_node, value_node)
        self._entries[id(node)] = {**{key: entry for key, entry in merged.items() if key not in own}, **own}
        return self._entries[id(node)]

    def _merged_by(self, node: yaml.Node, path: KeyPath) -> Iterator[yaml.MappingNode]:
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(source, yaml.MappingNode):
                raise self._refused(source, path, "`<<` takes an alias of a mapping, such as `<<: *shared`")
            yield source

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        if node.tag in _AS_TEXT:
            return node.value
        if not (isinstance(node, yaml.ScalarNode) and node.tag in _AS_TYPED):
            raise self._refused(node, path, f"the tag {node.tag} is not known; leave it out")
        if node.tag in _NUMBERS and _OTHER_BASE.match(node.value):
            raise self._refused(
                node,
                path,
                f"YAML reads {node.value} as another number; write it with digits alone, no 0 first and no `:`",
            )
        try:
            return self._scalars.construct_object(node)
        except (ValueError, OverflowError, KeyError):
            raise self._refused(node, path, f"{node.value[:40]!r} can't be read as a number") from None

    def _refused(self, node: yaml.Node, path: KeyPath, message: str) -> InvalidInputError:
        keys = ".".join(str(part) for part in path)
        return InvalidInputError(
            f"{self._file}:{node.start_mark.line + 1}: {keys + ': ' if keys else ''}{message.rstrip('.')}"
        )

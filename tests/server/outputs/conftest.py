from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.server.outputs.board import COMPILER, Board, Script, compiled

needs_terminals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")


@pytest.fixture(scope="session")
def trigger_sketch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if COMPILER is None:
        pytest.skip("there is no C++ compiler to build the sketch with")
    return compiled("poseloop_trigger", tmp_path_factory.mktemp("sketch"))


@pytest.fixture
def make_board(trigger_sketch: Path, tmp_path: Path) -> Iterator[Callable[..., Board]]:
    boards: list[Board] = []

    def make(**environment: str) -> Board:
        boards.append(Board(trigger_sketch, tmp_path / "port", **environment))
        return boards[-1]

    yield make
    for board in boards:
        board.unplug()


@pytest.fixture
def make_script(tmp_path: Path) -> Iterator[Callable[..., Script]]:
    scripts: list[Script] = []

    def make(answer: Callable[[bytes], bytes] = lambda _: b"") -> Script:
        scripts.append(Script(tmp_path / "port", answer))
        return scripts[-1]

    yield make
    for script in scripts:
        script.unplug()

import json
from pathlib import Path

import pytest
from poseloop.errors import InvalidInputError
from poseloop_server.record import reader
from poseloop_server.record.entries import PoseEntry
from poseloop_server.record.reader import DamagedLogError, Log

from tests.server.record.logs import begin, pose


@pytest.fixture
def path(tmp_path: Path) -> Path:
    writer = begin(tmp_path)
    for number in range(5):
        writer.pose(pose(number))
    writer.close()
    return writer.path


def test_a_torn_last_line_is_left_out_and_said(path: Path) -> None:
    whole = path.read_bytes()
    for cut in range(1, 120, 7):
        path.write_bytes(whole[:-cut])
        log = Log(path)
        assert [entry.sequence for entry in log.entries() if isinstance(entry, PoseEntry)] == [0, 1, 2, 3, 4]
        assert log.torn
    path.write_bytes(whole + bytes(4096))  # as some file systems leave it after a loss of power
    log = Log(path)
    assert len(list(log.lines())) == 6
    assert log.torn


def test_a_log_can_be_read_while_it_grows_and_again(path: Path) -> None:
    log = Log(path)
    first = [line.raw for line in log.lines()]
    assert [line.raw for line in log.lines()] == first
    assert [line.number for line in log.lines()] == [2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (b"\n", "EOF"),
        (b"{}\n", "kind"),
        (b'{"kind":"poem"}\n', "poem"),
        (b'{"kind":"pose","stream":"cam0"}\n', "sequence"),
        (b"\x00\x00\x00\n", "expected value"),
        (b'{"kind":"decision","stream":"\xff"}\n', "unicode|UTF"),
    ],
)
def test_any_other_damage_is_refused_with_its_line(path: Path, damage: bytes, why: str) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], damage, *lines[3:]]))
    with pytest.raises(DamagedLogError, match=rf"(?is)jsonl:4: the log is damaged here: .*({why}).*`head -n 3`"):
        list(Log(path).lines())


def test_lines_are_read_up_to_a_size(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_LINE_BYTES", 4096)
    with path.open("ab") as file:
        file.write(b"x" * 10_000 + b"\n")
    with pytest.raises(DamagedLogError, match="jsonl:8: the line is too long"):
        list(Log(path).lines())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b'{"kind":"header"', "holds no whole line"),
        (b"frame,x,y\n1,2,3\n", "is no log of poseloop: its first line is no header"),
        (b'{"kind":"pose"}\n', "its first line is no header"),
    ],
)
def test_what_is_no_log_is_said_in_one_sentence(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=why) as caught:
        Log(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["started_ns", "captured_ns", "published_ns"])
@pytest.mark.parametrize("value", [10**30, 2**63, -(2**63) - 1])
def test_times_of_no_clock_are_refused(path: Path, key: str, value: int) -> None:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(line | {key: value} if key in line else line) + "\n" for line in lines))
    with pytest.raises(InvalidInputError, match=key):
        list(Log(path).lines())


def test_a_later_format_is_refused_and_unknown_keys_are_not(path: Path) -> None:
    text = path.read_text()
    path.write_text(text.replace('"kind":"pose",', '"kind":"pose","new":[1],'))
    assert len(list(Log(path).lines())) == 6
    path.write_text(text.replace('"format":1', '"format":2', 1))
    with pytest.raises(InvalidInputError, match=r"has the format 2.*use version"):
        Log(path)


def test_a_missing_log_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="can't be read: No such file"):
        Log(tmp_path / "none.jsonl")

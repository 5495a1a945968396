import json
import re
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import typer
from click.testing import Result
from poseloop.errors import InvalidInputError
from poseloop_server.record import cli
from poseloop_server.record.differences import ReplayResult
from poseloop_server.record.entries import DecisionEntry, PoseEntry
from poseloop_server.record.reader import Log
from poseloop_server.record.rebuilt import loop_maker
from poseloop_server.record.replay import replay
from typer.testing import CliRunner

from tests.server.record.logs import begin
from tests.server.record.sessions import Session, random_configuration

STREAMS = ("cam0", "cam1")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of an experiment with many decisions."""
    random = Random(5)
    session = Session(tmp_path_factory.mktemp("log"), random, random_configuration(random, STREAMS), STREAMS)
    session.run(500)
    return session.end()


@pytest.fixture
def copy(path: Path, tmp_path: Path) -> Path:
    """A copy of the log, to be tampered with."""
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    return copy


def replayed(path: Path) -> ReplayResult:
    log = Log(path)
    return replay(log, loop_maker(log.header))


@pytest.mark.parametrize("seed", range(8))
def test_each_decision_of_a_made_up_experiment_comes_out_bit_for_bit(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    session = Session(tmp_path, random, random_configuration(random, STREAMS), STREAMS)
    session.run(400)
    result = replayed(session.end())
    assert result.differences == []
    assert result.same
    assert (result.poses, result.decisions) == (800, session.decisions)
    assert result.closed
    assert result.not_compared == {}


def tampered(path: Path, old: bytes, new: bytes, kind: bytes = b"") -> ReplayResult:
    """Replace the last occurrence in the lines of a kind."""
    lines = path.read_bytes().splitlines(keepends=True)
    numbers = [number for number, line in enumerate(lines) if old in line and b'"kind":"' + kind in line]
    lines[numbers[-1]] = lines[numbers[-1]].replace(old, new, 1)
    path.write_bytes(b"".join(lines))
    result = replayed(path)
    assert not result.same
    assert numbers[-1] + 1 in {one.line for one in result.differences}
    return result


def test_a_changed_decision_is_found(copy: Path) -> None:
    result = tampered(copy, b'"fired":true', b'"fired":false')
    assert result.different == 1
    assert '"fired":false' in result.differences[0].logged
    assert '"fired":true' in result.differences[0].replayed


def test_a_changed_digit_is_found(copy: Path) -> None:
    line = next(line.raw for line in Log(copy).lines() if isinstance(line.entry, DecisionEntry) and line.entry.values)
    number = re.search(rb"\d+\.\d{5,}", b"".join(each.raw for each in Log(copy).lines() if b'"decision"' in each.raw))
    assert line
    assert number is not None
    digits = number.group()
    changed = digits[:-1] + bytes([digits[-1] ^ 1])
    assert tampered(copy, digits, changed, b"decision").different == 1


def test_a_changed_keypoint_is_found(copy: Path) -> None:
    entry = [entry for entry in Log(copy).entries() if isinstance(entry, PoseEntry) and entry.staged][-1]
    staged = (entry.staged or "").encode()
    tampered(copy, staged, staged[:8] + (b"B" if staged[8:9] == b"A" else b"A") + staged[9:], b"pose")


@pytest.mark.parametrize("kind", ["decision", "pose", "armed", "ended", "stream_opened", "outcome"])
def test_a_line_that_was_taken_out_is_found(copy: Path, kind: str) -> None:
    lines = copy.read_bytes().splitlines(keepends=True)
    numbers = [number for number, line in enumerate(lines) if b'"kind":"' + kind.encode() in line]
    del lines[numbers[len(numbers) // 2]]
    copy.write_bytes(b"".join(lines))
    assert not replayed(copy).same


def test_a_log_that_was_cut_anywhere_still_compares(copy: Path) -> None:
    whole = copy.read_bytes()
    for size in Random(1).sample(range(len(whole) // 2, len(whole)), 6):
        copy.write_bytes(whole[:size])
        result = replayed(copy)
        assert result.same
        assert not result.closed
        assert result.torn == (whole[size - 1 : size] != b"\n")


def test_after_a_gap_a_stream_is_compared_again_only_when_it_begins_anew(copy: Path) -> None:
    lines = copy.read_bytes().splitlines(keepends=True)
    poses = [number for number, line in enumerate(lines) if b'"kind":"pose","stream":"cam0"' in line]
    gap = {"kind": "lost", "from_ns": 1, "to_ns": 2, "entries": {"pose": 3}, "streams": ["cam0"]}
    quiet = [b'"decisions"' not in lines[number] for number in poses]
    first = next(number for number in range(100, len(poses)) if all(quiet[number : number + 3]))
    lines[poses[first]] = json.dumps(gap).encode() + b"\n"
    lines[poses[first + 1]] = lines[poses[first + 2]] = lines[-1] = b""
    copy.write_bytes(b"".join(lines))
    result = replayed(copy)
    assert result.same
    assert result.lost == 3
    assert result.not_compared["cam0"] == len(poses) - first - 3
    assert "cam1" not in result.not_compared


def test_the_command_prints_what_differs_and_exits_with_1(copy: Path) -> None:
    done = invoked("replay", copy)
    assert done.exit_code == 0, done.output
    assert re.search(r"1000 poses and \d+ decisions came out as they were, to the last bit", done.stdout)
    tampered(copy, b'"fired":true', b'"fired":false')
    done = invoked("replay", copy)
    assert done.exit_code == 1
    assert re.search(r"(?s)line \d+, stream cam.*logged .*replayed .*1 came out otherwise", done.stdout)
    done = invoked("replay", copy, "--json")
    assert done.exit_code == 1
    answer = json.loads(done.stdout)
    assert (answer["different"], answer["same"], answer["poses"]) == (1, False, 1000)


def test_the_program_has_the_commands(path: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = subprocess.run(
        [sys.executable, "-m", "poseloop.cli", "report", path, "--out", page, "--json"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["poses"] == 1000
    assert page.stat().st_size > 10_000
    page.write_text("{}\n")
    done = subprocess.run(
        [sys.executable, "-m", "poseloop.cli", "record", "replay", page],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "is no log of poseloop" in done.stderr
    assert "Traceback" not in done.stderr


OWN_STAGE = """
from helper import half

class Mine:
    def __init__(self):
        self.before = None

    def process(self, pose):
        if self.before is not None:
            pose.keypoints[..., :2] = half(pose.keypoints[..., :2] + self.before)
        self.before = pose.keypoints[..., :2].copy()
        return pose
"""


def test_own_code_runs_only_when_it_is_allowed_and_unchanged(tmp_path: Path) -> None:
    stage = tmp_path / "mine.py"
    stage.write_text(OWN_STAGE)
    (tmp_path / "helper.py").write_text("def half(x):\n    return x / 2\n")
    random = Random(3)
    configuration = random_configuration(random, ("cam0",))
    configuration["streams"]["cam0"]["stages"] = [{"python": {"file": "mine.py", "class": "Mine"}}]
    session = Session(tmp_path, random, configuration)
    session.run(200)
    log = Log(session.end())
    assert [file.path for file in log.header.files] == ["helper.py", "mine.py"]
    result = replay(log, loop_maker(log.header, own_code=True))
    assert result.same
    assert result.poses == 200
    with pytest.raises(InvalidInputError, match=r"run your own code, mine.py; read it.*--run-own-code"):
        loop_maker(log.header)
    with pytest.raises(InvalidInputError, match=r"helper.py can't be read.*--folder"):
        loop_maker(log.header, own_code=True, folder=tmp_path / "elsewhere")
    stage.write_text(OWN_STAGE + "\n")
    with pytest.raises(
        InvalidInputError, match=r"mine.py is not the one that ran: its SHA-256 is \w{12}…, and was \w{12}…"
    ):
        loop_maker(log.header, own_code=True)


def test_events_are_a_table(path: Path, tmp_path: Path) -> None:
    table = tmp_path / "events.csv"
    done = invoked("events", path, "-o", table)
    assert done.exit_code == 0, done.output
    pandas = pytest.importorskip("pandas")
    rows = pandas.read_csv(table)
    decisions = [entry for entry in Log(path).entries() if isinstance(entry, DecisionEntry)]
    assert (rows.kind == "decision").sum() == len(decisions)
    assert rows[rows.kind == "decision"].decided_ns.astype("int64").tolist() == [one.decided_ns for one in decisions]
    latency_ms = (rows.sent_ns - rows.decided_ns) / 1e6
    assert latency_ms.dropna().between(0, 50).all()
    assert invoked("events", path).stdout == table.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", [("record", "events"), ("report",)], ids=" ".join)
@pytest.mark.parametrize("linked", [False, True], ids=["itself", "link"])
def test_a_log_is_never_written_over(tmp_path: Path, command: tuple[str, ...], linked: bool) -> None:
    writer = begin(tmp_path)
    writer.close()
    before = writer.path.read_bytes()
    output = tmp_path / "other.csv" if linked else writer.path
    if linked:
        output.hardlink_to(writer.path)
    raised = run(*command, writer.path, "-o", output).exception
    assert isinstance(raised, InvalidInputError)
    assert "is the file that is read; choose another name" in str(raised)
    assert writer.path.read_bytes() == before


def test_no_name_of_a_log_is_one_sentence() -> None:
    raised = run("report", "").exception
    assert isinstance(raised, InvalidInputError)
    assert "can't be read" in str(raised)


def invoked(*arguments: object) -> Result:
    return run("record", *arguments)


def run(*arguments: object) -> Result:
    app = typer.Typer()
    cli.register(app)
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})

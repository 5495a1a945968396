import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from poseloop.errors import InvalidInputError
from poseloop.types import Counters
from poseloop_server.outputs.base import Outcome, Status
from poseloop_server.record.entries import Closed, CodeFile, Lost, ModelFile, PoseEntry, StreamOpened
from poseloop_server.record.header import Experiment, Start
from poseloop_server.record.log_file import create_log, file_name_of
from poseloop_server.record.log_thread import Pace
from poseloop_server.record.reader import Log

from tests.server.record.logs import NAMES, begin, command, decision, pose


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that runs this code, with what the tests of the record need imported."""
    imports = "import sys, time\nfrom pathlib import Path\nfrom tests.server.record.logs import *\n"
    return subprocess.Popen(
        [sys.executable, "-c", imports + code, *map(str, arguments)],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip


def test_all_that_is_said_stands_in_the_log_in_its_order(tmp_path: Path) -> None:
    files = tuple(
        CodeFile(path=f"{name}.py", sha256=sha256 * 32) for name, sha256 in (("stage", "ab"), ("later", "cd"))
    )
    models = (ModelFile(name="mouse", sha256="ab"),)
    experiment = Experiment("fear", {"seed": 3, "nan": float("nan")}, "s1", models, files[:1])
    start = Start(datetime(2026, 1, 31, 14, 25, tzinfo=UTC), 17)
    writer = begin(tmp_path, experiment=experiment, start=start)
    writer.stream_opened("cam0", "mouse", "ab", NAMES, files=files[1:])
    writer.pose(pose(1))
    writer.armed("cam0", "near", True, 5)
    writer.pose(pose(2), (decision(1, 2), decision(0, 2, False, "refractory", "far")))
    writer.outcome(Outcome(command(1, 2), Status.SENT, sent_ns=8))
    writer.model_swapped("cam0", "mouse", "cd")
    writer.account("cam0", Counters(sent=2, published=2), 12)
    writer.problem("output laser", "it is gone")
    writer.ended("cam0", "closed", 9, (decision(2, 2),))
    writer.stream_closed("cam0", "closed", Counters(sent=2))
    writer.close("done")
    writer.close("again")
    log = Log(writer.path)
    entries = list(log.entries())
    assert writer.path.name == "fear_20260131T142500Z.jsonl"
    assert (log.header.started_ns, log.header.started_utc, log.header.experiment) == (17, start.utc, "fear")
    assert log.header.configuration == {"seed": 3, "nan": "NaN"}
    assert log.header.files == files[:1]
    assert isinstance(entries[0], StreamOpened)
    assert entries[0].files == files[1:]
    assert log.header.versions["python"]
    assert [entry.kind for entry in entries] == [
        *("stream_opened", "pose", "armed", "pose", "decision", "decision", "outcome", "model_swapped", "account"),
        *("problem", "ended", "decision", "stream_closed", "closed"),
    ]
    closing = entries[-1]
    assert isinstance(closing, Closed)
    assert closing.reason == "done"
    assert closing.lost == writer.lost == 0
    assert closing.lines == {"header": 1, **Counter(entry.kind for entry in entries[:-1])}
    assert not log.torn


def test_decisions_and_outcomes_are_on_disk_while_the_experiment_runs(tmp_path: Path) -> None:
    writer = begin(tmp_path, pace=Pace(every_s=3600, least_mib=1))
    writer.pose(pose(1), (decision(1, 1),))
    wait_for_lines(writer.path, 3)
    writer.outcome(Outcome(command(1, 1), Status.SENT, 1))
    wait_for_lines(writer.path, 4)
    writer.close()


def test_a_kill_costs_no_line_that_was_written(tmp_path: Path) -> None:
    process = child(
        "writer = begin(Path(sys.argv[1]))\n"
        "print(writer.path, flush=True)\n"
        "for number in range(10**9):\n"
        "    writer.pose(pose(number), (decision(number, number),) if number % 7 == 0 else ())\n"
        "    time.sleep(0.0005)\n",
        tmp_path,
    )
    with process:
        assert process.stdout is not None
        path = Path(process.stdout.readline().strip())
        wait_for_lines(path, 300)
        process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    entries = list(Log(path).entries())
    poses = [entry for entry in entries if isinstance(entry, PoseEntry)]
    assert [entry.sequence for entry in poses] == list(range(len(poses)))
    assert len(entries) >= 299
    assert not isinstance(entries[-1], Closed)


@pytest.mark.skipif(os.name == "nt", reason="Windows can't limit how large a file may get")
def test_a_full_disk_costs_entries_which_are_counted_and_no_pose_waits(tmp_path: Path) -> None:
    """The process may write files of 40 kB, and 40 kB more once the log has lost something."""
    process = child(
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))\n"
        "from poseloop_server.record.log_thread import Pace\n"
        "told = []\n"
        "pace = Pace(least_mib=1, limit=100, retry_s=0.01)\n"
        "writer = begin(Path(sys.argv[1]), pace=pace, on_problem=told.append)\n"
        "numbers = iter(range(10**9))\n"
        "def go_on(until):\n"
        "    while not until():\n"
        "        writer.pose(pose(next(numbers)))\n"
        "        time.sleep(0.0002)\n"
        "go_on(lambda: writer.lost > 50)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "go_on(lambda: len(told) > 2)\n"
        "lost = writer.lost\n"
        "writer.close()\n"
        "print(json.dumps([str(writer.path), next(numbers), lost, told]))\n".replace("json", "__import__('json')"),
        tmp_path,
    )
    with process:
        assert process.stdout is not None
        path, put, lost, told = json.loads(process.stdout.read())
    log = Log(Path(path))
    entries = list(log.entries())
    gaps = [entry for entry in entries if isinstance(entry, Lost)]
    written = [entry.sequence for entry in entries if isinstance(entry, PoseEntry)]
    assert sum(gap.entries["pose"] for gap in gaps) == lost == put - len(written) > 50
    assert gaps[0].streams == ("cam0",)
    for before, gap, after in zip(entries, entries[1:], entries[2:], strict=False):
        if isinstance(gap, Lost) and isinstance(before, PoseEntry) and isinstance(after, PoseEntry):
            assert after.sequence - before.sequence - 1 == gap.entries["pose"]
    assert isinstance(entries[-1], Closed)
    assert entries[-1].lost == lost
    assert "can't be written" in told[0]
    assert any("written again" in each for each in told)
    assert any("entries are missing" in each for each in told)


@pytest.mark.skipif(os.name == "nt", reason="Windows can't limit how large a file may get")
def test_a_disk_that_stays_full_is_given_up_on_and_leaves_whole_lines(tmp_path: Path) -> None:
    process = child(
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))\n"
        "from poseloop_server.record.log_thread import Pace\n"
        "pace = Pace(least_mib=1, retry_s=0.01, give_up_s=0.05)\n"
        "writer = begin(Path(sys.argv[1]), pace=pace, on_problem=print)\n"
        "for number in range(200):\n"
        "    writer.pose(pose(number))\n"
        "writer.close()\n",
        tmp_path,
    )
    with process:
        assert process.stdout is not None
        told = process.stdout.read()
    assert "ends without its last" in told
    log = Log(next(tmp_path.glob("*.jsonl")))
    assert len(list(log.entries())) > 10
    assert log.torn


def test_what_cannot_be_shown_is_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    told: list[str] = []
    writer = begin(tmp_path, on_problem=told.append)
    writer.pose(pose(1)._replace(keypoints=None), (decision(1, 1), decision(2, 1)))  # type: ignore[arg-type]
    writer.pose(pose(2))
    writer.close()
    entries = list(Log(writer.path).entries())
    assert [entry.sequence for entry in entries if isinstance(entry, PoseEntry)] == [2]
    assert [entry.entries for entry in entries if isinstance(entry, Lost)] == [{"pose": 1, "decision": 2}]
    assert writer.lost == 3
    assert "a pose can't be written" in told[0]


def test_no_log_is_ever_written_twice(tmp_path: Path) -> None:
    """Eight threads and two processes begin the same experiment in the same second: ten files."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    code = (
        "from datetime import UTC, datetime\nfrom poseloop_server.record.log_file import create_log\n"
        "create_log(Path(sys.argv[1]), 'same', datetime(2026, 1, 1, tzinfo=UTC)).append(b'child\\n')"
    )
    children = [child(code, tmp_path) for _ in range(2)]
    threads = [
        threading.Thread(target=lambda: create_log(tmp_path, "same", start).append(b"thread\n")) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in children:
        process.communicate()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 10
    assert sorted(file.read_text() for file in files) == ["child\n"] * 2 + ["thread\n"] * 8


@pytest.mark.parametrize(
    ("name", "expected"),
    [("fear 1", "fear_1"), ("../../etc", "etc"), ("a/b\\c:d", "a_b_c_d"), ("", "experiment"), ("開く", "開く")],
)
def test_a_files_name_stays_in_its_folder(name: str, expected: str) -> None:
    assert file_name_of(name) == expected


def test_a_folder_that_cannot_be_used_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match=r"can't be written into .*file.*; name another folder"):
        begin(tmp_path / "file")
    with pytest.raises(InvalidInputError, match=r"has \d+ MiB free.*make room"):
        begin(tmp_path / "new", pace=Pace(least_mib=1 << 40))
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def wait_for_lines(path: Path, lines: int) -> None:
    """Wait until the file has as many, for half a minute at most."""
    pause = threading.Event()
    for _ in itertools.repeat(None, 3000):
        if path.read_bytes().count(b"\n") >= lines:
            return
        pause.wait(0.01)
    raise AssertionError(f"{path} never had {lines} lines")


def test_a_writer_that_is_left_open_ends_with_its_process(tmp_path: Path) -> None:
    code = "writer = begin(Path(sys.argv[1]), pace=__import__('poseloop_server').record.writer.Pace(least_mib=1))\n"
    process = child("import poseloop_server.record.writer\n" + code, tmp_path)
    assert process.wait(30) == 0

"""`poseloop rehearse` as a process, on frames of the arena and the bundled model."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import typer
import yaml
from click.testing import Result
from poseloop.arena import Arena, ArenaSettings
from poseloop.errors import InvalidInputError
from poseloop_server.rehearse.cli import register
from typer.testing import CliRunner

cv2 = pytest.importorskip("cv2")

FPS = 25.0
FRAMES = 60
RULE = """\
    experiment: walk
    record: off
    outputs:
      laser: {type: serial, port: /dev/nowhere}
    streams:
      cam0:
        stages: [one_euro: {}]
        zones:
          there: {circle: {center: [CENTER], radius: 0.12}, unit: fraction}
        triggers:
          near:
            when: body_centre in there
            on_rise: {laser: {pulse_ms: 10}}
"""


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """A lossless video of two places in turn, and the frames at which the animal jumps to the second."""
    folder = tmp_path_factory.mktemp("arena")
    arena = Arena(ArenaSettings(320, 240, FPS, seed=2))
    centre = arena.keypoint_names.index("body_centre")
    places = np.array([arena.keypoints(index)[centre] for index in range(round(arena.period_s * FPS))])
    first = 0
    second = int(np.argmax(np.linalg.norm(places - places[first], axis=1)))
    images = [arena.frame(index) for index in (first, second)]
    writer = cv2.VideoWriter(str(folder / "arena.avi"), cv2.VideoWriter.fourcc(*"FFV1"), FPS, (320, 240))
    for frame in range(FRAMES):
        writer.write(np.repeat(np.asarray(images[frame // 10 % 2]).reshape(240, 320, 1), 3, axis=2))
    writer.release()
    x, y = (places[second] + 0.5) / (320, 240)
    (folder / "rule.yaml").write_text(dedent(RULE).replace("CENTER", f"{x:.4f}, {y:.4f}"))
    return folder, list(range(10, FRAMES, 20))


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "poseloop.cli", "rehearse", *map(str, arguments)]


def rehearse(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip


def invoke(*arguments: object) -> Result:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rises(document: dict[str, list[dict[str, object]]]) -> list[object]:
    return [event["sequence"] for event in document["events"] if event["edge"] == "rise" and event["fired"]]


def test_a_video_then_its_poses_give_the_same_events_where_the_animal_is(
    arena: tuple[Path, list[int]], tmp_path: Path
) -> None:
    folder, expected = arena
    poses, table, rule = tmp_path / "poses.h5", tmp_path / "events.csv", folder / "rule.yaml"
    done = rehearse(tmp_path, rule, "--video", folder / "arena.avi", "--save-poses", poses, "--json", "--csv", table)
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)
    assert (first["poses"], first["interrupted"], first["latency_ms"]) == (FRAMES, False, 10)
    assert len(rises(first)) == len(expected)
    assert all(0 <= found - at <= 3 for found, at in zip(rises(first), expected, strict=True))  # the filter is late
    for event in first["events"]:
        assert event["captured_ns"] == round(event["sequence"] / FPS * 1e9)
        assert event["decided_ns"] == event["captured_ns"] + 10_000_000
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["sequence"]) for row in rows] == [event["sequence"] for event in first["events"]]
    assert rows[0]["actions"].startswith('[{"laser": {')

    again = rehearse(tmp_path, rule, "--poses", poses, "--json")
    assert again.returncode == 0, again.stderr
    second = json.loads(again.stdout)
    assert second["events"] == first["events"]
    assert second["triggers"] == first["triggers"]


def test_people_get_a_table_and_a_comparison(arena: tuple[Path, list[int]], tmp_path: Path) -> None:
    folder, expected = arena
    text = (folder / "rule.yaml").read_text()
    (tmp_path / "other.yaml").write_text(text.replace("radius: 0.12", "radius: 0.001"))
    done = rehearse(
        tmp_path, folder / "rule.yaml", "-v", folder / "arena.avi", "--against", tmp_path / "other.yaml",
        "--latency-ms", 5,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("only in") >= 3
    assert "only in other.yaml" in done.stdout
    assert f"0 of {2 * len(expected)} events are in both, no more than 200 ms apart" in done.stdout
    assert "decided 5 ms after capture (--latency-ms)" in done.stderr
    assert "60 poses, 2.4 s of recording" in done.stderr


def test_events_are_listed_with_their_time_and_frame(arena: tuple[Path, list[int]], tmp_path: Path) -> None:
    folder, _ = arena
    (tmp_path / "walk.csv").write_text(
        "scorer,s,s,s\nbodyparts,body_centre,body_centre,body_centre\ncoords,x,y,likelihood\n"
        + "".join(f"{frame},{160 if frame > 2 else 10},120,0.9\n" for frame in range(6))
    )
    text = (folder / "rule.yaml").read_text().replace("[one_euro: {}]", "[]")
    (tmp_path / "walk.yaml").write_text(re.sub(r"center: \[.*?\]", "center: [0.5, 0.5]", text))
    done = rehearse(tmp_path, "walk.yaml", "--poses", "walk.csv", "--fps", 25, "--size", "320x240")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.strip().startswith("00:")]
    assert rows[0] == ["00:00.120", "3", "near", "rise", "fired", "body_centre", "in", "there", "1", "laser"]
    assert rows[1][:4] == ["00:00.200", "5", "near", "fall"]


def test_a_configuration_is_checked_against_a_model(arena: tuple[Path, list[int]], tmp_path: Path) -> None:
    folder, _ = arena
    done = rehearse(tmp_path, folder / "rule.yaml", "--check")
    assert (done.returncode, done.stdout.splitlines()[1]) == (
        0, "  stream cam0: stages one_euro; zones there; triggers near"
    )  # fmt: skip
    text = (folder / "rule.yaml").read_text()
    (tmp_path / "wrong.yaml").write_text(text.replace("body_centre", "body_center"))
    done = rehearse(tmp_path, "wrong.yaml", "--check")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "wrong.yaml:12:15: " in done.stderr
    assert "did you mean body_centre?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.yaml",), r"none.yaml"),
        (("rule.yaml",), "there is nothing to rehearse on; give a recording with --video or --poses"),
        (("rule.yaml", "--video", "none.avi"), "there is no video none.avi"),
        (("rule.yaml", "--video", "rule.yaml"), "rule.yaml can't be read as a video"),
        (("rule.yaml", "--poses", "none.csv"), "there is no file none.csv with poses"),
        (("rule.yaml", "--poses", "x.csv", "--model", "m.onnx"), "leave out --model"),
        (("rule.yaml", "--video", "arena.avi", "--stream", "cam1"), "did you mean 'cam0'?"),
        (("rule.yaml", "--video", "arena.avi", "--save-poses", "x.txt"), "must end in .csv"),
        (("rule.yaml", "--video", "arena.avi", "--save-poses", "none/x.h5"), "the folder none"),
        (("rule.yaml", "--video", "arena.avi", "--csv", "none/x.csv"), "the folder none of the table is not there"),
        (("rule.yaml", "--video", "arena.avi", "--csv", "other.yaml"), "other.yaml is there already; choose another"),
        (("other.yaml", "--video", "arena.avi"), "stream cam0 is to use the model mouse, and this is arena"),
        (("pulse.yaml", "--video", "arena.avi"), "pulse.yaml:13: "),
    ],
)
def test_a_mistake_is_one_sentence(
    arena: tuple[Path, list[int]], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    folder, _ = arena
    monkeypatch.chdir(folder)
    text = (folder / "rule.yaml").read_text()
    (folder / "other.yaml").write_text(text.replace("    stages:", "    model: mouse\n    stages:"))
    (folder / "pulse.yaml").write_text(text.replace("pulse_ms: 10", "write: 1"))
    raised = invoke(*arguments).exception
    assert isinstance(raised, InvalidInputError)
    assert said in str(raised)
    assert "\n" not in str(raised)
    assert not list(folder.glob("*partial*"))


@pytest.mark.parametrize("table", ["rule.yaml", "other.yaml", "poses.csv"])
def test_no_table_of_events_replaces_what_it_is_made_from(tmp_path: Path, table: str) -> None:
    for name in ("rule.yaml", "other.yaml"):
        (tmp_path / name).write_text(dedent(RULE).replace("CENTER", "0.5, 0.5"))
    header = [f"{level},{','.join([part] * 3)}" for level, part in (("scorer", "s"), ("bodyparts", "body_centre"))]
    (tmp_path / "poses.csv").write_text("\n".join([*header, "coords,x,y,likelihood", "0,1,2,0.9"]) + "\n")
    before = (tmp_path / table).read_text()
    poses = ("--poses", tmp_path / "poses.csv", "--fps", 30, "--size", "320x240")
    raised = invoke(
        tmp_path / "rule.yaml", *poses, "--against", tmp_path / "other.yaml", "--csv", tmp_path / table
    ).exception
    assert isinstance(raised, InvalidInputError)
    assert "is the file that is read" in str(raised)
    assert (tmp_path / table).read_text() == before


def test_a_clip_flashes_where_a_trigger_fired(arena: tuple[Path, list[int]], tmp_path: Path) -> None:
    folder, expected = arena
    rule = yaml.safe_load((folder / "rule.yaml").read_text())
    x, y = rule["streams"]["cam0"]["zones"]["there"]["circle"]["center"]
    there = [any(at <= frame < at + 10 for at in expected) for frame in range(FRAMES)]
    rows = [f"{n},{x * 320 if inside else 2},{y * 240 if inside else 2},0.9" for n, inside in enumerate(there)]
    header = [f"{level},{','.join([part] * 3)}" for level, part in (("scorer", "s"), ("bodyparts", "body_centre"))]
    (tmp_path / "poses.csv").write_text("\n".join([*header, "coords,x,y,likelihood", *rows]) + "\n")
    (tmp_path / "rule.yaml").write_text((folder / "rule.yaml").read_text().replace("[one_euro: {}]", "[]"))
    clip = tmp_path / "clip.mp4"
    video = folder / "arena.avi"
    done = invoke(tmp_path / "rule.yaml", "--poses", tmp_path / "poses.csv", "-v", video, "--clip", clip)
    assert done.exit_code == 0, done.output
    drawn = cv2.VideoCapture(str(clip))
    greens = []
    while (read := drawn.read())[0]:
        blue, green, red = read[1][1, 160].astype(int)
        greens.append(green > 2 * red and green > 2 * blue)
    assert [frame for frame, flash in enumerate(greens) if flash] == [
        frame for frame in range(FRAMES) if any(at <= frame < at + 7 for at in expected)
    ]
    assert isinstance(invoke(folder / "rule.yaml", "--poses", "x.csv", "--clip", "y.mp4").exception, InvalidInputError)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_ends_with_what_was_done_so_far(arena: tuple[Path, list[int]], tmp_path: Path) -> None:
    folder, _ = arena
    (tmp_path / "slow.py").write_text(
        "import sys, time\n\nclass Slow:\n    def process(self, pose):\n        if pose.sequence == 20:\n"
        "            open('there', 'w').close()\n        time.sleep(0.05 if pose.sequence > 19 else 0)\n"
        "        return pose\n"
    )
    text = (folder / "rule.yaml").read_text()
    slow = text.replace("[one_euro: {}]", "[python: {file: slow.py, class: Slow}]")
    (tmp_path / "slow.yaml").write_text(slow)
    process = subprocess.Popen(
        command("slow.yaml", "-v", folder / "arena.avi", "--json", "--save-poses", "part.h5"),
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    while not (tmp_path / "there").exists() and process.poll() is None:
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    document = json.loads(out)
    assert document["interrupted"]
    assert 20 <= document["poses"] < FRAMES
    assert rises(document)
    assert (tmp_path / "part.h5").exists()

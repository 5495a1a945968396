"""Recorded poses: tables that we and DeepLabCut write, and our own log."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from poseloop.errors import InvalidInputError
from poseloop_server.record.entries import DecisionEntry
from poseloop_server.record.reader import Log
from poseloop_server.rehearse.log import LogRecording
from poseloop_server.rehearse.opening import Wanted, open_poses, read_size
from poseloop_server.rehearse.recording import RecordedPose
from poseloop_server.rehearse.run import ENDED, Rehearsal, run
from poseloop_server.rehearse.table import read_table
from poseloop_server.tables import open_table

from tests.server.record.sessions import Session, random_configuration
from tests.server.rehearse.recordings import spec

MULTI = """\
scorer,net,net,net,net,net,net
individuals,a,a,a,b,b,b
bodyparts,snout,snout,snout,snout,snout,snout
coords,x,y,likelihood,x,y,likelihood
0,1.5,2.5,0.9,,,
7,3,4,1,5,6,0.25
"""


@pytest.mark.parametrize("ending", ["csv", "h5"])
@given(
    values=npst.arrays(
        np.float32, st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.just(3)),
        elements=st.floats(-1e4, 1e4, width=32) | st.just(np.nan),
    )
)  # fmt: skip
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_track_writes_is_read_back(tmp_path: Path, ending: str, values: np.ndarray) -> None:
    names = ("snout", "left ear", "tail")[: values.shape[2]]
    path = tmp_path / f"poses.{ending}"
    table = open_table(path, spec(names, values.shape[1]), tmp_path / "mouse.avi")
    for frame in values:
        table.add(frame)
    table.close()
    read = read_table(path)
    assert read.keypoints == names
    assert read.frames.tolist() == list(range(len(values)))
    assert np.allclose(read.poses, values, rtol=0, atol=0 if ending == "h5" else 1e-3, equal_nan=True)
    assert (read.video is None) == (ending == "csv")


def test_several_animals_and_missing_frames_of_a_csv_are_read(tmp_path: Path) -> None:
    (tmp_path / "two.csv").write_text(MULTI)
    wanted = Wanted(None, tmp_path / "two.csv", fps=10, size="320x240")
    recorded = [item for item in open_poses(wanted).recording if isinstance(item, RecordedPose)]
    assert [(one.frame, one.captured_ns, one.decided_ns) for one in recorded] == [
        (0, 0, 10_000_000), (7, 700_000_000, 710_000_000)
    ]  # fmt: skip
    assert recorded[1].keypoints.tolist() == [[[3, 4, 1]], [[5, 6, 0.25]]]
    assert np.isnan(recorded[0].keypoints[1]).all()
    assert (recorded[0].width, recorded[0].height) == (320, 240)


TWO = "scorer,n,n,n\nbodyparts,s,s,s\ncoords,x,y,likelihood\n0,1,2,1\n"

MISTAKES = [
    ("x.csv", "a,b\n1,2\n", r"x\.csv is no table of poses: its first rows must be scorer"),
    ("x.csv", "", r"x\.csv is no table of poses"),
    ("x.csv", "scorer,n,n\nbodyparts,s,s\ncoords,x,y\n0,1,2\n", r"x\.csv: every keypoint needs the columns x, y, like"),
    ("x.csv", MULTI.replace("7,3", "7,three"), r"x\.csv can't be read as a table of poses: could not convert"),
    ("x.csv", MULTI.replace("7,3", "0,3"), r"x\.csv: the first column must hold the numbers of the frames"),
    ("x.csv", MULTI.replace("7,3", "img7.png,3"), r"x\.csv: the first column must hold the numbers of the frames"),
    ("x.csv", MULTI.replace("0.25", "0.25,8"), r"x\.csv can't be read as a table of poses"),
    ("x.h5", "no HDF5", r"x\.h5 can't be read as HDF5"),
    ("x.csv", TWO.replace("0,1,2,1", "0,1,2"), r"x\.csv: a row must hold the number of a frame and 3 values"),
    ("x.csv", TWO.replace("0,1,2,1", "0,1,2,1,5"), r"x\.csv: a row must hold the number of a frame and 3 values"),
    ("x.csv", TWO + "18446744073709551615,1,2,1\n", r"x\.csv: the first column must hold the numbers"),
    ("x.mp4", "", r"x\.mp4 must be a \.csv, \.h5, \.hdf5, or the \.jsonl of an experiment"),
    ("x.jsonl", "{}\n", r"x\.jsonl is no log of poseloop"),
]


@pytest.mark.parametrize(("name", "text", "said"), MISTAKES)
def test_a_mistake_is_one_sentence(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    wanted = Wanted(None, tmp_path / name, *((30, "320x240") if name != "x.jsonl" else ()))
    with pytest.raises(InvalidInputError, match=said) as raised:
        open_poses(wanted)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("animals", [1, 2])
def test_what_deeplabcut_writes_is_read(tmp_path: Path, animals: int) -> None:
    table = of_deeplabcut(animals)
    path = tmp_path / "mouseDLC_Resnet50.h5"
    table.to_hdf(path, key="df_with_missing", format="table", mode="w")
    read = read_table(path)
    assert read.keypoints == ("snout", "Schwänzchen")
    assert read.frames.tolist() == list(range(7))
    values = table.to_numpy(np.float32).reshape(7, animals, 2, 3)
    np.testing.assert_array_equal(read.poses, values)
    assert read.video is None


def of_deeplabcut(animals: int) -> pd.DataFrame:
    """Return a table as DeepLabCut's analyze_videos makes it."""
    individuals = {1: [], 2: [["left mouse", "right mouse"]]}[animals]
    levels = [["DLC_Resnet50_openfieldOct30shuffle1"], *individuals, ["snout", "Schwänzchen"], ["x", "y", "likelihood"]]
    names = ["scorer", *(["individuals"] if individuals else []), "bodyparts", "coords"]
    columns = pd.MultiIndex.from_product(levels, names=names)
    values = np.random.default_rng(0).random((7, len(columns))) * 300
    values[2] = np.nan
    return pd.DataFrame(values, columns=columns, index=range(7))


def test_no_code_of_a_file_runs(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    code = np.bytes_(pickle.dumps(RunsCode(ran), protocol=0))
    assert code.endswith(b".")  # which is what PyTables takes for a pickle
    of_track, of_deeplabcut_ = tmp_path / "track.h5", tmp_path / "dlc.h5"
    table = open_table(of_track, spec(("snout",), 1), tmp_path / "mouse.avi")
    table.add(np.ones((1, 1, 3), np.float32))
    table.close()
    of_deeplabcut(1).to_hdf(of_deeplabcut_, key="df_with_missing", format="table", mode="w")
    for path in (of_track, of_deeplabcut_):
        with h5py.File(path, "a") as file:
            for name in ("/", "df_with_missing", "df_with_missing/table"):
                file[name].attrs["TITLE"] = file[name].attrs["info"] = code
    assert len(read_table(of_track).poses) == 1
    assert len(read_table(of_deeplabcut_).poses) == 7
    with h5py.File(of_deeplabcut_, "a") as file:
        file["df_with_missing/table"].attrs["values_block_0_kind"] = code
    with pytest.raises(InvalidInputError, match=r"dlc\.h5 holds the names of its columns .*would import .*getattr"):
        read_table(of_deeplabcut_)
    assert not ran.exists()
    pickle.loads(code)
    assert ran.exists(), "the code would not have run anyway"


class RunsCode:
    """Makes a file when it is unpickled."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.ran,)


def analysis_file(path: Path, **changed: Any) -> Path:
    """Write a file of SLEAP's analysis format; a value that is a function makes the array of its name itself."""
    whole = {"tracks": np.ones((1, 2, 1, 4)), "point_scores": np.ones((1, 1, 4)), "node_names": np.array([b"snout"])}
    with h5py.File(path, "w") as file:
        for name, values in (whole | changed).items():
            if callable(values):
                values(file, name)
            else:
                file[name] = values
    return path


def promised(shape: tuple[int, ...], dtype: str) -> Callable[[h5py.File, str], None]:
    """Return what makes an array that is not there, only said to be."""

    def make(file: h5py.File, name: str) -> None:
        file.create_dataset(name, shape=shape, dtype=dtype, chunks=(*[1] * (len(shape) - 1), 1000))

    return make


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tracks": promised((1, 2, 1, 10**12), "f4")}, "too large"),
        ({"tracks": promised((2**32, 2, 1, 2**31), "f4")}, "too large"),
        ({"tracks": promised((1, 2, 1, 4_000_000), "S2000")}, "too large"),
        ({"point_scores": promised((1, 1, 10**10), "f4")}, "too large"),
        ({"node_names": promised((10**12,), "S8")}, "too large"),
        ({"node_names": promised((10**8,), "S8")}, "do not fit 100000000 keypoints"),
        ({"node_names": np.array([3 * 10**9])}, "that are strings"),
        ({"node_names": np.array([2**64 - 1], np.uint64)}, "that are strings"),
        ({"node_names": np.array([b"s" * 2000])}, "that are strings"),
        ({"node_names": np.array([[b"snout"]])}, "are no names"),
        ({"tracks": np.ones((1, 2, 1, 4), complex)}, "do not fit"),
        ({"tracks": lambda file, name: file.create_group(name)}, "can't be read as HDF5"),
        ({"video_path": promised((10**12,), "S8")}, "too large"),
        ({"tracks": h5py.ExternalLink("other.h5", "/tracks")}, "points into another file"),
        (
            {"tracks": lambda file, name: file.create_dataset(name, (1, 2, 1, 4), "f4", external=[("x.raw", 0, 32)])},
            "points into another file",
        ),
    ],
)
def test_a_crafted_analysis_is_one_sentence(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said) as raised:
        read_table(analysis_file(tmp_path / "x.h5", **changed))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("video", [np.int64(2**62), np.uint64(2**64 - 1), 1.5, np.zeros(3), np.bytes_(b"v" * 5000)])
def test_a_video_that_is_none_is_no_video(tmp_path: Path, video: Any) -> None:
    path = analysis_file(tmp_path / "x.h5", video_path=video)
    with pytest.raises(InvalidInputError, match="do not say what they are of"):
        open_poses(Wanted(None, path))
    assert len(read_table(path).poses) == 4


COLUMNS = [("net", "snout", coord) for coord in ("x", "y", "likelihood")]
ROW = np.dtype([("index", "<i8"), ("values_block_0", "<f8", (3,))])


@pytest.mark.parametrize(
    ("columns", "shape", "said"),
    [
        (COLUMNS, (10**12,), "too large"),
        (COLUMNS, (1, 10**12), r"of shape \(1, 1000000000000\)"),
        (COLUMNS, (2, 2), r"of shape \(2, 2\)"),
        (COLUMNS * 2, (2,), "has 6 names for the columns"),
        (np.int64(2**62), (2,), "it is no pickle"),
        (np.uint64(2**64 - 1), (2,), "it is no pickle"),
        (5, (2,), "has 0 names for the columns"),
        ([([], "snout", "x")] * 3, (2,), "whose names are no text"),
        ([("net", "no\ud800se", coord) for coord in ("x", "y", "likelihood")], (2,), "holds a control character"),
        ({("net", "snout", "x"): 1}, (2,), "more than lists of names"),
    ],
)
def test_a_crafted_table_is_one_sentence(tmp_path: Path, columns: Any, shape: tuple[int, ...], said: str) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        table = file.create_dataset("df_with_missing/table", shape, ROW, chunks=True)
        table.parent.attrs["pandas_type"] = np.bytes_(b"frame_table")
        table.attrs["index_kind"] = np.bytes_(b"integer")
        kind = columns if isinstance(columns, np.integer) else np.bytes_(pickle.dumps(columns, 0))
        table.attrs["values_block_0_kind"] = kind
    with pytest.raises(InvalidInputError, match=said):
        read_table(path)


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    pd.DataFrame({"x": [1.0], "what": ["a mouse"]}).to_hdf(path, key="df_with_missing", format="table")
    with pytest.raises(InvalidInputError, match=r"x\.h5 holds more than numbers; give a file that"):
        read_table(path)
    pd.DataFrame({"x": [1.0]}).to_hdf(path, key="df_with_missing", mode="w", format="table")
    with pytest.raises(InvalidInputError, match=r"x\.h5 is no table of DeepLabCut: its columns are not"):
        read_table(path)
    pd.DataFrame({"x": [1.0]}).to_hdf(path, key="speed", mode="w", format="table")
    with pytest.raises(InvalidInputError, match=r"x\.h5 holds no poses; give a file that `poseloop track`, DeepLabCut"):
        read_table(path)


def test_rate_and_size_come_from_the_options_or_a_video(tmp_path: Path) -> None:
    (tmp_path / "two.csv").write_text(MULTI)
    for given_, missing in (({}, "--fps RATE and --size"), ({"fps": 30}, "--size"), ({"size": "1x1"}, "--fps")):
        with pytest.raises(InvalidInputError, match=rf"two\.csv do not say what they are of; give {missing}"):
            open_poses(Wanted(None, tmp_path / "two.csv", **given_))  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="there is no video"):
        open_poses(Wanted(tmp_path / "no.avi", tmp_path / "two.csv"))
    with pytest.raises(InvalidInputError, match="has its own times and sizes"):
        Wanted(None, tmp_path / "x.jsonl", fps=30)
    with pytest.raises(InvalidInputError, match="'640' is no size of frames"):
        read_size("640")


@pytest.mark.parametrize("seed", range(3))
def test_the_rules_of_a_log_decide_on_it_as_they_did(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    session = Session(tmp_path, random, random_configuration(random, ("cam0", "cam1")), ("cam0", "cam1"))
    session.run(150)
    path = session.end()
    began_ns = Log(path).header.started_ns
    for stream in ("cam0", "cam1"):
        recording = LogRecording(path, stream, None)
        assert recording.frames == 150
        rehearsal = Rehearsal(session.config, stream, recording)
        run([rehearsal], recording)
        logged = [one for one in Log(path).entries() if isinstance(one, DecisionEntry) and one.stream == stream]
        events = [event for event in rehearsal.events if event.decision.reason != ENDED]
        for then, now in zip(logged, events, strict=True):
            decision = now.decision
            assert (then.trigger, then.edge, then.fired, then.reason) == (
                decision.trigger, decision.edge, decision.fired, decision.reason
            )  # fmt: skip
            assert then.decided_ns - began_ns == now.decided_ns
            assert then.values == pytest.approx(dict(decision.values), rel=0, abs=0, nan_ok=True)


def test_a_log_of_several_streams_needs_a_choice_and_may_be_given_another_latency(tmp_path: Path) -> None:
    random = Random(1)
    session = Session(tmp_path, random, random_configuration(random, ("cam0", "cam1")), ("cam0", "cam1"))
    session.run(20)
    path = session.end()
    with pytest.raises(InvalidInputError, match="holds the streams cam0, cam1; choose one with --stream"):
        LogRecording(path, None, None)
    with pytest.raises(InvalidInputError, match="holds no stream 'cam2'; did you mean 'cam"):
        LogRecording(path, "cam2", None)
    recorded = [one for one in LogRecording(path, "cam1", 7_000_000) if isinstance(one, RecordedPose)]
    assert {one.decided_ns - one.captured_ns for one in recorded} == {7_000_000}


def test_what_a_log_lacks_is_told(tmp_path: Path) -> None:
    random = Random(1)
    session = Session(tmp_path, random, random_configuration(random, ("cam0",)))
    session.run(20)
    path = session.end()
    whole = LogRecording(path, None, None)
    list(whole)
    assert whole.remarks() == []
    first, *lines = path.read_bytes().splitlines(keepends=True)
    gap = {"kind": "lost", "from_ns": 1, "to_ns": 2, "entries": {"pose": 3, "decision": 1}, "streams": ["cam0"]}
    path.write_bytes(b"".join([first, lines[0], json.dumps(gap).encode() + b"\n", *lines[1:], b'{"kind": "po']))
    torn = LogRecording(path, None, None)
    list(torn)
    assert [remark[:23] for remark in torn.remarks()] == ["The log lacks 4 entries", "The last line of the lo"]

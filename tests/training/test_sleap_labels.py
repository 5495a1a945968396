"""SLEAP's labels: whole, in packages, damaged, and with predictions among them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import sleap_io
from poseloop.errors import InvalidInputError
from poseloop_training.dataset import load_dataset

from tests.training.label_files import NAMES, frame_pixels, keypoints_of, some_labels, write_deeplabcut, write_png


@pytest.mark.parametrize("suffix", [".slp", ".pkg.slp"])
@pytest.mark.parametrize("color", [False, True])
def test_slp_of_images_and_packages(tmp_path: Path, suffix: str, color: bool) -> None:
    labels = some_labels(5, 3)
    project = write_deeplabcut(tmp_path / "project", labels, NAMES, color=color)
    original = load_dataset(project)
    content = sleap_io.load_file(str(project))
    content.skeleton.add_symmetry("rightear", "leftear")
    content.save(str(tmp_path / f"mouse{suffix}"), embed="user" if suffix == ".pkg.slp" else False, verbose=False)
    dataset = load_dataset(tmp_path / f"mouse{suffix}")
    assert dataset.name == "mouse"
    assert dataset.color == ("rgb" if color else "gray")
    assert dataset.labels_sha256() == original.labels_sha256()
    assert dataset.images_sha256(range(5)) == original.images_sha256(range(5))
    assert dataset.swap_pairs == (("leftear", "rightear"),)
    assert not dataset.swap_pairs_guessed


def test_slp_keeps_persons_labels_only(tmp_path: Path) -> None:
    files = [str(write_png(tmp_path / f"i{i}.png", frame_pixels(i))) for i in range(3)]
    skeleton = sleap_io.Skeleton(["a", "b"])
    video = sleap_io.Video.from_filename(files)
    points = np.array([[1.0, 2.0], [3.0, 4.0]])
    by_hand = sleap_io.Instance.from_numpy(points, skeleton=skeleton)
    predicted = sleap_io.PredictedInstance.from_numpy(points + 1, skeleton=skeleton, score=0.5)
    frames = [
        sleap_io.LabeledFrame(video=video, frame_idx=0, instances=[predicted]),
        sleap_io.LabeledFrame(video=video, frame_idx=2, instances=[by_hand, predicted]),
    ]
    sleap_io.Labels(frames).save(str(tmp_path / "l.slp"), verbose=False)
    dataset = load_dataset(tmp_path / "l.slp")
    assert [sample.image.name for sample in dataset.samples] == [f"{tmp_path.name}/i2.png"]
    np.testing.assert_array_equal(keypoints_of(dataset)[0, 0], points)
    assert [problem.kind for problem in dataset.problems] == ["predictions_left_out"]


def _promise(file: h5py.File, table: str) -> None:
    dtype = file[table].dtype
    del file[table]
    file.create_dataset(table, shape=(10**11,), dtype=dtype, chunks=(1000,))


def _retype(file: h5py.File, table: str) -> None:
    del file[table]
    file[table] = np.zeros(3)


def _lend(file: h5py.File, table: str) -> None:
    del file[table]
    file[table] = h5py.ExternalLink("other.slp", table)


def _lend_deep(file: h5py.File, name: str) -> None:
    file.create_dataset(name, shape=(4,), dtype="f8", external=[("other.raw", 0, 32)])


def _repeat(file: h5py.File, name: str) -> None:
    """Make an array of one long string, led to from many places."""
    kind = h5py.string_dtype()
    strings = file.create_dataset(name, shape=(20_000,), dtype=kind, chunks=(1000,))
    strings[0] = "x" * 100_000
    file.flush()
    place = strings.id.read_direct_chunk((0,))[1][:16]
    for chunk in range(20):
        strings.id.write_direct_chunk((chunk * 1000,), place * 1000)


def _describe(file: h5py.File, text: str) -> None:
    file["metadata"].attrs["json"] = text


def _no_skeleton(file: h5py.File, _: str) -> None:
    instances = file["instances"][:]
    instances["skeleton"] = 99
    file["instances"][:] = instances


@pytest.mark.parametrize(
    ("damage", "what", "said"),
    [
        (_promise, "frames", "its tables would take more than 1 GiB"),
        (_promise, "points", "its tables would take more than 1 GiB"),
        (_retype, "frames", "can't be read as SLEAP labels"),
        (_lend, "frames", "points into another file"),
        (_lend_deep, "centroids/x", "points into another file"),
        (_repeat, "notes", "its tables would take more than 1 GiB"),
        (_describe, "[]", "can't be read as SLEAP labels"),
        (_describe, "[" * 60_000, "can't be read as SLEAP labels"),
        (_no_skeleton, "", "can't be read as SLEAP labels"),
    ],
)
def test_slp_that_is_damaged_is_one_sentence(
    tmp_path: Path, damage: Callable[[h5py.File, str], None], what: str, said: str
) -> None:
    skeleton = sleap_io.Skeleton(["a", "b"])
    video = sleap_io.Video.from_filename([str(write_png(tmp_path / "i0.png", frame_pixels(0)))])
    by_hand = sleap_io.Instance.from_numpy(np.array([[1.0, 2.0], [3.0, 4.0]]), skeleton=skeleton)
    frame = sleap_io.LabeledFrame(video=video, frame_idx=0, instances=[by_hand])
    sleap_io.Labels([frame]).save(str(tmp_path / "l.slp"), verbose=False)
    with h5py.File(tmp_path / "l.slp", "r+") as file:
        damage(file, what)
    with pytest.raises(InvalidInputError, match=said) as raised:
        load_dataset(tmp_path / "l.slp")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("tracks", "places"),
    [((0, 1), (0, 1)), ((1, 0), (1, 0)), ((None, 0), (0, 1)), ((1, None), (0, 1)), ((1, 1), (0, 1))],
)
def test_slp_no_animal_takes_anothers_place(
    tmp_path: Path, tracks: tuple[int | None, ...], places: tuple[int, ...]
) -> None:
    files = [str(write_png(tmp_path / f"i{i}.png", frame_pixels(i))) for i in range(2)]
    skeleton, video = sleap_io.Skeleton(["a", "b"]), sleap_io.Video.from_filename(files)
    known = [sleap_io.Track("left"), sleap_io.Track("right")]
    points = np.array([[[1.0, 2.0], [3.0, 4.0]], [[11.0, 12.0], [13.0, 14.0]]])

    def frame(index: int, tracks: tuple[int | None, ...]) -> sleap_io.LabeledFrame:
        instances = [
            sleap_io.Instance.from_numpy(xy, skeleton=skeleton, track=None if track is None else known[track])
            for xy, track in zip(points, tracks, strict=True)
        ]
        return sleap_io.LabeledFrame(video=video, frame_idx=index, instances=instances)

    sleap_io.Labels([frame(0, (0, 1)), frame(1, tracks)]).save(str(tmp_path / "l.slp"), verbose=False)
    dataset = load_dataset(tmp_path / "l.slp")
    np.testing.assert_array_equal(keypoints_of(dataset)[0], points)
    np.testing.assert_array_equal(keypoints_of(dataset)[1, list(places)], points)


def test_flies(shared_data: Path) -> None:
    import h5py

    dataset = load_dataset(shared_data / "flies/flies.slp")
    with h5py.File(shared_data / "flies/flies.slp") as content:
        points = content["points"][:]
        female_first = [int(track) for track in content["instances"]["track"]]
    xy = np.stack([points["x"], points["y"]], axis=-1).reshape(1000, 2, 13, 2)
    for row in np.flatnonzero(np.array(female_first[::2]) == 1):
        xy[row] = xy[row, ::-1]
    np.testing.assert_array_equal(keypoints_of(dataset), xy.astype(np.float32))
    assert dataset.animals == 2
    assert dataset.color == "gray"
    assert {(sample.width, sample.height) for sample in dataset.samples} == {(1024, 1024)}
    assert dataset.swap_pairs[0] == ("wingL", "wingR")
    assert len(dataset.swap_pairs) == 5


def test_slp_whose_video_is_gone(tmp_path: Path, shared_data: Path) -> None:
    copy = tmp_path / "flies.slp"
    copy.write_bytes((shared_data / "flies/flies.slp").read_bytes())
    with pytest.raises(InvalidInputError, match=r"clip\.mp4 does not exist"):
        load_dataset(copy)

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from poseloop.errors import InvalidInputError
from poseloop.types import ModelSpec
from poseloop_server.tables import HDF_KEY, open_table, partial_of

KEYPOINTS = ["snout", "left_ear", "tail"]
ABSENT = (np.nan, np.nan, 0.0)


def spec_of(max_animals: int) -> ModelSpec:
    return ModelSpec(
        name="mouse",
        keypoints=KEYPOINTS,
        skeleton=[("snout", "left_ear"), ("left_ear", "tail")],
        color="gray",
        native_width=640,
        native_height=480,
        max_animals=max_animals,
    )


def write(path: Path, max_animals: int, frames: int = 6) -> np.ndarray:
    poses = np.random.default_rng(0).uniform(0, 1, (frames, max_animals, 3, 3)).astype(np.float32)
    poses[..., :2] *= 640
    poses[2, 0] = ABSENT
    table = open_table(path, spec_of(max_animals), Path("video.mp4"))
    for pose in poses:
        table.add(pose)
    table.close()
    return poses


def read(path: Path, levels: int) -> pd.DataFrame:
    if path.suffix == ".csv":
        return pd.read_csv(path, header=list(range(levels)), index_col=0)
    return pd.read_hdf(path, key=HDF_KEY)


@pytest.mark.parametrize("name", ["poses.csv", "poses.h5"])
@pytest.mark.parametrize("max_animals", [1, 2])
def test_pandas_finds_the_layout_of_deeplabcut(tmp_path: Path, name: str, max_animals: int) -> None:
    poses = write(tmp_path / name, max_animals)
    levels = ["scorer", "individuals", "bodyparts", "coords"] if max_animals > 1 else ["scorer", "bodyparts", "coords"]
    table = read(tmp_path / name, len(levels))
    assert list(table.columns.names) == levels
    assert set(table.columns.get_level_values("scorer")) == {"poseloop_mouse"}
    assert list(dict.fromkeys(table.columns.get_level_values("bodyparts"))) == KEYPOINTS
    assert list(dict.fromkeys(table.columns.get_level_values("coords"))) == ["x", "y", "likelihood"]
    assert list(table.index) == list(range(6))
    np.testing.assert_allclose(table.to_numpy().reshape(poses.shape), poses, atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_pandas_2_finds_the_version_without_which_it_reads_no_table(tmp_path: Path) -> None:
    tables = pytest.importorskip("tables")
    poses = write(tmp_path / "poses.h5", 1)
    with tables.open_file(tmp_path / "poses.h5") as file:
        assert str(file.root.df_with_missing._v_attrs.pandas_version) == "0.15.2"
    np.testing.assert_allclose(read(tmp_path / "poses.h5", 3).to_numpy().reshape(poses.shape), poses, atol=1e-4)


@pytest.mark.parametrize("name", ["poses.csv", "poses.h5"])
@pytest.mark.parametrize("max_animals", [1, 2])
def test_movement_reads_it(tmp_path: Path, name: str, max_animals: int) -> None:
    load_poses = pytest.importorskip("movement.io.load_poses")
    poses = write(tmp_path / name, max_animals)
    dataset = load_poses.from_dlc_file(tmp_path / name, fps=30)
    assert list(dataset.keypoints.values) == KEYPOINTS
    # movement: time, space, keypoints, individuals
    np.testing.assert_allclose(dataset.position.values, poses[..., :2].transpose(0, 3, 2, 1), atol=1e-4)
    np.testing.assert_allclose(dataset.confidence.values, poses[..., 2].transpose(0, 2, 1), atol=1e-4)


@pytest.mark.parametrize("max_animals", [1, 2])
def test_sleap_io_reads_the_same_hdf_file(tmp_path: Path, max_animals: int) -> None:
    sleap_io = pytest.importorskip("sleap_io")
    poses = write(tmp_path / "poses.h5", max_animals)
    labels = sleap_io.load_file(str(tmp_path / "poses.h5"))
    assert [node.name for node in labels.skeletons[0].nodes] == KEYPOINTS
    assert labels.skeletons[0].edge_names == [("snout", "left_ear"), ("left_ear", "tail")]
    assert Path(labels.videos[0].filename).name == "video.mp4"
    found = {frame.frame_idx: frame for frame in labels}
    assert sorted(found) == [index for index in range(6) if max_animals > 1 or index != 2]
    for index in (0, 5):
        instances = [instance.numpy(scores=True) for instance in found[index].instances]
        np.testing.assert_allclose(np.stack(instances)[..., :3], poses[index], atol=1e-4)


def test_sleap_io_reads_the_skeleton_of_the_csv(tmp_path: Path) -> None:
    # A table of a video names no images, which is all that sleap-io takes from a csv.
    sleap_io = pytest.importorskip("sleap_io")
    write(tmp_path / "poses.csv", 1)
    assert {node.name for node in sleap_io.load_file(str(tmp_path / "poses.csv")).skeletons[0].nodes} == set(KEYPOINTS)


def test_a_file_has_its_name_only_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "poses.csv"
    table = open_table(path, spec_of(1), Path("video.mp4"))
    table.add(np.zeros((1, 3, 3), np.float32))
    assert not path.exists()
    assert partial_of(path).exists()
    table.close()
    assert path.exists()
    assert not partial_of(path).exists()


@pytest.mark.parametrize(("name", "word"), [("poses.txt", ".csv, .h5"), ("no/such/poses.csv", "folder")])
def test_a_name_that_cannot_be_written_is_refused(tmp_path: Path, name: str, word: str) -> None:
    with pytest.raises(InvalidInputError, match=word):
        open_table(tmp_path / name, spec_of(1), Path("video.mp4"))

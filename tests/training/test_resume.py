"""A run that goes on is what it was, labels, rows, pairs, names and places; and a new one is only itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from poseloop.arena import ArenaSettings
from poseloop.arena_dataset import write_project
from poseloop.errors import InvalidInputError
from poseloop_training.checkpoint import read_checkpoint
from poseloop_training.model_runner import ModelRunner
from poseloop_training.plan import Identity

from tests.training.test_cli import poseloop
from tests.training.test_fit import run


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("arena"), 20, ArenaSettings(width=96, height=80, seed=5)).parent


@pytest.fixture(scope="module")
def begun(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one epoch, which started from weights that are gone now."""
    folder = tmp_path_factory.mktemp("begun")
    assert run(project, folder / "first.onnx", "--epochs", "1").exit_code == 0
    weights = shutil.move(folder / "first.run" / "best.ckpt", folder / "weights.ckpt")
    options = ("--epochs", "1", "--swap", "snout,tail_tip", "--name", "mickey", "--license", "CC0-1.0")
    done = run(project, folder / "mouse.onnx", *options, "--init", str(weights))
    assert done.exit_code == 0, done.output
    weights.unlink()
    return folder


@pytest.fixture
def copy(begun: Path, tmp_path: Path) -> Path:
    """A copy of that folder at another place, for a test to change."""
    return Path(shutil.copytree(begun, tmp_path / "moved"))


def go_on(project: Path, folder: Path, *options: str) -> Result:
    return run(project, None, "--resume", str(folder / "mouse.run"), "--epochs", "2", *options, network=())


def test_what_was_asked_for_at_first_is_kept(project: Path, copy: Path) -> None:
    (copy / "mouse.onnx").unlink()
    done = go_on(project, copy)
    assert done.exit_code == 0, done.output
    spec = ModelRunner(copy / "mouse.onnx").spec
    assert (spec.name, spec.license, spec.swap_pairs) == ("mickey", "CC0-1.0", [("snout", "tail_tip")])
    assert spec.training is not None
    assert (spec.training.epochs, spec.training.initialisation) == (2, "weights.ckpt")


def test_names_and_place_may_change(project: Path, copy: Path) -> None:
    done = go_on(project, copy, "--out", str(copy / "rat.onnx"), "--license", "MIT")
    assert done.exit_code == 0, done.output
    spec = ModelRunner(copy / "rat.onnx").spec
    assert (spec.name, spec.license) == ("mickey", "MIT")


@pytest.mark.parametrize(
    "options",
    [
        ("--test-indices", "t.txt"),
        ("--swap", "snout,tail_tip"),
        ("--run-dir", "x"),
        ("--init", "none"),
        ("--seed", "1"),
    ],
)
def test_what_contradicts_is_refused(project: Path, begun: Path, options: tuple[str, str]) -> None:
    done = go_on(project, begun, *options)
    assert isinstance(done.exception, InvalidInputError)
    assert f"{options[0]} can't be changed with --resume" in str(done.exception)


def with_rows_turned_round(project: Path, folder: Path) -> Path:
    changed = Path(shutil.copytree(project, folder / "project"))
    (table,) = changed.glob("labeled-data/*/CollectedData_*.csv")
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:3] + lines[:2:-1]) + "\n")
    return changed


def with_keypoints_turned_round(project: Path, folder: Path) -> Path:
    changed = Path(shutil.copytree(project, folder / "project"))
    config = yaml.safe_load((changed / "config.yaml").read_text())
    config["bodyparts"] = config["bodyparts"][::-1]
    (changed / "config.yaml").write_text(yaml.safe_dump(config))
    return changed


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        (with_rows_turned_round, "was trained on these labels in another order"),
        (with_keypoints_turned_round, "was trained with the keypoints in the order snout, left_ear"),
    ],
)
def test_labels_in_another_order_are_refused(
    project: Path, begun: Path, tmp_path: Path, changed: Callable[[Path, Path], Path], text: str
) -> None:
    done = go_on(changed(project, tmp_path), begun)
    assert isinstance(done.exception, InvalidInputError)
    assert text in str(done.exception)


def test_test_frames_are_those_of_the_runs_rows(project: Path, begun: Path, tmp_path: Path) -> None:
    turned = with_rows_turned_round(project, tmp_path)
    frames = begun / "mouse.run" / "test_frames.json"
    done = poseloop("evaluate", begun / "mouse.onnx", turned, "--indices", frames)
    assert done.returncode == 1
    assert "numbers the frames of other labels than these, or of the same in another order" in done.stderr
    shutil.copy(frames, tmp_path / "own.json")
    done = poseloop("evaluate", begun / "mouse.onnx", turned, "--indices", tmp_path / "own.json", "--json")
    assert done.returncode == 0, done.stderr
    same = with_keypoints_turned_round(project, tmp_path / "k")
    assert poseloop("evaluate", begun / "mouse.onnx", same, "--indices", frames, "--json").returncode == 0


def test_a_new_run_leaves_nothing_of_the_one_before(project: Path, copy: Path) -> None:
    folder = copy / "mouse.run"
    own = [folder / "worst" / "note.txt", folder / "notes.txt"]
    for file in own:
        file.write_text("mine")
    refused = run(project, copy / "mouse.onnx", "--batch-size", "0")
    assert refused.exception is not None
    assert (folder / "last.ckpt").exists()
    diverged = run(project, copy / "mouse.onnx", "--epochs", "4", "--learning-rate", "1e30", "--test-fraction", "0")
    assert diverged.exception is not None
    left = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert left - {"last.ckpt", "best.ckpt"} == {"settings.json", "test_frames.json", "notes.txt", "worst/note.txt"}
    assert read_checkpoint(folder / "last.ckpt").spec.name == "mouse"


@pytest.mark.parametrize("name", ["", "my mouse", "mäuschen", "a/b", "x" * 65])
def test_names_that_no_model_may_have(project: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match="letters, digits"):
        Identity(name)
    if name:
        done = run(project, tmp_path / "x.onnx", "--name", name)
        assert isinstance(done.exception, InvalidInputError)
        assert not list(tmp_path.iterdir())


def test_a_file_where_a_folder_has_to_be_is_found_before_training(project: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for options in (("--run-dir", str(tmp_path / "file")), ("--run-dir", str(tmp_path / "file" / "x.run"))):
        done = run(project, tmp_path / "x.onnx", *options)
        assert isinstance(done.exception, InvalidInputError)
        assert "is no folder to write into; give another --run-dir" in str(done.exception)
    done = run(project, tmp_path / "file" / "x.onnx")
    assert isinstance(done.exception, InvalidInputError)
    assert "can't be written" in str(done.exception)

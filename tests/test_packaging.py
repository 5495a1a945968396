"""What leaves the house: the wheel, the source archive, and the Makefile on a machine where nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import BytesParser
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "poseloop": ROOT / "clients/python/poseloop",
    "poseloop_server": ROOT / "server/poseloop_server",
    "poseloop_training": ROOT / "training/poseloop_training",
}
KINDS_OF_FILE = {".py", ".pyi", ".typed", ".onnx"}
BUNDLED_MODELS = PACKAGES["poseloop_server"] / "models"


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def wheel(archives: Path) -> Path:
    return next(archives.glob("*.whl"))


def _files(wheel: Path) -> set[PurePosixPath]:
    with zipfile.ZipFile(wheel) as archive:
        return {PurePosixPath(name) for name in archive.namelist()}


def _package_files() -> set[PurePosixPath]:
    """Every file of the three packages in the working tree, as the wheel has to name it."""
    return {
        PurePosixPath(name, path.relative_to(folder).as_posix())
        for name, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_three_packages_whole_and_nothing_else(wheel: Path) -> None:
    files = {path for path in _files(wheel) if not path.parts[0].endswith(".dist-info")}
    assert files == _package_files()
    assert {path.suffix for path in files} <= KINDS_OF_FILE


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_marked_as_typed(wheel: Path, package: str) -> None:
    assert PurePosixPath(package, "py.typed") in _files(wheel)


def test_the_wheel_carries_the_bundled_model(wheel: Path) -> None:
    models = {path.name: path.stat().st_size for path in BUNDLED_MODELS.glob("*.onnx")}
    assert models, f"no model in {BUNDLED_MODELS.relative_to(ROOT)}; make one with `make arena-model`"
    with zipfile.ZipFile(wheel) as archive:
        packed = {PurePosixPath(info.filename).name: info.file_size for info in archive.infolist()}
    assert models.items() <= packed.items()


def test_the_wheel_carries_its_licence_and_the_program(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {PurePosixPath(name).name: name for name in archive.namelist()}
        metadata = BytesParser().parsebytes(archive.read(names["METADATA"]))
        entry_points = archive.read(names["entry_points.txt"]).decode()
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "LICENSE" in names
    assert "poseloop = poseloop.__main__:main" in entry_points


def test_the_source_archive_is_the_repository_without_what_was_made_in_it(archives: Path) -> None:
    with tarfile.open(next(archives.glob("*.tar.gz"))) as archive:
        files = {PurePosixPath(*PurePosixPath(member.name).parts[1:]) for member in archive.getmembers()}
    for needed in ("pyproject.toml", "LICENSE", "README.md", "Makefile", "proto/poseloop/v1/poseloop.proto"):
        assert PurePosixPath(needed) in files
    made = {".venv", "__pycache__", "demo-output", "runs", "lightning_logs", ".git", ".mypy_cache", ".ruff_cache"}
    assert not [path for path in files if made & set(path.parts)]


def test_the_source_archive_builds_the_same_wheel(archives: Path, wheel: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(next(archives.glob("*.tar.gz")), tmp_path)
    (source,) = tmp_path.iterdir()
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=source, check=True)
    assert _files(next(tmp_path.glob("*.whl"))) == _files(wheel)


@pytest.fixture
def bare_clone(tmp_path: Path) -> Path:
    """What `make` needs of a clone before anything is installed, in a folder with a space in its name."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    clone = tmp_path / "a clone"
    (clone / "scripts").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "scripts/make_venv.py"):
        shutil.copy(ROOT / name, clone / name)
    return clone


def _make(clone: Path, target: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # A virtual environment's own Python hides whether another can be made, so the one below it is asked.
    python = str(Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}"))
    inherited = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(
        ["make", target],
        cwd=clone,
        env=inherited | {"PYTHON": python} | environment,
        capture_output=True,
        text=True,
    )


def _said(made: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines that a person sees, less make's own last one."""
    assert made.returncode != 0
    return [line for line in (made.stdout + made.stderr).splitlines() if not line.startswith("make:")]


def test_make_says_in_a_sentence_that_python_is_missing(bare_clone: Path) -> None:
    (sentence,) = _said(_make(bare_clone, "demo", PYTHON="no-such-python"))
    assert "apt install" in sentence


def test_make_says_in_a_sentence_that_python_is_too_old(bare_clone: Path) -> None:
    script = bare_clone / "scripts/make_venv.py"
    script.write_text(script.read_text().replace("OLDEST = (3, 11)", "OLDEST = (9, 0)"))
    (sentence,) = _said(_make(bare_clone, "demo"))
    assert "make PYTHON=" in sentence


def test_make_says_in_a_sentence_that_venv_is_missing_and_goes_on_once_it_is_there(bare_clone: Path) -> None:
    shim = bare_clone / "shim"
    shim.mkdir()
    (shim / "ensurepip.py").write_text("raise ImportError('not installed, as on a Debian without python3-venv')")
    (sentence,) = _said(_make(bare_clone, "demo", PYTHONPATH=str(shim)))
    assert "apt install python3" in sentence

    # What `python3 -m venv` leaves behind on such a machine: an environment without pip.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare_clone / ".venv"], check=True)
    made = _make(bare_clone, ".venv/.stamp-venv")
    assert made.returncode == 0, made.stderr
    subprocess.run([bare_clone / ".venv/bin/python", "-m", "pip", "--version"], check=True)
    again = _make(bare_clone, ".venv/.stamp-venv")
    assert "up to date" in again.stdout


def test_make_lists_its_targets(bare_clone: Path) -> None:
    made = _make(bare_clone, "help")
    assert made.returncode == 0
    for target in ("make demo", "make test"):
        assert target in made.stdout

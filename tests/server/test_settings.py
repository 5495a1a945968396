from __future__ import annotations

from pathlib import Path

import pytest
from poseloop.cli import app, load_commands
from poseloop.crop import Crop
from poseloop.errors import InvalidInputError
from poseloop_server.placement import Placement
from poseloop_server.settings import HostPort, Settings
from poseloop_server.settings_sources import load_settings
from typer.testing import CliRunner


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("listen: 127.0.0.1:1\npublish: tcp://127.0.0.1:2\nthreads: 3\n")
    environment = {"POSELOOP_PUBLISH": "tcp://127.0.0.1:4", "POSELOOP_THREADS": "5", "POSELOOP_TEST_DATA": "/x"}
    settings = load_settings(file, {"threads": "6", "provider": None, "model": []}, environment)
    assert (settings.listen, settings.publish, settings.threads) == ("127.0.0.1:1", "tcp://127.0.0.1:4", 6)
    assert settings.provider == "cpu"


def test_models_are_a_list_wherever_they_come_from(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("model: [a.onnx, fly=b.onnx]\n")
    assert load_settings(file, {}, {}).model == ["a.onnx", "fly=b.onnx"]
    assert load_settings(None, {}, {"POSELOOP_MODEL": "a.onnx, fly=b.onnx"}).model == ["a.onnx", "fly=b.onnx"]
    assert load_settings(None, {"model": ["c.onnx"]}, {}).model == ["c.onnx"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("lisen: 127.0.0.1:1", "did you mean 'listen'"),
        ("treads: 2", "did you mean 'threads'"),
        ("threads: 0", r"threads \(from .*server.yaml\)"),
        ("publish: 127.0.0.1:5", "tcp://"),
        ("cores: x", "write them as"),
        ("cores: 3-1", "above"),
        ("cores: [mouse=]", "write them as"),
        ("crop: 256", "give WIDTHxHEIGHT"),
        ("crop: [mouse=8x256]", "32 to 16384"),
        ("crop: 256x256@2", "between 0 and 1"),
        ("model_threads: [mouse]", "NAME=COUNT"),
        ("model_threads: mouse=0", "NAME=COUNT"),
        ("max_batch_frames: 0", r"max_batch_frames \(from"),
        ("metrics: nowhere", "HOST:PORT"),
        ("- a list", "key: value"),
        ("a: [", "not valid YAML"),
        ("a: " + "[" * 5000, "not valid YAML"),
        ("listen: 2026-13-45", "not valid YAML"),
        ("threads: " + "9" * 6000, "not valid YAML"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "server.yaml"
    file.write_text(content)
    with pytest.raises(InvalidInputError, match=said) as raised:
        load_settings(file, {}, {})
    assert "\n" not in str(raised.value)


def test_crops_are_each_models_own_or_everyones(tmp_path: Path) -> None:
    file = tmp_path / "poseloop.yaml"
    file.write_text("crop: [256x192, mouse=128x128@0.4, fly=off]\n")
    settings = load_settings(file, {}, {})
    assert settings.crop_of("rat") == Crop(256, 192)
    assert settings.crop_of("mouse") == Crop(128, 128, 0.4)
    assert settings.crop_of("fly") is None
    for text in ("crop: off", "crop: []", ""):
        file.write_text(text)
        assert load_settings(file, {}, {}).crop_of("rat") is None
    assert load_settings(None, {}, {"POSELOOP_CROP": "mouse=64x64"}).crop_of("rat") is None
    assert load_settings(None, {"crop": ["64x64"]}, {}).crop_of("rat") == Crop(64, 64)


def test_threads_and_cores_are_each_models_own_or_everyones(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("threads: 2\nmodel_threads: [mouse=3]\ncores: [0, 1, mouse=2-3, mouse=5]\n")
    settings = load_settings(file, {}, {})
    assert settings.placement("mouse") == Placement(3, (2, 3, 5))
    assert settings.placement("fly") == Placement(2, (0, 1))
    assert load_settings(None, {}, {"POSELOOP_CORES": "1, 3"}).placement("fly").cores == (1, 3)
    assert load_settings(None, {"cores": ["0-1"]}, {}).placement("fly").cores == (0, 1)
    file.write_text("cores: 1\nthreads: auto\n")
    assert load_settings(file, {}, {}).placement("fly").cores == (1,)


def test_a_nearly_known_variable_is_a_typing_error() -> None:
    with pytest.raises(InvalidInputError, match="did you mean POSELOOP_THREADS"):
        load_settings(None, {}, {"POSELOOP_THREAD": "2"})


def test_every_key_has_a_flag_and_a_description() -> None:
    load_commands()
    shown = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    for key, field in Settings.model_fields.items():
        assert field.description
        assert f"--{key.replace('_', '-')}" in shown


def test_off_is_a_word_in_yaml_too(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("metrics: off\npublish_json: off\n")
    settings = load_settings(file, {}, {})
    assert settings.metrics_address is None
    assert settings.publish_json_endpoint is None


@pytest.mark.parametrize("text", ["127.0.0.1:50051", "[::1]:1", "localhost:0"])
def test_addresses_are_read_and_written(text: str) -> None:
    address = HostPort.parse(text)
    assert str(address) == text
    assert address.is_loopback


@pytest.mark.parametrize("text", ["", "localhost", ":1", "localhost:x", "localhost:65536", "localhost:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        HostPort.parse(text)

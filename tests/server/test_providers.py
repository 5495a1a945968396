from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from poseloop.errors import InvalidInputError
from poseloop_server import nvidia, providers
from poseloop_server.model import PoseModel
from poseloop_server.provider_options import OPTIONS, CudaOptions, TensorRtOptions, read_options
from poseloop_server.providers import PROVIDERS, ProviderUnavailableError, versions_of
from poseloop_server.record.header import versions
from poseloop_server.session import MAX_SIZES, BoundRun, Session, SizedSession, open_session
from poseloop_server.settings_sources import load_settings


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _images(width: int, height: int, *spots: tuple[int, int]) -> np.ndarray:
    images = np.zeros((len(spots), height, width, 1), np.uint8)
    for number, (x, y) in enumerate(spots):
        images[number, y, x] = 255
    return images


def _spots(keypoints: np.ndarray) -> list[list[float]]:
    return keypoints[:, 0, 0, :2].tolist()


# Options


def test_options_come_from_a_file_a_variable_or_a_flag(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text(
        "provider: tensorrt\nprovider_options:\n  precision: fp16\n  engine_cache: /cache\n  cuda_graph: true\n"
    )
    from_file = load_settings(file, {}, {}).provider_options
    assert from_file == TensorRtOptions(precision="fp16", engine_cache=Path("/cache"), cuda_graph=True)
    text = "precision=fp16, engine_cache=/cache, cuda_graph=true"
    assert load_settings(file, {}, {"POSELOOP_PROVIDER_OPTIONS": text}).provider_options == from_file
    assert load_settings(file, {"provider_options": "device_id=1"}, {}).provider_options == TensorRtOptions(device_id=1)
    assert read_options("tensorrt", str(from_file)) == from_file


@pytest.mark.parametrize("provider", sorted(OPTIONS))
def test_every_provider_has_options_that_are_described_and_can_be_left_out(provider: str) -> None:
    assert type(load_settings(None, {"provider": provider}, {}).provider_options) is OPTIONS[provider]
    assert all(field.description for field in OPTIONS[provider].model_fields.values())
    assert all(isinstance(value, str) for value in read_options(provider).for_onnxruntime(2).values())


@pytest.mark.parametrize(
    ("provider", "options", "said"),
    [
        ("tensorrt", "precison=fp16", "'tensorrt' has no option 'precison'; did you mean 'precision'"),
        ("cpu", "device_id=1", "'cpu' has no option 'device_id'"),
        ("cuda", "device_id=first", "device_id of the provider 'cuda'"),
        ("openvino", "device=TPU", "device of the provider 'openvino'"),
        ("openvino", "precision=int4", "'f32', 'bf16' or 'f16'"),
        ("cuda", "device_id", "is not KEY=VALUE"),
    ],
)
def test_a_wrong_option_is_one_sentence(provider: str, options: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^provider_options \(from the command line\): ") as caught:
        load_settings(None, {"provider": provider, "provider_options": options}, {})
    assert said in str(caught.value)


def test_a_mapping_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("provider_options: [precision, fp16]\n")
    with pytest.raises(InvalidInputError, match="KEY=VALUE"):
        load_settings(file, {}, {})


# What is missing


@pytest.mark.parametrize("package", ["onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"])
def test_any_wheel_of_onnx_runtime_stands_in_what_was_run(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (package, "numpy"):
        folder = tmp_path / f"{name.replace('-', '_')}-1.2.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])  # what is installed is this alone
    assert versions_of("numpy", "grpcio") == {"numpy": "1.2", package: "1.2"}
    recorded = versions()
    assert recorded.pop("python")
    assert recorded == {"numpy": "1.2", package: "1.2"}


@pytest.mark.parametrize(("name", "package"), [("openvino", "onnxruntime-openvino"), ("cuda", "onnxruntime-gpu")])
def test_a_package_that_is_not_installed_is_named(name: str, package: str) -> None:
    if PROVIDERS[name] in providers.present():
        pytest.skip(f"{name} is installed here")
    with pytest.raises(ProviderUnavailableError, match=f"pip install {package}"):
        providers.require(name, read_options(name))


def test_a_gpu_that_is_not_there_is_said_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    if nvidia.missing_device(0) is None:
        pytest.skip("this machine has an NVIDIA GPU")
    monkeypatch.setattr(providers, "_is_present", lambda provider: True)
    with pytest.raises(ProviderUnavailableError, match="'cuda' was asked for, but NVIDIA's driver"):
        providers.require("cuda", CudaOptions())


def test_a_session_that_runs_elsewhere_is_an_error() -> None:
    with pytest.raises(ProviderUnavailableError, match=r"'cuda' was asked for, but .* is missing"):
        providers.require_running(PROVIDERS["cuda"], CudaOptions(), ["CPUExecutionProvider"])
    with pytest.raises(ProviderUnavailableError, match="finds no device NPU here"):
        providers.require_running(
            PROVIDERS["openvino"], read_options("openvino", "device=NPU"), ["CPUExecutionProvider"]
        )


# Sessions


def _graph(model: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def test_the_cpu_hands_the_images_over_as_they_are(spot_model: Path) -> None:
    session = open_session(spot_model.read_bytes(), spot_model, PROVIDERS["cpu"], read_options("cpu"), 1)
    assert type(session) is Session
    assert _spots(session.run(_images(30, 20, (4, 3), (29, 19)))) == [[4, 3], [29, 19]]


def test_a_size_is_served_before_and_after_it_is_compiled(spot_model: Path) -> None:
    graph, opened = _graph(spot_model), []

    def open_for(shape: tuple[int, ...]):
        opened.append(shape)
        return Session(graph).run

    session = SizedSession(graph, open_for)
    session.prepare((1, 20, 30, 1))
    assert opened == [(1, 20, 30, 1)]
    for x in range(5):
        assert _spots(session.run(_images(30, 20, (x, 3)))) == [[x, 3]]
        assert _spots(session.run(_images(40, 20, (x, 5)))) == [[x, 5]]
    _until(lambda: len(opened) == 2)
    assert opened[1] == (1, 20, 40, 1)


def test_only_so_many_sizes_are_compiled(spot_model: Path) -> None:
    graph, opened = _graph(spot_model), []

    def open_for(shape: tuple[int, ...]):
        opened.append(shape)
        raise RuntimeError("does not compile")

    session = SizedSession(graph, open_for)
    for width in range(10, 10 + MAX_SIZES + 5):
        for _ in range(2):
            assert _spots(session.run(_images(width, 20, (7, 3)))) == [[7, 3]]
    _until(lambda: len(opened) == MAX_SIZES)
    assert len(set(opened)) == MAX_SIZES


def test_bound_tensors_give_each_batch_its_own_answer(spot_model: Path) -> None:
    run = BoundRun(_graph(spot_model), (2, 20, 30, 1), (2, 1, 2, 3), device="cpu")
    first = run(_images(30, 20, (4, 3), (5, 6)))
    second = run(_images(30, 20, (7, 8), (9, 10)))
    assert _spots(first) == [[4, 3], [5, 6]]
    assert _spots(second) == [[7, 8], [9, 10]]


# On a GPU: `pytest -m gpu`


@pytest.fixture
def gpu() -> None:
    if missing := nvidia.missing_device(0):
        pytest.skip(missing)


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("provider", "options", "tolerance_px"),
    [
        ("cuda", "", 0.01),
        ("cuda", "cuda_graph=true", 0.01),
        ("cuda", "tf32=true", 0.5),
        ("tensorrt", "", 0.05),
        ("tensorrt", "precision=fp16", 0.5),
        ("tensorrt", "precision=fp16,cuda_graph=true,engine_cache={cache}", 0.5),
    ],
)
def test_a_gpu_finds_what_the_cpu_finds(provider: str, options: str, tolerance_px: float, tmp_path: Path) -> None:
    from poseloop import open_source
    from poseloop_server.bundled import arena_model_path

    cpu = PoseModel(arena_model_path())
    gpu = PoseModel(
        arena_model_path(), provider=provider, options=read_options(provider, options.format(cache=tmp_path))
    )
    for size in (f"{cpu.spec.native_width}x{cpu.spec.native_height}", "320x240"):
        source = islice(open_source(f"synthetic:{size}@60"), 10)
        frames = [frame.image.reshape(1, *frame.image.shape[:2], -1) for frame in source]
        for frame in frames * 3:  # the recorded graph is replayed with other images
            distance = np.abs(gpu.infer(frame) - cpu.infer(frame))[..., :2]
            assert np.nanmax(distance) <= tolerance_px
    both = np.concatenate([frames[0], frames[-1]])
    assert np.nanmax(np.abs(gpu.infer(both) - cpu.infer(both))[..., :2]) <= tolerance_px


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
def test_a_gpu_beyond_the_last_is_named(spot_model: Path) -> None:
    with pytest.raises(ProviderUnavailableError, match="the GPU 99 is not there"):
        PoseModel(spot_model, provider="cuda", options=CudaOptions(device_id=99))

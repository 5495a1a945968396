"""What lets several processes and data workers train as one: draws, statistics, counts, and a table of samples."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from poseloop.arena import ArenaSettings
from poseloop.arena_dataset import write_project
from poseloop.errors import InvalidInputError
from poseloop_training import resources
from poseloop_training.augment import Augmentation
from poseloop_training.companions import find_place
from poseloop_training.dataset import PoseDataset, load_dataset
from poseloop_training.draws import Draws
from poseloop_training.fit import make_loader
from poseloop_training.frames import TrainingFrames
from poseloop_training.group import Group, Place
from poseloop_training.image_source import EmbeddedFrame, ImageFile, ImageReference, VideoFrame
from poseloop_training.mixed_precision import choose_precision
from poseloop_training.network import NetworkConfig
from poseloop_training.samples import Sample, SampleTable
from poseloop_training.settings import TrainSettings


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PoseDataset:
    folder = tmp_path_factory.mktemp("arena")
    return load_dataset(write_project(folder, 12, ArenaSettings(width=96, height=80, seed=5)).parent)


def frames_of(dataset: PoseDataset, memory: int = resources.CACHE_BYTES) -> TrainingFrames:
    settings = TrainSettings()
    augmentation = Augmentation(settings.augmentation(flip=True), (64, 64), (), 1)
    config = NetworkConfig(keypoints=7, channels=1, input_scale=1.0)
    return TrainingFrames(dataset, range(len(dataset)), config, augmentation, seed=3, memory=memory)


def batches(
    dataset: PoseDataset, place: Place | None = None, memory: int = resources.CACHE_BYTES
) -> list[torch.Tensor]:
    group = Group(place, numbered=True)
    loader = make_loader(frames_of(dataset, memory), TrainSettings(batch_size=4, seed=3), group)
    return [torch.cat((images.flatten(1), keypoints.flatten(1)), dim=1) for images, keypoints in loader]


def test_processes_share_the_batches_of_one(dataset: PoseDataset) -> None:
    whole = batches(dataset)
    halves = [batches(dataset, Place(rank, 2, rank, 2)) for rank in (0, 1)]
    assert len(whole) == len(halves[0]) == len(halves[1]) == 3
    for batch, first, second in zip(whole, *halves, strict=True):
        torch.testing.assert_close(torch.cat((first, second)), batch, rtol=0, atol=0, equal_nan=True)


def test_workers_prepare_what_one_process_would(dataset: PoseDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poseloop_training.fit.data_workers", lambda _: 2)
    for batch, prepared in zip(batches(dataset), batches(dataset, memory=0), strict=True):
        torch.testing.assert_close(prepared, batch, rtol=0, atol=0, equal_nan=True)


def test_an_epoch_draws_each_frame_once_and_the_next_in_another_order() -> None:
    draws = Draws(frames=10, batch=4, batches=2, seed=1)
    first = list(draws)
    draws.set_epoch(1)
    second = list(draws)
    assert len({draw.item for draw in first}) == len(first) == len(draws) == 8
    assert [draw.item for draw in first] != [draw.item for draw in second]
    assert [draw.number for draw in first + second] == list(range(16))


def test_one_process_draws_in_turn_as_ever(dataset: PoseDataset) -> None:
    # The keypoints of the first frame as they were before there were several processes.
    torch.manual_seed(7)
    _, keypoints = next(iter(make_loader(frames_of(dataset), TrainSettings(batch_size=4), Group())))
    np.testing.assert_allclose(keypoints[0, :2].numpy(), BEFORE, atol=1e-3)


BEFORE = [[34.804157, 7.118057], [38.145493, 5.991917]]


@pytest.mark.parametrize(
    "image",
    [
        ImageFile(Path("some folder/bär [1].png")),
        ImageFile(Path("/a.png")),
        VideoFrame(Path("v.mp4"), 3_000_000_000),
        EmbeddedFrame(Path("p.slp"), "video0/video", 7),
    ],
)
def test_a_table_gives_back_what_went_in(image: ImageReference) -> None:
    rng = np.random.default_rng(0)
    samples = [Sample(image, 640, 480 + row, rng.random((1, 3, 2), dtype=np.float32)) for row in range(3)]
    samples[1].keypoints[0, 1] = np.nan
    table = pickle.loads(pickle.dumps(SampleTable(samples)))
    assert len(table) == 3
    for there, sample in zip([*table[:2], table[-1]], samples, strict=True):
        assert (there.image, there.width, there.height) == (image, 640, sample.height)
        np.testing.assert_array_equal(there.keypoints, sample.keypoints)
    with pytest.raises(IndexError):
        table[3]


def test_images_have_one_hash_in_any_order(dataset: PoseDataset) -> None:
    assert dataset.images_sha256([2, 0, 1]) == dataset.images_sha256([0, 1, 2])
    assert dataset.images_sha256([0, 1]) != dataset.images_sha256([0, 1, 2])


@pytest.mark.parametrize(
    ("cores", "free", "processes", "workers"),
    [(1, 2**36, 1, 1), (4, 2**36, 1, 3), (64, 2**36, 1, 8), (16, 2**36, 4, 3), (64, 2**32, 1, 2), (8, 2**30, 1, 0)],
)
def test_workers_follow_from_cores_and_memory(
    monkeypatch: pytest.MonkeyPatch, cores: int, free: int, processes: int, workers: int
) -> None:
    monkeypatch.setattr(resources, "usable_cores", lambda: cores)
    monkeypatch.setattr(resources, "free_memory", lambda: free)
    assert resources.data_workers(processes) == workers
    assert resources.cache_bytes(processes) == min(2**31, free // 4 // processes)


def test_this_machine_is_known() -> None:
    assert resources.usable_cores() >= 1
    assert resources.free_memory() > 2**20


STATISTICS = """
import copy, json, sys
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from pathlib import Path
from poseloop_training.group import Group, Place
from poseloop_training.heads import LossSettings, Maps, keypoint_loss
from poseloop_training.network import NetworkConfig, PoseNetwork
from poseloop_training.shared_statistics import shared_statistics

rank, size, store = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
torch.manual_seed(1)
network = PoseNetwork(NetworkConfig(3, 1, 1.0, "tf_efficientnet_lite0", width=16)).double().train()
images = 255 * torch.rand(4, 1, 64, 64, dtype=torch.float64)
keypoints = 70 * torch.rand(4, 3, 2, dtype=torch.float64) - 2
keypoints[0] = keypoints[1, 1] = torch.nan
share = slice(rank * 4 // size, (rank + 1) * 4 // size)

class Loss(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network
    def forward(self, images, keypoints):
        return keypoint_loss(network.maps(images), keypoints, 4, LossSettings(), group.count)

with Group(Place(rank, size, rank, size), store) as group, shared_statistics(network, group.place):
    module = DistributedDataParallel(Loss(), broadcast_buffers=False) if size > 1 else Loss()
    losses = module(images[share], keypoints[share])
    (losses.heatmap + losses.offset).backward()
    mean = group.mean(losses.heatmap.item(), losses.offset.item())
assert not any("forward" in vars(each) for each in network.modules())
values = [p.grad.norm().item() for p in network.parameters()] + [b.sum().item() for b in network.buffers()]
print(json.dumps(mean + values))
"""


def test_two_processes_have_the_gradients_and_statistics_of_one(tmp_path: Path) -> None:
    found = {size: list(_in_processes(tmp_path, size, STATISTICS)) for size in (1, 2)}
    for values in found[2]:
        np.testing.assert_allclose(values, found[1][0], rtol=1e-8, atol=1e-10)


DECISIONS = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from poseloop_training.callbacks import Progress, StopOnInterrupt, Validation
from poseloop_training.group import Group, Place

rank, size, store = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
saved, errors = [], iter([1.0, 2.0])
progress = Progress()
progress.start(batches=10, epochs=10)
module = SimpleNamespace(progress=progress, averaged=SimpleNamespace(state_dict=dict))
trainer = SimpleNamespace(global_step=10, should_stop=False, save_checkpoint=saved.append)
with Group(Place(rank, size, rank, size), store) as group:
    # Only the first has frames to validate on; to the other one the next validation is never due.
    validation = Validation((lambda _: next(errors)) if rank == 0 else None, 0.2, "last", saved.append, group)
    for trainer.global_step in (10, 80):
        validation._next = 0.0 if rank == 0 else float("inf")
        validation.on_train_epoch_end(trainer, module)
    decided = [validation.exhausted, trainer.should_stop, len(saved)]
    interrupt = StopOnInterrupt(group)
    interrupt._came = rank == 1
    trainer.should_stop = False
    interrupt.on_train_batch_end(trainer)
    decided += [interrupt.requested, trainer.should_stop, group.from_first(rank + 5), *group.mean(rank, 2)]
print(json.dumps(decided))
"""


def test_what_one_process_decides_holds_for_all(tmp_path: Path) -> None:
    # The first keeps the best weights too, once; both take part in saving, of which Lightning writes one file.
    first, second = _in_processes(tmp_path, 2, DECISIONS)
    assert first == [True, True, 3, True, True, 5, 0.5, 2]
    assert second == [True, True, 2, True, True, 5, 0.5, 2]


def _in_processes(folder: Path, size: int, script: str) -> Iterator[list[float]]:
    commands = [[sys.executable, "-c", script, str(rank), str(size), str(folder / "store")] for rank in range(size)]
    processes = [subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for c in commands]
    for process in processes:
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        yield json.loads(out)


@pytest.mark.parametrize("batch", [3, 6])
def test_a_batch_that_cannot_be_shared_is_refused(dataset: PoseDataset, batch: int) -> None:
    with pytest.raises(InvalidInputError, match=r"can't be shared evenly by 4 processes: give --batch-size (4|8)"):
        make_loader(frames_of(dataset), TrainSettings(batch_size=batch), Group(Place(0, 4, 0, 4)))


def test_several_machines_need_to_know_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InvalidInputError, match="MASTER_ADDR is not set"):
        find_place(1, 2)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv("NODE_RANK", "2")
    with pytest.raises(InvalidInputError, match="numbered 0 to 1"):
        find_place(1, 2)
    monkeypatch.setenv("NODE_RANK", "1")
    assert find_place(1, 2) == Place(1, 2, 0, 1)


def test_what_torchrun_started_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    started = {"TORCHELASTIC_RUN_ID": "x", "RANK": 3, "WORLD_SIZE": 4, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}
    for name, value in started.items():
        monkeypatch.setenv(name, str(value))
    place = find_place(None, None)
    assert (place, place.nodes, place.first) == (Place(3, 4, 1, 2), 2, False)
    assert find_place(2, 2) == place
    with pytest.raises(InvalidInputError, match="--devices 4: torchrun started 2"):
        find_place(4, None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU may compute in it")
def test_a_cpu_trains_in_fp32() -> None:
    assert choose_precision(None) == "fp32"
    with pytest.raises(InvalidInputError, match=r"--training-precision bf16: .* trains in fp32"):
        choose_precision("bf16")


def test_a_gpu_trains_in_what_it_is_fast_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    for has_bf16, best in ((True, "bf16"), (False, "fp16")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has_bf16: has)
        assert choose_precision(None) == best
    with pytest.raises(InvalidInputError, match="Tesla T4 trains in fp32 or fp16"):
        choose_precision("bf16")

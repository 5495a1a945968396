"""Batch normalisation over the whole batch where several processes have a share of it each.

Not torch's SyncBatchNorm: it runs on no CPU, and its conversion loses the activations inside timm's normalisations.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from poseloop_training.group import Place


@contextmanager
def shared_statistics(network: nn.Module, place: Place) -> Iterator[None]:
    """Let the network's batch normalisations train on the statistics of all processes' shares together."""
    shared = (module for module in network.modules() if isinstance(module, nn.BatchNorm2d) and module.affine)
    norms = list(shared) if place.size > 1 else []
    for norm in norms:
        norm.forward = partial(_forward, norm, place)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _forward(norm: nn.BatchNorm2d, place: Place, x: Tensor) -> Tensor:
    if not norm.training:
        return type(norm).forward(norm, x)
    # In mixed precision x has 16 bits, and the weights 32.
    mean, variance = _statistics(x.to(norm.weight.dtype), place)
    _note(norm, mean.detach(), variance.detach(), place.size * x.numel() // x.shape[1])
    gain = (variance + norm.eps).rsqrt() * norm.weight
    y = ((x - _wide(mean)) * _wide(gain) + _wide(norm.bias)).to(x.dtype)
    return norm.act(norm.drop(y)) if isinstance(norm, BatchNormAct2d) else y


def _statistics(x: Tensor, place: Place) -> tuple[Tensor, Tensor]:
    """Return mean and variance ``[C]`` of ``[N, C, h, w]``, of which every process has as much."""
    variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    own = torch.stack((mean, variance))
    every = torch.zeros((place.size, *own.shape), dtype=own.dtype, device=own.device)
    means, variances = _Sum.apply(torch.index_put(every, (torch.tensor(place.rank),), own)).unbind(dim=1)
    mean = means.mean(dim=0)
    return mean, (variances + (means - mean).square()).mean(dim=0)


@torch.no_grad()
def _note(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Move the statistics that the network will be used with."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    part = norm.momentum if norm.momentum is not None else 1 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean, part)
    norm.running_var.lerp_(variance * (count / max(count - 1, 1)), part)


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None]


class _Sum(torch.autograd.Function):
    """The sum over processes; so is its gradient, since what each did with the sum follows from every share."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

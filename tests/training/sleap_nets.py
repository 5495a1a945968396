"""sleap-nn model folders made in tests: a configuration as sleap-nn writes it, random weights under its names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml


def unet(down: int, up: int, channels: int = 1, nodes: int = 2) -> dict[str, torch.Tensor]:
    """Weights under sleap-nn's names for a UNet with two convolutions a block."""
    torch.manual_seed(0)
    weights: dict[str, torch.Tensor] = {}

    def convolution(name: str, inputs: int, outputs: int, kernel: int = 3) -> None:
        weights[f"model.{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel) * (inputs * kernel**2) ** -0.5
        weights[f"model.{name}.bias"] = torch.rand(outputs) * 0.1

    widths, last = [4 * 2**i for i in range(down)], channels
    for i, width in enumerate(widths):
        for j in range(2):
            convolution(f"backbone.encoders.0.encoder_stack.{i}.blocks.stack0_enc{i}_conv{j}", last, width)
            last = width
    for i, word in enumerate(("expand", "contract")):
        name = f"backbone.middle_blocks.{i}.blocks.stack0_enc{down + 1 + i}_middle_{word}_conv0"
        convolution(name, last, last * (2 if word == "expand" else 1))
        last *= 2 if word == "expand" else 1
    for i in range(up):
        stride, skip = 2 ** (down - i), widths[down - 1 - i]
        for j in range(2):
            stem = f"backbone.decoders.0.decoder_stack.{i}.blocks.stack0_dec{i}_s{stride}_to_s{stride // 2}"
            convolution(f"{stem}_refine_conv{j}", last + skip if j == 0 else skip, skip)
            last = skip
    convolution("head_layers.0.SingleInstanceConfmapsHead.0", last, nodes, 1)
    return weights


def write_model_folder(folder: Path, weights: dict[str, torch.Tensor], stride: int, **preprocessing: Any) -> Path:
    folder.mkdir(exist_ok=True)
    config = {
        "data_config": {
            "preprocessing": {"scale": 1.0, "max_height": 96, "max_width": 128} | preprocessing,
            "skeletons": [{"nodes": [{"name": "head"}, {"name": "tail"}], "edges": []}],
        },
        "model_config": {
            "backbone_config": {"unet": {"filters": 4}, "convnext": None},
            "head_configs": {
                "single_instance": {"confmaps": {"part_names": None, "output_stride": stride}},
                "centroid": None,
            },
        },
        "sleap_nn_version": "0.1.0",
    }
    (folder / "training_config.yaml").write_text(yaml.safe_dump(config))
    torch.save({"state_dict": weights, "epoch": 3}, folder / "best.ckpt")
    return folder

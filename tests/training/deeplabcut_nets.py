"""DeepLabCut training folders made in tests: configurations as DeepLabCut 3 writes them, random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from poseloop_training.importers.deeplabcut_config import parse
from poseloop_training.importers.deeplabcut_network import Box, DeepLabCutNetwork

BODYPARTS = ["snout", "leftear", "rightear"]
WHOLE = Box(0, 0, 100, 100)

# Type, model name, channels, the head's transposed convolutions, other keys.
BACKBONES: dict[str, tuple[dict[str, Any], int]] = {
    "resnet_50": ({"type": "ResNet", "model_name": "resnet50_gn", "output_stride": 16}, 2048),
    "resnet_101": ({"type": "ResNet", "model_name": "resnet101", "output_stride": 16}, 2048),
    "hrnet_w18": ({"type": "HRNet", "model_name": "hrnet_w18", "interpolate_branches": False}, 18),
    "hrnet_w32": ({"type": "HRNet", "model_name": "hrnet_w32", "interpolate_branches": False}, 32),
    "hrnet_w48": ({"type": "HRNet", "model_name": "hrnet_w48", "interpolate_branches": False}, 48),
    "cspnext_s": (
        {"type": "CSPNeXt", "model_name": "cspnext_s", "deepen_factor": 0.33, "widen_factor": 0.5}, 512,
    ),
    "cspnext_m": (
        {"type": "CSPNeXt", "model_name": "cspnext_m", "deepen_factor": 0.67, "widen_factor": 0.75}, 768,
    ),
    "cspnext_x": (
        {"type": "CSPNeXt", "model_name": "cspnext_x", "deepen_factor": 1.33, "widen_factor": 1.25}, 1280,
    ),
}  # fmt: skip


def configuration(net_type: str) -> dict[str, Any]:
    """The parts of pytorch_config.yaml that matter, for a bottom-up or a top_down_* network."""
    top_down = net_type.startswith("top_down_")
    backbone, channels = BACKBONES[net_type.removeprefix("top_down_")]
    count = len(BODYPARTS)

    def maps(outputs: int) -> dict[str, Any]:
        if top_down:
            final = {"out_channels": outputs, "kernel_size": 1}
            return {"channels": [channels], "kernel_size": [], "strides": [], "final_conv": final}
        return {"channels": [channels, outputs], "kernel_size": [3], "strides": [2]}

    padding = {"pad_width_divisor": 32, "pad_height_divisor": 32} if backbone["type"] == "HRNet" else None
    return {
        "net_type": net_type,
        "method": "td" if top_down else "bu",
        "metadata": {"bodyparts": BODYPARTS, "individuals": ["individual_1"]},
        "data": {
            "colormode": "RGB",
            "inference": {
                "normalize_images": True,
                "auto_padding": None if top_down else padding,
                "top_down_crop": {"width": 128, "height": 128} if top_down else None,
            },
        },
        "model": {
            "backbone": dict(backbone),
            "heads": {
                "bodypart": {
                    "type": "HeatmapHead",
                    "predictor": {
                        "type": "HeatmapPredictor",
                        "apply_sigmoid": False,
                        "clip_scores": True,
                        "location_refinement": True,
                        "locref_std": 7.2801,
                    },
                    "heatmap_config": maps(count),
                    "locref_config": maps(2 * count),
                }
            },
        },
    }


def state_dict(config: dict[str, Any], seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights under the names that DeepLabCut gives them."""
    torch.manual_seed(seed)
    network = DeepLabCutNetwork(parse(config, Path("pytorch_config.yaml")), WHOLE if config["method"] == "td" else None)
    # Random weights let some networks' features grow without measure; maps shall be of the order of one.
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(seed)) * 255
    with torch.inference_mode():
        maps = network.eval().maps(image)
    for head, values in ((network.heatmap_head, maps.heatmaps), (network.locref_head, maps.offsets)):
        if head is not None and values is not None:
            for weight in head.parameters():
                weight.data /= values.std()
    return {
        name if name.startswith("backbone.") else f"heads.bodypart.{name}": tensor
        for name, tensor in network.state_dict().items()
    }


def write_training_folder(folder: Path, config: dict[str, Any], snapshot: str = "snapshot-010.pt") -> Path:
    """Write pytorch_config.yaml and a snapshot, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pytorch_config.yaml").write_text(yaml.safe_dump(config))
    torch.save({"metadata": {"epoch": 10, "metrics": {}, "losses": {}}, "model": state_dict(config)}, folder / snapshot)
    return folder

"""`poseloop import`: networks trained elsewhere as model files of ours."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from poseloop.errors import InvalidInputError
from rich.console import Console
from rich.markup import escape

from poseloop_training.tuning import share_the_processor

if TYPE_CHECKING:
    from poseloop_training.export import Parity
    from poseloop_training.importers.base import ImportRequest

Out = Annotated[Path, typer.Option(help="The model file to write.", show_default=False)]
Name = Annotated[str | None, typer.Option(help="[default: the file's name]", show_default=False)]
License = Annotated[
    str | None,
    typer.Option(help="Of the weights; stands in the model file. [default: unspecified]", show_default=False),
]
Image = Annotated[
    Path | None,
    typer.Option(help="A frame to check the graph on; noise of the native size if not given.", show_default=False),
]
Size = Annotated[
    str | None,
    typer.Option(help="Of the frames. [default: the image's, or what the source says, or 640x480]", show_default=False),
]

imports = typer.Typer(help="Make a model file of a network that was trained elsewhere.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the command `import`."""
    app.add_typer(imports, name="import")


@imports.command("dlc")
def deeplabcut(
    source: Annotated[
        Path,
        typer.Argument(
            help="Train folder of DeepLabCut 3, one of its snapshots, or an exported .pt.", show_default=False
        ),
    ],
    out: Out,
    box: Annotated[
        str | None,
        typer.Option(help="X,Y,WIDTH,HEIGHT: where the animal is, for a top-down network.", show_default=False),
    ] = None,
    name: Name = None,
    license: License = None,
    image: Image = None,
    size: Size = None,
) -> None:
    """DeepLabCut 3 (PyTorch): networks with HeatmapHead and HeatmapPredictor."""
    request = _request(out, name, license, image, size)
    from poseloop_training.importers.deeplabcut import import_deeplabcut
    from poseloop_training.importers.deeplabcut_network import Box

    where = Box(*_numbers("--box", box, "100,80,256,256")) if box is not None else None
    _report(request, import_deeplabcut(source, request, where))


@imports.command("sleap-nn")
def sleap_nn(
    source: Annotated[
        Path,
        typer.Argument(
            help="Model folder of sleap-nn, or a checkpoint beside training_config.yaml.", show_default=False
        ),
    ],
    out: Out,
    name: Name = None,
    license: License = None,
    image: Image = None,
    size: Size = None,
) -> None:
    """sleap-nn: single-instance models on a UNet."""
    request = _request(out, name, license, image, size)
    from poseloop_training.importers.sleap_nn import import_sleap_nn

    _report(request, import_sleap_nn(source, request))


@imports.command("lightning-pose")
def lightning_pose(
    source: Annotated[
        Path,
        typer.Argument(help="Model folder of Lightning Pose with an ONNX export, or that export.", show_default=False),
    ],
    out: Out,
    name: Name = None,
    license: License = None,
    image: Image = None,
    size: Size = None,
) -> None:
    """Lightning Pose: ONNX exports of heatmap models."""
    request = _request(out, name, license, image, size)
    from poseloop_training.importers.lightning_pose import import_lightning_pose

    _report(request, import_lightning_pose(source, request))


@imports.command("onnx")
def foreign_onnx(
    source: Annotated[Path, typer.Argument(help="A pose network, .onnx.", show_default=False)],
    out: Out,
    config: Annotated[
        Path, typer.Option(help="YAML that says how it is fed and decoded; see docs/importing.md.", show_default=False)
    ],
    name: Name = None,
    license: License = None,
    image: Image = None,
    size: Size = None,
) -> None:
    """Any ONNX network with heatmaps, heatmaps and offsets, or SimCC."""
    request = _request(out, name, license, image, size)
    from poseloop_training.importers.foreign_onnx import import_onnx

    _report(request, import_onnx(source, config, request))


def _request(out: Path, name: str | None, license: str | None, image: Path | None, size: str | None) -> ImportRequest:
    share_the_processor()
    with Console(stderr=True).status("Loading"):
        from poseloop_training.importers.base import ImportRequest

    sides = re.fullmatch(r"(\d{1,6})x(\d{1,6})", size) if size is not None else None
    if size is not None and sides is None:
        raise InvalidInputError(f"--size {size}: write the width and height of the frames, for example 640x480.")
    return ImportRequest(out, name, license, image, (int(sides[1]), int(sides[2])) if sides else None)


def _numbers(option: str, text: str, example: str) -> tuple[float, float, float, float]:
    parts = text.split(",")
    try:
        x, y, width, height = (float(part) for part in parts)
        if not (abs(x) < 1e5 and abs(y) < 1e5 and 1 <= width < 1e5 and 1 <= height < 1e5):
            raise ValueError
    except ValueError:
        raise InvalidInputError(f"{option} {text}: write X,Y,WIDTH,HEIGHT in pixels, for example {example}.") from None
    return x, y, width, height


def _report(request: ImportRequest, parity: Parity) -> None:
    Console(stderr=True, highlight=False).print(f"{escape(str(request.out))} written; {parity}.", soft_wrap=True)

"""Draw the picture of the README from a real run of the demo: a frame with its keypoints beside the live table.

python scripts/draw_readme_image.py [docs/images/demo.png]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from poseloop_server.bundled import arena_model_path
from poseloop_server.demo import Demo, Recording
from poseloop_server.demo_view import LiveView
from poseloop_server.overlay import Overlay
from rich.console import Console, RenderableType
from rich.terminal_theme import MONOKAI

SECONDS = 6.0
FONT_PIXELS = 15
MARGIN = 18
COLUMNS = 74
BACKGROUND, FOREGROUND = (24, 26, 31), (222, 222, 222)


def annotated_frame(recording: Recording, skeleton: list[tuple[str, str]]) -> Image.Image:
    """The last frame that has a pose, with the pose drawn in."""
    sighting = recording.sightings[-1]
    image = recording.arena.frame(sighting.sequence)
    color = np.ascontiguousarray(image[:, :, np.newaxis].repeat(3, axis=2) if image.ndim == 2 else image[:, :, ::-1])
    Overlay(recording.names, skeleton).draw(color, sighting.keypoints[np.newaxis])
    return Image.fromarray(color[:, :, ::-1])


def terminal(view: RenderableType) -> Image.Image:
    """What a terminal would show, drawn letter by letter."""
    regular = ImageFont.truetype(font_manager.findfont("DejaVu Sans Mono"), FONT_PIXELS)
    bold = ImageFont.truetype(font_manager.findfont("DejaVu Sans Mono:bold"), FONT_PIXELS)
    width, height = round(regular.getlength("M")), round(FONT_PIXELS * 1.4)
    console = Console(width=COLUMNS, force_terminal=True, color_system="truecolor", legacy_windows=False)
    lines = console.render_lines(view, console.options, pad=False)
    picture = Image.new("RGB", (COLUMNS * width, len(lines) * height), BACKGROUND)
    pen = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        column = 0
        for segment in line:
            style = segment.style
            shade = FOREGROUND
            if style is not None and style.color is not None and not style.color.is_default:
                shade = tuple(style.color.get_truecolor(MONOKAI))
            if style is not None and style.dim:
                shade = tuple(round(0.6 * value) for value in shade)
            font = bold if style is not None and style.bold else regular
            for letter in segment.text:
                pen.text((column * width, row * height), letter, fill=shade, font=font)
                column += 1
    return picture.crop((0, 0, max(picture.getbbox()[2], 1), picture.height))


def main() -> None:
    target = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent / "docs/images/demo.png")
    with Demo(arena_model_path()) as demo:
        served = demo.start_server()
        recording = demo.start_camera(served)
        view = LiveView(recording, served, 2.5 * SECONDS)
        time.sleep(SECONDS)
        demo.check()
    # After the end, so that both are of the same, last frame.
    table = terminal(view)
    frame = annotated_frame(recording, served.spec.skeleton)
    size = (frame.width + table.width + 3 * MARGIN, max(frame.height, table.height) + 2 * MARGIN)
    picture = Image.new("RGB", size, BACKGROUND)
    picture.paste(frame, (MARGIN, MARGIN))
    picture.paste(table, (frame.width + 2 * MARGIN, (size[1] - table.height) // 2))
    target.parent.mkdir(parents=True, exist_ok=True)
    # 128 colours are enough for a grey frame and a table, and keep the file small.
    picture.quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    main()

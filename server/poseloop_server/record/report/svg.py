"""A figure as SVG within a page, in the page's colours and letters."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Final

from poseloop_server.record.report.style import INK, LIGHT, PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH: Final = 10.0  # inches, which the page scales to its own width


def label(axes: Axes, title: str, unit: str) -> None:
    """Say above the axes what is drawn, and beside them in which unit."""
    axes.set_title(title, loc="left")
    axes.set_ylabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=LIGHT, linewidth=0.6)
    axes.set_axisbelow(True)


def figure_of(height: float) -> Figure:
    """Return an empty figure as wide as the page, and as high as this, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained", facecolor="none")


def svg_of(figure: Figure, name: str) -> str:
    """Return a figure as SVG: text stays text, colours come from the page, and equal logs give equal bytes."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        _restyle(figure)
        data = io.StringIO()
        figure.savefig(data, format="svg", dpi=160, metadata={"Date": None, "Creator": None})
    svg = data.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found.group() if found[1] in used else "", svg)
    svg = re.sub(
        r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg xmlns="http://www.w3.org/2000/svg" role="img" \1>', svg, count=1
    )
    svg = re.sub(r"(font: [^;\"]*?px )[^;\"]*", r"\1var(--font)", svg)
    for color, variable in ((INK, "--ink"), (LIGHT, "--light"), (PAPER, "--paper")):
        svg = svg.replace(color, f"var({variable})")
    return svg


def _restyle(figure: Figure) -> None:
    """Give text, ticks and lines the page's ink."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if text.get_color() in ("black", "k", "0.0", (0, 0, 0, 1)):
            text.set_color(INK)
    for axes in figure.axes:
        axes.set_facecolor("none")
        axes.tick_params(color=INK, labelcolor=INK, labelsize=8.5)
        axes.xaxis.label.set_fontsize(9)
        axes.yaxis.label.set_fontsize(9)
        axes.title.set_fontsize(10)
        axes._left_title.set_fontsize(10)  # type: ignore[attr-defined]
        for spine in axes.spines.values():
            spine.set_edgecolor(INK)
        legend = axes.get_legend()
        if legend is not None:
            legend.get_frame().set(facecolor=PAPER, edgecolor="none", alpha=0.85)
            for text in legend.get_texts():
                text.set(fontsize=8.5, color=INK)

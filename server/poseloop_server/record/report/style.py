"""The colours of a report, and the sheet that its page is laid out with."""

from __future__ import annotations

from typing import Final

# Stand for the page's own colours, light or dark; no picture may use them for anything else.
INK: Final = "#010203"
LIGHT: Final = "#040506"
PAPER: Final = "#070809"

# Middle tones, which can be told apart on white, on black, in print and by most colour-blind readers.
BLUE: Final = "#3f7fbf"
ORANGE: Final = "#e08a2e"
GREEN: Final = "#2f9e7a"
VIOLET: Final = "#9a6fb8"
GREY: Final = "#8a8f98"
RED: Final = "#cc4c41"
SERIES: Final = [BLUE, ORANGE, GREEN, VIOLET]

SHEET: Final = """
:root { --ink: #1c2127; --soft: #5c6570; --light: #dfe3e8; --paper: #ffffff; --panel: #f5f7f9; --accent: #3f7fbf;
  --bad: #b8382d; --font: system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif;
  color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --soft: #a0a8b2; --light: #363c44; --paper: #15181c;
  --panel: #1d2126; --accent: #6ba4dc; --bad: #ef8478; } }
@media print { :root { --ink: #000; --soft: #444; --light: #ccc; --paper: #fff; --panel: #fff; --bad: #900; }
  section { break-inside: avoid; } details { display: none; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 var(--font); }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .5rem; }
p { margin: .4rem 0; max-width: 48rem; } p.soft, td.soft, .soft { color: var(--soft); } .bad { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: .6rem; margin: 1.2rem 0; }
.tile { background: var(--panel); border: 1px solid var(--light); border-radius: 6px; padding: .55rem .8rem; }
.tile b { display: block; font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .82rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .9rem .28rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--light); }
th { font-weight: 600; color: var(--soft); } td.n, th.n { text-align: right; }
figure { margin: .8rem 0; } svg { display: block; width: 100%; height: auto; }
pre { background: var(--panel); border: 1px solid var(--light); border-radius: 6px; padding: .8rem; overflow-x: auto;
  font-size: .82rem; } summary { cursor: pointer; color: var(--accent); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: .6rem 0; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
"""

"""What the web pages of this program share: style, frame, tables, pictures inside the page."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STYLE = """
body { margin: 0 auto; padding: 16px 20px 60px; max-width: 1320px; color: #1f2430;
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 24px; } h2 { font-size: 19px; margin-top: 36px; } h3 { font-size: 16px; }
.scroll { overflow-x: auto; }
table.data { border-collapse: collapse; font-size: 14px; }
table.data th, table.data td { padding: 4px 12px 4px 0; text-align: left;
  border-bottom: 1px solid #e3e3e8; vertical-align: top; }
table.data td.number { text-align: right; font-variant-numeric: tabular-nums; }
.bar { display: inline-block; height: 10px; border-radius: 2px; background: #2563eb; }
.dot { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px;
  border: 1px solid #888; vertical-align: -1px; }
.columns { display: grid; gap: 4px 40px; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); }
.example { display: grid; gap: 8px; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr));
  margin-bottom: 18px; }
figure { margin: 0; } figcaption { font-size: 13px; color: #5b6170; }
figure img { width: 100%; border-radius: 6px; display: block; }
img.matrix { max-width: 100%; }
.pixels img { image-rendering: pixelated; }
details summary { cursor: pointer; }
.quiet { color: #5b6170; }
"""
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title><link rel="icon" href="data:,"><style>{style}</style></head>
<body><h1>{title}</h1>
{body}
<script>{script}</script></body></html>
"""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table of texts that are markup already; ``numbers`` are columns of numbers."""
    if not rows:
        return ""
    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = []
    for row in rows:
        cells = [
            f'<td class="number">{cell}</td>' if i in numbers else f"<td>{cell}</td>"
            for i, cell in enumerate(row)
        ]
        body.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll"><table class="data"><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def class_mark(name: str, color: tuple[int, int, int]) -> str:
    """A square of the colour and the name, whatever way it is written."""
    red, green, blue = color
    dot = f'<span class="dot" style="background:rgb({red},{green},{blue})"></span>'
    return f"{dot}<bdi>{html.escape(name)}</bdi>"


def bar(width: float) -> str:
    """A bar of a width in pixels."""
    return f'<span class="bar" style="width:{width:.0f}px"></span>'


def picture_url(picture: NDArray[np.uint8]) -> str:
    """PNG for small pictures, else JPEG."""
    image = Image.fromarray(picture)
    kind, options = ("PNG", {}) if picture.size < 3 * 250_000 else ("JPEG", {"quality": 88})
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{data}"

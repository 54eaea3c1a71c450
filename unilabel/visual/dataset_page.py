"""What the check of a dataset found, as one web page that needs no other file."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unilabel.core.label_space import LabelSpace
from unilabel.visual.overlay import Image8
from unilabel.visual.page_parts import PAGE, STYLE, bar, class_mark, picture_url, table

SHOWN = 50  # faults of one kind on the page
_BAR = 200  # pixels of a bar of 100 %
_STYLE = """
.fault, .warning, .note { border-left: 5px solid; padding: 6px 12px; margin: 10px 0;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.fault { border-color: #b91c1c; background: #fef2f2; }
.warning { border-color: #d97706; background: #fffbeb; }
.note { border-color: #94a3b8; background: #f8fafc; }
img.sheet { max-width: 100%; border: 1px solid #e3e3e8; }
"""
_LEVELS = (("fault", "Faults"), ("warning", "Warnings"), ("note", "Notes"))


@dataclass(frozen=True)
class SplitPage:
    """One split on the page.

    Attributes:
        name: "train" or "val".
        facts: name and value of numbers about it.
        pixels: (C + 1) pixels of each class, ignored ones last.
        images: (C) images in which each class occurs.
        sheet: samples with their labels, or None.
    """

    name: str
    facts: Sequence[tuple[str, str]]
    pixels: Sequence[int]
    images: Sequence[int]
    sheet: Image8 | None


def dataset_html(
    space: LabelSpace,
    messages: Mapping[str, Sequence[tuple[str, str]]],
    splits: Sequence[SplitPage],
) -> str:
    """The page.

    Args:
        space: the classes.
        messages: "fault", "warning", "note" -> (message, cure or "") pairs.
        splits: in the order to show them.
    """
    parts = [_messages(title, level, messages.get(level, ())) for level, title in _LEVELS]
    if not messages.get("fault"):
        parts.insert(0, "<p>No faults.</p>")
    parts += [_shares(space, splits)]
    for split in splits:
        if split.sheet is not None:
            picture = picture_url(split.sheet)
            parts.append(
                f"<h2>Samples of {split.name}</h2>"
                f'<img class="sheet" alt="samples of {split.name}" src="{picture}">'
            )
    return PAGE.format(
        title=html.escape(f"Check of {space.display_name or space.name}"),
        style=STYLE + _STYLE,
        body="\n".join(part for part in parts if part),
        script="",
    )


def _messages(title: str, level: str, messages: Sequence[tuple[str, str]]) -> str:
    if not messages:
        return ""
    shown = [
        f'<div class="{level}">{html.escape(message)}'
        + (f'\n<span class="quiet">cure: {html.escape(cure)}</span>' if cure else "")
        + "</div>"
        for message, cure in messages[:SHOWN]
    ]
    if len(messages) > SHOWN:
        shown.append(f"<p>... and {len(messages) - SHOWN} more, all in report.json.</p>")
    return f"<h2>{title} ({len(messages)})</h2>{''.join(shown)}"


def _shares(space: LabelSpace, splits: Sequence[SplitPage]) -> str:
    """One row for each class, with a bar and numbers for each split."""
    head = ["id", "class"]
    for split in splits:
        head += [split.name, "%", "images"]
    rows = []
    for index, (name, color) in enumerate(zip(space.class_names, space.colors, strict=True)):
        row = [str(index), class_mark(name, color)]
        for split in splits:
            row += [*_share(split, index), str(int(split.images[index]))]
        rows.append(row)
    ignored = ["", class_mark("ignored", (0, 0, 0))]
    for split in splits:
        ignored += [*_share(split, len(space.class_names)), ""]
    numbers = [0, *(c for i in range(len(splits)) for c in (3 + 3 * i, 4 + 3 * i))]
    facts = [
        (f"{split.name}: {html.escape(name)}", html.escape(value))
        for split in splits
        for name, value in split.facts
    ]
    return (
        "<h2>Shares of the classes</h2>"
        + table(("", ""), facts)
        + table(head, [*rows, ignored], numbers)
    )


def _share(split: SplitPage, index: int) -> tuple[str, str]:
    total = sum(int(p) for p in split.pixels)
    share = int(split.pixels[index]) / total if total else 0.0
    return bar(_BAR * share), f"{100 * share:.2f}"

"""Sections of the conflict report: pairs of classes and single links, with their crops."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

from unilabel.core.label_space import LabelSpace
from unilabel.core.relations import WORDS
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.harmonize.conflicts import Pair, Side
from unilabel.harmonize.evidence import CROPS, Crop, Key, Link
from unilabel.visual.page_parts import class_mark

MOST_BYTES = 24 * 2**20  # of crops in the page
OPEN = 3  # pairs that are open at first
_RELATION = {**WORDS, "none": "has the name of"}


class Page:
    """Sections of pairs; every crop is kept once."""

    def __init__(
        self,
        datasets: Sequence[LabelSpace],
        space: UnifiedLabelSpace,
        crops: dict[Key, list[Crop]],
    ) -> None:
        """Of these datasets; ``crops`` count them in this order."""
        self.datasets = datasets
        self.space = space
        self.crops = crops
        self.pictures: dict[str, str] = {}
        self.dropped = 0
        self._bytes = 0

    def name(self, side: Side) -> str:
        """A class with its colour and dataset."""
        space = self.datasets[side.dataset]
        return (
            f"{class_mark(side.name, space.colors[side.row])} "
            f"<span class='quiet'>{html.escape(space.name)}</span>"
        )

    def pair(self, number: int, pair: Pair) -> str:
        """The section of a pair, with the crops of every label that joins it."""
        mark = "<span class='mark'>look</span>" if pair.doubts else ""
        summary = (
            f"<summary><span>{self.name(pair.one)}</span><span>{_RELATION[pair.relation]}</span>"
            f"<span>{self.name(pair.two)}</span>{mark}"
            f"<span class='stake'>{pair.stake:,} pixels</span></summary>"
        )
        doubts = "".join(f"<p><span class='doubt'>{html.escape(t)}</span></p>" for t in pair.doubts)
        facts = [
            f"{self.name(side)}: {side.pixels:,} pixels drawn, {side.shared:,} of them with a "
            f"label of both{_read(side)}"
            for side in (pair.one, pair.two)
        ]
        labels = "".join(self._label(pair, label) for label in pair.labels)
        return (
            f'<details class="pair" id="pair{number}"{" open" if number < OPEN else ""}>'
            f"{summary}{doubts}<p>{'<br>'.join(facts)}</p>{labels}</details>"
        )

    def _label(self, pair: Pair, label: int) -> str:
        groups = [self.link((side.dataset, side.row, label)) for side in (pair.one, pair.two)]
        return (
            f"<h3 class='label'>{class_mark(self.space.names[label], self.space.colors[label])} "
            f"<span class='quiet'>label {label}</span></h3>"
            f"<div class='links'>{''.join(groups)}</div>"
        )

    def link(self, link: Link) -> str:
        """The crops of a link: where both agree, and where they do not."""
        return f"<div>{''.join(self._group(link, agree) for agree in (True, False))}</div>"

    def _group(self, link: Link, agree: bool) -> str:
        index, row, label = link
        space = self.datasets[index]
        drawn = f"{html.escape(space.name)}: {html.escape(space.class_names[row])}"
        title = f"{drawn}, both {'agree' if agree else 'disagree'}"
        found = self.crops.get((link, agree), [])
        figures = []
        for place, crop in enumerate(found[:CROPS]):
            key = f"{index}.{row}.{label}.{int(agree)}.{place}"
            if not self._keep(key, crop):
                continue
            read = html.escape(self.space.names[crop.read])
            text = (
                f"{100 * crop.confidence:.0f} % sure"
                if agree
                else (f"read as {read}, {100 * crop.confidence:.0f} % sure")
            )
            figures.append(
                f'<figure><img data-crop="{key}" alt="{html.escape(crop.photo)}" '
                f'title="{html.escape(crop.photo)}"><figcaption>{text}</figcaption></figure>'
            )
        body = "".join(figures) or "<span class='quiet'>no region of some size</span>"
        return f"<div class='group{'' if agree else ' no'}'><h4>{title}</h4>{body}</div>"

    def _keep(self, key: str, crop: Crop) -> bool:
        if key in self.pictures:
            return True
        data = base64.b64encode(crop.jpeg).decode("ascii")
        if self.dropped or self._bytes + len(data) > MOST_BYTES:
            self.dropped += 1
            return False
        self._bytes += len(data)
        self.pictures[key] = data
        return True


def _read(side: Side) -> str:
    if side.read is None:
        return ""
    share = f"{100 * side.read:.0f} %"
    return f"; left free, the model reads {share} of those looked at as the other class"

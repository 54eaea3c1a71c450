"""Relations of classes that share no unified label, as a part of a web page."""

from __future__ import annotations

import html
from collections.abc import Mapping

from unilabel.core.relations import WORDS
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.visual.page_parts import table


def related_beside(space: UnifiedLabelSpace, titles: Mapping[str, str]) -> str:
    """Relations of classes that share no unified label, a folded table; nothing without any.

    Args:
        space: its relations.
        titles: dataset -> how it is called, of the datasets that are shown.
    """
    rows = []
    for relation in space.beside():
        if relation.a[0] not in titles or relation.b[0] not in titles:
            continue
        ends = [
            f"{html.escape(label)} <span class='quiet'>{html.escape(titles[dataset])}</span>"
            for dataset, label in (relation.a, relation.b)
        ]
        words = WORDS[relation.type] + (f" ({relation.why})" if relation.why else "")
        rows.append((ends[0], words, ends[1], f"{relation.weight:.2f}"))
    if not rows:
        return ""
    listing = table(("class", "", "class", "confidence"), rows, (3,))
    return (
        f"<p>{len(rows)} pairs of classes are related without sharing a unified label.</p><details>"
        f"<summary>These pairs</summary>{listing}</details>"
    )

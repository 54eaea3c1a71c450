"""What ``review.js`` shows, as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unilabel.demo_app.engine import next_run
from unilabel.demo_app.payloads import Note
from unilabel.demo_app.session import Session
from unilabel.demo_app.suspicion import suspicious_links
from unilabel.visual.graph_layout import DATASET_COLORS


def review_payload(
    session: Session,
    similarity: NDArray[np.float64],
    notes: Sequence[Note] = (),
    refused: int | None = None,
) -> str:
    """What ``review.js`` shows.

    Args:
        session: the edits.
        similarity: (C, C) of the classes' texts.
        notes: messages about the last edit.
        refused: unified label whose last edit was not accepted.
    """
    review = session.review
    if review is None:
        raise ValueError("a model without unified labels has nothing to review")
    draft, spaces = review.draft, review.base.label_spaces
    suspects = suspicious_links(draft, spaces, similarity)
    labels = []
    for row, (name, color) in enumerate(zip(draft.names, draft.colors, strict=True)):
        links: list[dict[str, Any] | None] = []
        for dataset in spaces.names:
            found = draft.links.get((row, dataset))
            if found is None:
                links.append(None)
                continue
            column, link = found
            why = suspects.get((row, dataset))
            links.append(
                {
                    "class": column,
                    "source": link.source,
                    "weight": link.weight,
                    "score": 0.0 if why is None else why.score,
                    "reason": "" if why is None else why.reason,
                }
            )
        checked = row in draft.checked
        labels.append({"id": row, "name": name, "color": color, "checked": checked, "links": links})
    problems: list[Note] = [("error", text) for text in review.problems()]
    return json.dumps(
        {
            "run": next_run(),
            "space": review.base.mapping.checksum(),
            "datasets": [
                {
                    "name": s.name,
                    "title": s.display_name or s.name,
                    "color": DATASET_COLORS[i % len(DATASET_COLORS)],
                    "classes": s.class_names,
                }
                for i, s in enumerate(spaces)
            ],
            "labels": labels,
            "notes": [*notes, *problems[:3]],
            "refused": None if refused is None else {"id": refused},
            "can_undo": bool(review.past),
            "can_redo": bool(review.future),
            "changed": review.changed,
            "status": _status(session, len(suspects)),
        },
        ensure_ascii=False,
    )


def _status(session: Session, suspicious: int) -> str:
    review = session.review
    if review is None:
        return ""
    changed = len(review.diff()["links"])
    parts = [
        f"{suspicious} suspicious {'link' if suspicious == 1 else 'links'}",
        f"{changed} {'link' if changed == 1 else 'links'} changed",
    ]
    parts.append(f"{len(review.draft.checked)} of {len(review.draft.names)} labels checked")
    if review.past and review.draft.change:
        parts.append(f"last: {review.draft.change}")
    return " · ".join(parts)

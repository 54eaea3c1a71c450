"""What ``review.js`` and ``draft.js`` show, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from unilabel.demo_app.editing import Review
from unilabel.demo_app.engine import Engine, next_run
from unilabel.demo_app.payloads import Note
from unilabel.demo_app.session import Session
from unilabel.demo_app.suspicion import Suspicion, suspicious_links
from unilabel.visual.graph_layout import DATASET_COLORS


def review_of(session: Session) -> Review:
    """The visitor's edits; only models with unified labels have a tab that asks."""
    if session.review is None:
        raise ValueError("a model without unified labels has nothing to review")
    return session.review


def review_payload(
    engine: Engine, session: Session, notes: Sequence[Note] = (), refused: int | None = None
) -> str:
    """What ``review.js`` shows.

    Args:
        engine: what speaks against links.
        session: the edits.
        notes: messages about the last edit.
        refused: unified label whose last edit was not accepted.
    """
    review = review_of(session)
    draft, spaces = review.draft, review.base.label_spaces
    counts = engine.evidence.counts()
    suspects = suspicious_links(draft, spaces, counts, engine.similarity)
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
            "labels": _labels(review, suspects),
            "notes": list(notes),
            "problems": [
                {
                    "id": problem.row,
                    "dataset": problem.dataset,
                    "class": problem.class_name,
                    "text": problem.text,
                }
                for problem in review.problems()
            ],
            "refused": None if refused is None else {"id": refused},
            "can_undo": bool(review.past),
            "can_redo": bool(review.future),
            "changed": review.changed,
            "status": _status(review, len(suspects)),
            "evidence": engine.evidence.status,
        },
        ensure_ascii=False,
    )


def _labels(review: Review, suspects: Mapping[tuple[int, str], Suspicion]) -> list[dict[str, Any]]:
    draft = review.draft
    labels = []
    for row, (name, color) in enumerate(zip(draft.names, draft.colors, strict=True)):
        links: list[dict[str, Any] | None] = []
        for dataset in review.base.label_spaces.names:
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
    return labels


def _status(review: Review, suspicious: int) -> str:
    changed = len(review.diff()["links"])
    parts = [
        f"{suspicious} suspicious {'link' if suspicious == 1 else 'links'}",
        f"{changed} {'link' if changed == 1 else 'links'} changed",
    ]
    parts.append(f"{len(review.draft.checked)} of {len(review.draft.names)} labels checked")
    if review.past and review.draft.change:
        parts.append(f"last: {review.draft.change}")
    return " · ".join(parts)


def draft_payload(session: Session) -> str:
    """What ``draft.js`` keeps in the browser, and says above all tabs."""
    review = session.review
    if review is None:
        return ""
    problems = review.problems()
    return json.dumps(
        {
            "model": review.base.mapping.checksum(),
            "edits": review.edits,
            "changes": review.diff() if review.changed else None,
            "saved": session.saved is review.draft,
            "stored": session.stored,
            "problems": [{"id": p.row, "text": p.text} for p in problems],
            "held": len(review.held),
        },
        ensure_ascii=False,
    )

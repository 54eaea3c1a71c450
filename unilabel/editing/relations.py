"""Typed relations for a model that was trained before there were any, or whose texts changed."""

from __future__ import annotations

from dataclasses import replace

from unilabel.editing.parts import Parts, edited
from unilabel.engine.typed_relations import with_typed_relations


def find_relations(parts: Parts) -> Parts:
    """The model with relations of classes that share no unified label; what a person said stays.

    Raises:
        UniLabelError: the model has no unified labels.
    """
    space = with_typed_relations(parts.cfg, parts.unified())
    count = len(space.beside())
    note = f"{count} typed relations of classes without a common unified label"
    return edited(replace(parts, space=space).with_note(note), {"typed_relations": count})

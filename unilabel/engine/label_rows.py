"""What a run knows about every unified label besides its links: weights, origin, a person's word.

Letters: N unified labels, C classes of all datasets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unilabel.core.extension import carried, class_origin
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.review import merged_origin, with_fixed_links, with_review
from unilabel.core.typed_relations import TypedRelation
from unilabel.core.unified_space import UnifiedLabelSpace


class LabelRows:
    """Row for row beside X_u, through appending, merging and dropping of unified labels.

    Attributes:
        edge_weights: (N, C) soft mapping of the last GNN stage, or the links of node selection.
        human_links: (N, C) bool links that a person fixed, or None.
        held: (N, C) bool, where links and absent links stay what they were in an older model that
            the run goes on from, or None.
        held_links: (N, C) bool, what they are there.
        reviewed: the label space of a file (UNIFY.NODES file) or of that older model, or None.
        related: (N, C) bool links that typed relations gave after the last iteration, or None.
        relations: of classes, as texts tell them after the last iteration.
        origin: (N,) int64, row of ``reviewed`` that each unified label was, -1 for none; or None.
        learned: whether a GNN stage has changed the links.
    """

    def __init__(self, label_spaces: LabelSpaceSet) -> None:
        """Begin without unified labels."""
        self.label_spaces = label_spaces
        self.edge_weights: Tensor | None = None
        self.human_links: Tensor | None = None
        self.held: Tensor | None = None
        self.held_links: Tensor | None = None
        self.related: Tensor | None = None
        self.relations: tuple[TypedRelation, ...] = ()
        self.reviewed: UnifiedLabelSpace | None = None
        self.origin: Tensor | None = None
        self.learned = False

    def begin(
        self,
        links: Tensor,
        reviewed: UnifiedLabelSpace | None,
        fix_human_links: bool,
        held: Tensor | None = None,
    ) -> None:
        """Take over the rows of node selection.

        Args:
            links: (N, C) bool; behind the rows of a reviewed file others may stand.
            reviewed: the file or older model that they come from, or None.
            fix_human_links: its links of source ``human`` are to stay (MODEL.FIX_HUMAN_LINKS).
            held: (U, C) bool, what of its U rows is to stay, or None.
        """
        self.edge_weights = links.float()
        self.reviewed = reviewed
        if self.reviewed is None:
            return
        count = len(self.reviewed.names)
        added = len(links) - count
        self.origin = torch.cat([torch.arange(count), torch.full((added,), -1)])
        if held is not None:
            self.held = torch.cat([held, held.new_zeros(added, held.shape[1])])
            self.held_links = links & self.held
        if fix_human_links:
            human = self.reviewed.human_links()
            human = carried(human, class_origin(self.reviewed.label_spaces, self.label_spaces))
            self.human_links = torch.cat([human, human.new_zeros(added, human.shape[1])])

    def fix(self, links: Tensor) -> Tensor:
        """(N, C) links or weights: what is held stays, and what a person fixed replaces others."""
        if self.held is not None:
            links = torch.where(self.held, self.held_links.to(links), links)
        return with_fixed_links(links, self.human_links, self.label_spaces)

    def keep_meaning(self, note: Callable[[str], None]) -> bool:
        """Whether a person's or an older model's labels get no links by texts, which is noted."""
        if self.reviewed is None:
            return False
        note("no links that texts tell: what labels of a person or older model mean stays")
        return True

    def relate(self, weights: Tensor) -> None:
        """Take links of typed relations, with their ``weights`` (N, C), 0: none."""
        self.related = weights > 0
        self.edge_weights = torch.where(self.related, weights, self.edge_weights)

    def regroup(self, new_index: Tensor) -> list[str]:
        """Follow a merging or dropping of unified labels.

        Args:
            new_index: (N,) int64, the new row of each one, -1 if dropped.

        Returns:
            names of a reviewed file that are gone with it.
        """
        kept = new_index >= 0
        target, count = new_index[kept], int(new_index.max()) + 1
        total = self.label_spaces.total
        weights, place = torch.zeros(count, total), target[:, None].expand(-1, total)
        self.edge_weights = weights.scatter_reduce_(0, place, self.edge_weights[kept], "amax")
        for name in ("human_links", "held", "held_links", "related"):
            rows = getattr(self, name)
            if rows is not None:
                merged = torch.zeros(count, total).index_add_(0, target, rows[kept].float())
                setattr(self, name, merged > 0)
        if self.reviewed is None:
            return []
        before, self.origin = self.origin, merged_origin(self.origin, new_index, self.reviewed)
        gone = set(before.tolist()) - set(self.origin.tolist()) - {-1}
        return [self.reviewed.names[row] for row in sorted(gone)]

    def label_space(
        self, mapping: LabelMapping, source: str, provenance: dict[str, Any]
    ) -> UnifiedLabelSpace:
        """The artefact: what a person saved stands on the rows that it belongs to.

        Args:
            mapping: N unified labels.
            source: who made the links, if nothing was learned.
            provenance: notes to keep.
        """
        space = UnifiedLabelSpace.from_mapping(
            mapping,
            self.edge_weights,
            source="learned" if self.learned else source,
            provenance=provenance,
            human_links=self.human_links,
            text_links=self.related,
        )
        space = replace(space, relations=self.relations)
        if self.reviewed is None:
            return space
        return with_review(space, self.reviewed, self.origin, self.learned, self.held)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {
            "edge_weights": self.edge_weights,
            "human_links": self.human_links,
            "held": self.held,
            "held_links": self.held_links,
            "reviewed": None if self.reviewed is None else self.reviewed.to_dict(),
            "origin": self.origin,
            "learned": self.learned,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.edge_weights, self.human_links = state["edge_weights"], state["human_links"]
        self.origin, self.learned = state["origin"], state["learned"]
        self.held, self.held_links = state.get("held"), state.get("held_links")
        self.reviewed = None
        if state["reviewed"] is not None:
            self.reviewed = UnifiedLabelSpace.from_dict(state["reviewed"], "checkpoint")

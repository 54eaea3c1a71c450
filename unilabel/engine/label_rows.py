"""What a run knows about every unified label besides its links: weights, origin, a person's word.

Letters: N unified labels, C classes of all datasets.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.review import merged_origin, with_fixed_links, with_review
from unilabel.core.unified_space import UnifiedLabelSpace


class LabelRows:
    """Row for row beside X_u, through appending, merging and dropping of unified labels.

    Attributes:
        edge_weights: (N, C) soft mapping of the last GNN stage, or the links of node selection.
        human_links: (N, C) bool links that a person fixed, or None.
        reviewed: the label space of a file (UNIFY.NODES file), or None.
        origin: (N,) int64, row of ``reviewed`` that each unified label was, -1 for none; or None.
        learned: whether a GNN stage has changed the links.
    """

    def __init__(self, label_spaces: LabelSpaceSet) -> None:
        """Begin without unified labels."""
        self.label_spaces = label_spaces
        self.edge_weights: Tensor | None = None
        self.human_links: Tensor | None = None
        self.reviewed: UnifiedLabelSpace | None = None
        self.origin: Tensor | None = None
        self.learned = False

    def begin(
        self, links: Tensor, reviewed: UnifiedLabelSpace | None, fix_human_links: bool
    ) -> None:
        """Take over the rows of node selection.

        Args:
            links: (N, C) bool; behind the rows of a reviewed file others may stand.
            reviewed: the file that they come from, or None.
            fix_human_links: its links of source ``human`` are to stay (MODEL.FIX_HUMAN_LINKS).
        """
        self.edge_weights = links.float()
        self.reviewed = reviewed
        if self.reviewed is None:
            return
        count = len(self.reviewed.names)
        added = len(links) - count
        self.origin = torch.cat([torch.arange(count), torch.full((added,), -1)])
        if fix_human_links:
            human = self.reviewed.human_links()
            self.human_links = torch.cat([human, human.new_zeros(added, human.shape[1])])

    def fix(self, links: Tensor) -> Tensor:
        """(N, C) links or weights with those that a person fixed in place of what contradicts."""
        return with_fixed_links(links, self.human_links, self.label_spaces)

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
        if self.human_links is not None:
            human = torch.zeros(count, total).index_add_(0, target, self.human_links[kept].float())
            self.human_links = human > 0
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
        )
        if self.reviewed is None:
            return space
        return with_review(space, self.reviewed, self.origin, self.learned)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {
            "edge_weights": self.edge_weights,
            "human_links": self.human_links,
            "reviewed": None if self.reviewed is None else self.reviewed.to_dict(),
            "origin": self.origin,
            "learned": self.learned,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.edge_weights, self.human_links = state["edge_weights"], state["human_links"]
        self.origin, self.learned = state["origin"], state["learned"]
        self.reviewed = None
        if state["reviewed"] is not None:
            self.reviewed = UnifiedLabelSpace.from_dict(state["reviewed"], "checkpoint")

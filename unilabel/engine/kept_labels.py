"""The unified labels of an older model in a run that begins with its weights (MODEL.WEIGHTS).

Letters: K datasets, C classes of all datasets, C_i of one, U unified labels of the older model, N
unified labels of the run, D embedding dim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from torch import Tensor

from unilabel.core.evidence import text_similarity
from unilabel.core.extension import carried, class_origin, extend_links, held_blocks
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.fitting import initial_embedding
from unilabel.engine.node_selection import NodeProposal, fused_evidence, text_score
from unilabel.engine.pixel_cache import PixelCache


class KeptLabels:
    """Unified labels that keep their ids, names and links, and that new classes join.

    Attributes:
        space: of the older model, over its datasets.
        embedding: (U, D) X_u.
        bias: (K, U) dataset bias, zero for new datasets.
        same_reading: the run reads unified labels as classes like the older model did.
        origin: (C,) class of the older model that each class of the run is, -1 for new ones.
        links: (U, C) bool over the datasets of the run.
        parent: (N,) row of ``embedding`` that each unified label of the run starts from, or -1.
    """

    def __init__(
        self,
        space: UnifiedLabelSpace,
        embedding: Tensor,
        bias: Tensor,
        label_spaces: LabelSpaceSet,
        same_reading: bool,
    ) -> None:
        """Carry them over to the datasets of a run."""
        self.space, self.embedding, self.bias = space, embedding, bias
        self.same_reading = same_reading
        self.label_spaces = label_spaces
        self.origin = class_origin(space.label_spaces, label_spaces)
        self.links = carried(space.mapping.stacked(), self.origin)
        self.parent = torch.arange(len(self.links))

    @property
    def opened(self) -> list[int]:
        """Indices of the datasets that bring a new class."""
        blocks = self.label_spaces.split(self.origin)
        return [i for i, block in enumerate(blocks) if bool((block < 0).any())]

    @property
    def complete(self) -> bool:
        """Whether the unified labels answer in the run as they are: nothing is left to fit."""
        return self.same_reading and not self.opened

    @property
    def held(self) -> Tensor:
        """(U, C) bool: links, and absent links, that stay as they are."""
        return held_blocks(self.links, self.origin, self.label_spaces)

    def propose(
        self,
        cfg: CfgNode,
        cache: Callable[[], PixelCache],
        heads: Sequence[Tensor],
        text_features: Tensor,
        trained: bool,
    ) -> NodeProposal:
        """The unified labels of the run: those that are kept first, joined by new classes.

        Args:
            cfg: UNIFY, LOSS.
            cache: gives pixels of the present network; not called if no class is new.
            heads: K classifiers (C_i, D) of that network.
            text_features: (C, T).
            trained: the network has changed since the older model.
        """
        opened = self.opened
        if not opened:
            return NodeProposal(self.links, None, reviewed=self.space)
        pixels = cache()
        text = text_score(cfg, self.label_spaces, text_features)
        every = (cfg, pixels, heads, self.label_spaces.num_classes, text)
        classifier = initial_embedding(self.links, heads) if trained else self.embedding
        known = self._pixels_of_labels(pixels, classifier)
        offsets = self.label_spaces.class_offsets
        parts = [slice(offsets[i], offsets[i + 1]) for i in opened]
        unit = F.normalize(text_features.float(), dim=1)
        labels = self.links.float() @ unit  # (N, T)
        score = fused_evidence(
            cfg,
            PixelCache(
                [known[0], *(pixels.embeddings[i] for i in opened)],
                [known[1], *(pixels.labels[i] for i in opened)],
            ),
            [classifier, *(heads[i] for i in opened)],
            [len(self.links), *(self.label_spaces[i].num_classes for i in opened)],
            text_similarity(torch.cat([labels, *(unit[part] for part in parts)])),
        )
        threshold = cfg.UNIFY.SCORE_THRESHOLD
        found = extend_links(self.links, self.origin, score, opened, self.label_spaces, threshold)
        self.parent = found.parent
        return NodeProposal(found.links, fused_evidence(*every), reviewed=self.space)

    def _pixels_of_labels(self, cache: PixelCache, classifier: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (P, D) of known classes, and which unified label of its class each one is (P,)."""
        found, labels = [], []
        blocks = self.label_spaces.split(self.links)
        for pixels, truth, block in zip(cache.embeddings, cache.labels, blocks, strict=True):
            allowed = block.T[truth]  # (P, U)
            known = allowed.any(1)
            scores = (pixels @ classifier.T).masked_fill(~allowed, -torch.inf)
            found.append(pixels[known])
            labels.append(scores[known].argmax(1))
        return torch.cat(found), torch.cat(labels)

    def start(self, links: Tensor, heads: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Where X_u (N, D) and the dataset bias (K, N) of the run begin.

        Args:
            links: (N, C) bool links of the run; rows behind ``parent`` are new.
            heads: K classifiers (C_i, D), from which new unified labels start.
        """
        parent = F.pad(self.parent, (0, len(links) - len(self.parent)), value=-1)
        old = parent >= 0
        embedding, bias = self.embedding[parent.clamp(min=0)], self.bias[:, parent.clamp(min=0)]
        if bool(old.all()):
            return embedding, bias
        fresh = initial_embedding(links, heads)
        return torch.where(old[:, None], embedding, fresh), torch.where(old, bias, 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {
            "space": self.space.to_dict(),
            "embedding": self.embedding,
            "bias": self.bias,
            "same_reading": self.same_reading,
            "parent": self.parent,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], label_spaces: LabelSpaceSet) -> KeptLabels:
        """Inverse of :meth:`state_dict`."""
        space = UnifiedLabelSpace.from_dict(state["space"], "checkpoint")
        kept = cls(space, state["embedding"], state["bias"], label_spaces, state["same_reading"])
        kept.parent = state["parent"]
        return kept

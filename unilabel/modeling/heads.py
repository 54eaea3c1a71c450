"""Segmentation heads: one per dataset (baseline, first stage) and the unified one.

Letters: B images, K datasets, C_i classes of dataset i, C = sum of C_i, N unified labels,
D embedding dim, h x w feature size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unilabel.core.fused_loss import LinkTable
from unilabel.core.projection import MappingMode, unified_logits

# Bias of a unified label that takes no part in the answers of a dataset: it came later.
SILENT = -1e4


class MultiSegHead(nn.Module):
    """A linear classifier per dataset on shared pixel embeddings, Eq. (9)."""

    def __init__(self, num_classes: Sequence[int], embed_dim: int) -> None:
        """Random classifiers W_i of shape (C_i, D)."""
        super().__init__()
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(c, embed_dim) * embed_dim**-0.5) for c in num_classes
        )

    def forward(self, pixel_embedding: Tensor, dataset_id: int) -> Tensor:
        """(B, D, h, w) -> (B, C_i, h, w)."""
        return unified_logits(pixel_embedding, self.weights[dataset_id])


class UniSegHead(nn.Module):
    """The unified head: pixel embedding -> unified labels -> classes of a dataset.

    Attributes:
        label_embedding: (N, D) X_u.
        dataset_bias: (K, N), added to the unified logits on images of a dataset; zero if unused,
            :data:`SILENT` where a unified label takes no part.
        dataset_shift: (K, N, D), added to X_u on images of a dataset, or None: every dataset is
            read with X_u itself. See :mod:`unilabel.engine.readouts` and :mod:`unilabel.adding`.
        mapping: (N, C) bool buffer, all label mappings beside each other.
    """

    mapping: Tensor

    def __init__(
        self,
        num_classes: Sequence[int],
        num_unified: int,
        embed_dim: int,
        mode: MappingMode,
        use_dataset_bias: bool,
    ) -> None:
        """A head without a label space; see :meth:`set_label_space`."""
        super().__init__()
        self.num_classes = list(num_classes)
        self.mode = mode
        total = sum(self.num_classes)
        self.label_embedding = nn.Parameter(torch.zeros(num_unified, embed_dim))
        self.dataset_bias = nn.Parameter(
            torch.zeros(len(self.num_classes), num_unified), requires_grad=use_dataset_bias
        )
        self.use_dataset_bias = use_dataset_bias
        self.register_parameter("dataset_shift", None)
        self.register_buffer("mapping", torch.zeros(num_unified, total, dtype=torch.bool))
        self._link_table: LinkTable | None = None
        self.register_load_state_dict_post_hook(lambda module, _: module.clear_link_table())

    @property
    def num_unified(self) -> int:
        """N."""
        return self.label_embedding.shape[0]

    def set_label_space(
        self,
        label_embedding: Tensor,
        mapping: Tensor,
        dataset_bias: Tensor | None = None,
        dataset_shift: Tensor | None = None,
    ) -> None:
        """Install N unified labels.

        Args:
            label_embedding: (N, D).
            mapping: (N, C) bool links.
            dataset_bias: (K, N); None: zero.
            dataset_shift: (K, N, D); None: every dataset is read with X_u itself.
        """
        device = self.label_embedding.device
        count = len(label_embedding)
        self.label_embedding = nn.Parameter(label_embedding.detach().float().clone().to(device))
        if dataset_bias is None:
            dataset_bias = torch.zeros(len(self.num_classes), count)
        self.dataset_bias = nn.Parameter(
            dataset_bias.detach().float().clone().to(device), requires_grad=self.use_dataset_bias
        )
        self.set_shift(dataset_shift)
        self.set_mapping(mapping)

    def set_shift(self, dataset_shift: Tensor | None) -> None:
        """Install (K, N, D) differences of the datasets' classifiers from X_u, or none."""
        if dataset_shift is not None:
            values = dataset_shift.detach().float().clone().to(self.label_embedding.device)
            self.dataset_shift = nn.Parameter(values)
        else:
            self.dataset_shift = None

    def set_mapping(self, mapping: Tensor) -> None:
        """Install other links (N, C) bool for the same unified labels."""
        self.mapping = mapping.detach().bool().clone().to(self.label_embedding.device)
        self.clear_link_table()

    def add_silent_links(self, links: Tensor) -> None:
        """Link unified labels to classes of datasets whose own answers do not ask for them.

        Args:
            links: (N, C) bool, of labels that have no link in that dataset.
        """
        links = links.to(self.mapping)
        silent = torch.stack([block.any(1) for block in links.split(self.num_classes, dim=1)])
        with torch.no_grad():
            self.dataset_bias.masked_fill_(silent, SILENT)  # (K, N)
        self.set_mapping(self.mapping | links)

    def clear_link_table(self) -> None:
        """Forget what was derived from the mapping."""
        self._link_table = None

    def link_table(self) -> LinkTable:
        """The mapping in the form of the fused loss, made once per mapping."""
        if self._link_table is None:
            blocks = self.mapping.split(self.num_classes, dim=1)
            self._link_table = LinkTable.from_mappings(blocks)
        return self._link_table

    def dataset_mapping(self, dataset_id: int) -> Tensor:
        """(N, C_i) bool links of one dataset."""
        return self.mapping.split(self.num_classes, dim=1)[dataset_id]

    def rows(self, dataset_id: int | None = None) -> Tensor:
        """(N, D) classifiers of the unified labels, as they are on images of a dataset."""
        if dataset_id is None or self.dataset_shift is None:
            return self.label_embedding
        return self.label_embedding + self.dataset_shift[dataset_id]

    def reading(self, dataset_id: int, mapping: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """How unified labels are read as the classes of a dataset.

        A silent unified label takes part where a person has linked it otherwise than the model.

        Args:
            dataset_id: the dataset.
            mapping: bool (N, C_i) links of an edited label space; None: those of the head.

        Returns:
            (N,) bias and (N, C_i) links of those that take part.
        """
        own = self.dataset_mapping(dataset_id)
        links = own if mapping is None else mapping.to(own.device)
        bias = self.dataset_bias[dataset_id]
        silent = bias <= SILENT / 2
        left_out = silent & (links == own).all(1)
        awake = silent & ~left_out & links.any(1)
        return bias.masked_fill(awake, 0.0), links & ~left_out[:, None]

    def unified_logits(
        self, pixel_embedding: Tensor, dataset_id: int | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """(B, D, h, w) -> (B, N, h, w); as on images of a dataset where one is given.

        Args:
            pixel_embedding: (B, D, h, w).
            dataset_id: the dataset, or None.
            bias: (N,) of :meth:`reading`; None: that of the dataset.
        """
        logits = unified_logits(pixel_embedding, self.rows(dataset_id))
        if dataset_id is not None:
            bias = self.dataset_bias[dataset_id] if bias is None else bias
            logits = logits + bias[:, None, None]
        return logits

    def summed_logits(
        self, pixel_embedding: Tensor, dataset_id: int, mapping: Tensor | None = None
    ) -> Tensor:
        """(B, D, h, w) -> (B, C_i, h, w): sum of the logits of a class's unified labels, Eq. (5).

        Everything before the softmax is linear, so X_u and M_i are folded into one classifier.

        Args:
            pixel_embedding: (B, D, h, w).
            dataset_id: the dataset.
            mapping: (N, C_i) links; None: those of the head.
        """
        node_bias, links = self.reading(dataset_id, mapping)
        weights = links.T.to(self.label_embedding)  # (C_i, N)
        bias = weights @ node_bias
        rows = weights @ self.rows(dataset_id)
        return unified_logits(pixel_embedding, rows) + bias[:, None, None]

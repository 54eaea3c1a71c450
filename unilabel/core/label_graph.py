"""The label graph: text features and a learnable adjacency give the unified label embedding.

Letters: K datasets, C classes of all datasets, N unified labels, V = C + N nodes, T text dim,
G hidden dim, D embedding dim. Node order: dataset labels first, then unified labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unilabel.core.adjacency import TEMPERATURE, message_weights, soft_mapping
from unilabel.core.errors import UniLabelError

if TYPE_CHECKING:
    from torch_geometric.nn import DenseGraphConv


class LabelGraph(nn.Module):
    """Three GraphSAGE layers over dataset labels and unified labels (Section 3.2).

    Eq. (3), W [X || M_a X], needs edge weights; that is PyG's ``DenseGraphConv(aggr="add")``
    (``SAGEConv`` ignores edge weights). The layers hold its parameters and compute what it
    computes, without the zeros of the square adjacency and without rows that nothing reads.

    Attributes:
        messages: whether nodes hear of each other. False makes the layers a network on every node's
            own features, which tells what the messages give (benchmarks/graph_stage.py).
    """

    def __init__(
        self,
        *,
        text_features: Tensor,
        num_classes: Sequence[int],
        edge_logits: Tensor,
        embed_dim: int,
        hidden_dim: int = 256,
        num_layers: int = 3,
        dropout: float = 0.0,
        temperature: float = TEMPERATURE,
        null_logits: Tensor | None = None,
        use_dataset_embedding: bool = True,
    ) -> None:
        """Build the graph.

        Args:
            text_features: (C, T) features of the label descriptions, fixed.
            num_classes: C_i of every dataset.
            edge_logits: (N, C) start of the learnable edges.
            embed_dim: D.
            hidden_dim: G, width of the layers.
            num_layers: graph layers.
            dropout: dropout before every layer.
            temperature: of the softmax over edges.
            null_logits: (N, K) start of the learnable "no class" edges, or None for no such option.
            use_dataset_embedding: add d_i of Eq. (1).

        Raises:
            UniLabelError: the number of labels disagrees.
        """
        # Slow to import (PyG loads transformers where it is installed), and of use for graphs only.
        from torch_geometric.nn import DenseGraphConv

        super().__init__()
        total = sum(num_classes)
        if text_features.shape[0] != total or edge_logits.shape[1] != total:
            raise UniLabelError(
                f"the label graph has {total} dataset labels, but there are "
                f"{text_features.shape[0]} text features and {edge_logits.shape[1]} edge columns; "
                "encode the label texts of these datasets again (tools/encode_labels.py)."
            )
        self.num_classes = list(num_classes)
        self.temperature = temperature
        self.dropout = dropout
        self.messages = True
        self.num_unified = edge_logits.shape[0]
        text_dim = text_features.shape[1]
        self.register_buffer("text_features", text_features.float())
        dataset_of = torch.repeat_interleave(
            torch.arange(len(self.num_classes)), torch.tensor(self.num_classes)
        )
        self.register_buffer("dataset_of", dataset_of, persistent=False)
        self.edge_logits = nn.Parameter(edge_logits.clone().float())
        self.null_logits: nn.Parameter | None = None
        if null_logits is not None:
            self.null_logits = nn.Parameter(null_logits.clone().float())
        self.unified_features = nn.Parameter(torch.empty(self.num_unified, text_dim))
        nn.init.trunc_normal_(self.unified_features, std=text_dim**-0.5)
        self.dataset_embedding: nn.Parameter | None = None
        if use_dataset_embedding:
            self.dataset_embedding = nn.Parameter(torch.empty(len(self.num_classes), text_dim))
            nn.init.trunc_normal_(self.dataset_embedding, std=0.2 * text_dim**-0.5)
        self.input = nn.Linear(text_dim, hidden_dim)
        self.layers = nn.ModuleList(
            DenseGraphConv(hidden_dim, hidden_dim, aggr="add") for _ in range(num_layers)
        )
        self.output = nn.Linear(hidden_dim, embed_dim)

    def mapping(self) -> Tensor:
        """(N, C) soft mapping of the present edge logits."""
        return soft_mapping(self.edge_logits, self.num_classes, self.temperature, self.null_logits)

    def forward(self) -> tuple[Tensor, Tensor]:
        """One pass over the graph.

        Returns:
            label embedding X_u (N, D) and soft mapping (N, C).
        """
        mapping = self.mapping()
        to_labels, to_unified = message_weights(mapping)
        if not self.messages:
            to_labels, to_unified = torch.zeros_like(to_labels), torch.zeros_like(to_unified)
        x = F.relu(self._input())  # (V, G)
        for number, layer in enumerate(self.layers, 1):
            x = F.dropout(x, self.dropout, self.training)
            last = number == len(self.layers)  # only the unified rows are read from here on
            x = torch.tanh(_convolve(layer, x, to_labels, to_unified, last))  # Eq. (3)
        return self.output(x[-self.num_unified :]), mapping

    def _input(self) -> Tensor:
        """(V, G) first linear layer on the node features of Eq. (1)."""
        fixed = F.linear(self.text_features, self.input.weight)  # type: ignore[arg-type]
        learned: list[Tensor] = [self.unified_features]
        if self.dataset_embedding is not None:
            learned.append(self.dataset_embedding)
        # The layer is linear: K rows (of it and of its gradient) do for the d_i of all C labels.
        x = F.linear(torch.cat(learned), self.input.weight, self.input.bias)
        unified = x[: self.num_unified]
        if self.dataset_embedding is None:
            return torch.cat([fixed + self.input.bias, unified])
        return torch.cat([fixed + x[self.num_unified :][self.dataset_of], unified])  # type: ignore[index]


def _convolve(
    layer: DenseGraphConv, x: Tensor, to_labels: Tensor, to_unified: Tensor, unified_only: bool
) -> Tensor:
    """``layer(x, adjacency)``: all rows (V, G), or those of the unified labels (N, G).

    Args:
        layer: (G, G) weights for the messages and for the node itself.
        x: (V, G).
        to_labels: (C, N), see :func:`message_weights`.
        to_unified: (N, C).
        unified_only: leave out the rows of the dataset labels.
    """
    labels, unified = x.split([len(to_labels), len(to_unified)])
    messages: nn.Linear = layer.lin_rel
    root: nn.Linear = layer.lin_root
    to_unified_sums = to_unified @ labels  # (N, G)
    if unified_only:
        sums = F.linear(to_unified_sums, messages.weight, messages.bias)
        return sums + F.linear(unified, root.weight)
    # There are fewer unified labels than dataset labels: the weights are applied to N rows, after
    # the messages to the unified labels are summed, but before those to the dataset labels are.
    rows = F.linear(torch.cat([unified, to_unified_sums]), messages.weight)  # (2 N, G)
    sums = torch.cat([to_labels @ rows[: len(unified)], rows[len(unified) :]])
    return sums + messages.bias + F.linear(x, root.weight)

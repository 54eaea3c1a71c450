"""The learnable part of the graph: edge logits, soft mappings, adjacency (Eq. 2).

Letters: K datasets, C classes of all datasets, C_i of one, N unified labels, V = C + N nodes.
Node order: dataset labels first, then unified labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

TEMPERATURE = 0.07  # of the softmax over edges


def soft_mapping(
    edge_logits: Tensor,
    num_classes: Sequence[int],
    temperature: float,
    null_logits: Tensor | None = None,
) -> Tensor:
    """Edge weights: a softmax per unified label over the classes of each dataset, Eq. (2).

    The printed denominator of Eq. (2) also sums over unified labels; the text of Section 3.2 and
    the authors' code do not, and neither do we.

    Args:
        edge_logits: (N, C).
        num_classes: C_i of every dataset.
        temperature: divisor of the logits.
        null_logits: (N, K) logits of "no class of this dataset"; None leaves that option out.

    Returns:
        (N, C). For every dataset the C_i weights of a row sum to 1, or to less with nulls.
    """
    blocks = []
    for i, block in enumerate(torch.split(edge_logits, list(num_classes), dim=1)):
        if null_logits is None:
            blocks.append(torch.softmax(block / temperature, dim=1))
        else:
            options = torch.cat([block, null_logits[:, i : i + 1]], 1)
            blocks.append(torch.softmax(options / temperature, 1)[:, :-1])
    return torch.cat(blocks, dim=1)


def message_weights(mapping: Tensor) -> tuple[Tensor, Tensor]:
    """The two blocks of the adjacency M_a that are not zero.

    Args:
        mapping: (N, C) edge weights.

    Returns:
        (C, N) weights of unified labels in the messages to dataset labels, and (N, C) weights of
        dataset labels in the messages to unified labels. Rows sum to 1 (0 without edges).
    """
    to_labels = (mapping / mapping.sum(0, keepdim=True).clamp(min=1e-6)).T
    return to_labels, mapping / mapping.sum(1, keepdim=True).clamp(min=1e-6)


def adjacency(mapping: Tensor) -> Tensor:
    """Row-normalised symmetric bipartite adjacency M_a.

    Args:
        mapping: (N, C) edge weights.

    Returns:
        (V, V). Rows sum to 1 (0 for a node without edges).
    """
    unified, classes = mapping.shape
    square = mapping.new_zeros(classes + unified, classes + unified)
    square[:classes, classes:], square[classes:, :classes] = message_weights(mapping)
    return square


def initial_edge_logits(
    links: Tensor, evidence: Tensor | None, num_classes: Sequence[int], temperature: float
) -> tuple[Tensor, Tensor]:
    """Edge logits whose soft mapping starts at given links, softly.

    A hard 0/1 start at a small temperature would put linked entries at weight 1 with zero gradient
    and freeze them. Where a unified label has a link to a dataset, the link starts at 0.9 (0.05
    for the other classes, 0.05 for none); where it has no link, "no class" starts at 0.7 and the
    classes share the rest by their evidence.

    Args:
        links: (N, C) bool, the links found by node selection, at most one per row and dataset.
        evidence: (N, C) >= 0 preference for classes, or None for uniform.
        num_classes: C_i of every dataset.
        temperature: the temperature of :func:`soft_mapping`.

    Returns:
        edge logits (N, C) and null logits (N, K), float32.
    """
    edges, nulls = [], []
    sizes = list(num_classes)
    prior = torch.ones_like(links, dtype=torch.float32) if evidence is None else evidence.float()
    for linked, preference in zip(links.split(sizes, 1), prior.split(sizes, 1), strict=True):
        share = preference.clamp(min=1e-4)
        share = share / share.sum(1, keepdim=True)
        has_link = linked.any(1, keepdim=True)
        weight = torch.where(has_link, 0.9 * linked + 0.05 * share, 0.3 * share)
        null = torch.where(has_link, 0.05, 0.7)
        top = torch.cat([weight, null], 1).amax(1, keepdim=True)
        edges.append(temperature * (weight / top).log())
        nulls.append(temperature * (null / top).log())
    return torch.cat(edges, dim=1), torch.cat(nulls, dim=1)

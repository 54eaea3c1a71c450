"""Unified label spaces from label text alone: the text baselines of Table 5, and our text merge.

Letters: K datasets, C classes of all datasets, N unified labels, T text feature dim. Results are
(N, C) bool links with at most one class of a dataset in a row and every class in some row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.evidence import label_tuples
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.merging import select_nodes
from unilabel.text.names import dataset_indices, kind_of, name_parts, same_name
from unilabel.text.prompts import label_texts

# A link must be more similar than this share of the classes is to its nearest sibling. A round
# value (the upper quartile), not fitted to any known relations.
SIBLING_SHARE = 0.75
# Score of a class against the class that its name makes it a kind of ("swivel chair": "chair").
KIND_SCORE = 0.95
# Best score without an equal name: two names are never more alike than the same name.
TEXT_SCORE_LIMIT = 0.999


def concat_nodes(label_spaces: LabelSpaceSet) -> Tensor:
    """Direct concatenation: every class is a unified label, (C, C)."""
    return torch.eye(label_spaces.total, dtype=torch.bool)


def name_nodes(label_spaces: LabelSpaceSet) -> Tensor:
    """Classes of the same name share a unified label, (N, C).

    Names are compared without case, plural and fillers; "bridge or tunnel" is both a bridge and a
    tunnel. See :func:`unilabel.text.names.name_parts`.
    """
    equal = torch.from_numpy(same_name(label_spaces)).float()
    return label_tuples(equal, label_spaces.num_classes, 0.5)


def cluster_nodes(
    label_spaces: LabelSpaceSet, text_features: Tensor, eps: float | None = None
) -> Tensor:
    """The row "Clustered by text features" of Table 5: DBSCAN on cosine distance, (N, C).

    Labels of one dataset that fall into one cluster get unified labels of their own, each with the
    most similar label of every other dataset in the cluster.

    Args:
        label_spaces: K label spaces.
        text_features: (C, T).
        eps: radius in cosine distance; None: from :func:`sibling_threshold`.
    """
    from sklearn.cluster import DBSCAN

    cosine = _cosine(text_features)
    if eps is None:
        eps = 1.0 - sibling_threshold(label_spaces, text_features)
    if not 0.0 < eps <= 2.0:
        raise UniLabelError(f"DBSCAN radius {eps}: expected a cosine distance in 0..2.")
    distance = (1.0 - cosine).clip(min=0.0)
    cluster = DBSCAN(eps=eps, min_samples=2, metric="precomputed").fit_predict(distance)
    together = (cluster[:, None] == cluster[None]) & (cluster[:, None] >= 0)
    score = torch.from_numpy(np.where(together, 2.0 + cosine, 0.0))
    return label_tuples(score, label_spaces.num_classes, 0.5)


@dataclass(frozen=True)
class TextMerge:
    """Result of :func:`merge_by_text`.

    Attributes:
        links: (N, C) bool.
        weights: (N, C) in 0..1, score of each link with the other classes of its unified label.
        threshold: least cosine of two labels that belong together.
    """

    links: Tensor
    weights: Tensor
    threshold: float


def merge_texts(label_spaces: LabelSpaceSet) -> list[str]:
    """C texts for :func:`merge_by_text`: class name and description, without the dataset's name.

    The name of the dataset would make all labels of a dataset alike.
    """
    names = [" or ".join(name_parts(n)) for s in label_spaces for n in s.class_names]
    descriptions = label_texts(label_spaces, "description")
    return [f"An image of {n}. {d}" for n, d in zip(names, descriptions, strict=True)]


def merge_by_text(
    label_spaces: LabelSpaceSet,
    text_features: Tensor,
    sibling_share: float = SIBLING_SHARE,
) -> TextMerge:
    """Our text-only label space: exact merge of equal labels, then links to wider ones.

    Two labels of one dataset are never the same thing, so the similarity of every label to its
    nearest sibling shows what similarity means nothing. The score of a pair is the share of labels
    whose nearest sibling is less similar; equal names score 1. First the pairs above
    ``sibling_share`` are merged by the exact clique partition of Appendix B (at most one label of a
    dataset in a clique). Then every clique looks, in each dataset where it has no label, for the
    class that holds it: the class whose own clique, or which itself, is most alike on average, or
    whose name says so ("swivel chair" is a chair). That gives a wide class several unified labels.

    Args:
        label_spaces: K label spaces.
        text_features: (C, T) encoding of :func:`merge_texts`.
        sibling_share: threshold in 0..1.
    """
    if not 0.0 < sibling_share < 1.0:
        raise UniLabelError(f"sibling share {sibling_share}: expected a share between 0 and 1.")
    cosine = _cosine(text_features)
    dataset_of = dataset_indices(label_spaces)
    other = dataset_of[:, None] != dataset_of[None]
    siblings = _nearest_sibling(cosine, dataset_of)
    share = np.searchsorted(siblings, cosine) / max(len(siblings), 1)
    equal = same_name(label_spaces)
    score = np.where(equal, 1.0, np.minimum(share, TEXT_SCORE_LIMIT)) * other
    cliques = _merge(score, label_spaces.class_offsets, sibling_share)
    inside = np.maximum(score, KIND_SCORE * kind_of(label_spaces))
    wider = _wider_classes(cliques, inside, dataset_of, sibling_share)
    links = _without_parts(cliques | wider)
    return TextMerge(
        links=torch.from_numpy(links),
        weights=torch.from_numpy(_link_weights(links, inside)),
        threshold=sibling_threshold(label_spaces, text_features, sibling_share),
    )


def sibling_threshold(
    label_spaces: LabelSpaceSet, text_features: Tensor, sibling_share: float = SIBLING_SHARE
) -> float:
    """Cosine that ``sibling_share`` of the labels do not reach with their nearest sibling."""
    siblings = _nearest_sibling(_cosine(text_features), dataset_indices(label_spaces))
    if not len(siblings):
        raise UniLabelError(
            "no dataset has two classes, so no similarity threshold can be found; set it by hand."
        )
    return float(np.quantile(siblings, sibling_share))


def _cosine(text_features: Tensor) -> np.ndarray:
    unit = F.normalize(text_features.double(), dim=1)
    return np.asarray((unit @ unit.T).numpy())


def _nearest_sibling(cosine: np.ndarray, dataset_of: np.ndarray) -> np.ndarray:
    """Sorted similarities of the labels to the nearest other label of their dataset."""
    same = (dataset_of[:, None] == dataset_of[None]) & ~np.eye(len(cosine), dtype=bool)
    nearest = np.where(same, cosine, -np.inf).max(1)
    return np.sort(nearest[np.isfinite(nearest)])


def _merge(score: np.ndarray, class_offsets: list[int], threshold: float) -> np.ndarray:
    """(N, C) bool cliques of pairs above the threshold, of greatest sum of (score - threshold).

    With own scores of threshold / 2 and cross scores of score / 2 the pair cost of Appendix B,
    [R(a,a) - R(a,b)] + [R(b,b) - R(b,a)], is threshold - score; no price per unified label is
    needed, because a merge that is not worth it costs something by itself.
    """
    cross = score / 2
    np.fill_diagonal(cross, threshold / 2)
    return select_nodes(cross, class_offsets, node_penalty=0.0, tau=0.0).matrix


def _wider_classes(
    cliques: np.ndarray, inside: np.ndarray, dataset_of: np.ndarray, threshold: float
) -> np.ndarray:
    """(N, C) bool: per clique the best class of every dataset that it lacks, if good enough."""
    members = cliques.astype(float)
    owner = cliques.argmax(0)  # cliques partition the classes
    # Mean score of clique u with class b, and with b's clique (pairs of one dataset left out).
    direct = members @ inside / members.sum(1, keepdims=True)
    other = (dataset_of[:, None] != dataset_of[None]).astype(float)
    pairs = members @ other @ members.T
    grouped = (members @ (inside * other) @ members.T) / np.maximum(pairs, 1.0)
    value = np.maximum(direct, grouped[:, owner])
    result = np.zeros_like(cliques)
    rows = np.arange(len(cliques))
    for dataset in range(dataset_of.max() + 1):
        columns = np.flatnonzero(dataset_of == dataset)
        best = columns[value[:, columns].argmax(1)]
        wanted = ~cliques[:, columns].any(1) & (value[rows, best] >= threshold)
        result[rows[wanted], best[wanted]] = True
    return result


def _without_parts(links: np.ndarray) -> np.ndarray:
    """Rows that are not contained in another row; of equal rows the first."""
    sets = [frozenset(np.flatnonzero(row)) for row in links]
    keep = [
        not any(own < other or (own == other and j < i) for j, other in enumerate(sets))
        for i, own in enumerate(sets)
    ]
    return np.asarray(links[keep])


def _link_weights(links: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Mean score of every linked class with the others of its row; 1 where it stands alone."""
    both = np.maximum(inside, inside.T)
    members = links.astype(float)
    others = members.sum(1, keepdims=True) - 1
    mean = members @ both / np.maximum(others, 1.0)
    return np.asarray(np.where(others > 0, mean, 1.0) * members)

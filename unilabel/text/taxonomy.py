"""Unified label spaces from label text alone: the text baselines of Table 5, and our text merge.

Letters: K datasets, C classes of all datasets, N unified labels, T text feature dim. Results are
(N, C) bool links with at most one class of a dataset in a row and every class in some row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.evidence import label_tuples
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.merging import select_nodes
from unilabel.text.containment import RelationEvidence, relation_evidence
from unilabel.text.meanings import name_meanings
from unilabel.text.names import dataset_indices, name_parts, same_name
from unilabel.text.prompts import label_texts

# A link must be more similar than this share of the classes is to its nearest sibling. A round
# value (the upper quartile), not fitted to any known relations.
SIBLING_SHARE = 0.75
# Evidence about one class counts for all classes that are the same thing, if so many of their pairs
# bear it out, a little less than said outright.
BORNE_OUT = 0.2
HEARSAY = 0.95


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

    cosine = cosine_of(text_features)
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
        threshold: least cosine of two labels that belong together by likeness alone.
        inside: (C, C) in 0..1, score of class a being the same as class b or a part of it, for the
            classes that share a unified label.
        equal: (C, C) bool, symmetric: the same thing.
    """

    links: Tensor
    weights: Tensor
    threshold: float
    inside: Tensor
    equal: Tensor

    def relation(self, a: int, b: int) -> str:
        """``equal``, ``subset`` (a is part of b), ``superset``, ``overlap`` or ``none``."""
        if bool(self.equal[a, b]):
            return "equal"
        there, back = float(self.inside[a, b]), float(self.inside[b, a])
        if there == back:
            return "overlap" if there else "none"
        return "subset" if there > back else "superset"


def merge_texts(label_spaces: LabelSpaceSet) -> list[str]:
    """C texts for :func:`merge_by_text`: class name and description, without the dataset's name.

    The name of the dataset would make all labels of a dataset alike.
    """
    descriptions = label_texts(label_spaces, "description")
    return [f"{n} {d}" for n, d in zip(name_texts(label_spaces), descriptions, strict=True)]


def name_texts(label_spaces: LabelSpaceSet) -> list[str]:
    """C texts: class names alone."""
    names = [" or ".join(name_parts(n)) for s in label_spaces for n in s.class_names]
    return [f"An image of {n}." for n in names]


def holding_score(
    label_spaces: LabelSpaceSet,
    encode: Callable[[Sequence[str]], Tensor],
    sibling_share: float = SIBLING_SHARE,
) -> Tensor:
    """(C, C) symmetric: how sure texts are that one of two classes is the other or holds it."""
    inside = inside_score(label_spaces, encode, sibling_share)
    return torch.maximum(inside, inside.T)


def inside_score(
    label_spaces: LabelSpaceSet,
    encode: Callable[[Sequence[str]], Tensor],
    sibling_share: float = SIBLING_SHARE,
) -> Tensor:
    """(C, C): how sure texts are that class a is class b, or a part of it.

    What :func:`merge_by_text` finds before it makes unified labels of it: 0, or ``sibling_share``
    to 1.
    """
    features = encode(merge_texts(label_spaces))
    return torch.from_numpy(
        _same_and_inside(label_spaces, features, encode, sibling_share)[1]
    ).float()


def _same_and_inside(
    label_spaces: LabelSpaceSet,
    features: Tensor,
    encode: Callable[[Sequence[str]], Tensor],
    sibling_share: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Cliques (N, C) bool of classes that are the same, and (C, C) score of b holding a."""
    evidence = _evidence(label_spaces, features, encode)
    cliques = _merge(evidence.same, label_spaces.class_offsets, sibling_share)
    return cliques, _held_by(cliques, evidence, dataset_indices(label_spaces), sibling_share)


def _evidence(
    label_spaces: LabelSpaceSet, features: Tensor, encode: Callable[[Sequence[str]], Tensor]
) -> RelationEvidence:
    """What names, dictionary and descriptions say about all pairs."""
    cosine = cosine_of(features)
    siblings = _nearest_sibling(cosine, dataset_indices(label_spaces))
    likeness = np.searchsorted(siblings, cosine) / max(len(siblings), 1)
    meanings = name_meanings(label_spaces, features, encode)
    texts = (features, encode(name_texts(label_spaces)))
    return relation_evidence(label_spaces, meanings, likeness, map(cosine_of, texts))


def merge_by_text(
    label_spaces: LabelSpaceSet,
    encode: Callable[[Sequence[str]], Tensor],
    sibling_share: float = SIBLING_SHARE,
) -> TextMerge:
    """Our text-only label space: which classes are the same, and which holds which.

    Two labels of one dataset are never the same thing, so the similarity of every label to its
    nearest sibling shows what similarity means nothing: the likeness of a pair is the share of
    labels whose nearest sibling is less similar. With names, dictionary and descriptions it gives
    the evidence of :mod:`unilabel.text.containment`.

    First the classes that are the same thing are merged by the exact clique partition of Appendix B
    (at most one label of a dataset in a clique). Then every class looks, in each other dataset, for
    the one class that holds it. What is known about one member of a clique counts for all of them.
    The unified labels are tuples of classes that are all related to each other; a wide class gets
    several.

    Args:
        label_spaces: K label spaces.
        encode: text encoder, texts to (n, T) features.
        sibling_share: threshold in 0..1.
    """
    if not 0.0 < sibling_share < 1.0:
        raise UniLabelError(f"sibling share {sibling_share}: expected a share between 0 and 1.")
    features = encode(merge_texts(label_spaces))
    cliques, inside = _same_and_inside(label_spaces, features, encode, sibling_share)
    score = np.maximum(inside, inside.T)
    links = label_tuples(torch.from_numpy(score), label_spaces.num_classes, sibling_share)
    related = (links.T.float() @ links.float()) > 0
    same = torch.from_numpy(cliques.T.astype(int) @ cliques.astype(int) > 0)
    return TextMerge(
        links=links,
        weights=torch.from_numpy(_link_weights(links.numpy(), score)),
        threshold=sibling_threshold(label_spaces, features, sibling_share),
        inside=torch.from_numpy(inside) * related,
        equal=same & related,
    )


def sibling_threshold(
    label_spaces: LabelSpaceSet, text_features: Tensor, sibling_share: float = SIBLING_SHARE
) -> float:
    """Cosine that ``sibling_share`` of the labels do not reach with their nearest sibling."""
    siblings = _nearest_sibling(cosine_of(text_features), dataset_indices(label_spaces))
    if not len(siblings):
        raise UniLabelError(
            "no dataset has two classes, so no similarity threshold can be found; set it by hand."
        )
    return float(np.quantile(siblings, sibling_share))


def cosine_of(text_features: Tensor) -> np.ndarray:
    """(C, C) cosines of (C, T) features."""
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


def _held_by(
    cliques: np.ndarray, evidence: RelationEvidence, dataset_of: np.ndarray, threshold: float
) -> np.ndarray:
    """(C, C) score of the one class of every other dataset that holds a class; 0 elsewhere."""
    owner = cliques.argmax(0)  # cliques partition the classes
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(len(cliques)))

    def of_cliques(values: np.ndarray, gather: np.ufunc) -> np.ndarray:
        """(C, C) -> (N, N): the values of all members together."""
        return gather.reduceat(gather.reduceat(values[order], starts, 0)[:, order], starts, 1)

    other = dataset_of[:, None] != dataset_of[None]
    said = (evidence.inside >= threshold) & other
    pairs = np.maximum(of_cliques(other.astype(np.float32), np.add), 1.0)
    borne_out = of_cliques(said.astype(np.float32), np.add).astype(float) / pairs
    best = of_cliques(evidence.inside, np.maximum)
    hearsay = np.where(borne_out >= BORNE_OUT, HEARSAY * best, 0.0)
    columns_of = [np.flatnonzero(dataset_of == d) for d in range(dataset_of.max() + 1)]
    result = np.zeros(evidence.inside.shape)
    for (
        rows
    ) in columns_of:  # one dataset at a time: whole matrices would be in memory several times
        value = np.maximum(evidence.inside[rows], hearsay[owner[rows]][:, owner])
        value = np.where(evidence.excluded[rows], 0.0, value)
        same = owner[rows][:, None] == owner[None]
        value = np.where(same & other[rows], 1.0, value * other[rows])
        for columns in columns_of:
            chosen = columns[value[:, columns].argmax(1)]
            found = value[np.arange(len(rows)), chosen]
            wanted = found >= threshold
            result[rows[wanted], chosen[wanted]] = found[wanted]
    return result


def _link_weights(links: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Mean score of every linked class with the others of its row; 1 where it stands alone."""
    members = links.astype(float)
    others = members.sum(1, keepdims=True) - 1
    mean = members @ score / np.maximum(others, 1.0)
    return np.asarray(np.where(others > 0, mean, 1.0) * members)

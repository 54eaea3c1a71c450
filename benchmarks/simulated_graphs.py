"""Graphs of label pairs with exact truth, out of the cached pixels of one dataset at a time.

The photos of a dataset are dealt out to several made-up ones. Each leaves some classes out, puts
others together, and looks different: a random linear change of all embeddings, and one of its own
for every class. A class of a made-up dataset is a set of classes of the real one (its atoms), so
what is equal, a part, wider or apart follows from sets; no relation between two real datasets is
looked at.

Letters: T labels of all made-up datasets together, C classes of the real dataset, D embedding dim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import Tensor

from unilabel.core.evidence import class_mean_similarity, two_sided
from unilabel.core.label_space import LabelSpace, LabelSpaceSet, default_color
from unilabel.engine.fitting import fit_heads
from unilabel.engine.node_selection import cross_answers, fused_evidence
from unilabel.engine.pixel_cache import PixelCache

TYPES = ("equal", "part", "wider", "overlap", "none")
SAME_SET = -1  # in place of a type
LEAST_CLASSES = 6  # of a dataset that graphs are made of
MOST_LABELS = 80  # of a graph
BLOCKS = 48  # neighbouring pixels stay together: a photo is cut at most where a block ends
SET_PIXELS = 4000  # of a made-up dataset
# Heads of made-up datasets, and looks, that answer about as surely as those of a trained network:
# of their own pixels they know .81 to .95 (four sets: .81), with classifiers of length 1.1 (1.1).
HEAD = {"FIT_ITERATIONS": 40, "FIT_LR": 0.02, "FIT_PIXELS": 512}
LOOK = 0.4  # greatest strength of a change of looks
Groups = list[frozenset[int]]


@dataclass(frozen=True)
class PairGraph:
    """All pairs of labels of several datasets.

    Attributes:
        features: (T, T, F) visual evidence of a pair, see :func:`pair_features`.
        visual: (T, T) fused score of the visual evidence alone.
        text: (T, T) text score.
        sizes: labels of every dataset.
        types: (T, T) int64 positions in ``TYPES`` of the first label seen from the second, or
            ``SAME_SET``; None where it is not known.
    """

    features: Tensor
    visual: Tensor
    text: Tensor
    sizes: list[int]
    types: Tensor | None = None

    @property
    def apart(self) -> Tensor:
        """(T, T) bool: labels of different datasets."""
        dataset = torch.repeat_interleave(torch.arange(len(self.sizes)), torch.tensor(self.sizes))
        return dataset[:, None] != dataset[None]


def pair_features(cross: Tensor, means: Tensor, sizes: Sequence[int]) -> Tensor:
    """Visual evidence of every pair.

    Args:
        cross: (T, T) answers of the heads, see :func:`unilabel.core.evidence.cross_prediction`.
        means: (T, T) likeness of class means.
        sizes: labels of every dataset.

    Returns:
        (T, T, 10): for each direction the answer, the answer relative to that on the label's own
        pixels, its rank and that of the means among the labels of its dataset; then what has no
        direction. Entry (b, a) has the two directions in turn.
    """
    relative = cross / cross.diagonal().clamp(min=0.05)
    ranks = [_reciprocal_ranks(m, sizes) for m in (cross, means)]
    there = torch.stack([(cross + 0.01).log(), (relative + 0.01).log(), *ranks], -1)
    both = torch.stack([means, two_sided(cross)], -1)
    return torch.cat([there, there.transpose(0, 1), both], -1)


def _reciprocal_ranks(score: Tensor, sizes: Sequence[int]) -> Tensor:
    """(T, T): 1 for the best label of a dataset, 1/2 for the next; by row."""
    blocks = [
        1 / (1 + block.argsort(1, descending=True).argsort(1).float())
        for block in score.split(list(sizes), 1)
    ]
    return torch.cat(blocks, 1)


def evidence_graph(
    cfg: CfgNode,
    cache: PixelCache,
    heads: Sequence[Tensor],
    sizes: Sequence[int],
    text: Tensor,
    types: Tensor | None = None,
) -> PairGraph:
    """The graph of datasets whose pixels and heads are known; ``text`` is (T, T)."""
    cross = cross_answers(cfg, cache, heads)
    means = class_mean_similarity(cache.embeddings, cache.labels, sizes, ridge=0.1)
    silent = cfg.clone()
    silent.defrost()
    silent.UNIFY.TEXT_WEIGHT = 0.0
    visual = fused_evidence(silent, cache, heads, sizes, text, cross)
    return PairGraph(pair_features(cross, means, sizes), visual, text, list(sizes), types)


def relation_type(a: frozenset[int], b: frozenset[int]) -> str:
    """What a label is to another one, by the atoms that they hold."""
    if not a & b:
        return "none"
    if a == b:
        return "equal"
    return "part" if a < b else "wider" if a > b else "overlap"


def relation_types(sets: Sequence[Groups]) -> Tensor:
    """(T, T) positions in ``TYPES``, ``SAME_SET`` within a dataset."""
    labels = [(number, group) for number, groups in enumerate(sets) for group in groups]
    rows = [
        [SAME_SET if i == j else TYPES.index(relation_type(a, b)) for j, b in labels]
        for i, a in labels
    ]
    return torch.tensor(rows)


def merge_atoms(
    atoms: Sequence[int], means: Tensor, count: int, noise: float, rng: np.random.Generator
) -> Groups:
    """Put atoms together until ``count`` groups are left, rather those that look alike.

    Args:
        atoms: the classes.
        means: (C, D) their mean embeddings.
        count: groups to leave.
        noise: 0: always the nearest two; more: chance, in mean distances of atoms.
        rng: draws.
    """
    groups = [frozenset([atom]) for atom in atoms]
    centres = means[list(atoms)].double().numpy()
    unit = np.linalg.norm(centres[:, None] - centres[None], axis=2).mean() or 1.0
    while len(groups) > max(count, 1):
        distance = np.linalg.norm(centres[:, None] - centres[None], axis=2) / unit
        distance = distance + noise * rng.random(distance.shape)
        distance[np.tril_indices(len(groups))] = np.inf
        first, second = np.unravel_index(distance.argmin(), distance.shape)  # first < second
        centres[first] = (centres[first] + centres[second]) / 2
        centres = np.delete(centres, second, 0)
        groups[first] |= groups.pop(second)
    return groups


def draw_groups(atoms: Sequence[int], means: Tensor, rng: np.random.Generator) -> Groups:
    """Classes of a made-up dataset: some atoms left out, or together a class, others merged."""
    lost = rng.random(len(atoms)) < rng.choice([0.0, 0.1, 0.3])
    kept = [a for a, gone in zip(atoms, lost, strict=True) if not gone]
    dropped = frozenset(atoms) - frozenset(kept)
    if len(kept) < 2:
        kept, dropped = list(atoms), frozenset()
    share = rng.choice([1.0, 0.8, 0.6, 0.4, 0.25])
    groups = merge_atoms(kept, means, max(2, round(share * len(kept))), rng.uniform(0.1, 1), rng)
    return [*groups, dropped] if dropped and rng.random() < 0.3 else groups


def relabel(labels: Tensor, groups: Groups, num_atoms: int) -> Tensor:
    """(P,) positions of groups, -1 for pixels whose atom is in none."""
    table = torch.full((num_atoms,), -1)
    for position, group in enumerate(groups):
        table[list(group)] = position
    return table[labels]


def other_look(
    pixels: Tensor, labels: Tensor, means: Tensor, rng: np.random.Generator, most: float
) -> Tensor:
    """(P, D) embeddings as another camera might give them: all changed alike, and class by class.

    Args:
        pixels: (P, D).
        labels: (P,) atoms.
        means: (C, D) mean embeddings of the atoms.
        rng: draws.
        most: greatest strength of the change, 0: none.
    """
    dim = pixels.shape[1]
    strength, moved = rng.uniform(0, most, 2)
    turn = torch.eye(dim) + strength / math.sqrt(dim) * _normal(rng, dim, dim)
    shift = strength * pixels.std() * _normal(rng, dim)
    steps = moved * means.std(0) * _normal(rng, *means.shape)
    return (pixels + steps[labels]) @ turn + shift


def _normal(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.standard_normal(shape)).float()


class TextDraws:
    """Text scores of pairs that are related and of pairs that are not, to draw from.

    Every label has a part in the chance of all of its pairs: a text that misleads does so more
    than once.
    """

    def __init__(self, related: Tensor, unrelated: Tensor, shared: float = 0.5) -> None:
        """``related``, ``unrelated``: scores of pairs; ``shared``: part of the chance, 0..1."""
        self.related, self.unrelated = related.sort().values, unrelated.sort().values
        self.shared = shared

    def draw(self, types: Tensor, rng: np.random.Generator) -> Tensor:
        """(T, T) symmetric scores of pairs of these types."""
        total = len(types)
        own, pair = _normal(rng, total), _normal(rng, total, total).triu(1)
        chance = math.sqrt(self.shared / 2) * (own[:, None] + own[None])
        chance = chance + math.sqrt(1 - self.shared) * (pair + pair.T)
        place = torch.special.ndtr(chance)
        related, unrelated = (
            known[(place * len(known)).long().clamp(max=len(known) - 1)]
            for known in (self.related, self.unrelated)
        )
        return torch.where(types == TYPES.index("none"), unrelated, related)


def simulate(
    cfg: CfgNode,
    pixels: Tensor,
    labels: Tensor,
    texts: TextDraws,
    rng: np.random.Generator,
    look: float = LOOK,
) -> PairGraph:
    """A graph out of one dataset.

    Args:
        cfg: LOSS.CLASS_WEIGHT_POWER and UNIFY of the network.
        pixels: (P, D) embeddings in the order of the photos.
        labels: (P,) their classes.
        texts: the text scores to draw from.
        rng: draws everything.
        look: greatest strength of :func:`other_look`.
    """
    num_atoms = int(labels.max()) + 1
    count = torch.bincount(labels, minlength=num_atoms)
    total = pixels.new_zeros(num_atoms, pixels.shape[1]).index_add_(0, labels, pixels)
    means = total / count.clamp(min=1)[:, None]
    number = int(rng.choice([2, 3, 4, 6, 8]))
    dealt = np.array_split(rng.permutation(BLOCKS), number)
    block = torch.arange(len(labels)) * BLOCKS // len(labels)
    sets: list[Groups] = []
    cache = PixelCache([], [])
    for blocks in dealt:
        mine = torch.isin(block, torch.from_numpy(blocks)).nonzero().flatten()
        mine = mine[torch.from_numpy(rng.permutation(len(mine))[:SET_PIXELS])]
        atoms = [a for a in range(num_atoms) if bool((labels[mine] == a).any())]
        groups = draw_groups(atoms, means, rng)
        if len(sets) >= 2 and sum(map(len, sets)) + len(groups) > MOST_LABELS:
            break
        seen = other_look(pixels[mine], labels[mine], means, rng, look)
        answer = relabel(labels[mine], groups, num_atoms)
        sets.append(groups)
        cache.embeddings.append(seen[answer >= 0])
        cache.labels.append(answer[answer >= 0])
    types = relation_types(sets)
    sizes = [len(groups) for groups in sets]
    heads = _heads(cfg, cache, sizes, int(rng.integers(2**31)))
    return evidence_graph(cfg, cache, heads, sizes, texts.draw(types, rng), types)


def _heads(cfg: CfgNode, cache: PixelCache, sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Classifiers of the made-up datasets, learned on their pixels."""
    short = cfg.clone()
    short.defrost()
    for key, value in HEAD.items():
        setattr(short.UNIFY, key, value)
    spaces = LabelSpaceSet(
        LabelSpace(f"set{i}", tuple(map(str, range(n))), tuple(map(default_color, range(n))))
        for i, n in enumerate(sizes)
    )
    dim = cache.embeddings[0].shape[1]
    return fit_heads(short, spaces, cache, [torch.zeros(n, dim) for n in sizes], seed)

"""From labelled pixels to an extended head: the part that needs no network and no files.

Letters: N unified labels, M new ones, C classes of the new dataset, P pixels, D embedding dim.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from torch import Tensor

from unilabel.adding.choice import FINAL_PIXELS, Choice, Start, choose, fit_mean
from unilabel.adding.extend import extended_head, extended_space, started_rows
from unilabel.adding.fit import FitOptions, Pixels, Reading, fit_new_rows
from unilabel.adding.photos import LabelledPhotos
from unilabel.adding.relations import Relations, answer_counts, find_relations
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.modeling.heads import UniSegHead

NEW_ROW_PENALTY = 0.01  # of the rows that answer in unified labels
TEXT_ONLY = Choice("text", 0.0)


@dataclass(frozen=True)
class Learned:
    """What a new dataset adds.

    Attributes:
        relations: how its classes relate to the unified labels.
        choices: how its classifiers were fitted, the heaviest first.
        space: the extended label space.
        head: the extended head.
    """

    relations: Relations
    choices: tuple[Choice, ...]
    space: UnifiedLabelSpace
    head: UniSegHead

    @property
    def choice(self) -> Choice:
        """The heaviest one."""
        return self.choices[0]


def fit_options(cfg: CfgNode) -> FitOptions:
    """What the loss of a model weighs."""
    return FitOptions(cfg.MODEL.MAPPING_MODE, cfg.LOSS.CLASS_WEIGHT_POWER)


def learn(
    head: UniSegHead,
    space: UnifiedLabelSpace,
    cfg: CfgNode,
    photos: LabelledPhotos,
    text: Tensor,
    seed: int = 0,
) -> Learned:
    """Relations, classifiers and label space of a new dataset.

    Args:
        head: of the model.
        space: its unified labels.
        cfg: its configuration.
        photos: pixels of the new dataset; none: text alone.
        text: (N, C) of :func:`unilabel.text.evidence.text_evidence`.
        seed: of folds and draws.
    """
    classes = photos.label_space.num_classes
    embedding = head.label_embedding.detach().cpu()
    pixels = photos.pixels
    answers = (pixels.embeddings @ embedding.T).argmax(1)
    shape = (classes, len(embedding))
    counts = answer_counts(answers, pixels.labels, pixels.weights, shape)
    relations = find_relations(counts, text, cfg.UNIFY.TEXT_WEIGHT)
    rows = started_rows(embedding, relations.new)
    options = fit_options(cfg)
    if photos.count:

        def start_of(part: Pixels) -> Start:
            return Start(_new_rows(part, rows, relations, options), relations.heard())

        choices = choose(pixels, classes, start_of, options, seed)
        thin = pixels.thinned(FINAL_PIXELS, seed)
        start = start_of(thin)
        rows = start.rows
        reading = fit_mean(thin, start, choices, options)
    else:
        choices = [TEXT_ONLY]
        reading = Reading(rows, torch.zeros(len(rows)), relations.heard().any(1))
    new_space = extended_space(space, photos.label_space, relations)
    new_head = extended_head(head, rows, new_space.mapping.stacked(), reading)
    return Learned(relations, tuple(choices), new_space, new_head)


def _new_rows(pixels: Pixels, rows: Tensor, relations: Relations, options: FitOptions) -> Tensor:
    """(N + M, D) X_u with new rows that answer where their classes are in these pixels."""
    known = pixels.counts(relations.links.shape[1]) > 0
    new = torch.zeros(len(rows), dtype=torch.bool)
    for row, label in enumerate(relations.new, len(relations.links)):
        new[row] = label.seen and bool(known[label.of_class])
    return fit_new_rows(pixels, rows, new, relations.heard(), NEW_ROW_PENALTY, options)

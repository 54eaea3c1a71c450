"""The row of a merged unified label that answers like the labels that it replaces.

Letters: K datasets, C_i classes of one, N unified labels, M merged ones, P pixels, D embedding dim.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.data.images import read_image
from unilabel.editing.parts import Parts, float_rows
from unilabel.editing.rows import MergedRow
from unilabel.modeling.heads import SILENT
from unilabel.predictor import UniLabelPredictor

CELLS = 400  # pixels of each photo
STEPS = 200  # of the fit, at most


@dataclass(frozen=True)
class Sample:
    """Pixels of the network, without labels.

    Attributes:
        pixels: (P, D) float32.
        photos: how many photos they come from.
    """

    pixels: Tensor
    photos: int


def look_at(
    predictor: UniLabelPredictor, photos: Sequence[str | os.PathLike[str]], seed: int = 0
) -> Sample:
    """Embed photos at the model's own size and draw pixels of them.

    Raises:
        UniLabelError: there is no photo, or one cannot be read.
    """
    if not photos:
        raise UniLabelError("--photos holds no photo; name a folder of some, or files.")
    found = []
    rng = np.random.default_rng(seed)
    for path in photos:
        embedding = predictor.encode(read_image(os.fspath(path))).embedding[0]  # (D, h, w)
        cells = embedding.flatten(1).T.float().cpu()
        chosen = rng.permutation(len(cells))[:CELLS]
        found.append(cells[torch.from_numpy(chosen)])
    return Sample(torch.cat(found).clone(), len(photos))


def class_scores(
    mode: str, pixels: Tensor, rows: Tensor, bias: Tensor, links: Tensor, rest: bool = False
) -> Tensor:
    """(P, C_i) scores of the classes of one dataset, as the model reads them.

    Args:
        mode: MODEL.MAPPING_MODE.
        pixels: (P, D).
        rows: (N, D) X_u on images of the dataset.
        bias: (N,).
        links: (N, C_i) bool.
        rest: one more column for unified labels without a class (probability_sum).
    """
    logits = pixels @ rows.T + bias
    if mode == "logit_sum":
        return logits @ (links & (bias > SILENT / 2)[:, None]).to(logits)
    if rest:
        links = torch.cat([links, ~links.any(1, keepdim=True)], dim=1)
    spread = logits[:, :, None].masked_fill(~links, -torch.inf)  # (P, N, C_i)
    scores = spread.logsumexp(1)
    return scores.masked_fill(scores == -torch.inf, SILENT)  # a column of no unified label


def fit_row(
    parts: Parts, sample: Sample, rows: Sequence[int], start: MergedRow
) -> tuple[Tensor, Tensor]:
    """Fit X_u (D,) and bias (K,) of one label in place of M: answers stay as near as they can.

    The divergence from the answers of before, in the classes of every dataset and (where
    probabilities are added up) of the unified labels, is convex in what is fitted.

    Args:
        parts: the model before.
        sample: pixels.
        rows: ids of the M labels.
        start: where the fit begins; its shift and silent biases stay.
    """
    embedding, bias, shift = float_rows(parts)
    links = parts.label_spaces.split(parts.unified().mapping.stacked())
    others = torch.tensor([i for i in range(len(embedding)) if i not in rows])
    spoken = start.bias > SILENT / 2
    cases = []  # rows of the others, bias of the others, links, answers of before, bias of the new
    for i, block in enumerate(links):
        own = embedding if shift is None else embedding + shift[i]
        before = class_scores(parts.mode, sample.pixels, own, bias[i], block, rest=True)
        joined = torch.cat([block[others], block[list(rows)].any(0, keepdim=True)])
        cases.append((own[others], bias[i, others], joined, before.softmax(1), i))
    if parts.mode != "logit_sum":
        plain = torch.eye(len(embedding), dtype=torch.bool)
        merged = torch.cat([plain[:, others], plain[:, list(rows)].any(1, keepdim=True)], dim=1)
        none = torch.zeros(len(embedding))
        before = class_scores(parts.mode, sample.pixels, embedding, none, merged)
        after = torch.eye(len(others) + 1, dtype=torch.bool)
        cases.append((embedding[others], none[others], after, before.softmax(1), -1))
    row = start.embedding.clone().requires_grad_()
    free = start.bias.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([row, free], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = row.new_zeros(())
        for own, own_bias, joined, target, i in cases:
            used = torch.where(spoken[i], free[i], SILENT) if i >= 0 else row.new_zeros(())
            place = row if start.shift is None or i < 0 else row + start.shift[i]
            everything = torch.cat([own, place[None]])
            scores = class_scores(
                parts.mode, sample.pixels, everything, torch.cat([own_bias, used[None]]), joined,
                rest=i >= 0,
            )  # fmt: skip
            total = total + F.kl_div(
                scores.log_softmax(1), target, reduction="batchmean", log_target=False
            )
        total = total / len(cases)
        total.backward()
        return total

    optimizer.step(loss)
    fitted = torch.where(spoken, free, start.bias)
    if not bool(torch.isfinite(row).all() and torch.isfinite(fitted).all()):
        raise UniLabelError("the fit of the merged label is not finite; give more photos.")
    return row.detach(), fitted.detach()


def changed_share(before: Parts, after: Parts, sample: Sample) -> str:
    """A line: on how many pixels of the photos the datasets are answered otherwise."""
    answers = []
    for parts in (before, after):
        embedding, bias, shift = float_rows(parts)
        links = parts.label_spaces.split(parts.unified().mapping.stacked())
        of_parts = {}
        for i, (name, block) in enumerate(zip(parts.label_spaces.names, links, strict=True)):
            own = embedding if shift is None else embedding + shift[i]
            scores = class_scores(parts.mode, sample.pixels, own, bias[i], block)
            of_parts[name] = scores.argmax(1)
        answers.append(of_parts)
    shares = ", ".join(
        f"{name} {100 * float((old != answers[1][name]).float().mean()):.2f} %"
        for name, old in answers[0].items()
        if name in answers[1]
    )
    return (
        f"answers that changed on {len(sample.pixels)} pixels of {sample.photos} photos: {shares}"
    )

"""Answers that may not contradict labels: inside a drawn class only its own labels may win.

Letters: N unified labels, C classes of a dataset, T columns of the answer, h x w feature size,
H x W image size, P pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.grid import CellGrid
from unilabel.core.reading import ClassColumns, Labels, argmax_last, row_chunks
from unilabel.core.upsampling import upsampled_rows

__all__ = ["Voice", "read_constrained", "read_constrained_mean"]

# class, its pixels' (P, N) scores of every model -> (P,) int16 answers and their probabilities
_Decide = Callable[[int, list[Tensor]], "tuple[Tensor, Tensor]"]


@torch.no_grad()
def read_constrained(
    scores: Tensor,
    grid: CellGrid,
    size: tuple[int, int],
    labels: Tensor,
    allowed: Tensor,
    mapping: Tensor | None = None,
) -> Labels:
    """The most probable answer of every pixel among those that its own label allows.

    Args:
        scores: (1, N, h, w) logits of the unified labels.
        grid: as for :func:`read_labels`.
        size: (H, W) of the answer.
        labels: (H, W) class ids 0..C-1 that a person drew; others have no class.
        allowed: bool (C + 1, N), unified labels that a pixel of each class may be; the last row is
            for pixels without a class.
        mapping: bool (N, T) links, at most one per unified label: the answer is the column with the
            largest sum of the probabilities of its allowed unified labels. Those without a link
            take part together, and answer -1. None: the unified label itself.

    Returns:
        labels (1, H, W): answers, -1 where none is allowed; confidence: the probability of the
        answer among the allowed ones, 1 where only one is, 0 where none is.

    Raises:
        UniLabelError: the sizes disagree.
    """
    if (*labels.shape,) != (*size,) or allowed.shape[1] != scores.shape[1]:
        raise UniLabelError(
            f"labels of {tuple(labels.shape)} pixels and {allowed.shape[1]} unified labels do not "
            f"fit an answer of {tuple(size)} pixels from {scores.shape[1]} unified labels."
        )
    choices = [_Choice.among(row, mapping, scores) for row in allowed]

    def decide(row: int, pixels: list[Tensor]) -> tuple[Tensor, Tensor]:
        return choices[row].decide(pixels[0])

    return _read(choices, [(scores, grid)], size, labels, decide)


class Voice(NamedTuple):
    """What one of several models says about an image; see :func:`read_constrained`.

    Attributes:
        scores: (1, N, h, w) logits of its unified labels.
        grid: where their cells lie.
        allowed: bool (C + 1, N), by its own links.
        mapping: bool (N, T) links to the labels of the answer, the same T for all models.
    """

    scores: Tensor
    grid: CellGrid
    allowed: Tensor
    mapping: Tensor


@torch.no_grad()
def read_constrained_mean(voices: Sequence[Voice], size: tuple[int, int], labels: Tensor) -> Labels:
    """As :func:`read_constrained` with ``mapping``, by the mean of several models' probabilities.

    What a pixel may be is said by the links of the first model. The others count by their
    probabilities among these answers; one that knows none of them for a class has no say in it.

    Args:
        voices: the models; all on one device.
        size: (H, W) of the answer.
        labels: (H, W) class ids 0..C-1 that a person drew; others have no class.
    """
    choices = [[_Choice.among(row, v.mapping, v.scores) for row in v.allowed] for v in voices]

    def decide(row: int, pixels: list[Tensor]) -> tuple[Tensor, Tensor]:
        answers = choices[0][row].answers
        each = [c[row].shares(p, answers) for c, p in zip(choices, pixels, strict=True)]
        total = torch.stack(each).sum(0)
        best = argmax_last(total)
        top = total.gather(-1, best[:, None])[:, 0]
        sure = (top / total.sum(-1)).clamp(max=1).half()
        return torch.tensor(answers, dtype=torch.int16, device=total.device)[best], sure

    return _read(choices[0], [(v.scores, v.grid) for v in voices], size, labels, decide)


def _read(
    choices: Sequence[_Choice],
    models: Sequence[tuple[Tensor, CellGrid]],
    size: tuple[int, int],
    labels: Tensor,
    decide: _Decide,
) -> Labels:
    """The answer where there is only one; ``decide`` where there are several."""
    device, last = models[0][0].device, len(choices) - 1
    sources = [scores.detach().permute(0, 2, 3, 1) for scores, _ in models]  # (1, h, w, N)
    axes = [grid.axes((scores.shape[2], scores.shape[3]), size) for scores, grid in models]
    index = labels.to(device).long()
    index = torch.where((index >= 0) & (index < last), index, last)
    only = torch.tensor([choice.answers[0] for choice in choices], device=device)
    found = only.to(torch.int16)[index]  # right where nothing is to be chosen
    sure = (found >= 0).half()
    widest = max((scores for scores, _ in models), key=lambda scores: scores.shape[1])
    for rows in row_chunks(widest, size):
        part = slice(rows.start, rows.stop)
        present = [c for c in index[part].unique().tolist() if choices[c].columns is not None]
        if not present:
            continue
        chunks = [upsampled_rows(s, rows, size, a)[0] for s, a in zip(sources, axes, strict=True)]
        for row in present:
            where = index[part] == row
            found[part][where], sure[part][where] = decide(row, [c[where] for c in chunks])
    return Labels(found[None], sure[None])


@dataclass(frozen=True)
class _Choice:
    """What pixels of one class may be.

    Attributes:
        nodes: channels of the unified labels that take part.
        answers: the answers, at least one; -1 stands for none.
        columns: how the channels make up the answers; None: there is nothing to choose.
    """

    nodes: Tensor
    answers: list[int]
    columns: ClassColumns | None

    @classmethod
    def among(cls, allowed: Tensor, mapping: Tensor | None, scores: Tensor) -> _Choice:
        nodes = allowed.cpu().nonzero().flatten()
        each = nodes
        if mapping is not None:
            links = mapping.cpu()[nodes]
            each = torch.where(links.any(1), links.int().argmax(1), -1)
        answers = each.unique()
        if len(answers) < 2:
            return cls(nodes, answers.tolist() or [-1], None)
        members = each[:, None] == answers
        nodes = nodes.to(scores.device)
        return cls(nodes, answers.tolist(), ClassColumns.from_mapping(members, scores[:, nodes]))

    def shares(self, scores: Tensor, answers: list[int]) -> Tensor:
        """(P, N) scores -> (P, A) probabilities among ``answers``; 0 if it knows none of them."""
        shares = scores.new_zeros(len(scores), len(answers))
        place = {answer: i for i, answer in enumerate(answers)}
        if self.columns is None:  # one answer, or none
            if self.answers[0] in place:
                shares[:, place[self.answers[0]]] = 1
            return shares
        joined = self.columns.join(scores[:, self.nodes[self.columns.order]])
        mine = [self.answers[i] for i in self.columns.classes.tolist()]
        known = [i for i, answer in enumerate(mine) if answer in place]
        if known:
            shares[:, [place[mine[i]] for i in known]] = joined[:, known].softmax(-1)
        return shares

    def decide(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """(P, N) scores -> (P,) int16 answers and their float16 probabilities."""
        assert self.columns is not None
        joined = self.columns.join(scores[:, self.nodes[self.columns.order]])
        best = argmax_last(joined)
        top = joined.gather(-1, best[:, None])[:, 0]
        sure = (top - joined.logsumexp(-1)).exp().clamp(max=1).half()
        answers = torch.tensor(self.answers, dtype=torch.int16, device=scores.device)
        return answers[self.columns.classes[best]], sure

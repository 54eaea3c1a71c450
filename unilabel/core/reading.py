"""The reader of answers: from scores of a network to labels of any label space at any size.

Evaluation, predictor, submissions, the demo and the ONNX export all read their answers here, so
they agree. Scores are interpolated some image rows at a time, so no tensor of full-resolution
scores exists; the probability of a class is a log-sum-exp over its unified labels, without an
epsilon inside the logarithm.

Letters: B images, N unified labels, C classes of a dataset, R score channels (C or N), h x w
feature size, H x W image size, T rows of a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.grid import CellGrid
from unilabel.core.upsampling import Axes, taps, upsampled_rows

__all__ = [
    "BandReader",
    "ClassColumns",
    "Labels",
    "argmax_last",
    "class_rows",
    "interpolated",
    "read_labels",
    "row_chunks",
]

# Upsampled scores held at a time: the cache of a CPU core; elsewhere enough work for a launch.
_CHUNK_ELEMENTS = {"cpu": 2**19}
_CHUNK_ELEMENTS_ELSEWHERE = 2**25
_MIN_ROWS = 4  # fewer rows would read every source row several times


class Labels(NamedTuple):
    """Label maps.

    Attributes:
        labels: (B, H, W) int16.
        confidence: (B, H, W) float16 probability of the label, or None if it was not asked for.
    """

    labels: Tensor
    confidence: Tensor | None


@dataclass(frozen=True)
class ClassColumns:
    """Which score channels a dataset's classes need, and how to join those of one class.

    Attributes:
        order: (M + S,) channels: the M of classes with several unified labels, then S of the rest.
        classes: classes of the joined scores: those with several unified labels, then the rest.
        members: (M, classes with several) 0 or 1, whose class a channel is.
    """

    order: Tensor
    classes: Tensor
    members: Tensor

    @classmethod
    def from_mapping(cls, mapping: Tensor, scores: Tensor) -> ClassColumns:
        """Columns of a mapping, for scores.

        Args:
            mapping: bool (N, C) links, at most one per unified label.
            scores: (B, N, h, w), of the unified labels; device and type are taken from them.

        Raises:
            UniLabelError: the sizes disagree, or no class has a unified label.
        """
        if mapping.shape[0] != scores.shape[1]:
            raise UniLabelError(
                f"the mapping has {mapping.shape[0]} unified labels, the logits have "
                f"{scores.shape[1]}; were weights of another label space loaded?"
            )
        mapping = mapping.to(scores.device)
        dtype = torch.promote_types(scores.dtype, torch.float32)
        count = mapping.sum(0)
        several, one = (which.nonzero().flatten() for which in (count > 1, count == 1))
        if not len(several) + len(one):
            raise UniLabelError("no class has a unified label; link each class to at least one.")
        owner, node = mapping.T[several].nonzero(as_tuple=True)
        single = mapping.T[one].int().argmax(1)
        members = (owner[:, None] == torch.arange(len(several), device=owner.device)).to(dtype)
        return cls(torch.cat([node, single]), torch.cat([several, one]), members)

    def join(self, scores: Tensor) -> Tensor:
        """Log of the summed exponentials of each class's unified labels.

        Args:
            scores: (..., M + S) in the order of ``order``.

        Returns:
            (..., C') for the classes ``classes``. Relative to the largest channel of a class with
            several unified labels, sums under 1e-38 are 0: their logarithm is -inf.
        """
        channels, count = self.members.shape
        if not count:
            return scores
        part = scores[..., :channels]
        top = part.amax(-1, keepdim=True)
        total = (part - top).exp() @ self.members
        return torch.cat([total.log() + top, scores[..., channels:]], dim=-1)

    def best(self, scores: Tensor) -> Tensor:
        """(..., M + S) scores -> (...) class with the largest probability.

        The softmax over all N has the same denominator for all classes, so it is not needed.
        """
        return self.classes[argmax_last(self.join(scores))]


def argmax_last(scores: Tensor) -> Tensor:
    """Index of the largest score along the last axis; NumPy's is twice as fast as torch's."""
    if scores.device.type == "cpu" and not torch._C._is_tracing():
        return torch.from_numpy(scores.numpy().argmax(-1))
    return scores.argmax(-1)


def row_chunks(scores: Tensor, size: tuple[int, int], rows: range | None = None) -> Iterator[range]:
    """Rows of an answer of H x W pixels that are read together, from (B, R, h, w) scores."""
    rows = range(size[0]) if rows is None else rows
    batch, channels = scores.shape[:2]
    budget = _CHUNK_ELEMENTS.get(scores.device.type, _CHUNK_ELEMENTS_ELSEWHERE)
    step = max(_MIN_ROWS, budget // max(batch * channels * size[1], 1))
    for top in range(rows.start, rows.stop, step):
        yield range(top, min(top + step, rows.stop))


@torch.no_grad()
def read_labels(
    scores: Tensor,
    grid: CellGrid,
    size: tuple[int, int],
    mapping: Tensor | None = None,
    confidence: bool = False,
) -> Labels:
    """The most probable label of every pixel.

    Args:
        scores: (B, R, h, w) logits; with ``mapping``, of the unified labels (R = N).
        grid: where their cells lie in the image of the network.
        size: (H, W) of the answer.
        mapping: bool (N, C) links of one dataset, at most one per unified label: the answer is the
            class with the largest sum of the probabilities of its unified labels. A class without
            a unified label never wins. None: the channel with the largest score.
        confidence: also give its probability, in a softmax over all R.

    Raises:
        UniLabelError: the sizes disagree, or no class has a unified label.
    """
    axes = grid.axes((scores.shape[2], scores.shape[3]), size)
    return _read_rows(scores, axes, size, range(size[0]), mapping, confidence)


def _read_rows(
    scores: Tensor,
    axes: Axes,
    size: tuple[int, int],
    rows_wanted: range,
    mapping: Tensor | None,
    confidence: bool,
) -> Labels:
    """Some rows of an answer: (B, T, W)."""
    columns = None if mapping is None else ClassColumns.from_mapping(mapping, scores)
    source = scores.detach().permute(0, 2, 3, 1)  # (B, h, w, R)
    shape = (scores.shape[0], len(rows_wanted), size[1])
    labels = torch.empty(shape, dtype=torch.int16, device=scores.device)
    certain = torch.empty(shape, dtype=torch.float16, device=scores.device) if confidence else None
    # the probability needs all channels, the label only those of classes
    needed = None if columns is None or confidence else columns.order
    for rows in row_chunks(scores, size, rows_wanted):
        chunk = upsampled_rows(source, rows, size, axes, needed)  # (B, T, W, R)
        part = slice(rows.start - rows_wanted.start, rows.stop - rows_wanted.start)
        if certain is None:
            labels[:, part] = argmax_last(chunk) if columns is None else columns.best(chunk)
            continue
        total = chunk.logsumexp(-1)
        if columns is not None:
            chunk = columns.join(chunk[..., columns.order])
        best = argmax_last(chunk)
        top = chunk.gather(-1, best[..., None])[..., 0]
        certain[:, part] = (top - total).exp().clamp(max=1).half()
        labels[:, part] = best if columns is None else columns.classes[best]
    return Labels(labels, certain)


class BandReader:
    """Reads the same labels from bands of the scores, given from top to bottom.

    Scores of the whole image need not be in memory.
    """

    def __init__(
        self, grid: CellGrid, cells: tuple[int, int], size: tuple[int, int], confidence: bool
    ) -> None:
        """Begin at the top.

        Args:
            grid: where cells lie in the image of the network.
            cells: (h, w) of the image.
            size: (H, W) of the answer.
            confidence: see :func:`read_labels`.
        """
        self.axes = grid.axes(cells, size)
        self.height = cells[0]
        self.size = size
        self.confidence = confidence
        self._found: Labels | None = None
        self._kept: Tensor | None = None  # scores that rows to come are made of, too
        self._first = self._next = 0  # row of the first kept scores; of the answer to come

    @torch.no_grad()
    def add(self, scores: Tensor, mapping: Tensor | None = None) -> None:
        """Take the next rows.

        Args:
            scores: (1, R, rows, w).
            mapping: see :func:`read_labels`.
        """
        if self._kept is not None:
            scores = torch.cat([self._kept, scores], 2)
        (mul, add, den), across = self.axes
        stop = self._first + scores.shape[2]
        last = self.size[0]
        if stop < self.height:  # row k of the answer needs scores up to (k mul + add) / den + 1
            last = max(self._next, -(-((stop - 1) * den - add) // mul))
        rows = range(self._next, last)
        if rows:
            moved = (mul, add - self._first * den, den), across
            found = _read_rows(scores, moved, self.size, rows, mapping, self.confidence)
            self._put(rows, found)
        low = min(max((last * mul + add) // den, self._first), stop - 1)
        self._kept, self._first, self._next = scores[:, :, low - self._first :], low, last

    def labels(self) -> Labels:
        """The answer, once all rows are given."""
        assert self._found is not None
        return self._found

    def _put(self, rows: range, part: Labels) -> None:
        """Into the whole answer at once: joining parts would take their memory twice."""
        if self._found is None:
            sure = part.confidence
            self._found = Labels(
                part.labels.new_empty(len(part.labels), *self.size),
                None if sure is None else sure.new_empty(len(sure), *self.size),
            )
        self._found.labels[:, rows.start : rows.stop] = part.labels
        if self._found.confidence is not None and part.confidence is not None:
            self._found.confidence[:, rows.start : rows.stop] = part.confidence


@torch.no_grad()
def class_rows(
    scores: Tensor, grid: CellGrid, size: tuple[int, int], mapping: Tensor | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Log-probabilities of all classes, some rows at a time.

    Args:
        scores: as for :func:`read_labels`.
        grid: see there.
        size: see there.
        mapping: see there; here a unified label may be in no class or in one.

    Yields:
        (first row, (B, T, W, C)); -inf for a class without a unified label.
    """
    columns = None if mapping is None else ClassColumns.from_mapping(mapping, scores)
    source = scores.detach().permute(0, 2, 3, 1)  # (B, h, w, R)
    axes = grid.axes((scores.shape[2], scores.shape[3]), size)
    classes = scores.shape[1] if mapping is None else mapping.shape[1]
    for rows in row_chunks(scores, size):
        chunk = upsampled_rows(source, rows, size, axes)  # (B, T, W, R)
        total = chunk.logsumexp(-1, keepdim=True)
        if columns is not None:
            full = chunk.new_full((*chunk.shape[:3], classes), -torch.inf)
            full[..., columns.classes] = columns.join(chunk[..., columns.order])
            chunk = full
        yield rows.start, chunk - total


def interpolated(source: Tensor, size: tuple[int, int], axes: Axes) -> Tensor:
    """The whole interpolation in operations that an exported graph can hold, at any size.

    Args:
        source: (B, h, w, R).
        size: H and W; while a graph is traced they are values of it.
        axes: as of :func:`unilabel.core.upsampling.upsampled_rows`; its integers then too.

    Returns:
        (B, H, W, R), equal to the rows of :func:`~unilabel.core.upsampling.upsampled_rows`.
    """
    for dim, (out, axis) in enumerate(zip(size, axes, strict=True), 1):
        first, second, weight = taps(torch.arange(out), axis, source.shape[dim])
        shape = (-1, 1, 1) if dim == 1 else (-1, 1)
        source = torch.lerp(
            source.index_select(dim, first),
            source.index_select(dim, second),
            weight.to(source.dtype).view(shape),
        )
    return source

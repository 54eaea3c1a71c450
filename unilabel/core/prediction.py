"""Label maps at image resolution from scores at feature resolution.

Scores are interpolated some image rows at a time, so no tensor of full-resolution scores exists.

Letters: B images, N unified labels, C classes of a dataset, R score channels (C or N), h x w
feature size, H x W image size, T rows of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.upsampling import upsampled_rows

__all__ = ["upsampled_labels"]

# Upsampled scores held at a time: the cache of a CPU core; elsewhere enough work for a launch.
_CHUNK_ELEMENTS = {"cpu": 2**19}
_CHUNK_ELEMENTS_ELSEWHERE = 2**25
_MIN_ROWS = 4  # fewer rows would read every source row several times


@dataclass(frozen=True)
class _ClassColumns:
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
    def from_mapping(cls, mapping: Tensor, dtype: torch.dtype) -> _ClassColumns:
        count = mapping.sum(0)
        several, one = (which.nonzero().flatten() for which in (count > 1, count == 1))
        if not len(several) + len(one):
            raise UniLabelError("no class has a unified label; link each class to at least one.")
        owner, node = mapping.T[several].nonzero(as_tuple=True)
        single = mapping.T[one].int().argmax(1)
        members = (owner[:, None] == torch.arange(len(several), device=owner.device)).to(dtype)
        return cls(torch.cat([node, single]), torch.cat([several, one]), members)

    def best(self, scores: Tensor) -> Tensor:
        """(..., M + S) scores, overwritten -> (...) class."""
        channels, count = self.members.shape
        if count:
            # The probability of a class is the sum over its unified labels. The softmax over all N
            # has the same denominator for all classes, so the largest sum of exp is enough, and
            # only classes with several unified labels need it.
            part = scores[..., :channels]
            top = part.amax(-1, keepdim=True)
            total = part.sub(top).exp_() @ self.members
            scores = scores[..., channels - count :]
            scores[..., :count] = total.log_().add_(top)
        return self.classes[_argmax(scores)]


def _argmax(scores: Tensor) -> Tensor:
    """Index of the largest score along the last axis; NumPy's is twice as fast as torch's."""
    if scores.device.type == "cpu":
        return torch.from_numpy(scores.numpy().argmax(-1))
    return scores.argmax(-1)


@torch.no_grad()
def upsampled_labels(
    scores: Tensor, size: tuple[int, int], mapping: Tensor | None = None
) -> Tensor:
    """Arg max of ``interpolate(scores, size, "bilinear", align_corners=True)``.

    Args:
        scores: (B, R, h, w) logits; with ``mapping``, of the unified labels (R = N).
        size: (H, W).
        mapping: bool (N, C) links of one dataset, at most one per unified label: the answer is the
            class with the largest sum of the probabilities of its unified labels. A class without
            a unified label never wins. None: the channel with the largest score.

    Returns:
        (B, H, W) int16 on the device of the scores.

    Raises:
        UniLabelError: the sizes disagree, or no class has a unified label.
    """
    columns = None
    if mapping is not None:
        if mapping.shape[0] != scores.shape[1]:
            raise UniLabelError(
                f"the mapping has {mapping.shape[0]} unified labels, the logits have "
                f"{scores.shape[1]}; were weights of another label space loaded?"
            )
        dtype = torch.promote_types(scores.dtype, torch.float32)
        columns = _ClassColumns.from_mapping(mapping.to(scores.device), dtype)
    batch, channels = scores.shape[:2]
    source = scores.detach().permute(0, 2, 3, 1)  # (B, h, w, R)
    budget = _CHUNK_ELEMENTS.get(scores.device.type, _CHUNK_ELEMENTS_ELSEWHERE)
    step = max(_MIN_ROWS, budget // max(batch * channels * size[1], 1))
    answer = torch.empty(batch, *size, dtype=torch.int16, device=scores.device)
    for top in range(0, size[0], step):
        rows = range(top, min(top + step, size[0]))
        channels_used = None if columns is None else columns.order
        chunk = upsampled_rows(source, rows, size, True, channels_used)  # (B, T, W, R)
        best = _argmax(chunk) if columns is None else columns.best(chunk)
        answer[:, rows.start : rows.stop] = best
    return answer

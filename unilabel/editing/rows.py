"""One row of X_u in place of several.

Letters: K datasets, N unified labels, M merged ones, D embedding dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unilabel.editing.parts import Parts, float_rows
from unilabel.modeling.heads import SILENT


@dataclass(frozen=True)
class MergedRow:
    """What a merged unified label consists of.

    Attributes:
        embedding: (D,) X_u.
        bias: (K,) dataset bias.
        shift: (K, D) dataset shift, or None.
        inexact: why some dataset is answered otherwise; "": none is.
    """

    embedding: Tensor
    bias: Tensor
    shift: Tensor | None
    inexact: str


def merged_row(parts: Parts, rows: Sequence[int]) -> MergedRow:
    """The row that answers like M labels, or the nearest that is known without pixels.

    In ``logit_sum`` a class gets the sum of its rows, so the sum of those that a dataset links is
    exact for that dataset, and for all if it is the same for all. In ``probability_sum``
    log(e^a + e^b) is linear in the pixel only where a and b differ by a constant, which the bias
    then takes.

    Args:
        parts: the model.
        rows: ids of the M labels.
    """
    embedding, bias, shift = float_rows(parts)
    chosen = list(rows)
    links = [block[chosen] for block in parts.label_spaces.split(parts.unified().mapping.stacked())]
    rest = (embedding[chosen], bias[:, chosen], None if shift is None else shift[:, chosen])
    if parts.mode == "logit_sum":
        return _summed(parts.label_spaces.names, links, *rest)
    return _joined(parts.label_spaces.names, links, *rest)


def _summed(
    names: Sequence[str], links: list[Tensor], x_u: Tensor, bias: Tensor, shift: Tensor | None
) -> MergedRow:
    """Of added logits; (M, C_i) links, (M, D) x_u, (K, M) bias, (K, M, D) shift."""
    linked = [block.any(1) for block in links]
    used = [i for i, some in enumerate(linked) if bool(some.any())]
    if not used:
        return MergedRow(x_u.sum(0), bias.sum(1), None if shift is None else shift.sum(1), "")
    sums = [x_u[linked[i]].sum(0) for i in used]
    row = sums[0] if all(torch.equal(s, sums[0]) for s in sums) else torch.stack(sums).mean(0)
    biases = torch.stack([b[some].sum() for b, some in zip(bias, linked, strict=True)])
    biases = biases.clamp(min=SILENT)
    if shift is not None:  # takes what the datasets differ by
        moved = torch.zeros(len(names), x_u.shape[1])
        for i, total in zip(used, sums, strict=True):
            moved[i] = total + shift[i, linked[i]].sum(0) - row
        return MergedRow(row, biases, moved, "")
    differing = [names[i] for i, s in zip(used, sums, strict=True) if not torch.equal(s, row)]
    inexact = ""
    if differing:
        inexact = (
            f"the labels have different links in {', '.join(names[i] for i in used)}, and in a sum "
            "of logits (MODEL.MAPPING_MODE logit_sum) each dataset would need another row"
        )
    return MergedRow(row, biases, None, inexact)


def _joined(
    names: Sequence[str], links: list[Tensor], x_u: Tensor, bias: Tensor, shift: Tensor | None
) -> MergedRow:
    """Of added probabilities; the arguments of :func:`_summed`."""
    biases, apart = [], []
    for name, block, b in zip(names, links, bias, strict=True):
        speaks = b > SILENT / 2
        biases.append(b[speaks].logsumexp(0) if bool(speaks.any()) else torch.tensor(SILENT))
        if not bool((block[speaks] == block[speaks][:1]).all()):
            apart.append(name)
    same = bool((x_u == x_u[0]).all()) and (shift is None or bool((shift == shift[:, :1]).all()))
    row = x_u[0] if same else x_u.mean(0)
    moved = None if shift is None else shift.mean(1)
    inexact = ""
    if not same:
        inexact = (
            "this model adds probabilities up (MODEL.MAPPING_MODE probability_sum), and no single "
            "row answers like two different ones"
        )
    elif apart:
        inexact = f"in {', '.join(apart)} only a part of them stands for a class"
    return MergedRow(row, torch.stack(biases), moved, inexact)

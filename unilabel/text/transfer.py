"""Which class of an unseen dataset a unified label is, by text alone.

Letters: S classes of the model's datasets, C classes of the unseen dataset.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from unilabel.core.label_space import LabelSpaceSet
from unilabel.text.encoders import TextEncoder
from unilabel.text.evidence import class_evidence
from unilabel.text.taxonomy import merge_texts, name_texts


def transfer_texts(label_spaces: LabelSpaceSet) -> tuple[list[str], str]:
    """S + C texts to encode, and what they hold: names with descriptions, or names alone.

    Texts of both kinds are hardly comparable, so descriptions are used if every dataset has them.

    Args:
        label_spaces: those of the model, then the unseen one.
    """
    if all(space.described for space in label_spaces):
        return merge_texts(label_spaces), "names and descriptions"
    return name_texts(label_spaces), "names"


def transfer_scores(label_spaces: LabelSpaceSet, encoder: TextEncoder) -> Tensor:
    """How well every class of the model fits every unseen class, by names and descriptions.

    The mean of what names, dictionary and descriptions say outright and of how alike the texts are:
    the first is seldom wrong, the second says something about every pair (docs/LOG.md).

    Args:
        label_spaces: those of the model, then the unseen one.
        encoder: of the texts.

    Returns:
        (S, C) in 0..1; see :func:`unilabel.text.evidence.of_labels` for unified labels.
    """
    seen = label_spaces.class_offsets[-2]
    unit = F.normalize(encoder.encode(transfer_texts(label_spaces)[0]).double(), dim=1)
    likeness = (unit[:seen] @ unit[seen:].T).clamp(0, 1)
    return (class_evidence(label_spaces, encoder) + likeness) / 2

"""Which class of an unseen dataset a unified label is, by text alone.

Letters: N unified labels, S classes of the model's datasets, C classes of the unseen dataset,
T text feature dim.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpaceSet
from unilabel.text.containment import KIND
from unilabel.text.names import kind_of, same_name
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


def transfer_scores(links: Tensor, label_spaces: LabelSpaceSet, text_features: Tensor) -> Tensor:
    """Similarity of every label of the model to every unseen class.

    A unified label is compared by the classes that it stands for. Equal names count as the same
    thing, and a swivel chair as a chair.

    Args:
        links: (N, S) bool.
        label_spaces: those of the model, then the unseen one.
        text_features: (S + C, T) encoding of :func:`transfer_texts`.

    Returns:
        (N, C) in 0..1, mean over the linked classes; 0 for a label without classes.

    Raises:
        UniLabelError: the sizes disagree.
    """
    seen = label_spaces.class_offsets[-2]
    if links.shape[1] != seen or len(text_features) != label_spaces.total:
        raise UniLabelError(
            f"links of {links.shape[1]} classes and {len(text_features)} texts, expected {seen} "
            f"and {label_spaces.total}."
        )
    unit = F.normalize(text_features.double(), dim=1)
    cosine = (unit[:seen] @ unit[seen:].T).clamp(min=0).numpy()  # (S, C)
    names = np.maximum(same_name(label_spaces), KIND * kind_of(label_spaces))
    score = torch.from_numpy(np.maximum(cosine, names[:seen, seen:]))
    weights = links.double()
    return weights @ score / weights.sum(1, keepdim=True).clamp(min=1)

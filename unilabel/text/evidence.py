"""What names and descriptions say about the classes of a dataset and the labels of a model.

Letters: N unified labels, S classes of the model's datasets, C classes of the new dataset.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.text.encoders import TextEncoder
from unilabel.text.taxonomy import sibling_threshold
from unilabel.text.transfer import transfer_scores, transfer_texts


def text_evidence(
    links: Tensor, label_spaces: LabelSpaceSet, new: LabelSpace, encoder: TextEncoder
) -> Tensor:
    """Similarity of unified labels and new classes, from unrelated to the same.

    Two classes of one dataset are never the same thing, so what most classes have in common with
    their nearest sibling counts as nothing.

    Args:
        links: (N, S) bool.
        label_spaces: of the model.
        new: the new dataset, whatever its name.
        encoder: of the texts.

    Returns:
        (N, C) float64 in 0..1.
    """
    spaces = LabelSpaceSet([*label_spaces, replace(new, name=f"new {new.name}")])
    features = encoder.encode(transfer_texts(spaces)[0])
    score = transfer_scores(links, spaces, features)
    threshold = min(sibling_threshold(spaces, features), 0.99)
    return ((score - threshold) / (1 - threshold)).clamp(0, 1)

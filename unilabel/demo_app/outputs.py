"""Predictions as files: label PNG, class shares, list of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unilabel.core.label_space import IGNORE, IGNORE_WIDE, UNIFIED
from unilabel.predictor import NO_CLASS, Prediction
from unilabel.visual.label_png import id_png


def label_png(prediction: Prediction, palette: bool = False) -> bytes:
    """Label ids as a PNG: 8 bit, or 16 bit if there are more than 255 labels.

    Args:
        prediction: the label map.
        palette: with the colours of the labels (8 bit only); else grey, from which a web page can
            read the ids.
    """
    ids = prediction.labels.astype(np.uint16 if _wide(prediction.names) else np.uint8)
    return id_png(ids, prediction.colors if palette else ())


def _wide(names: Sequence[str]) -> bool:
    """Whether label maps need 16 bits."""
    return len(names) > 255


def class_list(
    space: str,
    names: Sequence[str],
    colors: Sequence[tuple[int, int, int]],
    display_name: str = "",
) -> dict[str, Any]:
    """All labels of a label space in the form of ``classes.json``.

    Args:
        space: its name.
        names: of its labels; :data:`~unilabel.predictor.NO_CLASS` is no class of it.
        colors: as many.
        display_name: its name in texts.

    Returns:
        what ``images``, ``labels`` and this file in one folder need to be a dataset, as long as
        there are at most 254 labels.
    """
    # "unified" names the learned labels of whatever model is trained with them
    name = f"{UNIFIED}_labels" if space == UNIFIED else space
    classes, void = [], []
    for index, (label, color) in enumerate(zip(names, colors, strict=True)):
        if label == NO_CLASS and index == len(names) - 1:
            void.append(index)
        else:
            classes.append({"id": index, "name": label, "color": list(color)})
    return {
        "name": name,
        "display_name": display_name or name,
        "classes": classes,
        "ignore_values": void or [IGNORE_WIDE if _wide(names) else IGNORE],
    }


def prediction_record(prediction: Prediction, image_name: str) -> dict[str, Any]:
    """The labels of an image and their shares, the largest first.

    Returns:
        ``{"image", "space", "size": [W, H], "mean_confidence", "labels": [{"id", "name", "color",
        "pixels", "share", "mean_confidence"}]}``; the confidences are null if they were not asked
        for.
    """
    sure = prediction.confidence
    pixels = np.rint(prediction.shares * prediction.labels.size).astype(np.int64)
    means: list[float | None] = [None] * len(pixels)
    if sure is not None:
        sums = np.zeros(len(pixels))
        for row, weight in zip(prediction.labels, sure, strict=True):  # in 64 bits: not all at once
            sums += np.bincount(row, weight, minlength=len(pixels))
        means = [round(float(v), 4) for v in sums / np.maximum(pixels, 1)]
    labels = []
    for index in np.argsort(-prediction.shares, kind="stable").tolist():
        if pixels[index] == 0:
            break
        labels.append(
            {
                "id": index,
                "name": prediction.names[index],
                "color": list(prediction.colors[index]),
                "pixels": int(pixels[index]),
                "share": round(float(prediction.shares[index]), 6),
                "mean_confidence": means[index],
            }
        )
    height, width = prediction.labels.shape
    return {
        "image": image_name,
        "space": prediction.space,
        "size": [width, height],
        "mean_confidence": None if sure is None else round(float(sure.mean(dtype=np.float64)), 4),
        "labels": labels,
    }

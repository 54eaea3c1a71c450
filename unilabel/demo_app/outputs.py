"""Predictions as files: label PNG, class shares."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from unilabel.predictor import Prediction


def label_png(prediction: Prediction) -> bytes:
    """Label ids as a grey PNG: 8 bit, or 16 bit if there are more than 255 labels."""
    wide = len(prediction.names) > 255
    image = Image.fromarray(prediction.labels.astype(np.uint16 if wide else np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


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
        sums = np.bincount(prediction.labels.ravel(), sure.ravel(), minlength=len(pixels))
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

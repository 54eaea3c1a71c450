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
    labels = []
    for index in np.argsort(-prediction.shares, kind="stable").tolist():
        if prediction.shares[index] == 0:
            break
        inside = prediction.labels == index
        labels.append(
            {
                "id": index,
                "name": prediction.names[index],
                "color": list(prediction.colors[index]),
                "pixels": int(inside.sum()),
                "share": round(float(prediction.shares[index]), 6),
                "mean_confidence": None if sure is None else _mean(sure[inside]),
            }
        )
    height, width = prediction.labels.shape
    return {
        "image": image_name,
        "space": prediction.space,
        "size": [width, height],
        "mean_confidence": None if sure is None else _mean(sure),
        "labels": labels,
    }


def _mean(values: np.ndarray) -> float:
    return round(float(values.mean(dtype=np.float64)), 4)

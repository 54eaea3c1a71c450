"""A label map as a file for other programs: COCO, GeoJSON, LabelMe, uncertainty."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unilabel.core.errors import UniLabelError
from unilabel.harmonize.outlines import panoptic, regions
from unilabel.predictor import Prediction
from unilabel.visual.label_png import id_png

# Value in the page -> what it is called there.
FORMS = {
    "coco": "COCO panoptic (zip)",
    "geojson": "GeoJSON",
    "labelme": "LabelMe",
    "uncertainty": "uncertainty map",
}


@dataclass(frozen=True)
class FormFile:
    """A file in the making.

    Attributes:
        suffix: what follows the picture's and the label space's name.
        kind: media type.
        data: content.
    """

    suffix: str
    kind: str
    data: bytes


def write_form(form: str, prediction: Prediction, image_name: str) -> FormFile:
    """A label map in one of :data:`FORMS`.

    Raises:
        UniLabelError: there is no such form.
    """
    if form not in _WRITERS:
        raise UniLabelError(f"there is no form {form!r}; expected one of {', '.join(FORMS)}.")
    return _WRITERS[form](prediction, image_name)


def _coco(prediction: Prediction, image_name: str) -> FormFile:
    height, width = prediction.labels.shape
    rgb, segments = panoptic(prediction.labels.astype(np.int32))
    png = io.BytesIO()
    Image.fromarray(rgb).save(png, "PNG")
    content = {
        "images": [{"id": 1, "file_name": image_name, "width": width, "height": height}],
        "annotations": [{"image_id": 1, "file_name": "panoptic.png", "segments_info": segments}],
        "categories": [
            {"id": i + 1, "name": name, "supercategory": name, "isthing": 0, "color": color}
            for i, (name, color) in enumerate(zip(prediction.names, prediction.colors, strict=True))
        ],
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (("panoptic.json", _json(content)), ("panoptic.png", png.getvalue())):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return FormFile("_coco.zip", "application/zip", buffer.getvalue())


def _geojson(prediction: Prediction, image_name: str) -> FormFile:
    features = []
    for region in regions(prediction.labels):
        features.append(
            {
                "type": "Feature",
                "properties": {
                    "label": prediction.names[region.label],
                    "id": region.label,
                    "color": prediction.colors[region.label],
                },
                "geometry": {
                    "type": "Polygon",
                    "coordinates": [_closed(ring) for ring in (region.outline, *region.holes)],
                },
            }
        )
    height, width = prediction.labels.shape
    content = {
        "type": "FeatureCollection",
        "image": {"name": image_name, "width": width, "height": height},
        "coordinates_are": "pixels of the picture, x to the right and y down from its upper left "
        "corner",
        "features": features,
    }
    return FormFile(".geojson", "application/geo+json", _json(content))


def _labelme(prediction: Prediction, image_name: str) -> FormFile:
    # a LabelMe polygon has no hole: what lies in it comes later and is drawn over it
    shapes = [
        {
            "label": prediction.names[region.label],
            "points": region.outline.tolist(),
            "group_id": None,
            "shape_type": "polygon",
            "flags": {},
        }
        for region in regions(prediction.labels)
    ]
    height, width = prediction.labels.shape
    content = {
        "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": image_name,
        "imageData": None, "imageHeight": height, "imageWidth": width,
    }  # fmt: skip
    return FormFile("_labelme.json", "application/json", _json(content))


def _uncertainty(prediction: Prediction, image_name: str) -> FormFile:
    if prediction.confidence is None:
        raise UniLabelError(f"no confidence is known for {image_name}; predict it again.")
    doubt = np.rint((1 - prediction.confidence.astype(np.float32)) * 255).astype(np.uint8)
    return FormFile("_uncertainty.png", "image/png", id_png(doubt))


def _closed(ring: NDArray[np.float64]) -> list[list[float]]:
    points: list[list[float]] = ring.tolist()
    return [*points, points[0]]


def _json(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()


_WRITERS: dict[str, Callable[[Prediction, str], FormFile]] = {
    "coco": _coco,
    "geojson": _geojson,
    "labelme": _labelme,
    "uncertainty": _uncertainty,
}

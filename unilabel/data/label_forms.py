"""The forms in which published datasets store labels, as decoders of one dataset's table."""

from __future__ import annotations

from typing import Any

from unilabel.core.label_space import IGNORE
from unilabel.data.dataset_files import FileTree
from unilabel.data.label_decoders import (
    ColorDecoder,
    IdDecoder,
    MatDecoder,
    PanopticDecoder,
    PolygonDecoder,
)
from unilabel.data.layouts import Decoder
from unilabel.data.raw_labels import RawLabels


def tree(*folders: str, suffix: str | tuple[str, ...] = ".png", **options: Any) -> FileTree:
    """A :class:`FileTree`; PNG files unless said otherwise."""
    return FileTree(folders, (suffix,) if isinstance(suffix, str) else suffix, **options)


def raw_ids(table: RawLabels, name: str) -> Decoder:
    """PNGs of the dataset's own ids."""
    return IdDecoder(table.ids, name)


def prepared(table: RawLabels, name: str) -> Decoder:
    """Class ids of the dataset without a variant, as the preparation scripts write them."""
    return IdDecoder({**dict(enumerate(table.base_classes)), IGNORE: IGNORE}, name)


def segnet_ids(table: RawLabels, name: str) -> Decoder:
    """CamVid of the SegNet tutorial: 0..10 are the classes in their order, 11 is void."""
    return IdDecoder({**dict(enumerate(table.base_classes)), len(table.base_classes): IGNORE}, name)


def alphabet_ids(table: RawLabels, name: str) -> Decoder:
    """CamVid of fast.ai: the place of an object's name in ``codes.txt``, which is the alphabet."""
    return IdDecoder(dict(enumerate(table.alphabet.values())), name)


def context_png(table: RawLabels, name: str) -> Decoder:
    """MMSegmentation's masks: 0 is background, 1..59 the classes in their order."""
    background = table.ids[0]
    return IdDecoder({0: background, **{i + 1: c for i, c in enumerate(table.base_classes)}}, name)


def panoptic(table: RawLabels, name: str) -> Decoder:
    """COCO panoptic PNGs and JSON."""
    return PanopticDecoder(table.ids, name)


def colors(table: RawLabels, name: str) -> Decoder:
    """PNGs of colours."""
    return ColorDecoder(table.colors, name)


def polygons(table: RawLabels, name: str) -> Decoder:
    """Polygons with object names."""
    return PolygonDecoder(table.names, name)


def mat(table: RawLabels, name: str) -> Decoder:
    """MATLAB files of the dataset's own ids."""
    return MatDecoder(table.ids, name)

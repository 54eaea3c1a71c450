"""Which form an export has."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from unilabel.core.errors import UniLabelError
from unilabel.importers.forms import (
    cityscapes,
    coco,
    coco_panoptic,
    cvat_masks,
    cvat_xml,
    darwin,
    folders,
    hf_parquet,
    label_studio,
    labelme,
    roboflow,
    supervisely,
    via,
    voc,
    yolo,
)
from unilabel.importers.plan import Options, Plan
from unilabel.importers.tree import Tree
from unilabel.importers.unread import hint


@dataclass(frozen=True)
class Form:
    """A form of export.

    Attributes:
        name: for ``--form``.
        title: in texts.
        layout: what it looks like, for the help.
        detect: export -> folders in it that have the form.
        read: export, folder, options -> plan.
        certain: files of its own tell it; the others are told by names of folders alone.
    """

    name: str
    title: str
    layout: str
    detect: Callable[[Tree], list[str]]
    read: Callable[[Tree, str, Options], Plan]
    certain: bool = True


FORMS = (
    Form("coco_instances", "COCO instances", "annotations/*.json with categories, annotations",
         coco.detect, coco.read),
    Form("coco_panoptic", "COCO panoptic", "*.json with segments_info, a folder of PNGs",
         coco_panoptic.detect, coco_panoptic.read),
    Form("cvat_masks", "CVAT masks", "SegmentationClass/*.png, labelmap.txt",
         cvat_masks.detect, cvat_masks.read),
    Form("cvat_xml", "CVAT for images", "annotations.xml", cvat_xml.detect, cvat_xml.read),
    Form("voc", "Pascal VOC", "SegmentationClass/*.png, ImageSets/Segmentation/*.txt",
         voc.detect, voc.read),
    Form("labelme", "LabelMe", "0001.json beside 0001.jpg", labelme.detect, labelme.read),
    Form("label_studio", "Label Studio", "*.json, a list of tasks",
         label_studio.detect, label_studio.read),
    Form("roboflow_masks", "Roboflow masks", "train/_classes.csv, *_mask.png",
         roboflow.detect, roboflow.read),
    Form("yolo_seg", "YOLO segmentation", "data.yaml, images/, labels/*.txt",
         yolo.detect, yolo.read),
    Form("supervisely", "Supervisely", "meta.json, DATASET/img, DATASET/ann",
         supervisely.detect, supervisely.read),
    Form("cityscapes", "Cityscapes polygons", "*_gtFine_polygons.json",
         cityscapes.detect, cityscapes.read),
    Form("darwin", "Darwin (V7)", "*.json with annotations, item or image",
         darwin.detect, darwin.read),
    Form("via", "VGG Image Annotator", "via_*.json or .csv with region_attributes",
         via.detect, via.read),
    Form("hf_parquet", "Hugging Face parquet", "*.parquet with image and annotation",
         hf_parquet.detect, hf_parquet.read),
    Form("mmseg", "MMSegmentation", "img_dir/train, ann_dir/train",
         folders.detect_mmseg, folders.read, certain=False),
    Form("hf_folders", "Hugging Face folders", "train/image, train/annotation, or metadata.jsonl",
         folders.detect_hf, folders.read, certain=False),
    Form("ultralytics_masks", "Ultralytics masks", "images/train, masks/train",
         folders.detect_ultralytics, folders.read, certain=False),
    Form("folders", "folders of photos and masks", "images/, masks/, or 0001.jpg, 0001_mask.png",
         folders.detect_plain, folders.read, certain=False),
)  # fmt: skip
BY_NAME = {form.name: form for form in FORMS}


def find_form(tree: Tree, name: str = "") -> tuple[Form, str]:
    """The form of an export and the folder in it that has the form.

    Args:
        tree: the export.
        name: the form that the user names, "" to find it.

    Raises:
        UniLabelError: there is none, or more than one.
    """
    if name:
        return _named(tree, name)
    if "classes.json" in tree.files and {"images", "labels"} <= {f.lower() for f in tree.folders}:
        raise UniLabelError(
            f"{tree.root} has the form of unilabel already and needs no import; name it in "
            "DATASETS.CUSTOM. To import its files as something else give --form."
        )
    certain = [(form, base) for form in FORMS if form.certain for base in form.detect(tree)]
    if len(certain) > 1:
        raise UniLabelError(_several(tree, certain))
    if certain:
        return certain[0]
    for form in FORMS:
        if not form.certain and (found := form.detect(tree)):
            return form, found[0]
    if not tree.files:
        raise UniLabelError(f"{tree.root} is empty; give the folder of an export.")
    if why := folders.lossy_masks(tree) or hint(tree):
        raise UniLabelError(
            f"{tree.root} has none of the known forms of exports: {_contents(tree)}; {why}."
        )
    raise UniLabelError(
        f"{tree.root} has none of the known forms of exports: {_contents(tree)}. Expected one of "
        f"{', '.join(f.name for f in FORMS)} (see docs/IMPORT.md)."
    )


def _named(tree: Tree, name: str) -> tuple[Form, str]:
    if name not in BY_NAME:
        near = difflib.get_close_matches(name.lower(), BY_NAME, 1, 0.4)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise UniLabelError(f"--form {name}: expected one of {', '.join(BY_NAME)}{meant}")
    form = BY_NAME[name]
    found = form.detect(tree)
    if not found:
        raise UniLabelError(
            f"{tree.root} has not the form {name} ({form.layout}): {_contents(tree)}."
        )
    if len(found) > 1:
        raise UniLabelError(_several(tree, [(form, base) for base in found]))
    return form, found[0]


def _several(tree: Tree, found: list[tuple[Form, str]]) -> str:
    parts = [f"{form.title} in {base or '.'}" for form, base in found]
    names = sorted({form.name for form, _ in found})
    cure = (
        f"choose one with --form {' or --form '.join(names)}"
        if len(names) > 1
        else ("give the path of one of these folders")
    )
    return f"{tree.root} holds several exports: {'; '.join(parts[:6])}; {cure}."


def _contents(tree: Tree) -> str:
    """Names at the top of the export, for messages."""
    top = sorted({f.split("/")[0] for f in tree.files})
    more = f" and {len(top) - 8} more" if len(top) > 8 else ""
    return f"it holds {', '.join(top[:8])}{more}"

"""Every form of export: what is found, and the label maps, names and colours that come of it."""

from __future__ import annotations

from pathlib import Path

import cv2
import export_makers as makers
import export_pictures as scenes
import numpy as np
import pytest
from export_makers import MAKERS
from export_pictures import NAMES

from unilabel.core.label_space import IGNORE, LabelSpace
from unilabel.importers.detect import FORMS
from unilabel.importers.prepare import Request, prepare
from unilabel.importers.write import Summary, write


def export(form: str, folder: Path, pictures: list[scenes.Picture] | None = None) -> Path:
    """An export in the form, with the names of classes where the form has none."""
    if form == "hf_parquet":
        pytest.importorskip("pyarrow")
    MAKERS[form](folder, scenes.draw() if pictures is None else pictures)
    return folder


def names_for(form: str, tmp_path: Path) -> Path | None:
    if form != "voc":
        return None
    file = tmp_path / "names.txt"
    file.write_text("\n".join(NAMES), encoding="utf-8")
    return file


def maps(summary: Summary) -> dict[str, np.ndarray]:
    """Digits of the photo's name -> label map."""
    found = {}
    for path in sorted((summary.folder / "labels").rglob("*.png")):
        digits = "".join(c for c in path.stem.split(".rf.")[0] if c.isdigit())
        found[digits[:4] if "town" in path.stem else digits[-4:]] = cv2.imread(
            str(path), cv2.IMREAD_UNCHANGED
        )
    return found


def in_terms_of(space: LabelSpace, ids: np.ndarray, background: str | None) -> np.ndarray:
    table = np.full(256, IGNORE, np.uint8)
    for number, name in enumerate(NAMES):
        table[number] = space.index(name)
    if background:
        table[scenes.VOID] = space.index(background)
    return table[ids]


def test_there_is_a_maker_for_every_form() -> None:
    assert set(MAKERS) == {form.name for form in FORMS}


@pytest.mark.parametrize("form", MAKERS)
def test_label_maps_names_and_colours(form: str, tmp_path: Path) -> None:
    pictures = scenes.draw()
    source = export(form, tmp_path / "export", pictures)
    prepared = prepare(source, Request(names=names_for(form, tmp_path)))
    assert prepared.form.name == form
    summary = write(prepared, tmp_path / "data")
    assert summary.counts == {"train": 3, "val": 2}
    space = LabelSpace.from_json(summary.folder / "classes.json")
    background = "background" if form in makers.WITH_BACKGROUND else None
    assert set(space.class_names) == {*NAMES, *([background] if background else [])}
    if form in makers.WITH_COLORS:
        for name, color in zip(NAMES, scenes.COLORS, strict=True):
            assert space.colors[space.index(name)] == color
    assert len(set(space.colors)) == space.num_classes
    if form == "hf_parquet":  # rows have no names: each split is numbered from 0
        found = list(maps_in_order(summary).values())
    else:
        by_name = maps(summary)
        found = [by_name[p.stem.split()[-1]] for p in pictures]
    for picture, ids in zip(pictures, found, strict=True):
        wanted = in_terms_of(space, picture.ids, background)
        if form in makers.EXACT:
            np.testing.assert_array_equal(ids, wanted)
        else:
            labelled = picture.ids != scenes.VOID
            np.testing.assert_array_equal(ids[labelled], wanted[labelled])


def maps_in_order(summary: Summary) -> dict[Path, np.ndarray]:
    paths = sorted((summary.folder / "labels").rglob("*.png"))
    return {p: cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in paths}


@pytest.mark.parametrize("form", MAKERS)
@pytest.mark.parametrize("background", ["class", "ignore"])
def test_background_is_a_class_or_ignored(form: str, background: str, tmp_path: Path) -> None:
    source = export(form, tmp_path / "export")
    request = Request(names=names_for(form, tmp_path), background=background)
    summary = write(prepare(source, request), tmp_path / "data")
    space = LabelSpace.from_json(summary.folder / "classes.json")
    bare_masks = form in makers.EXACT - makers.WITH_BACKGROUND - {"coco_panoptic"}
    wanted = background == "class" and not bare_masks  # 255 in a mask says "ignore" by itself
    assert ("background" in space.class_names) == wanted
    for ids in maps_in_order(summary).values():
        assert (ids[-1] == (space.index("background") if wanted else IGNORE)).all()

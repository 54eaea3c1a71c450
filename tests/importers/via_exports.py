"""Exports of VGG Image Annotator of the drawn world."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export_pictures import NAMES, Picture, by_split, dump, objects, photo


def via(folder: Path, pictures: Sequence[Picture]) -> None:
    """A JSON export in the folder of the training photos, a project file in that of the others."""
    for split, chosen in by_split(pictures).items():
        photos = {}
        for picture in chosen:
            path = folder / split / f"{picture.stem}.jpg"
            photo(path, picture)
            regions = []
            for kind, _, points in objects(picture.ids):
                x, y = zip(*points, strict=True)
                shape = {"name": "polygon", "all_points_x": x, "all_points_y": y}
                about = {"label": NAMES[kind], "remark": "", "seen": {"clearly": True}}
                regions.append({"shape_attributes": shape, "region_attributes": about})
            entry = {"filename": path.name, "size": path.stat().st_size, "regions": regions}
            photos[f"{path.name}{path.stat().st_size}"] = {**entry, "file_attributes": {}}
        project = {"_via_settings": {}, "_via_img_metadata": photos, "_via_attributes": {}}
        if split == "train":
            dump(folder / split / "via_region_data.json", photos)
        else:
            dump(folder / split / "via_project.json", project)

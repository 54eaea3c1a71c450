"""Small exports in every form that unilabel reads, made of a drawn world of known label maps.

``MAKERS[form](folder, pictures)`` writes one. A form of masks keeps label maps exactly, a form of
outlines keeps them but for thin things and holes.
"""

from __future__ import annotations

import base64
import csv
import io
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
from export_pictures import (
    COLORS,
    NAMES,
    VOID,
    Picture,
    by_split,
    dump,
    mask,
    objects,
    palette,
    photo,
    shifted,
)
from PIL import Image
from pycocotools import mask as coco_mask
from via_exports import via

Maker = Callable[[Path, Sequence[Picture]], None]


def coco_instances(folder: Path, pictures: Sequence[Picture]) -> None:
    for split, chosen in by_split(pictures).items():
        images, annotations = [], []
        for number, picture in enumerate(chosen):
            height, width = picture.ids.shape
            photo(folder / split / f"{picture.stem}.jpg", picture)
            images.append(
                {
                    "id": 7 + 3 * number,
                    "file_name": f"{picture.stem}.jpg",
                    "height": height,
                    "width": width,
                }
            )
            for kind, filled, points in objects(picture.ids):
                segmentation: object = [np.array(points).reshape(-1).tolist()]
                if kind == 2:
                    packed = coco_mask.encode(np.asfortranarray(filled.astype(np.uint8)))
                    segmentation = {"size": [height, width], "counts": packed["counts"].decode()}
                if kind == 3:
                    flat = filled.T.reshape(-1).astype(int)
                    ends = np.flatnonzero(np.diff(flat)) + 1
                    runs = np.diff([0, *ends, len(flat)]).tolist()
                    segmentation = {"size": [height, width], "counts": runs}
                annotations.append(
                    {
                        "id": len(annotations),
                        "image_id": 7 + 3 * number,
                        "category_id": (40, 7, 90, 12)[kind],
                        "iscrowd": int(kind > 1),
                        "segmentation": segmentation,
                    }
                )
        categories = [{"id": (40, 7, 90, 12)[k], "name": n} for k, n in enumerate(NAMES)]
        # the annotations of images interleave, in every image in their order
        rank = {i["id"]: 0 for i in images}
        order = []
        for entry in annotations:
            order.append((rank[entry["image_id"]], entry["image_id"]))
            rank[entry["image_id"]] += 1
        annotations = [annotations[i] for i in sorted(range(len(order)), key=order.__getitem__)]
        dump(
            folder / f"annotations/instances_{split}.json",
            {"images": images, "annotations": annotations, "categories": categories},
        )


def coco_panoptic(folder: Path, pictures: Sequence[Picture]) -> None:
    for split, chosen in by_split(pictures).items():
        images, annotations = [], []
        for number, picture in enumerate(chosen):
            photo(folder / split / f"{picture.stem}.png", picture)
            ids = np.where(picture.ids == VOID, 0, picture.ids.astype(int) * 70001 + 300)
            rgb = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)
            mask(folder / f"annotations/panoptic_{split}/{picture.stem}.png", rgb)
            images.append({"id": number, "file_name": f"{picture.stem}.png"})
            segments = [{"id": k * 70001 + 300, "category_id": 9 - k} for k in range(len(NAMES))]
            annotations.append(
                {"image_id": number, "file_name": f"{picture.stem}.png", "segments_info": segments}
            )
        categories = [{"id": 9 - k, "name": n, "color": COLORS[k]} for k, n in enumerate(NAMES)]
        dump(
            folder / f"annotations/panoptic_{split}.json",
            {"images": images, "annotations": annotations, "categories": categories},
        )


def cvat_masks(folder: Path, pictures: Sequence[Picture]) -> None:
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    lines += [f"{n}:{r},{g},{b}::" for n, (r, g, b) in zip(NAMES, COLORS, strict=True)]
    for picture in pictures:
        photo(folder / f"JPEGImages/{picture.stem}.jpg", picture)
        mask(folder / f"SegmentationClass/{picture.stem}.png", palette()[picture.ids])
    for split, chosen in by_split(pictures).items():
        path = folder / f"ImageSets/Segmentation/{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(p.stem for p in chosen))
    (folder / "labelmap.txt").write_text("\n".join(lines))


def voc(folder: Path, pictures: Sequence[Picture]) -> None:
    cvat_masks(folder, pictures)
    (folder / "labelmap.txt").unlink()
    colors = np.concatenate([[(0, 0, 0)], palette()[:255]]).astype(np.uint8)
    colors[VOID] = (224, 224, 192)
    for picture in pictures:
        mask(folder / f"SegmentationClass/{picture.stem}.png", shifted(picture.ids), colors)


def cvat_xml(folder: Path, pictures: Sequence[Picture]) -> None:
    labels = "".join(
        f"<label><name>{n}</name><color>#{r:02x}{g:02x}{b:02x}</color><type>any</type></label>"
        for n, (r, g, b) in zip(NAMES, COLORS, strict=True)
    )
    parts = [
        f"<annotations><version>1.1</version><meta><task><labels>{labels}</labels></task></meta>"
    ]
    for number, picture in enumerate(pictures):
        photo(folder / f"images/{picture.stem}.jpg", picture)
        height, width = picture.ids.shape
        parts.append(
            f'<image id="{number}" name="{picture.stem}.jpg" subset="{picture.split}" '
            f'width="{width}" height="{height}">'
        )
        shapes = list(enumerate(objects(picture.ids)))
        for order, (kind, filled, points) in reversed(shapes):  # z_order says who lies on top
            name = quoteattr(NAMES[kind])
            if kind == 3:
                y, x = np.nonzero(filled)
                box = filled[y.min() : y.max() + 1, x.min() : x.max() + 1]
                flat = box.reshape(-1).astype(int)
                runs = np.diff([0, *(np.flatnonzero(np.diff(flat)) + 1), len(flat)]).tolist()
                runs = [0, *runs] if flat[0] else runs
                parts.append(
                    f'<mask label={name} rle="{", ".join(map(str, runs))}" '
                    f'left="{x.min()}" top="{y.min()}" width="{box.shape[1]}" '
                    f'height="{box.shape[0]}" z_order="{order}"></mask>'
                )
            else:
                text = ";".join(f"{px:.2f},{py:.2f}" for px, py in points)
                parts.append(f'<polygon label={name} points="{text}" z_order="{order}"></polygon>')
        parts.append("</image>")
    (folder / "annotations.xml").write_text("\n".join([*parts, "</annotations>"]))


def labelme(folder: Path, pictures: Sequence[Picture]) -> None:
    for picture in pictures:
        base = folder / picture.split
        photo(base / f"{picture.stem}.jpg", picture)
        shapes = [
            {"label": NAMES[k], "points": p, "shape_type": "polygon", "group_id": None}
            for k, _, p in objects(picture.ids)
        ]
        dump(
            base / f"{picture.stem}.json",
            {
                "version": "5.5.0",
                "shapes": shapes,
                "imagePath": f"{picture.stem}.jpg",
                "imageHeight": picture.ids.shape[0],
                "imageWidth": picture.ids.shape[1],
            },
        )


def brush(filled: np.ndarray) -> list[int]:
    """A brush stroke of Label Studio: RGBA values, here in blocks of one repeated value."""
    values = np.repeat(filled.reshape(-1).astype(np.uint8) * 255, 4)
    ends = [*(np.flatnonzero(np.diff(values.astype(int))) + 1).tolist(), len(values)]
    bits = f"{len(values):032b}" + f"{7:05b}" + "".join(f"{s - 1:04b}" for s in (3, 6, 11, 16))
    start = 0
    for end in ends:
        while start < end:
            length = min(end - start, 2**16)
            bits += f"1{3:02b}{length - 1:016b}{values[start]:08b}"
            start += length
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def label_studio(folder: Path, pictures: Sequence[Picture]) -> None:
    tasks = []
    for number, picture in enumerate(pictures):
        height, width = picture.ids.shape
        photo(folder / picture.split / f"{picture.stem}.jpg", picture)
        results = []
        for kind, filled, points in objects(picture.ids):
            common = {"original_width": width, "original_height": height, "id": f"r{len(results)}"}
            if kind == 3:
                value = {"format": "rle", "rle": brush(filled), "brushlabels": [NAMES[kind]]}
                results.append({**common, "type": "brushlabels", "value": value})
            else:
                percent = [[100 * x / width, 100 * y / height] for x, y in points]
                value = {"points": percent, "polygonlabels": [NAMES[kind]]}
                results.append({**common, "type": "polygonlabels", "value": value})
        name = f"/data/upload/1/0a1b2c{number % 100:02d}-{picture.stem}.jpg"
        annotations = [
            {"was_cancelled": True, "result": []},
            {"was_cancelled": False, "result": results},
        ]
        tasks.append({"id": number, "data": {"image": name}, "annotations": annotations})
    dump(folder / "export.json", tasks)


def roboflow_masks(folder: Path, pictures: Sequence[Picture]) -> None:
    for split, chosen in by_split(pictures).items():
        base = folder / {"val": "valid"}.get(split, split)
        for picture in chosen:
            photo(base / f"{picture.stem}.rf.12ab.jpg", picture)
            mask(base / f"{picture.stem}.rf.12ab_mask.png", shifted(picture.ids))
        with open(base / "_classes.csv", "w", newline="") as file:
            rows = [[0, " background"], *([i + 1, f" {n}"] for i, n in enumerate(NAMES))]
            csv.writer(file).writerows([["Pixel Value", " Class"], *rows])


def yolo_seg(folder: Path, pictures: Sequence[Picture]) -> None:
    for picture in pictures:
        photo(folder / f"{picture.split}/images/{picture.stem}.jpg", picture)
        size = picture.ids.shape[::-1]
        lines = [
            f"{k} " + " ".join(f"{v:.6f}" for v in (np.array(p) / size).reshape(-1))
            for k, _, p in objects(picture.ids)
        ]
        path = folder / f"{picture.split}/labels/{picture.stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines))
    (folder / "data.yaml").write_text(
        "train: ../train/images\nval: ../val/images\nnames:\n"
        + "".join(f"  {i}: {n}\n" for i, n in enumerate(NAMES))
    )


def supervisely(folder: Path, pictures: Sequence[Picture]) -> None:
    classes = [
        {"title": n, "shape": "any", "color": "#{:02X}{:02X}{:02X}".format(*c)}
        for n, c in zip(NAMES, COLORS, strict=True)
    ]
    dump(folder / "meta.json", {"classes": classes, "tags": []})
    for picture in pictures:
        photo(folder / f"{picture.split}/img/{picture.stem}.jpg", picture)
        entries = []
        for kind, filled, points in objects(picture.ids):
            entry = {
                "classTitle": NAMES[kind],
                "geometryType": "polygon",
                "points": {"exterior": points, "interior": []},
            }
            if kind == 3:
                y, x = np.nonzero(filled)
                box = filled[y.min() : y.max() + 1, x.min() : x.max() + 1]
                file = io.BytesIO()
                Image.fromarray(box).save(file, "PNG")
                data = base64.b64encode(zlib.compress(file.getvalue())).decode()
                entry = {
                    "classTitle": NAMES[kind],
                    "geometryType": "bitmap",
                    "bitmap": {"data": data, "origin": [int(x.min()), int(y.min())]},
                }
            entries.append(entry)
        height, width = picture.ids.shape
        dump(
            folder / f"{picture.split}/ann/{picture.stem}.jpg.json",
            {"size": {"height": height, "width": width}, "objects": entries},
        )


def cityscapes(folder: Path, pictures: Sequence[Picture]) -> None:
    for picture in pictures:
        stem = f"town_{picture.stem.split()[-1]}_000019"
        photo(folder / f"leftImg8bit/{picture.split}/town/{stem}_leftImg8bit.png", picture)
        entries = [
            {"label": NAMES[k] + "group" * (k == 2), "polygon": p}
            for k, _, p in objects(picture.ids)
        ]
        entries.append({"label": "car", "polygon": [[0, 0], [40, 0], [40, 40]], "deleted": 1})
        base = folder / f"gtFine/{picture.split}/town"
        height, width = picture.ids.shape
        dump(
            base / f"{stem}_gtFine_polygons.json",
            {"imgHeight": height, "imgWidth": width, "objects": entries},
        )
        mask(base / f"{stem}_gtFine_color.png", picture.rgb)


def darwin(folder: Path, pictures: Sequence[Picture]) -> None:
    for number, picture in enumerate(pictures):
        name = f"{picture.stem}.jpg"
        height, width = picture.ids.shape
        photo(folder / f"images/{picture.split}/{name}", picture)
        entries = []
        for kind, _, points in objects(picture.ids):
            path = [{"x": x, "y": y} for x, y in points]
            polygon = {"paths": [path]} if number % 2 else {"path": path}
            entries.append({"name": NAMES[kind], "polygon": polygon, "bounding_box": {}})
        entries.append({"name": "car", "bounding_box": {"x": 1, "y": 1, "w": 5, "h": 5}})
        about: dict[str, object] = {
            "dataset": "d",
            "image": {"filename": name, "width": width, "height": height},
        }
        if number % 2:
            slot = {
                "type": "image",
                "width": width,
                "height": height,
                "source_files": [{"file_name": name}],
            }
            about = {"version": "2.0", "item": {"name": name, "slots": [slot]}}
        dump(
            folder / f"annotations/{picture.split}/{picture.stem}.json",
            {**about, "annotations": entries},
        )


def hf_parquet(folder: Path, pictures: Sequence[Picture]) -> None:
    import pyarrow
    from pyarrow import parquet

    folder.mkdir(parents=True, exist_ok=True)
    for split, chosen in by_split(pictures).items():
        columns: dict[str, list[dict[str, object]]] = {"image": [], "annotation": []}
        for picture in chosen:
            for column, values, kind in (
                ("image", picture.rgb, "JPEG"),
                ("annotation", picture.ids, "PNG"),
            ):
                file = io.BytesIO()
                Image.fromarray(values).save(file, kind)
                columns[column].append({"bytes": file.getvalue(), "path": None})
        table = pyarrow.table(columns)
        parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet", row_group_size=2)
    dump(folder / "id2label.json", {str(i): n for i, n in enumerate(NAMES)})


def _folders(
    photos: str, masks: str, ending: str = ""
) -> Callable[[Path, Sequence[Picture]], None]:
    def make(folder: Path, pictures: Sequence[Picture]) -> None:
        for picture in pictures:
            photo(folder / photos.format(picture.split) / f"{picture.stem}.jpg", picture)
            mask(folder / masks.format(picture.split) / f"{picture.stem}{ending}.png", picture.ids)
        (folder / "classes.txt").write_text("\n".join(NAMES))

    return make


MAKERS: dict[str, Maker] = {
    "coco_instances": coco_instances,
    "coco_panoptic": coco_panoptic,
    "cvat_masks": cvat_masks,
    "cvat_xml": cvat_xml,
    "voc": voc,
    "labelme": labelme,
    "label_studio": label_studio,
    "roboflow_masks": roboflow_masks,
    "yolo_seg": yolo_seg,
    "supervisely": supervisely,
    "cityscapes": cityscapes,
    "darwin": darwin,
    "via": via,
    "hf_parquet": hf_parquet,
    "mmseg": _folders("img_dir/{}", "ann_dir/{}"),
    "hf_folders": _folders("{}/image", "{}/annotation"),
    "ultralytics_masks": _folders("images/{}", "masks/{}"),
    "folders": _folders("{}", "{}", "_mask"),
}  # fmt: skip
EXACT = {
    *("coco_panoptic", "cvat_masks", "voc", "roboflow_masks", "hf_parquet"),
    *("mmseg", "hf_folders", "ultralytics_masks", "folders"),
}
WITH_BACKGROUND = {"cvat_masks", "voc", "roboflow_masks"}
WITH_COLORS = {"coco_panoptic", "cvat_masks", "voc", "cvat_xml", "supervisely"}

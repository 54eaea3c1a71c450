"""Breaks one image, label or side file of a tiny dataset in every way that came to mind.

A kind of fault is a function of a :class:`Spot` and what the message has to say: the name of the
file comes on its own, then what was found, what was expected and what to do.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.io import savemat

from unilabel.data import label_decoders
from unilabel.data.class_list import read_class_list
from unilabel.data.value_decoder import ValueDecoder

IDS = {0: 0, 1: 1, 2: 2, 255: 255}
COLORS = {(128, 0, 0): 0, (0, 128, 0): 1, (128, 128, 0): 2, (0, 0, 0): 255}
NAMES = {"road": 0, "car": 1, "sky": 2, "out of roi": 255}
SIZE = (24, 32)


@dataclass
class Spot:
    """The sample that is broken."""

    image: Path
    label: Path


Breaker = Callable[[Spot], None]


@dataclass(frozen=True)
class Kind:
    """A kind of bad sample.

    Attributes:
        form: how labels are stored, a key of ``FORMS``.
        part: "image" or "label", the file that the message names.
        damage: does it.
        message: regular expressions that the message fits.
    """

    form: str
    part: str
    damage: Breaker
    message: tuple[str, ...]


# --- how labels are stored: write a good one, decode ---


def _ids(seed: int) -> np.ndarray:
    ids = np.random.default_rng(seed).integers(0, 3, (3, 4)).astype(np.uint8)
    ids = np.kron(ids, np.ones((8, 8), np.uint8))
    ids[0, :4] = 255
    return ids


def _write_png(path: Path, ids: np.ndarray) -> None:
    Image.fromarray(ids).save(path)


def _write_colors(path: Path, ids: np.ndarray) -> None:
    table = np.zeros((256, 3), np.uint8)
    for color, class_id in COLORS.items():
        table[class_id] = color
    Image.fromarray(table[ids]).save(path)


def _write_mat(path: Path, ids: np.ndarray) -> None:
    savemat(path, {"LabelMap": ids.astype(np.uint16)})


def _write_panoptic(path: Path, ids: np.ndarray) -> None:
    codes = np.where(ids == 255, 0, ids.astype(np.uint32) + 1000)
    rgb = np.stack([codes & 255, codes >> 8 & 255, codes >> 16], axis=2).astype(np.uint8)
    Image.fromarray(rgb).save(path)
    index = Path(f"{path.parent}.json")
    data = json.loads(index.read_text()) if index.exists() else {"annotations": []}
    segments = [{"id": 1000 + int(c), "category_id": int(c)} for c in np.unique(ids) if c < 255]
    data["annotations"].append({"file_name": path.name, "segments_info": segments})
    index.write_text(json.dumps(data))


def _write_polygons(path: Path, ids: np.ndarray) -> None:
    height, width = ids.shape
    objects = [{"label": "road", "polygon": [[0, 0], [width, 0], [width, height], [0, height]]}]
    path.write_text(json.dumps({"imgWidth": width, "imgHeight": height, "objects": objects}))


def folder_decoder(folder: Path, names: tuple[str, ...]) -> ValueDecoder:
    path = folder / "classes.json"
    path.write_text(json.dumps({"name": "streets", "classes": list(names)}))
    return ValueDecoder(read_class_list(path))


FORMS = {
    "folder": (".png", _write_png, None),
    "ids": (".png", _write_png, label_decoders.IdDecoder(IDS, "streets")),
    "colors": (".png", _write_colors, label_decoders.ColorDecoder(COLORS, "streets")),
    "mat": (".mat", _write_mat, label_decoders.MatDecoder(IDS, "streets")),
    "panoptic": (".png", _write_panoptic, label_decoders.PanopticDecoder(IDS, "streets")),
    "polygons": (".json", _write_polygons, label_decoders.PolygonDecoder(NAMES, "streets")),
}


def write_dataset(root: Path, form: str, count: int = 3) -> list[Spot]:
    suffix, write, _ = FORMS[form]
    spots = []
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        spot = Spot(root / f"images/s{number}.png", root / f"labels/s{number}{suffix}")
        pixels = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), np.uint8)
        Image.fromarray(pixels).save(spot.image)
        write(spot.label, _ids(number))
        spots.append(spot)
    return spots


# --- damage ---


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, bits: int, color_type: int, more: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    data = zlib.compress(b"\0" * 100)
    body = _chunk(b"IHDR", header) + more + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def write(part: str, data: bytes) -> Breaker:
    return lambda spot: getattr(spot, part).write_bytes(data) and None


def cut(part: str, share: float) -> Breaker:
    def damage(spot: Spot) -> None:
        path = getattr(spot, part)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return damage


def replaced(part: str, make: Callable[[Path], object]) -> Breaker:
    """Remove the file and make something else in its place."""

    def damage(spot: Spot) -> None:
        path = getattr(spot, part)
        path.unlink()
        make(path)

    return damage


def saved(part: str, image: Callable[[], Image.Image], **options) -> Breaker:
    return lambda spot: image().save(getattr(spot, part), **options)


def flipped(part: str) -> Breaker:
    """A wrong byte in the compressed pixels."""

    def damage(spot: Spot) -> None:
        path = getattr(spot, part)
        data = bytearray(path.read_bytes())
        data[data.index(b"IDAT") + 12] ^= 0xFF
        path.write_bytes(data)

    return damage


def jpeg(then: Callable[[bytes], bytes], **options) -> Breaker:
    """The image as JPEG (under its old name), changed."""

    def damage(spot: Spot) -> None:
        picture = Image.open(spot.image).resize((320, 240))
        if "mode" in options:
            picture = picture.convert(options["mode"])
        picture.save(spot.image, "JPEG")
        spot.image.write_bytes(then(spot.image.read_bytes()))

    return damage


def _huge_frame(data: bytes) -> bytes:
    position = data.index(b"\xff\xc0")
    return data[: position + 5] + struct.pack(">HH", 65000, 65000) + data[position + 9 :]


def _frames(spot: Spot, part: str, form: str) -> None:
    grey = [Image.fromarray(np.full(SIZE, 200 * i, np.uint8)) for i in range(2)]
    frames = grey if part == "label" else [f.convert("RGB") for f in grey]
    frames[0].save(getattr(spot, part), form, save_all=True, append_images=frames[1:])


def animated(part: str, form: str) -> Breaker:
    return lambda spot: _frames(spot, part, form)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def edited(change: Callable[[dict], None], beside: bool = False) -> Breaker:
    """Change the JSON of a label, or the one beside its folder."""

    def damage(spot: Spot) -> None:
        path = Path(f"{spot.label.parent}.json") if beside else spot.label
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))

    return damage


def pixels(make: Callable[[], np.ndarray], **options) -> Breaker:
    return lambda spot: Image.fromarray(make()).save(spot.label, "PNG", **options)


def mat(**variables) -> Breaker:
    return lambda spot: savemat(spot.label, variables)


def palette(index: int) -> Breaker:
    def damage(spot: Spot) -> None:
        ids = np.full(SIZE, index, np.uint8)
        picture = Image.fromarray(ids, "P")
        picture.putpalette(list(range(256)) * 3)
        picture.save(spot.label)

    return damage


def _smooth(spot: Spot) -> None:
    picture = Image.open(spot.label)
    picture.resize((64, 48), Image.Resampling.BILINEAR).resize((32, 24)).save(spot.label)


def _as(part: str, form: str) -> Breaker:
    def damage(spot: Spot) -> None:
        path = getattr(spot, part)
        picture = Image.open(path)
        picture.load()
        picture.save(path, form)

    return damage


full = partial(np.full, SIZE)
DAMAGED = r"damaged or truncated: fetch it again"
HTML = b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n"
EIGHT = "expected an 8-bit single-channel PNG of class ids"
LABEL = "expected a PNG, TIFF, BMP or GIF of class ids or of class colours"

KINDS: dict[str, Kind] = {
    # --- images ---
    "image is missing": Kind("folder", "image", replaced("image", lambda p: None),
        ("No such file or directory", "copy or fetch it again")),
    "image is a dangling link": Kind("folder", "image",
        replaced("image", lambda p: p.symlink_to("nowhere.png")), ("No such file", "fetch it")),
    "image is a link to itself": Kind("folder", "image", replaced("image", loop),
        ("Too many levels of symbolic links", "copy or fetch it again")),
    "image is a folder": Kind("folder", "image", replaced("image", Path.mkdir),
        ("it is no file", "copy or fetch it again")),
    "image is a pipe": Kind("folder", "image", replaced("image", os.mkfifo), ("it is no file",)),
    "image is a device": Kind("folder", "image",
        replaced("image", lambda p: p.symlink_to("/dev/zero")), ("it is no file",)),
    "image is empty": Kind("folder", "image", write("image", b""),
        (r"\(0 bytes, an empty file\)", DAMAGED)),
    "image png cut in half": Kind("folder", "image", cut("image", 0.5), (r"a PNG\)", DAMAGED)),
    "image png cut at its end": Kind("folder", "image", cut("image", 0.99), (DAMAGED,)),
    "image png is a header": Kind("folder", "image", lambda s: s.image.write_bytes(
        s.image.read_bytes()[:33]), (r"\(33 bytes", DAMAGED)),
    "image png with a wrong byte": Kind("folder", "image", flipped("image"), (DAMAGED,)),
    "image jpeg cut in half": Kind("folder", "image", jpeg(lambda d: d[: len(d) // 2]),
        (r"a JPEG\)", DAMAGED)),
    "image jpeg is a header": Kind("folder", "image", jpeg(lambda d: d[:20]), (DAMAGED,)),
    "image jpeg of absurd size": Kind("folder", "image", jpeg(_huge_frame),
        ("promises 65000x65000 pixels", "expected at most", "raise the limit")),
    "image png of absurd size": Kind("folder", "image", write("image", _png(40000, 40000, 8, 2)),
        ("promises 40000x40000 pixels", "expected at most", "raise the limit")),
    "image with 16 bits": Kind("folder", "image", lambda s: cv2.imwrite(
        str(s.image), np.full((*SIZE, 3), 999, np.uint16)),
        ("16 bits per channel", "expected an image of 8 bits", "image_scale")),
    "image is an animated png": Kind("folder", "image", animated("image", "PNG"),
        ("is an animation", "expected a single image", "save the frame")),
    "image is an animated webp": Kind("folder", "image", animated("image", "WEBP"),
        ("is an animation", "expected a single image")),
    "image is a web page": Kind("folder", "image", write("image", HTML),
        ("a web page or XML", DAMAGED)),
    "image is a git lfs pointer": Kind("folder", "image",
        write("image", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        ("a Git LFS pointer", "git lfs pull")),
    "image is a zip archive": Kind("folder", "image", write("image", b"PK\x03\x04" + b"\0" * 90),
        ("a zip archive", DAMAGED)),
    "image is noise": Kind("folder", "image", write("image", bytes(range(7, 250))),
        ("an unknown format that begins with", DAMAGED)),
    "image of another size": Kind("folder", "image",
        saved("image", lambda: Image.new("RGB", (40, 24))),
        ("has the size 40x24, its label .* 32x24", "take the file that belongs to it")),
    # --- labels of folders ---
    "label is missing": Kind("folder", "label", replaced("label", lambda p: None),
        ("No such file or directory", "copy or fetch it again")),
    "label is a link to itself": Kind("folder", "label", replaced("label", loop),
        ("Too many levels of symbolic links",)),
    "label is empty": Kind("folder", "label", write("label", b""),
        (r"\(0 bytes\): it is an empty file", LABEL)),
    "label cut in half": Kind("folder", "label", cut("label", 0.5), (DAMAGED,)),
    "label with a wrong byte": Kind("folder", "label", flipped("label"), (DAMAGED,)),
    "label with 16-bit ids of no class": Kind("folder", "label",
        pixels(lambda: full(700).astype(np.uint16)), ("label id 700 on 768", r"expected 0\.\.2")),
    "label of 16-bit colours": Kind("folder", "label",
        lambda s: cv2.imwrite(str(s.label), np.full((*SIZE, 3), 700, np.uint16)),
        ("16 bits per channel", LABEL)),
    "label of colours": Kind("folder", "label",
        pixels(lambda: np.full((*SIZE, 3), (1, 2, 3), np.uint8)),
        ("holds colours", r"#010203 \(100\.0 %\)", '"values": ', "ignore_values")),
    "label with transparent pixels": Kind("folder", "label",
        pixels(lambda: np.full((*SIZE, 4), 1, np.uint8)),
        ("768 pixels are transparent", r'"ignore_values": \["transparent"\]')),
    "label is a jpeg": Kind("folder", "label", _as("label", "JPEG"), ("it is a JPEG", LABEL,
        "lossy formats change ids")),
    "label is a webp": Kind("folder", "label", _as("label", "WEBP"), ("it is a WebP", LABEL)),
    "label is a tiff of fractions": Kind("folder", "label",
        saved("label", lambda: Image.fromarray(full(1.5).astype(np.float32)), format="TIFF"),
        ("floating point values", LABEL, "save whole numbers")),
    "label is a web page": Kind("folder", "label", write("label", HTML), ("web page", LABEL)),
    "label is animated": Kind("folder", "label", animated("label", "PNG"), ("is an animation",)),
    "label of absurd size": Kind("folder", "label", write("label", _png(60000, 60000, 8, 0)),
        ("promises 60000x60000", "raise the limit")),
    "label palette of absurd size": Kind("folder", "label",
        write("label", _png(60000, 60000, 8, 3)), ("promises 60000x60000",)),
    "label id of no class": Kind("folder", "label", pixels(lambda: full(3).astype(np.uint8)),
        ("label id 3 on 768 pixels", r"expected 0\.\.2 or 255", "add the class to classes.json")),
    "label palette index of no class": Kind("folder", "label", palette(9),
        ("label id 9 on 768 pixels", r"expected 0\.\.2 or 255")),
    "label is void": Kind("folder", "label", pixels(lambda: full(255).astype(np.uint8)),
        ("labels nothing: all its pixels are void", "expected some of a class", "correct it")),
    # --- the other ways to store labels ---
    "raw id of no class": Kind("ids", "label", pixels(lambda: full(7).astype(np.uint8)),
        ("label id 7 on 768 pixels", r"expected 0\.\.2, 255", "take it from")),
    "raw ids as jpeg": Kind("ids", "label", _as("label", "JPEG"), ("it is a JPEG", EIGHT)),
    "colours smoothed": Kind("colors", "label", _smooth,
        ("is none of the 4 label colours", "resized with interpolation", "take it from")),
    "colours cut": Kind("colors", "label", cut("label", 0.6), (DAMAGED,)),
    "mat is text": Kind("mat", "label", write("label", b"no mat file"),
        ("cannot be decoded as a MATLAB label file", "fetch it again")),
    "mat cut": Kind("mat", "label", cut("label", 0.5), ("cannot be decoded as a MATLAB", "fetch")),
    "mat without the variable": Kind("mat", "label", mat(Other=np.zeros(SIZE, np.uint16)),
        ("no variable 'LabelMap'", "take the file from the official")),
    "mat of fractions": Kind("mat", "label", mat(LabelMap=np.full(SIZE, 0.5)),
        ("float64", "expected a 2-D array of integers", "take the file")),
    "mat of three dimensions": Kind("mat", "label", mat(LabelMap=np.zeros((2, *SIZE), np.uint8)),
        (r"shape \(2, 24, 32\)", "expected a 2-D array")),
    "mat id of no class": Kind("mat", "label", mat(LabelMap=np.full(SIZE, 300, np.uint16)),
        ("label id 300 on 768 pixels", r"expected 0\.\.2, 255")),
    "mat id beyond 16 bits": Kind("mat", "label",
        mat(LabelMap=np.full(SIZE, 65537, np.int32)),
        (r"holds 65537\.\.65537", r"expected ids of 0\.\.65535", "take the file")),
    "segment of no entry": Kind("panoptic", "label",
        edited(lambda d: d["annotations"].pop(0), beside=True),
        ("has no entry in .*labels.json", "unpack both again")),
    "segment of no id": Kind("panoptic", "label",
        edited(lambda d: d["annotations"][0]["segments_info"].clear(), beside=True),
        ("segment 100. on", "is not in .*labels.json", "unpack it again")),
    "polygons are no json": Kind("polygons", "label", cut("label", 0.5), ("is not valid JSON",)),
    "polygons without size": Kind("polygons", "label", edited(lambda d: d.pop("imgWidth")),
        ("is no polygon file", "expected .*imgWidth", "take it from")),
    "polygons of absurd size": Kind("polygons", "label", edited(lambda d: d.update(imgWidth=10**9)),
        ("1000000000", "expected at most", "take it from")),
    "polygons of negative size": Kind("polygons", "label", edited(lambda d: d.update(imgHeight=-3)),
        ("is no polygon file", "take it from")),
    "polygon of no class": Kind("polygons", "label",
        edited(lambda d: d["objects"][0].update(label="boat")),
        ("'boat' is none of the 4 labels", "take it from")),
    "polygon of words": Kind("polygons", "label",
        edited(lambda d: d["objects"][0].update(polygon=[["a", "b"], ["c", "d"], ["e", "f"]])),
        ("is no polygon file", "take it from")),
    "polygon of infinite size": Kind("polygons", "label",
        edited(lambda d: d["objects"][0].update(polygon=[[0, 0], [float("inf"), 0], [1, 1]])),
        ("is no polygon file|is not valid JSON", "take it from|Infinity")),
}  # fmt: skip

"""One reader of photos: every format, mode and orientation, seen by all who read photos."""

from __future__ import annotations

import io
import re
import runpy
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("detectron2")


from folder_datasets import write_folder

from unilabel.core.errors import UniLabelError
from unilabel.data.folders import folder_source
from unilabel.data.images import (
    ORIENTATION,
    ImageReader,
    orientation,
    read_image,
    shown_size,
)
from unilabel.data.inspection import folder_target, inspect_split
from unilabel.data.sources import load_sample
from unilabel.demo_app.images import decode_image

pytestmark = pytest.mark.d2
ROOT = Path(__file__).parents[2]
FORMATS = ("jpg", "png", "bmp", "webp", "tif", "gif", "jfif")
MODES = ("1", "L", "LA", "P", "P+transparency", "RGB", "RGBA", "CMYK", "I;16", "F")
NOT_STORED = {  # modes that a format does not have
    *((s, m) for s in ("jpg", "jfif") for m in ("LA", "P", "P+transparency", "RGBA", "I;16", "F")),
    *((s, "CMYK") for s in ("png", "bmp", "gif")),
    *(("bmp", m) for m in ("LA", "I;16", "F")),
    ("png", "F"),
}
KINDS = {"jpg": "JPEG", "jfif": "JPEG", "tif": "TIFF"}


def picture(mode: str) -> Image.Image:
    """48 x 32 pixels that are not symmetric, a third of them transparent where the mode has it."""
    rows, columns = np.mgrid[:32, :48]
    rgb = np.stack([5 * columns, 7 * rows, 120 + 0 * rows], -1).clip(0, 255).astype(np.uint8)
    rgb[:8, :16] = (250, 10, 10)
    image = Image.fromarray(rgb)
    alpha = Image.fromarray(np.where(columns < 16, 0, 255).astype(np.uint8))
    if mode == "P+transparency":
        palette = image.quantize(8)
        palette.info["transparency"] = 2
        return palette
    if mode == "P":
        return image.quantize(8)
    if mode in ("LA", "RGBA"):
        converted = image.convert(mode)
        converted.putalpha(alpha)
        return converted
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return image.convert(mode)


def saved(path: Path, mode: str, turn: int) -> Image.Image | None:
    """What was written; None where the format does not have the mode."""
    image = picture(mode)
    kind = KINDS.get(path.suffix[1:], path.suffix[1:].upper())
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"exif": exif} if turn > 1 and kind not in ("BMP", "GIF") else {}
    if kind == "JPEG":
        options["quality"] = 98
    if kind == "WEBP":
        options["lossless"] = True
    try:
        image.save(path, kind, **options)
    except (OSError, ValueError, KeyError):
        return None
    return image


def readers(folder: Path, path: Path) -> dict[str, Callable[[], np.ndarray]]:
    """Everything that turns a file into what a network sees, on one file."""
    source = folder_source(str(folder))
    predict = runpy.run_path(str(ROOT / "demo/predict.py"))

    def check() -> np.ndarray:
        report = inspect_split(folder_target(str(folder)), "train")
        bad = [f.message for f in report.faults if path.name in f.message]
        if bad:
            raise UniLabelError(bad[0])
        return load_sample(source, source.samples("train")[0])[0]

    args = predict["parse_arguments"](["--input", str(path), "--output", str(folder / "out")])

    return {
        "training": lambda: load_sample(source, source.samples("train")[0])[0],
        "check": check,
        "tools": lambda: read_image(str(path)),
        "demo": lambda: decode_image(path.read_bytes(), str(path)).pixels,
        "predict": lambda: predict["reader_of"](args)(str(path)),
    }


def outcome(read: Callable[[], np.ndarray]) -> np.ndarray | str:
    try:
        return read()
    except UniLabelError as error:
        return str(error)


def upright(pixels: np.ndarray, turn: int) -> np.ndarray:
    """What an EXIF orientation means, in NumPy."""
    swapped = pixels.transpose(1, 0, 2)
    return {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: swapped,
        6: np.rot90(pixels, -1),
        7: swapped[::-1, ::-1],
        8: np.rot90(pixels),
    }[turn]


def expected(path: Path, mode: str, turn: int) -> np.ndarray:
    """By Pillow from a file without orientation: transparent parts on white; turned by NumPy."""
    plain = path.with_name(f"plain{path.suffix}")
    saved(plain, mode, 1)
    image = Image.open(io.BytesIO(plain.read_bytes()))
    plain.unlink()
    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    tagged = path.suffix not in (".bmp", ".gif")
    return upright(np.asarray(image.convert("RGB")), turn if tagged else 1)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("mode", MODES)
def test_all_readers_see_the_same(tmp_path: Path, suffix: str, mode: str) -> None:
    folder = write_folder(tmp_path / "one", train=0, val=0)
    path = folder / f"images/train/photo.{suffix}"
    deep = mode in ("I;16", "F") and suffix in ("png", "tif")
    stored = 0
    for turn in range(1, 9):
        if saved(path, mode, turn) is None:
            continue
        stored += 1
        wanted = None if deep else expected(path, mode, turn)
        size = (48, 32) if wanted is None else wanted.shape[1::-1]
        Image.new("L", size).save(folder / "labels/train/photo.png")
        found = {name: outcome(read) for name, read in readers(folder, path).items()}
        for name, seen in found.items():
            if deep:
                assert seen == found["training"], f"{name}, orientation {turn}"
                assert "bits per channel" in str(seen)
                assert '"image_scale"' in str(seen)
            else:
                assert not isinstance(seen, str), f"{name}, orientation {turn}: {seen}"
                difference = np.abs(seen.astype(int) - wanted).max()
                assert difference <= 2, f"{name}, orientation {turn}"
    assert stored == (0 if (suffix, mode) in NOT_STORED else 8)


def raw_tiff(path: Path, pixels: np.ndarray, turn: int = 1) -> None:
    """The plainest TIFF: one strip, no word about bands behind the colours."""
    height, width, bands = pixels.shape
    tags = {
        **{256: width, 257: height, 258: 8 * pixels.itemsize, 259: 1, 262: 2 if bands > 2 else 1},
        **{273: 8, 274: turn, 277: bands, 278: height, 279: pixels.nbytes},
    }
    body = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
    directory = struct.pack("<H", len(tags)) + b"".join(entries) + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory)


@pytest.mark.parametrize("turn", range(1, 9))
def test_deep_photos_are_scaled_by_the_stated_range(tmp_path: Path, turn: int) -> None:
    values = (np.arange(20 * 30 * 3).reshape(20, 30, 3) * 3).astype(np.uint16)
    wanted = upright(np.rint(values * (255 / 4095)).clip(0, 255).astype(int), turn)
    raw_tiff(tmp_path / "deep.tif", values, turn)
    assert np.abs(ImageReader((0, 4095))(str(tmp_path / "deep.tif")) - wanted).max() <= 1
    if turn > 1:
        return
    cv2.imwrite(str(tmp_path / "deep.png"), values[..., ::-1])
    assert np.abs(ImageReader((0, 4095))(str(tmp_path / "deep.png")) - wanted).max() <= 1
    cv2.imwrite(str(tmp_path / "float.tif"), values[..., 0].astype(np.float32))
    grey = ImageReader((0, 4095))(str(tmp_path / "float.tif"))
    assert np.abs(grey - wanted[..., :1]).max() <= 1
    for name in ("deep.tif", "deep.png", "float.tif"):
        with pytest.raises(UniLabelError, match=rf"{name} has (16|32) bits per channel, expected"):
            read_image(str(tmp_path / name))


def test_bands_that_nobody_names_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for bands in (2, 4, 5):
        path = tmp_path / f"{bands}.tif"
        raw_tiff(path, rng.integers(0, 256, (8, 9, bands)).astype(np.uint8))
        with pytest.raises(UniLabelError, match=rf"{bands}\.tif has {bands} bands, \d more than"):
            read_image(str(path))


def test_transparency_by_the_files_own_word_becomes_white(tmp_path: Path) -> None:
    path = tmp_path / "clear.tif"
    picture("RGBA").save(path)  # Pillow writes ExtraSamples
    image = read_image(str(path))
    assert (image[:, :16] == 255).all()
    assert not (image[:, 16:] == 255).all()


def test_animations_are_refused_in_every_format(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (9, 9), (v, 0, 0)) for v in (10, 200)]
    for suffix in ("gif", "png", "webp", "tif"):
        path = tmp_path / f"moving.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        with pytest.raises(UniLabelError, match=r"moving\.\w+ (is an anim|holds 2 frames)"):
            read_image(str(path))


def test_large_images_are_read_up_to_the_stated_limit(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("L", (40, 30)).save(path)
    assert ImageReader(max_pixels=1200)(str(path)).shape == (30, 40, 3)
    with pytest.raises(UniLabelError) as caught:
        ImageReader(max_pixels=1199)(str(path))
    text = str(caught.value)
    assert "promises 40x30 pixels, expected at most 1199" in text
    assert '"max_pixels": 1200' in text
    assert "damaged" not in text
    assert "remove" not in text


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("mode", ["CMYK", "RGBA", "L"])
@pytest.mark.parametrize("cut", [0, 1, 5])
def test_reduction_of_every_path(tmp_path: Path, mode: str, reduction: int, cut: int) -> None:
    path = tmp_path / ("x.png" if mode == "RGBA" else "x.jpg")
    image = picture(mode)
    image.crop((0, 0, image.width - cut, image.height - cut)).save(path)
    whole = read_image(str(path))
    small = read_image(str(path), reduction)
    # a pixel is the mean of a square, of what the picture has of it
    rest = [(0, -side % reduction) for side in whole.shape[:2]]
    full = np.pad(whole, [*rest, (0, 0)], mode="edge").astype(float)
    height, width = (side // reduction for side in full.shape[:2])
    wanted = full.reshape(height, reduction, width, reduction, 3).mean((1, 3))
    assert small.shape == wanted.shape
    assert np.abs(small.astype(int) - wanted).mean() < 3


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_the_size_of_a_header_is_that_of_the_pixels(tmp_path: Path, turn: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    path = tmp_path / f"photo.{suffix}"
    picture("RGB").save(path, exif=exif)
    width, height = shown_size(str(path))
    assert read_image(str(path)).shape == (height, width, 3)
    assert orientation(str(path)) == turn


def test_headers_of_files_that_are_no_images_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"nothing")
    with pytest.raises(UniLabelError, match=r"photo\.jpg cannot be read as an image"):
        shown_size(str(path))


READERS = {  # who decodes pictures
    "data/images.py": "photos",
    "data/label_files.py": "label maps",
    "demo_app/images.py": "AVIF and HEIC uploads, which become what the one reader is given",
    "importers/rle.py": "bitmaps inside annotation files",
    "submission/label_png.py": "result files, whose form is checked byte by byte",
}


def test_nobody_else_decodes_pictures() -> None:
    for path in sorted((ROOT / "unilabel").rglob("*.py")):
        calls = re.findall(r"\bImage\.open\(|\bimread\(|\bimdecode\(", path.read_text())
        assert not calls or str(path.relative_to(ROOT / "unilabel")) in READERS, path

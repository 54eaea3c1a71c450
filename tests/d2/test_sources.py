"""Dataset folders: what is read, and what every kind of bad file is told."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cv2")

import cv2
from folder_datasets import SIZE, write_folder

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpace
from unilabel.data.folders import folder_source
from unilabel.data.images import read_image
from unilabel.data.label_files import read_id_png
from unilabel.data.sources import check_sizes, load_sample, resolve_file, resolve_folder

pytestmark = pytest.mark.d2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "streets")


def load_first(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    source = folder_source(str(folder))
    return load_sample(source, source.samples("train")[0])


# --- what is read ---


def test_folder_is_read(folder: Path) -> None:
    source = folder_source(str(folder))
    assert source.name == "streets"
    assert source.label_space.class_names == ("road", "car", "sky")
    assert [Path(s.image).name for s in source.samples("train")] == [
        f"train{i}.png" for i in range(3)
    ]
    assert [Path(s.label).parent.name for s in source.samples("val")] == ["val", "val"]
    image, label = load_first(folder)
    assert (image.shape, image.dtype) == ((*SIZE, 3), np.uint8)
    assert (label.shape, label.dtype) == (SIZE, np.uint8)
    assert set(np.unique(label)) == {0, 1, 2, 255}
    first = label == 0
    assert (image[first] == (128, 0, 0)).all()  # red stays red: RGB


def test_folder_is_found_below_the_root_of_all_datasets(folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(folder.parent))
    assert resolve_folder("streets") == folder.resolve()
    assert resolve_folder(str(folder)) == folder.resolve()
    with pytest.raises(
        UniLabelError, match=r"DATASETS\.CUSTOM: no classes\.json in nowhere nor in"
    ):
        resolve_folder("nowhere")
    (folder.parent / "relations.json").write_text("{}")
    assert resolve_file("relations.json") == folder.parent / "relations.json"
    assert resolve_file(str(folder / "classes.json")) == folder / "classes.json"
    with pytest.raises(UniLabelError, match=r"no such file: neither none\.json nor .*none\.json"):
        resolve_file("none.json")


def test_other_ignore_labels_become_255(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "x", classes="a b", ignore_label=2)
    path = folder / "labels/train/train0.png"
    ids = np.array([[0, 1], [2, 255]], np.uint8).repeat(12, 0).repeat(16, 1)
    cv2.imwrite(str(path), ids)
    _, label = load_first(folder)
    assert set(np.unique(label)) == {0, 1, 255}
    assert (label[ids == 2] == 255).all()


@pytest.mark.parametrize("place", ["@eaDir", "$RECYCLE.BIN", "__MACOSX", "lost+found"])
def test_what_systems_put_beside_photos(place: str, tmp_path: Path) -> None:
    """Previews and bins hold pictures, too; they are no photos of the dataset and no strangers."""
    folder = write_folder(tmp_path / "mine")
    for path in list(folder.rglob("*.png")):
        (path.parent / place).mkdir(exist_ok=True)
        shutil.copy(path, path.parent / place / path.name)
    source = folder_source(str(folder))
    assert [len(source.samples(split)) for split in ("train", "val")] == [3, 2]
    assert not any(place in text for text in source.remarks())


def test_images_of_several_formats_and_hidden_files(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "x", train=1)
    image = cv2.imread(str(folder / "images/train/train0.png"))
    label = cv2.imread(str(folder / "labels/train/train0.png"), cv2.IMREAD_UNCHANGED)
    for suffix in ("jpg", "JPEG", "bmp", "webp"):
        cv2.imwrite(str(folder / f"images/train/{suffix}.{suffix}"), image)
        cv2.imwrite(str(folder / f"labels/train/{suffix}.png"), label)
    (folder / "images/train/.DS_Store").write_text("x")
    (folder / "images/train/notes.txt").write_text("x")
    (folder / "labels/train/._jpg.png").write_text("x")
    source = folder_source(str(folder))
    assert len(source.samples("train")) == 5
    for sample in source.samples("train"):
        read, _ = load_sample(source, sample)
        assert np.abs(read.astype(int) - image[:, :, ::-1]).mean() < 12


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_reduced_images_are_averages(tmp_path: Path, suffix: str, reduction: int) -> None:
    rows, columns = np.mgrid[:64, :88].astype(np.float32)
    image = np.stack([3 * rows, 2 * columns, 255 - rows - columns], axis=2).astype(np.uint8)
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(image).save(path, **({"quality": 98} if suffix == "jpg" else {}))
    small = read_image(str(path), reduction)
    size = tuple(-(-side // reduction) for side in (64, 88))
    assert small.shape == (*size, 3)
    expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - expected).max() <= 6
    Image.fromarray(image[:-1, :-1]).save(path)
    assert read_image(str(path), reduction).shape == (*size, 3)  # rounded up


def test_rotated_photo_stands_upright(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.new("RGB", (30, 20), (200, 0, 0)).save(path, exif=exif)
    image = read_image(str(path))
    assert image.shape == (30, 20, 3)
    assert image[0, 0, 0] > 150


def test_grey_image_gets_three_channels(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.new("L", (3, 2), 7).save(path)
    assert read_image(str(path)).tolist() == [[[7] * 3] * 3] * 2


@pytest.mark.parametrize("colors", [4, 256])
def test_palette_ids_are_read_as_stored(tmp_path: Path, colors: int) -> None:
    ids = np.array([[0, 1, 2], [3, 0, 1]], np.uint8)
    image = Image.fromarray(ids)
    image.putpalette(list(np.random.default_rng(0).integers(0, 255, 3 * colors)))
    path = tmp_path / "ids.png"
    image.save(path, bits=2 if colors == 4 else 8)  # PIL stores few colours in few bits
    assert read_id_png(str(path)).tolist() == ids.tolist()


def test_label_space_can_be_edited(folder: Path) -> None:
    source = folder_source(str(folder))
    edited = LabelSpace("streets", ("a", "b", "c"), source.label_space.colors)
    assert source.with_label_space(edited).label_space is edited
    assert source.with_label_space(edited).samples("val") == source.samples("val")


# --- bad folders ---


def test_folder_without_training_images_is_refused(tmp_path: Path) -> None:
    source = folder_source(str(write_folder(tmp_path / "x", train=0)))
    with pytest.raises(UniLabelError, match=r"'x' has no images to train on: none in .*x"):
        source.samples("train")


def test_unpaired_files_are_refused(folder: Path) -> None:
    source = folder_source(str(folder))
    (folder / "labels/train/train1.png").unlink()
    with pytest.raises(
        UniLabelError,
        match=r"1 image in .*images/train has no label in .*labels/train: train1\.png; add the lab",
    ):
        source.samples("train")
    (folder / "images/train/train1.png").unlink()
    (folder / "images/train/train0.png").unlink()
    with pytest.raises(
        UniLabelError,
        match=r"1 label in .*labels/train has no image in .*: train0\.png",
    ):
        source.samples("train")


def test_two_images_of_one_stem_are_refused(folder: Path) -> None:
    data = (folder / "images/val/val0.png").read_bytes()
    (folder / "images/val/val0.jpg").write_bytes(data)
    with pytest.raises(
        UniLabelError, match=r"val0\.jpg and .*val0\.png have the same name apart from the suffix"
    ):
        folder_source(str(folder)).samples("val")


def test_bad_class_list_is_refused_with_its_file(folder: Path) -> None:
    (folder / "classes.json").write_text(
        json.dumps({"name": "x", "classes": [{"id": -1, "name": "a"}]})
    )
    with pytest.raises(UniLabelError, match=r'classes\.json: classes\[0\] has "id" -1, exp'):
        folder_source(str(folder))


# --- bad samples ---


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.97])
def test_truncated_image_is_refused(folder: Path, suffix: str, share: float) -> None:
    path = folder / f"images/train/train0.{suffix}"
    image = cv2.imread(str(folder / "images/train/train0.png"))
    (folder / "images/train/train0.png").unlink()
    cv2.imwrite(str(path), cv2.resize(image, (320, 240)))
    cut(path, share)
    with pytest.raises(
        UniLabelError, match=r"train0\.\w+ cannot be decoded as an image \(\d+ byte"
    ):
        load_first(folder)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.97])
def test_truncated_label_is_refused(folder: Path, share: float) -> None:
    path = folder / "labels/train/train0.png"
    noise = np.random.default_rng(0).integers(0, 3, SIZE).astype(np.uint8)
    cv2.imwrite(str(path), noise)
    cut(path, share)
    with pytest.raises(
        UniLabelError, match=r"train0\.png cannot be decoded as a label map \(\d+ by"
    ):
        load_first(folder)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_palette_label_is_refused(folder: Path, share: float) -> None:
    path = folder / "labels/train/train0.png"
    image = Image.fromarray(np.random.default_rng(0).integers(0, 3, SIZE).astype(np.uint8))
    image.putpalette(list(range(256)) * 3)
    image.save(path)
    cut(path, share)
    with pytest.raises(UniLabelError, match=r"train0\.png cannot be decoded as a label map"):
        load_first(folder)


def test_damaged_byte_in_a_label_is_refused(folder: Path) -> None:
    path = folder / "labels/train/train0.png"
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 12] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(UniLabelError, match="cannot be decoded as a label map"):
        load_first(folder)


def test_text_instead_of_an_image_is_refused(folder: Path) -> None:
    for kind, what in (("images", "an image"), ("labels", "a label map")):
        (folder / kind / "train/train0.png").write_text("version https://git-lfs...")
        with pytest.raises(UniLabelError, match=f"cannot be decoded as {what}"):
            (read_image if kind == "images" else read_id_png)(
                str(folder / kind / "train/train0.png")
            )


def test_missing_files_are_refused(folder: Path) -> None:
    for read in (read_image, read_id_png):
        with pytest.raises(UniLabelError, match=r"cannot read .*none\.png: No such file"):
            read(str(folder / "none.png"))


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("RGB", r"has 3 channel\(s\) of uint8, expected an 8-bit single-channel PNG of class ids"),
        ("RGBA", r"has 3 channel\(s\) of uint8"),
        ("I;16", r"has 1 channel\(s\) of uint16"),
    ],
)
def test_other_label_files_are_no_plain_ids(folder: Path, mode: str, message: str) -> None:
    Image.new(mode, SIZE[::-1], 1 if mode in ("I;16", "1") else 0).save(
        folder / "labels/train/train0.png"
    )
    with pytest.raises(UniLabelError, match=rf"train0\.png {message}"):
        read_id_png(str(folder / "labels/train/train0.png"))


def png(bits: int, color_type: int, width: int, height: int, data: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    parts = (
        (b"IHDR", header),
        (b"PLTE", b"\0" * 768),
        (b"IDAT", zlib.compress(data)),
        (b"IEND", b""),
    )
    if color_type != 3:
        parts = (parts[0], *parts[2:])
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(k, c) for k, c in parts)


@pytest.mark.parametrize(
    ("bits", "byte", "ids"), [(1, 0x40, [0, 1]), (2, 0x60, [1, 2]), (4, 0x12, [1, 2])]
)
def test_few_bits_are_read_as_stored_though_decoders_stretch_them(
    tmp_path: Path, bits: int, byte: int, ids: list[int]
) -> None:
    path = tmp_path / "few.png"
    path.write_bytes(png(bits, 0, 2, 1, bytes([0, byte])))
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).tolist() != [ids]
    assert read_id_png(str(path)).tolist() == [ids]


@pytest.mark.parametrize("color_type", [0, 3])
def test_label_of_absurd_size_is_refused(tmp_path: Path, color_type: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(8, color_type, 60000, 60000, b"\0" * 100))
    with pytest.raises(UniLabelError, match=r"bomb\.png cannot be decoded as a label map"):
        read_id_png(str(path))


def test_other_size_than_the_image_is_refused(folder: Path) -> None:
    cv2.imwrite(str(folder / "labels/train/train0.png"), np.zeros((12, 16), np.uint8))
    with pytest.raises(
        UniLabelError, match=r"train0\.png has the size 32x24, its label .* 16x12; b"
    ):
        load_first(folder)


def test_half_of_the_size_is_refused_unless_it_was_read_so(folder: Path) -> None:
    sample = folder_source(str(folder)).samples("train")[0]
    label = np.zeros((25, 33), np.uint8)
    whole, half = np.zeros((25, 33, 3), np.uint8), np.zeros((13, 17, 3), np.uint8)
    check_sizes(sample, whole, label)
    check_sizes(sample, half, label, reduction=2)
    for image, reduction in ((half, 1), (whole, 2)):
        with pytest.raises(UniLabelError, match="both must be equal"):
            check_sizes(sample, image, label, reduction)


def test_unknown_ids_are_refused_with_their_number(folder: Path) -> None:
    path = folder / "labels/train/train0.png"
    ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    ids[1, :5], ids[2, 0] = 3, 77
    cv2.imwrite(str(path), ids)
    message = (
        r"train0\.png: label id 3 on 5 pixels, expected 0\.\.2 or 255 \(ignore\) for dataset "
        "'streets'; add the class to classes.json or correct the label file"
    )
    with pytest.raises(UniLabelError, match=message):
        load_first(folder)

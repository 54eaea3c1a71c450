"""``classes.json`` as people write it: every form is read, and what does not fit names its cure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from folder_datasets import write_folder
from PIL import Image

from unilabel.core.errors import UniLabelError
from unilabel.data.class_list import read_class_list
from unilabel.data.folders import folder_source
from unilabel.data.sources import load_sample

pytestmark = pytest.mark.d2
NAMES = ("road", "car", "sky")


def write(tmp_path: Path, content: Any, encoding: str = "utf-8") -> Path:
    file = tmp_path / "streets" / "classes.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding)
    return file


@pytest.mark.parametrize(
    "content",
    [
        ["road", "car", "sky"],
        {"0": "road", "1": "car", "2": "sky"},
        {"2": "sky", "0": "road", "1": "car"},
        {"road": 0, "sky": 2, "car": 1},
        {"classes": ["road", "car", "sky"]},
        {"classes": [{"name": n} for n in NAMES], "_note": "mine"},
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_short_forms_and_encodings_of_editors(tmp_path: Path, content: Any, encoding: str) -> None:
    found = read_class_list(write(tmp_path, content, encoding))
    assert found.space.class_names == NAMES
    assert found.values == ((0,), (1,), (2,))
    assert found.space.name == "streets"
    assert found.ignored == (255,)


@pytest.mark.parametrize("red", ["#f00", "#FF0000", [255, 0, 0]])
def test_a_map_of_colours(tmp_path: Path, red: Any) -> None:
    found = read_class_list(write(tmp_path, {"road": red, "car": "#00ff00"}))
    assert found.colors
    assert found.values == ((255,), (255 * 256,))
    assert found.space.colors[0] == (255, 0, 0)


@pytest.mark.parametrize(
    ("values", "found"),
    [(["0..2"], (0, 1, 2)), (["5", 7], (5, 7)), ([9, "11..12"], (9, 11, 12)), ("3..3", (3,))],
)
def test_values_are_ids_ranges_or_numbers_in_quotes(
    tmp_path: Path, values: Any, found: tuple[int, ...]
) -> None:
    content = {"classes": [{"name": "a", "values": values}], "ignore_values": "200..202"}
    classes = read_class_list(write(tmp_path, content))
    assert classes.values == (found,)
    assert set(classes.ignored) == {200, 201, 202, 255}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"classes": [{"name": "a", "values": ["9..2"]}]}, r"'9\.\.2' is neither an id .*range"),
        ({"classes": [{"name": "a", "values": ["0..70000"]}]}, "neither an id of 0..65535"),
        ({"classes": [{"name": "a", "values": [True]}]}, "True is neither an id"),
        ({"classes": [{"name": "a", "values": [1.5]}]}, r"1\.5 is neither an id"),
        ({"classes": [{"name": "a", "values": ["red"]}]}, "'red' is neither"),
        ({"classes": [{"name": "a", "values": ["0..9"]}, {"name": "b"}]}, "the value 1 belongs to"),
        ({"classes": [{"name": "a"}], "ignore_values": ["#0"]}, "\"ignore_values\": '#0'"),
        ({"classes": [{"name": "a", "colour": "#fff"}]}, r"'colour'\. Did you mean 'color'"),
        ({"clases": [{"name": "a"}]}, r"'clases'\. Did you mean 'classes'"),
        ({"names": ["a", "b"]}, "unknown key 'names'"),
        ({"classes": []}, "classes"),
        ([], r'a short form: \{"0": "road"'),
        ("[1, 2", "is not valid JSON"),
        ({"classes": [{"id": "0", "name": "a"}]}, "expected the value of the class"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: Any, message: str) -> None:
    file = write(tmp_path, content)
    with pytest.raises(UniLabelError, match=message) as caught:
        read_class_list(file)
    assert str(file) in str(caught.value)


def test_other_encodings_are_named_with_the_cure(tmp_path: Path) -> None:
    file = write(tmp_path, '["Straße"]', "latin-1")
    with pytest.raises(UniLabelError, match=r"is not UTF-8 .*save it as UTF-8"):
        read_class_list(file)


# --- what label files hold, and the lines that it takes to read them ---


def relabel(folder: Path, change: Any) -> None:
    for path in sorted(folder.rglob("labels/*/*.png")):
        cv2.imwrite(str(path), change(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))


def loaded(folder: Path) -> np.ndarray:
    source = folder_source(str(folder))
    return load_sample(source, source.samples("train")[0])[1]


def refusal(folder: Path) -> str:
    with pytest.raises(UniLabelError) as caught:
        loaded(folder)
    return str(caught.value)


def add(folder: Path, **keys: Any) -> None:
    file = folder / "classes.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))


def lines_of(message: str) -> list[dict[str, Any]]:
    """The entries of classes that a message shows."""
    lines = [line.strip().rstrip(",") for line in message.splitlines() if '{"' in line[:5]]
    return json.loads(f"[{','.join(lines)}]")


def test_soft_masks_are_cut_in_the_middle_as_the_message_says(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "soft", "background road")
    wanted = loaded(folder) == 1
    relabel(folder, lambda a: cv2.GaussianBlur(np.uint8(255) * (a == 1), (0, 0), 1.2))
    message = refusal(folder)
    assert "soft edges" in message
    add(folder, classes=lines_of(message))
    assert (loaded(folder) == wanted).mean() > 0.95  # corners become round
    assert set(np.unique(loaded(folder))) == {0, 1}


@pytest.mark.parametrize(
    ("change", "ignored"),
    [
        (lambda a: a.astype(np.uint16) * 257, [65535]),  # 8 bits stretched to 16
        (lambda a: np.array([0, 128, 255], np.uint8)[a % 3], None),  # 255 is a class here
        (lambda a: np.array([3, 30, 90], np.uint8)[a % 3], None),
    ],
)
def test_the_lines_of_the_message_make_it_readable(
    tmp_path: Path, change: Any, ignored: list[int] | None
) -> None:
    folder = write_folder(tmp_path / "streets")
    wanted = loaded(folder)
    relabel(folder, change)
    add(
        folder, classes=lines_of(refusal(folder)), **({"ignore_values": ignored} if ignored else {})
    )
    got = loaded(folder)
    assert np.array_equal(got[wanted != 255], wanted[wanted != 255])
    assert ignored is None or np.array_equal(got, wanted)


def test_ids_between_classes_are_told_from_classes_that_are_missing(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "streets")
    relabel(folder, lambda a: cv2.resize(cv2.resize(a, (40, 30)), a.shape[::-1]))
    assert "come from resizing with interpolation" in refusal(folder)


def test_colours_of_soft_edges_are_told_from_colours_of_classes(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "streets")
    palette = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)
    relabel(folder, lambda a: cv2.GaussianBlur(palette[a], (5, 5), 0))
    message = refusal(folder)
    assert "soft edges" in message
    assert "with hard edges. Then say which colour is which class" in message


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".tif", ".TIFF", ".bmp", ".gif", ".GIF"])
def test_formats_of_label_files(tmp_path: Path, suffix: str) -> None:
    folder = write_folder(tmp_path / "streets")
    wanted = loaded(folder)
    for path in sorted(folder.rglob("labels/*/*.png")):
        image = Image.open(path)
        image.load()
        path.unlink()
        image.save(path.with_suffix(suffix))
    assert np.array_equal(loaded(folder), wanted)


def test_palette_indices_of_a_gif_are_kept(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "streets")
    path = sorted(folder.rglob("labels/train/*.png"))[0]
    ids = np.array([[0, 1], [2, 1]], np.uint8).repeat(12, 0).repeat(16, 1)
    image = Image.fromarray(ids, "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(path.with_suffix(".gif"), optimize=False)
    path.unlink()
    assert np.array_equal(loaded(folder), ids)


def test_label_files_of_several_frames_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "streets")
    path = sorted(folder.rglob("labels/train/*.png"))[0]
    image = Image.open(path)
    other = Image.fromarray(np.array(image) ^ 1)
    image.save(path.with_suffix(".gif"), save_all=True, append_images=[other])
    path.unlink()
    assert "2 frames" in refusal(folder)

"""The panoptic archive says the same as the label maps, and parts things."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from wilddash_frames import write_frames

from unilabel.core.errors import UniLabelError
from unilabel.data.label_decoders import PanopticDecoder
from unilabel.submission.label_png import encode_png
from unilabel.submission.panoptic import MIN_PIXELS, panoptic_segments, write_panoptic
from unilabel.submission.truth import open_truth
from unilabel.submission.wilddash import scored_classes

IDS = {c.name: c.id for c in scored_classes()}


def example() -> np.ndarray:
    """Two roads (one segment), two cars, a car that touches a corner, a speck, void."""
    ids = np.zeros((30, 40), np.uint8)
    ids[20:, :15] = ids[20:, 25:] = IDS["road"]
    ids[2:10, 2:10] = ids[2:10, 20:30] = IDS["car"]
    ids[10:16, 10:16] = IDS["car"]  # by a corner
    ids[0, 39] = IDS["person"]
    ids[16:18, 20:36] = IDS["pole"]
    return ids


def test_segments_by_hand() -> None:
    numbers, segments = panoptic_segments(example())
    assert [(s["category_id"], s["area"]) for s in segments] == [
        (IDS["road"], 300),
        (IDS["pole"], 32),
        (IDS["car"], 64 + 36),
        (IDS["car"], 80),
    ]
    assert [s["id"] for s in segments] == [1, 2, 3, 4]
    assert numbers[0, 39] == 0  # a speck of a thing is void, a speck of stuff is not
    assert numbers[25, 0] == numbers[25, 39] == 1
    assert numbers[3, 3] == numbers[12, 12] == 3
    everything, segments = panoptic_segments(example(), min_pixels=1)
    assert everything[0, 39] == segments[2]["id"] == 3
    with pytest.raises(UniLabelError, match="id 41 is none of the 26 classes"):
        panoptic_segments(np.full((2, 2), 41, np.uint8))


@given(st.integers(0, 10_000))
def test_segments_against_scipy(seed: int) -> None:
    random = np.random.default_rng(seed)
    ids = random.choice(np.array([0, 7, 23, 24, 26, 38], np.uint8), (12, 15))
    limit = int(random.integers(1, 6))
    numbers, segments = panoptic_segments(ids, limit)
    category = np.array([0, *(s["category_id"] for s in segments)])
    assert [s["id"] for s in segments] == list(range(1, len(segments) + 1))
    assert [s["area"] for s in segments] == np.bincount(
        numbers.reshape(-1), minlength=len(segments) + 1
    )[1:].tolist()
    assert ((category[numbers] == ids) | (numbers == 0)).all()
    assert ((numbers > 0) | np.isin(ids, (0, 24, 26))).all()  # of stuff nothing is lost
    for thing in (24, 26):
        parts, count = ndimage.label(ids == thing, np.ones((3, 3)))
        sizes = ndimage.sum_labels(ids == thing, parts, range(1, count + 1))
        own = [s["area"] for s in segments if s["category_id"] == thing]
        assert sorted(own) == sorted(int(s) for s in sizes if s >= limit)


def test_the_archive_reads_back(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "wd0001_100000.png").write_bytes(encode_png(example()))
    (folder / "ae0013_100000.png").write_bytes(encode_png(np.full((9, 9), 23, np.uint8)))
    archive = tmp_path / "panoptic.zip"
    assert write_panoptic(folder, archive) == 5
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    with zipfile.ZipFile(archive) as file:
        assert file.namelist() == [
            "panoptic/ae0013_100000.png",
            "panoptic/wd0001_100000.png",
            "panoptic.json",
        ]
        data = json.loads(file.read("panoptic.json"))
        file.extractall(tmp_path / "out")
    assert [(a["image_id"], a["file_name"]) for a in data["annotations"]] == [
        (stem, f"{stem}.png") for stem in ("ae0013_100000", "wd0001_100000")
    ]
    assert {c["id"] for c in data["categories"]} == set(IDS.values())
    # with the reader of the training data, and with that of ground truth
    decode = PanopticDecoder({0: 0, **{i: i for i in IDS.values()}}, "wilddash2")
    kept = np.where(example() == IDS["person"], 0, example())
    read = decode(str(tmp_path / "out/panoptic/wd0001_100000.png"))
    assert (read == kept).all()
    ids, (numbers, classes) = open_truth(tmp_path / "out").load("wd0001_100000")
    assert (ids == kept).all()
    assert classes[1:].tolist() == [IDS["car"], IDS["car"]]  # road and pole are no things
    assert sorted(np.bincount(numbers.reshape(-1))[1:].tolist()) == [80, 100]
    before = archive.read_bytes()
    with pytest.raises(UniLabelError, match="exists already; remove it or give another --panoptic"):
        write_panoptic(folder, archive)
    archive.unlink()
    write_panoptic(folder, archive)
    assert archive.read_bytes() == before
    with pytest.raises(UniLabelError, match=r"expected a file name ending in \.zip"):
        write_panoptic(folder, tmp_path / "x.tar")


def test_many_segments_use_all_three_bytes() -> None:
    ids = np.zeros((600, 1000), np.uint8)
    ids[::2, ::2] = IDS["car"]
    numbers, segments = panoptic_segments(ids, min_pixels=1)
    assert len(segments) == 150_000 > 2**16
    from unilabel.data.images import read_image
    from unilabel.submission.panoptic import _rgb_png

    assert numbers.max() == 150_000
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(_rgb_png(numbers))
        file.flush()
        rgb = read_image(file.name).astype(np.int64)
    assert (rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2] == numbers).all()


def test_the_tool_writes_both(
    toy_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import runpy

    main = runpy.run_path(str(Path(__file__).resolve().parents[2] / "tools/wilddash_submit.py"))[
        "main"
    ]
    images = write_frames(tmp_path / "in", ["wd0000_100000"], (96, 64))
    options = ["--weights", str(toy_weights), "--images", str(images)]
    options += ["--output", str(tmp_path / "out.zip"), "--resume"]
    assert main(options) == 0
    assert "segments" not in capsys.readouterr().out  # off by default
    assert main([*options, "--panoptic", str(tmp_path / "panoptic.zip")]) == 0
    printed = capsys.readouterr().out
    assert "is complete already" in printed
    assert f"connected parts of at least {MIN_PIXELS} pixels" in printed
    with zipfile.ZipFile(tmp_path / "panoptic.zip") as file:
        assert file.namelist() == ["panoptic/wd0000_100000.png", "panoptic.json"]

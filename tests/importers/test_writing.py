"""Writing an import: once, whole, resumable, in several processes, split and linked as asked."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import export_makers as makers
import export_pictures as scenes
import numpy as np
import pytest
from PIL import Image

from unilabel.core.errors import UniLabelError
from unilabel.data.images import read_image
from unilabel.importers.frame import TURNED, UNSURE
from unilabel.importers.prepare import NO_VAL, Request, prepare
from unilabel.importers.splits import assign_splits
from unilabel.importers.write import JOURNAL, Summary, write

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "import_dataset.py"


def made(form: str, folder: Path, train: int = 3, val: int = 2) -> Path:
    makers.MAKERS[form](folder, scenes.draw(train, val))
    return folder


def run(source: Path, target: Path, **request: Any) -> Summary:
    return write(prepare(source, Request(**request)), target)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_twice_is_once(tmp_path: Path) -> None:
    source = made("cvat_masks", tmp_path / "export")
    first = run(source, tmp_path / "data")
    stamps = {p: p.lstat().st_mtime_ns for p in (tmp_path / "data").rglob("*")}
    second = run(source, tmp_path / "data")
    assert (first.fresh, second.fresh) == (True, False)
    assert (first.counts, first.left_out, first.notes) == (
        second.counts,
        second.left_out,
        second.notes,
    )
    assert {p: p.lstat().st_mtime_ns for p in (tmp_path / "data").rglob("*")} == stamps
    changed = run(source, tmp_path / "data", background="ignore")
    assert changed.fresh
    assert sorted(os.listdir(tmp_path)) == ["data", "export"]


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """Killed at any time, the next run ends with what an undisturbed run writes."""
    source = made("label_studio", tmp_path / "export", 120, 40)
    command = [sys.executable, str(TOOL), str(source), str(tmp_path / "data"), "--workers", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    journal = tmp_path / ".data.importing" / JOURNAL
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 20):
        assert time.monotonic() < deadline
        assert process.poll() is None, "the run was over before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "data").exists()
    # a kill while a file is written leaves a part of it, which few kills meet
    halves = [journal.parent / f"{place}/.photo.1.tmp" for place in (".", "labels/train", "images")]
    for half in halves:
        half.write_bytes(b"half")
    with open(journal, "a") as file:
        file.write('[7, {"err')
    done = journal.read_bytes().count(b"\n") - 1
    before = {p: p.stat().st_mtime_ns for p in sorted(journal.parent.rglob("*.png"))[: done // 2]}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    run(source, tmp_path / "whole", name="data")
    assert content(tmp_path / "data") == content(tmp_path / "whole")
    moved = {tmp_path / "data" / p.relative_to(journal.parent): t for p, t in before.items()}
    assert moved
    assert {p: p.stat().st_mtime_ns for p in moved} == moved  # they were not painted again
    assert sorted(os.listdir(tmp_path)) == ["data", "export", "whole"]


def test_two_processes_do_not_write_one_dataset(tmp_path: Path) -> None:
    source = made("labelme", tmp_path / "export")
    stage = tmp_path / ".data.importing"
    stage.mkdir()
    with open(stage / JOURNAL, "a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UniLabelError, match="another process imports into"):
            run(source, tmp_path / "data")
        assert stage.is_dir()
    assert run(source, tmp_path / "data").counts == {"train": 3, "val": 2}
    assert sorted(os.listdir(tmp_path)) == ["data", "export"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_start_methods_of_processes(method: str, tmp_path: Path) -> None:
    source = made("labelme", tmp_path / "export", 30, 20)
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, sys\n"
        "from pathlib import Path\n"
        "from unilabel.importers.prepare import Request, prepare\n"
        "from unilabel.importers.write import write\n"
        "if __name__ == '__main__':\n"
        f"    multiprocessing.set_start_method({method!r})\n"
        "    request = Request(workers=2, name='data')\n"
        "    write(prepare(sys.argv[1], request), Path(sys.argv[2]))\n"
        "    assert 'torch' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, str(script), str(source), str(tmp_path / "data")],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    run(source, tmp_path / "alone", name="data")
    assert content(tmp_path / "data") == content(tmp_path / "alone")


def test_help_is_quick_and_teaches() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tools')\n"
        "try:\n    import import_dataset; import_dataset.main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "print(sorted({'torch', 'detectron2', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("[]\n")
    for word in ("--names", "--dry-run", "roboflow_masks", "check_dataset.py", "_classes.csv"):
        assert word in done.stdout


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    source = made("voc", tmp_path / "export")
    done = subprocess.run(
        [sys.executable, str(TOOL), str(source), "--dry-run"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.startswith("Pascal VOC: 5 labels, 5 photos, splits train (3) / val (2)\n")
    assert "note: the masks carry no names of classes" in done.stdout
    assert os.listdir(tmp_path) == ["export"]


@pytest.mark.parametrize("link", ["symlink", "hardlink", "copy"])
def test_photos_are_linked_or_copied(link: str, tmp_path: Path) -> None:
    source = made("labelme", tmp_path / "export")
    run(source, tmp_path / "data", link=link)
    for image in (tmp_path / "data/images/train").iterdir():
        original = source / "train" / image.name
        assert image.is_symlink() == (link == "symlink")
        assert os.path.samefile(image, original) == (link != "copy")
        assert image.read_bytes() == original.read_bytes()


def test_splits_by_share_are_the_same_everywhere() -> None:
    photos = [f"town{i % 5}/{i:03d}.jpg" for i in range(100)]
    given = [""] * 100
    chosen = assign_splits(photos, given, "val=0.25")
    assert chosen.count("val") == 25
    order = np.random.default_rng(0).permutation(100)
    again = assign_splits([photos[i] for i in order], given, "val=0.25")
    assert [chosen[i] for i in order] == again
    by_folder = assign_splits(photos, given, "by-folder")
    assert {p.split("/")[0] for p, s in zip(photos, by_folder, strict=True) if s == "val"} & {
        p.split("/")[0] for p, s in zip(photos, by_folder, strict=True) if s == "train"
    } == set()
    assert by_folder.count("val") == 20


@pytest.mark.parametrize(
    "lines", ["photo 0001\nphoto 0004\n", "train/photo 0001.jpg\nphoto 0004.jpg"]
)
def test_a_list_chooses_the_photos_of_val(lines: str, tmp_path: Path) -> None:
    source = made("labelme", tmp_path / "export")
    (tmp_path / "val.txt").write_text(lines)
    summary = run(source, tmp_path / "data", split=str(tmp_path / "val.txt"))
    assert summary.counts == {"train": 3, "val": 2}
    names = {p.stem for p in (tmp_path / "data/images/val").iterdir()}
    assert names == {"photo 0001", "photo 0004"}
    (tmp_path / "val.txt").write_text("photo 77")
    with pytest.raises(UniLabelError, match=r"val\.txt: the line 'photo 77' is no photo"):
        run(source, tmp_path / "data", split=str(tmp_path / "val.txt"))


def test_photos_of_one_name_get_their_folder(tmp_path: Path) -> None:
    pictures = scenes.draw(2, 0)
    for town in ("Århus", "köln"):
        makers.labelme(tmp_path / "export" / town, pictures)
    summary = run(tmp_path / "export", tmp_path / "data")
    assert summary.counts == {"train": 4}
    assert NO_VAL in summary.notes
    names = sorted(p.name for p in (tmp_path / "data/images/train").iterdir())
    assert names[-1] == "Århus__train__photo 0001.jpg"
    assert len(names) == 4


FLIPS = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.swapaxes(a, 0, 1)[::-1, ::-1],
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", FLIPS)
@pytest.mark.parametrize("drawn", ["upright", "stored"])
@pytest.mark.parametrize("form", ["labelme", "folders"])
def test_turned_photos(orientation: int, drawn: str, form: str, tmp_path: Path) -> None:
    """Photos with an EXIF orientation, labelled as seen or as stored."""
    upright = scenes.draw(1, 0)[0].ids
    stored = np.ascontiguousarray(FLIPS[orientation](upright))
    ids = upright if drawn == "upright" else stored
    makers.MAKERS[form](tmp_path / "export", [scenes.Picture("photo 0000", "train", ids)])
    exif = Image.Exif()
    exif[0x112] = orientation
    place = tmp_path / "export/train/photo 0000.jpg"
    Image.fromarray(scenes.palette()[stored]).save(place, exif=exif, quality=95)
    seen = read_image(str(place)).astype(int)  # as the training sees it
    assert np.abs(seen - scenes.palette()[upright]).mean() < 8
    summary = run(tmp_path / "export", tmp_path / "data")
    label = np.array(Image.open(next((tmp_path / "data/labels/train").iterdir())))
    found = json.loads((tmp_path / "data/classes.json").read_text())["classes"]
    order = {entry["name"]: entry["id"] for entry in found}
    table = np.full(256, 255, np.uint8)
    table[: len(scenes.NAMES)] = [order[name] for name in scenes.NAMES]
    labelled = upright != 255
    if drawn == "upright" or orientation >= 5:
        np.testing.assert_array_equal(label[labelled], table[upright][labelled])
    noted = UNSURE if orientation < 5 else TURNED if drawn == "stored" else None
    told = [n for n in summary.notes if n.startswith("1 photos")]
    assert told == ([f"1 {noted}"] if noted else [])

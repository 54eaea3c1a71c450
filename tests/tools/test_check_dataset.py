"""tools/check_dataset.py finds planted faults in every form of labels and names the cure."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests/d2"))

from miniature_datasets import write_miniature  # noqa: E402
from miniature_files import Planted  # noqa: E402

from unilabel.data.inspection import CURES, OWN_CURES, cure_of  # noqa: E402

main: Callable[[list[str]], int] = runpy.run_path(str(REPOSITORY / "tools/check_dataset.py"))[
    "main"
]

# One dataset for each form in which labels are stored; "folder" is a user's own dataset.
FORMS = {
    "id PNG": "cityscapes",
    "palette PNG": "voc20",
    "colour PNG": "camvid11",
    "panoptic PNG and JSON": "coco_panoptic133",
    "polygon JSON": "idd26",
    "MATLAB": "context59",
    "own folder": "folder",
}


def write_folder(root: Path) -> dict[str, list[Planted]]:
    """A user's own folder out of a miniature."""
    planted: dict[str, list[Planted]] = {}
    folder = root / "mine"
    for split, items in write_miniature("bdd100k", root / "source", train=4, val=2).items():
        planted[split] = []
        for plan in items:
            image = folder / f"images/{split}/{plan.image.name}"
            label = folder / f"labels/{split}/{plan.label.name}"
            for old, new in ((plan.image, image), (plan.label, label)):
                new.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(old, new)
            planted[split].append(Planted(image, label, plan.ids))
    classes = [{"id": i, "name": f"class {i}"} for i in range(19)]
    (folder / "classes.json").write_text(json.dumps({"name": "mine", "classes": classes}))
    return planted


@pytest.fixture
def check(tmp_path, capsys):
    """Run the tool on a dataset below ``tmp_path``; return exit code and what it printed."""

    def run(dataset: str, *options: str) -> tuple[int, str]:
        if dataset == "folder":
            what = ["--folder", str(tmp_path / "mine")]
        else:
            what = ["--dataset", dataset, "--root", str(tmp_path), "--subset"]
        code = main([*what, "--workers", "1", *options])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


# --- what can be wrong: each takes a planted sample and spoils it --------------------------------


def missing_label(dataset: str, plan: Planted) -> str:
    plan.label.unlink()
    return "missing label"


def missing_image(dataset: str, plan: Planted) -> str:
    plan.image.unlink()
    return "missing image"


def truncated_image(dataset: str, plan: Planted) -> str:
    plan.image.write_bytes(plan.image.read_bytes()[:-200])
    return "image"


def empty_image(dataset: str, plan: Planted) -> str:
    plan.image.write_bytes(b"")
    return "image"


def truncated_label(dataset: str, plan: Planted) -> str:
    content = plan.label.read_bytes()
    plan.label.write_bytes(content[: len(content) // 2])
    return "label"


def other_size(dataset: str, plan: Planted) -> str:
    picture = Image.open(plan.image)
    picture.resize((picture.width // 2, picture.height)).save(plan.image)
    return "size"


def unknown_value(dataset: str, plan: Planted) -> str:
    path = plan.label
    if path.suffix == ".json":
        path.write_text(path.read_text().replace('"road"', '"asphalt"'))
    elif path.suffix == ".mat":
        labels = loadmat(path)["LabelMap"]
        labels[5, 5] = 999
        savemat(path, {"LabelMap": labels})
    else:
        values = np.asarray(Image.open(path)).copy()
        values[5, 5] = 222 if values.ndim == 2 else (9, 9, 9)
        Image.fromarray(values).save(path)
    return "label value"


def other_form(dataset: str, plan: Planted) -> str:
    path = plan.label
    if path.suffix == ".json":
        path.write_text('{"shapes": []}')
    elif path.suffix == ".mat":
        savemat(path, {"groundTruth": np.zeros((2, 2))})
    elif dataset in ("camvid11", "coco_panoptic133"):
        Image.fromarray(np.full(plan.ids.shape, 7, np.uint8)).save(path)  # ids instead of colours
        return "label value"
    elif dataset == "folder":
        Image.open(path).convert("RGB").save(path, "JPEG")  # lossy
    else:
        Image.open(path).convert("RGB").save(path)  # colours instead of ids
    return "label"


FAULTS = (
    missing_label,
    missing_image,
    truncated_image,
    empty_image,
    truncated_label,
    other_size,
    unknown_value,
    other_form,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dataset", FORMS.values(), ids=FORMS)
def test_planted_fault_is_found_with_its_cure(dataset, fault, check, tmp_path):
    if dataset == "folder":
        planted = write_folder(tmp_path)
    else:
        planted = write_miniature(dataset, tmp_path)
    plan = planted["train"][0]
    kind = fault(dataset, plan)
    code, printed = check(dataset)
    assert code == 1
    assert "1 fault:" in printed
    found = [line for line in printed.splitlines() if line.startswith(f"  [{kind}] ")]
    assert len(found) == 1
    assert plan.image.stem.split("_leftImg8bit")[0] in found[0]
    assert f"    cure: {cure_of(kind, dataset == 'folder')}" in printed


@pytest.mark.parametrize("dataset", FORMS.values(), ids=FORMS)
def test_a_dataset_in_order_has_no_faults(dataset, check, tmp_path):
    if dataset == "folder":
        write_folder(tmp_path)
    else:
        write_miniature(dataset, tmp_path)
    code, printed = check(dataset)
    assert code == 0
    assert "no faults" in printed
    assert "64x48 (4)" in printed


def test_counts_are_compared_with_the_official_ones(check, tmp_path, capsys):
    write_miniature("kitti", tmp_path)
    code = main(["--dataset", "kitti", "--root", str(tmp_path), "--workers", "1"])
    printed = capsys.readouterr().out
    assert code == 1
    assert "[count] train: 4 images with labels, officially 150" in printed
    assert "[count] val: 2 images with labels, officially 50" in printed
    assert f"cure: {CURES['count']}" in printed
    write_miniature("wilddash2", tmp_path)
    main(["--dataset", "wilddash2", "--root", str(tmp_path), "--workers", "1"])
    assert "[count] train and val together: 6 images with labels, officially 4220" in (
        capsys.readouterr().out
    )


def test_absent_dataset_split_list_and_json_are_found(check, tmp_path):
    code, printed = check("ade20k150")
    assert code == 1
    assert "ADEChallengeData2016/annotations/training" in printed
    assert CURES["dataset"] in printed
    write_miniature("scannet20", tmp_path)
    (tmp_path / "scannet/scannetv2_val.txt").unlink()
    code, printed = check("scannet20")
    assert code == 1
    assert "fetch it from the folder Tasks/Benchmark" in printed
    write_miniature("coco_panoptic133", tmp_path)
    (tmp_path / "coco/annotations/panoptic_val2017.json").unlink()
    code, printed = check("coco_panoptic133")
    assert code == 1
    assert "panoptic_val2017.json is missing" in printed


def test_two_images_of_one_name_are_found(check, tmp_path):
    planted = write_folder(tmp_path)
    plan = planted["train"][0]
    shutil.copy(plan.image, plan.image.with_suffix(".jpeg"))
    code, printed = check("folder")
    assert code == 1
    assert "have the same name apart from the suffix; rename or remove one" in printed


def test_wrong_class_list_of_a_folder_is_found(check, tmp_path):
    write_folder(tmp_path)
    (tmp_path / "mine/classes.json").write_text('{"name": "mine", "classes": [{"id": 1}]}')
    code, printed = check("folder")
    assert code == 1
    assert "classes[0] is {'id': 1}, expected {" in printed


def test_many_faults_of_one_kind_are_counted(check, tmp_path):
    planted = write_miniature("kitti", tmp_path, train=9)
    for plan in planted["train"]:
        plan.label.unlink()
    planted["train"][0].label.touch()
    code, printed = check("kitti", "--splits", "train", "--output", str(tmp_path / "report"))
    assert code == 1
    assert printed.count("[missing label]") == 6
    assert "... and 3 more" in printed
    report = json.loads((tmp_path / "report/report.json").read_text())
    kinds = [fault["kind"] for fault in report["faults"]]
    assert kinds == ["missing label"] * 8 + ["label"]
    assert all(fault["cure"] == CURES[fault["kind"]] for fault in report["faults"])


def test_report_counts_pixels_and_contact_sheet_shows_samples(check, tmp_path):
    planted = write_miniature("camvid11", tmp_path)
    assert check("camvid11", "--output", str(tmp_path / "report"))[0] == 0
    data = json.loads((tmp_path / "report/report.json").read_text())
    assert data["official"] == {"train": 468, "val": 233}
    train = data["splits"]["train"]
    expected = np.bincount(np.concatenate([p.ids.ravel() for p in planted["train"]]), minlength=256)
    assert list(train["pixels"].values()) == expected[:11].tolist()
    assert train["ignored_pixels"] == expected[255]
    assert train["images"]["Road"] == sum(3 in p.ids for p in planted["train"])
    sheet = np.asarray(Image.open(tmp_path / "report/train.png"))
    assert sheet.shape[1] > 1000
    for color in ([128, 128, 128], [128, 0, 0]):  # Sky, Building: squares beside their names
        assert (sheet == color).all(-1).sum() > 50


def test_cures_of_an_own_folder_speak_of_no_archive_and_no_release():
    assert OWN_CURES.keys() == CURES.keys()
    for cure in OWN_CURES.values():
        assert not re.search(r"archive|release|unpack|official|prepare_|--root|resize", cure)


def test_page_of_an_own_folder(check, tmp_path):
    planted = write_folder(tmp_path)
    folder = tmp_path / "mine"
    unknown_value("folder", planted["train"][0])
    data = json.loads((folder / "classes.json").read_text())
    data["classes"][0]["name"] = "<b>fields & woods</b>"
    data["classes"][1]["name"] = "unicorn"
    (folder / "classes.json").write_text(json.dumps(data))
    (folder / "images/train/notes.txt").write_text("")
    code, printed = check("folder", "--html", str(tmp_path / "report/page.html"))
    assert code == 1
    assert f"wrote {tmp_path}/report/page.html" in printed
    assert [p.name for p in (tmp_path / "report").iterdir()] == ["page.html"]
    page = (tmp_path / "report/page.html").read_text()
    for title in ("Faults (1)", "Notes (1)", "Samples of train", "Samples of val"):
        assert f"<h2>{title}</h2>" in page
    assert "label id 222 on" in page
    assert html.escape(OWN_CURES["label value"]) in page
    assert "notes.txt" in page
    assert "<b>fields" not in page  # names are text, not markup
    assert page.count("&lt;b&gt;fields &amp; woods") >= 1
    pictures = re.findall(r'src="data:image/(?:png|jpeg);base64,([^"]+)"', page)
    assert len(pictures) == 2
    for data in pictures:
        assert Image.open(io.BytesIO(base64.b64decode(data))).width > 1000
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)  # nothing is loaded from elsewhere
    shares = [float(v) for v in re.findall(r'<td class="number">([\d.]+)</td>', page) if "." in v]
    assert sum(shares) == pytest.approx(200, abs=0.5)  # per cent of train and of val


def test_pages_of_built_in_datasets_keep_their_cures(check, tmp_path):
    planted = write_miniature("kitti", tmp_path)
    truncated_image("kitti", planted["val"][0])
    assert check("kitti", "--output", str(tmp_path / "report"))[0] == 1
    assert html.escape(CURES["image"]) in (tmp_path / "report/report.html").read_text()


def test_photos_saved_anew_are_near_copies(check, tmp_path):
    """Other sizes, suffixes and compression; not other photos, and the same in every run."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "mine"
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
    photos = [
        Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((64, 48), 3)
        for _ in range(6)
    ]
    saved = {"train": [photos[i] for i in (0, 1, 2, 3)], "val": [photos[i] for i in (4, 2, 5)]}
    for split, pictures in saved.items():
        for i, picture in enumerate(pictures):
            again = split == "val" and i == 1
            size = (96, 72) if again else (64, 48)
            options = {"quality": 60} if again else {"quality": 95}
            picture.resize(size).save(folder / f"images/{split}/{split}{i}.jpg", **options)
            Image.new("L", size, i % 2).save(folder / f"labels/{split}/{split}{i}.png")
    (folder / "classes.json").write_text(json.dumps({"0": "a", "1": "b"}))
    code, printed = check("folder")
    assert code == 0
    (line,) = [x for x in printed.splitlines() if "look like a photo of train" in x]
    assert line.startswith("note: 'mine': 1 of 3 photos of val look like a photo of train: ")
    assert "val1.jpg like train2.jpg. If" in line
    assert check("folder") == (code, printed)
    shutil.copy(folder / "images/train/train2.jpg", folder / "images/val/val1.jpg")
    Image.new("L", (64, 48)).save(folder / "labels/val/val1.png")
    printed = check("folder")[1]
    assert "1 of 3 photos of val are in train too (the same pixels): val1.jpg" in printed
    assert "look like" not in printed


def test_limit_opens_evenly_spread_samples(check, tmp_path):
    planted = write_miniature("viper", tmp_path, train=6)
    planted["train"][2].image.write_bytes(b"")
    code, printed = check("viper", "--limit", "2")  # the first of each sequence
    assert code == 0
    assert "viper train: 6 images with labels" in printed
    assert "64x48 (2)" in printed


def test_several_processes_find_the_same(check, tmp_path):
    planted = write_miniature("coco_panoptic133", tmp_path, train=40)
    for plan in planted["train"][::7]:
        unknown_value("coco_panoptic133", plan)
    one = check("coco_panoptic133")
    two = check("coco_panoptic133", "--workers", "2")
    assert one == two
    assert one[0] == 1
    assert one[1].count("[label value]") == 6


def test_unknown_dataset_is_a_wrong_argument(check):
    code, printed = check("cityscape")
    assert code == 2
    assert "Did you mean 'cityscapes'?" in printed

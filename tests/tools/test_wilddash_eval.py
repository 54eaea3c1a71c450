"""Ground truth in every form, and the local scores."""

from __future__ import annotations

import json
import runpy
import zipfile
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unilabel.core.errors import UniLabelError
from unilabel.submission.label_png import encode_png
from unilabel.submission.negatives import (
    count_negatives,
    joint_miou,
    negative_miou,
    share_weight,
)
from unilabel.submission.reported import TABLE_4
from unilabel.submission.results import ResultSet
from unilabel.submission.scorer import CityscapesScorer
from unilabel.submission.truth import open_truth
from unilabel.submission.wilddash_scores import _hazards, score_frames, wilddash_labels

REPOSITORY = Path(__file__).resolve().parents[2]
STEMS = ["at0001_100000", "be0002_100000", "zw0003_100000"]
evaluate: Callable[[list[str]], int] = runpy.run_path(str(REPOSITORY / "tools/wilddash_eval.py"))[
    "main"
]

# raw id, is a thing, is a crowd: three cars (one a crowd), a manhole on the road, a bridge (void)
SEGMENTS = [(7, 0, 0), (26, 1, 0), (26, 1, 0), (26, 1, 1), (41, 1, 0), (15, 0, 0), (31, 1, 0)]


def layout(seed: int) -> np.ndarray:
    """(20, 30) index of a segment; -1: no segment."""
    index = np.zeros((20, 30), int)
    index[:3] = -1
    index[5:9, 2:8], index[5:9, 10:12], index[10:14, 2:20] = 1, 2, 3
    index[15:17, 25:28], index[18:], index[12:14, 22:29] = 4, 5, 6
    return np.roll(index, seed, 1)


def write_panoptic(root: Path) -> Path:
    (root / "panoptic").mkdir(parents=True)
    annotations = []
    for seed, stem in enumerate(STEMS):
        index = layout(seed)
        codes = np.where(index < 0, 0, index * 70000 + 300)
        rgb = np.stack([codes & 255, codes >> 8 & 255, codes >> 16], -1).astype(np.uint8)
        Image.fromarray(rgb).save(root / "panoptic" / f"{stem}.png")
        annotations.append(
            {
                "file_name": f"{stem}.png",
                "segments_info": [
                    {"id": i * 70000 + 300, "category_id": raw, "iscrowd": crowd}
                    for i, (raw, _, crowd) in enumerate(SEGMENTS)
                ],
            }
        )
    categories = [{"id": raw, "isthing": thing} for raw, thing, _ in SEGMENTS]
    data = {"annotations": annotations, "categories": categories}
    (root / "panoptic.json").write_text(json.dumps(data))
    return root


def write_ids(root: Path) -> Path:
    (root / "labels").mkdir(parents=True)
    for seed, stem in enumerate(STEMS):
        index = layout(seed)
        raw = np.array([*[s[0] for s in SEGMENTS], 0])[index]
        whole = np.array([*[bool(t and not c) for _, t, c in SEGMENTS], False])[index]
        instances = np.where(whole, raw * 1000 + index, raw)
        Image.fromarray(raw.astype(np.uint8)).save(root / "labels" / f"{stem}_labelIds.png")
        Image.fromarray(instances.astype(np.uint16)).save(
            root / "labels" / f"{stem}_instanceIds.png"
        )
    return root


def prediction(seed: int) -> np.ndarray:
    ids = np.array([7, 26, 26, 27, 7, 11, 31, 23], np.uint8)[layout(seed)]
    ids[6:8, 4:7], ids[12:13] = 0, 7
    return ids


def write_results(path: Path, folder: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for seed, stem in enumerate(STEMS):
            archive.writestr(f"{folder}{stem}.png", encode_png(prediction(seed)))
    return path


@pytest.fixture(params=["panoptic", "ids"])
def truth_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write = {"panoptic": write_panoptic, "ids": write_ids}[request.param]
    return write(tmp_path / "wilddash")


def test_both_forms_of_ground_truth_say_the_same(tmp_path: Path) -> None:
    one = open_truth(write_panoptic(tmp_path / "a"))
    two = open_truth(write_ids(tmp_path / "b"))
    assert one.stems == two.stems == STEMS
    for seed, stem in enumerate(STEMS):
        (ids, (numbers, classes)), (ids2, (numbers2, classes2)) = one.load(stem), two.load(stem)
        assert (ids == ids2).all()
        index = layout(seed)
        assert set(np.unique(ids)) == {0, 7, 26, 31}
        assert (ids[index == 4] == 7).all()  # a manhole is road
        assert not ids[(index == 5) | (index < 0)].any()
        # two cars and the tram; the manhole is a thing, but not of a class that has instances
        for found, owners in ((numbers, classes), (numbers2, classes2)):
            pairs = {(int(owners[n]), int((found == n).sum())) for n in range(1, len(owners))}
            assert {p for p in pairs if p[0] != 7} == {(26, 24), (26, 8), (31, 14)}


def test_the_scores_are_those_of_a_count_by_hand(truth_folder: Path, tmp_path: Path) -> None:
    results = ResultSet(write_results(tmp_path / "val.zip", "semantic/"))
    report = score_frames(results, open_truth(truth_folder), STEMS)
    scorer = CityscapesScorer(wilddash_labels())
    car = np.zeros(3)
    for seed, stem in enumerate(STEMS):
        ids, instances = open_truth(truth_folder).load(stem)
        scorer.add(prediction(seed), ids, instances)
        car += [
            ((prediction(seed) == 26) & (ids == 26)).sum(),
            (ids == 26).sum(),
            ((prediction(seed) == 26) & (ids != 26) & (ids != 0)).sum(),
        ]
    assert report["frames"] == 3
    assert report["classes_26"]["iou"]["car"] == pytest.approx(
        100 * car[0] / (car[1] + car[2]), abs=1e-4
    )
    assert report["average_sizes"]["car"] == 16.0
    assert report["classes_26"]["iou"]["bus"] is None
    assert "onrails" not in report["classes_25"]["iou"]
    for key, value in scorer.scores().averages.items():
        assert report["classes_26"][key] == pytest.approx(100 * value, abs=1e-4)


def test_the_tool(truth_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pred = write_results(tmp_path / "val.zip")
    shared = truth_folder / "test/images"
    shared.mkdir(parents=True)
    (shared / f"{STEMS[0]}.jpg").write_bytes(b"x")
    negative = tmp_path / "negative"
    negative.mkdir()
    for i, share in enumerate((0, 5, 10)):
        ids = np.full((10, 10), 7, np.uint8)
        ids[:share] = 0
        (negative / f"indoor{i}.png").write_bytes(encode_png(ids))
    tags = tmp_path / "tags.json"
    severity = dict(zip(STEMS, ("none", "low", "high"), strict=True))
    tags.write_text(json.dumps({s: {"blur": v} for s, v in severity.items()}))
    output = tmp_path / "scores.json"
    options = ["--pred", str(pred), "--gt", str(truth_folder)]
    more = ["--negative", str(negative), "--tags", str(tags), "--output", str(output)]
    assert evaluate([*options, *more]) == 0
    printed = capsys.readouterr().out
    assert "also in the benchmark: 1 frames" in printed
    assert "reported (server): paper, trained" in printed
    assert "47.50" in printed  # iIoU class of that row
    assert "stand-in" in printed
    report = json.loads(output.read_text())
    assert report["frames"] == 2
    assert report["benchmark_frames_excluded"] == [STEMS[0]]
    assert report["negative_stand_in"]["void_pixels"] == 50.0
    assert report["negative_stand_in"]["miou"] == 50.0
    assert report["negative_stand_in"]["least_of_images"] == 0.0
    assert report["negative_stand_in"]["weight"] == 1
    assert 0 < report["meta_stand_in"] < report["classes_26"]["miou_class"]
    row = next(line for line in printed.splitlines() if "26 classes" in line).split()
    assert row[-6] == f"{report['meta_stand_in']:.2f}"
    assert row[-1] == "50.00"
    assert next(x for x in printed.splitlines() if "no onrails" in x).split()[-1] == "-"
    # 2 positive and 3 negative images; a third of all: each negative image counts 1/3 of a time
    assert evaluate([*options, *more, "--negative-share", "0.3333333"]) == 0
    assert json.loads(output.read_text())["negative_stand_in"]["weight"] == pytest.approx(1 / 3)
    capsys.readouterr()
    for wrong in ("1", "-0.1"):
        assert evaluate([*options, *more, f"--negative-share={wrong}"]) == 2
        assert "expected 0 to below 1" in capsys.readouterr().err
    assert evaluate([*options, "--negative-share", "0.5"]) == 2
    assert "need --negative" in capsys.readouterr().err
    assert report["hazards"]["blur"]["none"] is None
    assert report["hazards"]["blur"]["low"] > 0
    assert report["hazards"]["blur"]["impact"] is None


def test_no_instance_score_without_instance_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pred = write_results(tmp_path / "val.zip")
    truth = write_ids(tmp_path / "gt")
    options = ["--pred", str(pred), "--gt", str(truth)]
    whole = score_frames(ResultSet(pred), open_truth(truth), STEMS)
    assert whole["frames_without_instance_truth"] == 0
    assert evaluate(options) == 0
    printed = capsys.readouterr().out
    assert "no iIoU" not in printed
    # truck: predicted where a crowd of cars is, never in the truth
    assert (
        "without an instance in the ground truth, so iIoU 0 (as in cityscapesScripts): truck"
        in (printed)
    )
    (truth / f"labels/{STEMS[0]}_instanceIds.png").unlink()
    assert evaluate(options) == 0
    assert "1 of 3 frames have no NAME_instanceIds.png" in capsys.readouterr().out
    for stem in STEMS[1:]:
        (truth / f"labels/{stem}_instanceIds.png").unlink()
    assert evaluate(options) == 0
    printed = capsys.readouterr().out
    assert "note: no iIoU: no NAME_instanceIds.png beside the labels" in printed
    row = next(line for line in printed.splitlines() if line.startswith("here (3 frames"))
    assert row.split()[-6:][2::2] == ["-", "-"]
    assert next(x for x in printed.splitlines() if x.startswith("truck ")).split()[-1] == "-"
    report = score_frames(ResultSet(pred), open_truth(truth), STEMS)
    for part in ("classes_26", "classes_25"):
        assert report[part]["iiou_class"] is None
        assert report[part]["iiou_category"] is None
        assert set(report[part]["iiou"].values()) == {None}
        assert report[part]["miou_class"] == whole[part]["miou_class"]


def test_hazards_compare_subsets(tmp_path: Path) -> None:
    results = ResultSet(write_results(tmp_path / "val.zip"))
    truth = open_truth(write_panoptic(tmp_path / "gt"))
    severity = ("none", "low", "high")
    tags = {s: {"blur": v} for s, v in zip(STEMS, severity, strict=True)}
    blur = score_frames(results, truth, STEMS, tags)["hazards"]["blur"]
    for stem, name in zip(STEMS, severity, strict=True):
        alone = score_frames(results, truth, [stem])
        assert blur[name] == alone["classes_26"]["miou_class"]
    expected = 1 - min(blur["low"], blur["high"]) / max(blur["none"], blur["low"])
    assert blur["impact"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_impact_takes_the_worse_of_low_and_high(order: tuple[int, ...]) -> None:
    """1 - min(low, high) / max(none, low), whichever of the three scores is the largest."""
    severity = ("none", "low", "high")
    wrong = (0, 9, 22)  # of 24 pixels of road (7) that are predicted as car (26)
    scores = {}
    subsets = {}
    for name, rank in zip(severity, order, strict=True):
        matrix = np.zeros_like(CityscapesScorer(wilddash_labels()).confusion)
        matrix[7, 7], matrix[7, 26], matrix[26, 26] = 24 - wrong[rank], wrong[rank], 10
        scores[name] = 50 * (1 - wrong[rank] / 24) + 50 * 10 / (10 + wrong[rank])
        subsets["rain", name] = matrix
    rain = _hazards(subsets)["rain"]
    assert {name: rain[name] for name in severity} == pytest.approx(scores, abs=1e-3)
    worse, better = min(scores["low"], scores["high"]), max(scores["none"], scores["low"])
    assert rain["impact"] == pytest.approx(1 - worse / better, abs=1e-4)


def test_missing_results_are_told(
    truth_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pred"
    folder.mkdir()
    (folder / f"{STEMS[1]}.png").write_bytes(encode_png(prediction(1)))
    options = ["--pred", str(folder), "--gt", str(truth_folder)]
    assert evaluate(options) == 2
    assert "2 of 3 frames have no result" in capsys.readouterr().err
    assert evaluate([*options, "--subset"]) == 0
    printed = capsys.readouterr().out
    assert "for want of a result: 2 frames" in printed
    assert "not known and not excluded" in printed


def test_wrong_files_are_told(
    truth_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def error_of(pred: Path, gt: Path = truth_folder) -> str:
        assert evaluate(["--pred", str(pred), "--gt", str(gt), "--subset"]) == 2
        return capsys.readouterr().err

    folder = tmp_path / "pred"
    folder.mkdir()
    assert "has no PNG" in error_of(folder)
    file = folder / f"{STEMS[0]}.png"
    Image.new("RGB", (30, 20)).save(file)
    assert "RGB" in error_of(folder)
    Image.new("L", (31, 20), 7).save(file)
    assert f"frame {STEMS[0]}" in error_of(folder)
    Image.new("L", (30, 20), 255).save(file)
    assert "id 255" in error_of(folder)
    file.write_bytes(file.read_bytes()[:60])
    assert "truncated" in error_of(folder)
    assert "neither" in error_of(tmp_path / "nothing.zip")
    assert "panoptic.json" in error_of(folder, tmp_path / "empty")


def test_damaged_ground_truth_is_told(tmp_path: Path) -> None:
    root = write_panoptic(tmp_path / "gt")
    data = json.loads((root / "panoptic.json").read_text())
    data["annotations"][0]["segments_info"].pop()
    (root / "panoptic.json").write_text(json.dumps(data))
    with pytest.raises(UniLabelError, match="segment 420300"):
        open_truth(root).load(STEMS[0])
    data["annotations"][0]["segments_info"][0]["category_id"] = 99
    data["annotations"][0]["segments_info"].append({"id": 420300, "category_id": 31})
    (root / "panoptic.json").write_text(json.dumps(data))
    with pytest.raises(UniLabelError, match=r"id 99, expected 0\.\.80"):
        open_truth(root).load(STEMS[0])
    for text in ('{"annotations": [1]}', json.dumps(data).replace("420300", '"x"'), "[]"):
        (root / "panoptic.json").write_text(text)
        with pytest.raises(UniLabelError, match="no panoptic annotation"):
            open_truth(root)


def write_negatives(folder: Path, **ids: np.ndarray) -> Path:
    folder.mkdir()
    for name, values in ids.items():
        (folder / f"{name}.png").write_bytes(encode_png(values.astype(np.uint8)))
    return folder


def test_negatives_count_pixels_and_images(tmp_path: Path) -> None:
    folder = write_negatives(tmp_path / "n", a=np.zeros((10, 10)), b=np.full((10, 30), 7))
    shares, counts = count_negatives(ResultSet(folder), None)
    assert (shares["void_pixels"], shares["mean_of_images"], shares["miou"]) == (25.0, 50.0, 25.0)
    assert counts.sum() == 400
    assert counts[0, 7] == 300


def test_negatives_with_labels(tmp_path: Path) -> None:
    """A negative frame may show known things; there they are wanted, elsewhere void."""
    truth = np.zeros((4, 10))
    truth[:2] = 24  # 20 pixels of a person
    said = truth.copy()
    said[0] = 0  # 10 of them missed
    said[3, :5] = 26  # 5 pixels of a car that is none
    results = ResultSet(write_negatives(tmp_path / "said", a=said))
    real = open_truth(write_negatives(tmp_path / "real", a=truth))
    shares, _ = count_negatives(results, real)
    # person 10 / 20; void 15 / (20 + 10)
    assert shares["miou"] == pytest.approx(100 * (10 / 20 + 15 / 30) / 2)
    other = ResultSet(write_negatives(tmp_path / "other", b=said))
    with pytest.raises(UniLabelError, match="negative frame b has no ground truth"):
        count_negatives(other, real)
    wrong = ResultSet(write_negatives(tmp_path / "wrong", a=said + 100))
    with pytest.raises(UniLabelError, match="negative frame a: the prediction has the id 100"):
        count_negatives(wrong, real)


def counts_of(*pairs: tuple[int, int, int]) -> np.ndarray:
    table = np.zeros((39, 39), np.int64)
    for truth, said, number in pairs:
        table[truth, said] += number
    return table


def test_meta_stand_in_by_hand() -> None:
    """Road and sky on positive frames, 40 false road pixels on negative ones."""
    positive = counts_of((7, 7, 80), (7, 23, 20), (23, 23, 50), (0, 7, 1000))
    negative = counts_of((0, 0, 60), (0, 7, 40))
    classic = (80 / 100 + 50 / 70) / 2  # what is predicted on void is not scored
    assert joint_miou(positive, 0 * negative) == pytest.approx(classic)
    assert joint_miou(positive, negative, 0.0) == pytest.approx(classic)
    assert joint_miou(positive, negative) == pytest.approx((80 / 140 + 50 / 70) / 2)
    assert joint_miou(positive, negative, 0.5) == pytest.approx((80 / 120 + 50 / 70) / 2)
    # a class that only negative frames are called: 0, as in cityscapesScripts
    other = counts_of((0, 26, 1))
    assert joint_miou(positive, other) == pytest.approx((80 / 100 + 50 / 70) / 3)
    assert negative_miou(negative) == 0.6
    assert share_weight(10, 40, None) == 1
    assert share_weight(10, 40, 0.2) == pytest.approx(10 / 40 * 0.25)


def test_reported_numbers_of_the_paper() -> None:
    assert TABLE_4[4].meta == 40.5
    assert TABLE_4[-1].meta == 50.0
    # Meta below both of its parts: it is no weighted mean of the two columns
    assert TABLE_4[4].meta < min(TABLE_4[4].miou_class, TABLE_4[4].negative)
    # and never above Classic, as in one count over all frames
    assert all(row.meta < row.miou_class for row in TABLE_4)

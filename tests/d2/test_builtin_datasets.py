"""Every built-in dataset, read from a miniature in its official folders and encodings."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from miniature_datasets import WRITERS, write_miniature
from PIL import Image

from unilabel.config import load_config
from unilabel.core.errors import UniLabelError
from unilabel.data.build import build_sources, build_train_loader, register_sources
from unilabel.data.builtin import (
    builtin_dataset,
    builtin_names,
    builtin_source,
    datasets_root,
    variant_names,
)
from unilabel.data.sources import load_sample
from unilabel.data.split_rules import camvid_split, wilddash_country_is_val
from unilabel.text.label_tables import load_label_space

NUM_CLASSES = {
    "cityscapes": 19,
    "mapillary": 65,
    "sunrgbd37": 37,
    "bdd100k": 19,
    "idd26": 26,
    "ade20k150": 150,
    "coco_panoptic133": 133,
    "wilddash2": 26,
    "kitti": 19,
    "camvid11": 11,
    "scannet20": 20,
    "voc20": 20,
    "context59": 59,
    "viper": 23,
}
# (dataset, raw id, class name), from the datasets' own documents
KNOWN_IDS = [
    ("cityscapes", 7, "road"),
    ("cityscapes", 33, "bicycle"),
    ("cityscapes", 14, None),
    ("mapillary", 0, "Bird"),
    ("mapillary", 40, "Mailbox"),
    ("mapillary", 64, "Ego Vehicle"),
    ("mapillary", 65, None),
    ("sunrgbd37", 0, None),
    ("sunrgbd37", 1, "wall"),
    ("sunrgbd37", 37, "bag"),
    ("bdd100k", 13, "car"),
    ("bdd100k", 255, None),
    ("idd26", 0, "road"),
    ("idd26", 24, "vegetation"),
    ("ade20k150", 0, None),
    ("ade20k150", 150, "flag"),
    ("coco_panoptic133", 1, "person"),
    ("coco_panoptic133", 200, "rug-merged"),
    ("wilddash2", 76, "road"),
    ("wilddash2", 38, "roadmarking"),
    ("wilddash2", 58, "motorcycle"),
    ("wilddash2", 54, None),
    ("kitti", 26, "car"),
    ("scannet20", 39, "otherfurniture"),
    ("scannet20", 13, None),
    ("voc20", 20, "tvmonitor"),
    ("voc20", 0, None),
    ("context59", 2, "aeroplane"),
    ("context59", 458, "wood"),
    ("context59", 1, None),
    ("viper", 2, "sky"),
    ("viper", 27, "truck"),
    ("viper", 22, None),
]


@pytest.fixture
def write(tmp_path):
    """Write a miniature dataset; return its source and what was planted."""

    def make(name: str, variant: str | None = None, **options):
        planted = write_miniature(name, tmp_path, **options)
        return builtin_source(name, tmp_path, variant), planted

    return make


def test_every_dataset_has_a_miniature():
    assert builtin_names() == sorted(NUM_CLASSES) == sorted(WRITERS)


@pytest.mark.parametrize("name", sorted(NUM_CLASSES))
def test_labels_are_decoded_pixel_by_pixel(name, write):
    source, planted = write(name)
    assert source.label_space.num_classes == NUM_CLASSES[name]
    assert len(source.label_space.descriptions) == NUM_CLASSES[name]
    seen = np.zeros(256, bool)
    for split, count in (("train", 4), ("val", 2)):
        samples = source.samples(split)
        expected = {str(p.image): p for p in planted[split]}
        assert len(samples) == count
        assert {s.image for s in samples} == set(expected)
        for sample in samples:
            assert sample.label == str(expected[sample.image].label)
            image, label = load_sample(source, sample)
            assert image.dtype == label.dtype == np.uint8
            assert label.flags.writeable
            np.testing.assert_array_equal(label, expected[sample.image].ids)
            seen[np.unique(label)] = True
    assert seen[: NUM_CLASSES[name]].all()
    assert seen[255]


@pytest.mark.parametrize("name", sorted(NUM_CLASSES))
def test_sources_travel_to_worker_processes(name, write):
    source, planted = write(name, train=1, val=1)
    copy = pickle.loads(pickle.dumps(source))
    sample = copy.samples("val")[0]
    np.testing.assert_array_equal(copy.decode_label(sample.label), planted["val"][0].ids)


@pytest.mark.parametrize(("name", "raw", "class_name"), KNOWN_IDS)
def test_ids_of_the_official_documents(name, raw, class_name, tmp_path):
    table = builtin_dataset(name, tmp_path).table
    expected = 255 if class_name is None else table.space.index(class_name)
    assert table.ids[raw] == expected


def test_every_value_of_the_official_numbering_has_a_meaning(tmp_path):
    ranges = {
        "cityscapes": 34,
        "mapillary": 66,
        "sunrgbd37": 38,
        "ade20k150": 151,
        "wilddash2": 81,
        "scannet20": 41,
        "context59": 460,
        "viper": 32,
    }
    for name, count in ranges.items():
        assert sorted(builtin_dataset(name, tmp_path).table.ids) == list(range(count)), name
    assert len(builtin_dataset("camvid11", tmp_path).table.colors) == 32
    assert len(builtin_dataset("idd26", tmp_path).table.names) == 40


def test_official_counts_are_those_of_the_tables(tmp_path):
    for name in builtin_names():
        counts = builtin_dataset(name, tmp_path).counts
        assert set(counts) in ({"train", "val"}, {"all"})
        assert all(n > 0 for n in counts.values())
    assert builtin_dataset("idd26", tmp_path).counts == {"train": 6993, "val": 981}


@pytest.mark.parametrize("config", ["7ds", "rvc", "driving"])
def test_configurations_load_register_and_give_a_batch(config, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    path = Path(__file__).resolve().parents[2] / f"configs/{config}.yaml"
    options = ["INPUT.CROP_SIZE", "[32, 32]", "INPUT.IMAGES_PER_DATASET", "1"]
    cfg = load_config(path, [*options, "DATALOADER.NUM_WORKERS", "2"])
    planted = {name: write_miniature(name, tmp_path, train=2, val=1) for name in cfg.DATASETS.NAMES}
    sources = build_sources(cfg)
    register_sources(sources)
    for source in sources:
        entries = DatasetCatalog.get(f"{source.name}_train")
        assert {e["sem_seg_file_name"] for e in entries} == {
            str(p.label) for p in planted[source.name]["train"]
        }
        names = MetadataCatalog.get(f"{source.name}_train").stuff_classes
        assert len(names) == source.label_space.num_classes
    batch = next(iter(build_train_loader(cfg, sources, 0, 1, 0, 1)))
    assert sorted(item["dataset_name"] for item in batch) == sorted(cfg.DATASETS.NAMES)
    for item in batch:
        classes = sources[item["dataset_id"]].label_space.num_classes
        assert item["sem_seg"].shape == (32, 32)
        assert ((item["sem_seg"] < classes) | (item["sem_seg"] == 255)).all()


def test_readme_names_every_dataset_variant_and_count(tmp_path):
    readme = (Path(__file__).resolve().parents[2] / "datasets/README.md").read_text("utf-8")
    rows = {line.split("`")[1]: line for line in readme.splitlines() if line.startswith("| `")}
    assert sorted(rows) == builtin_names()
    for name, row in rows.items():
        dataset = builtin_dataset(name, tmp_path)
        assert all(f"`{variant}`" in row for variant in variant_names(name))
        assert all(f"{count:,}" in row for count in dataset.counts.values())
        assert f"| {dataset.table.space.num_classes} |" in row
        assert all(f"{folder}/" in readme for folder in dataset.spec.folders)


# --- variants ------------------------------------------------------------------------------------


def test_paper_variant_of_mapillary_ignores_mailbox(write):
    source, planted = write("mapillary", "paper_64")
    assert source.label_space.num_classes == 64
    assert "Mailbox" not in source.label_space.class_names
    shift = np.array([*range(40), 255, *range(40, 64)] + [255] * 191)
    for sample, plan in zip(
        source.samples("train"), sorted(planted["train"], key=lambda p: p.image.name), strict=True
    ):
        np.testing.assert_array_equal(source.decode_label(sample.label), shift[plan.ids])


def test_wilddash_without_on_rails_and_with_benchmark_frames(write, tmp_path):
    source, planted = write("wilddash2", "authors_25+with_benchmark_frames")
    on_rails = builtin_source("wilddash2", tmp_path).label_space.index("onrails")
    assert source.label_space.num_classes == 25
    assert len(source.samples("train")) == 5
    assert len(source.samples("val")) == 3
    ids = planted["train"][0].ids
    expected = np.where(
        ids == on_rails, 255, np.where((ids > on_rails) & (ids < 255), ids - 1, ids)
    )
    np.testing.assert_array_equal(source.decode_label(str(planted["train"][0].label)), expected)


def test_wilddash_with_void_as_the_authors_train_it(tmp_path):
    """25 classes, and a 26th for every other raw id.

    Mrhonor/AutoUniSeg, auto_uni_seg/data/datasets/register_wilddash.py: against the label policy,
    trains and potholes are void there, traffic sign backs and any other signs are traffic signs.
    """
    folder = tmp_path / "wilddash"
    (folder / "panoptic").mkdir(parents=True)
    codes = np.arange(82).reshape(2, 41) * 1000  # segment 0 is none at all
    rgb = np.stack([codes & 255, codes >> 8 & 255, codes >> 16], -1).astype(np.uint8)
    Image.fromarray(rgb).save(folder / "panoptic/at0000_100000.png")
    segments = [{"id": 1000 * (raw + 1), "category_id": raw} for raw in range(81)]
    note = {"file_name": "at0000_100000.png", "segments_info": segments}
    (folder / "panoptic.json").write_text(json.dumps({"annotations": [note]}), "utf-8")

    def decoded(variant: str | None) -> tuple[list[str], list[str]]:
        source = builtin_source("wilddash2", tmp_path, variant)
        names = [*source.label_space.class_names]
        ids = source.decode_label(str(folder / "panoptic/at0000_100000.png")).reshape(-1)
        return names, [names[i] if i != 255 else "ignored" for i in ids]

    policy_classes, policy = decoded(None)
    classes, found = decoded("with_void")
    assert classes == [*(n for n in policy_classes if n != "onrails"), "void"]
    expected = ["void" if name in ("ignored", "onrails") else name for name in policy]
    expected[1 + 43] = "void"
    expected[1 + 53] = expected[1 + 54] = "trafficsign"
    assert found == expected
    assert policy[0] == policy[1] == "ignored"  # no segment, and the label "unlabeled"
    assert found[0] == found[1] == "void"
    assert policy[1 + 43] == "road"
    assert policy[1 + 54] == "ignored"
    assert load_label_space("wilddash2@with_void").class_names == tuple(classes)


def test_void_is_read_from_the_official_labels(tmp_path):
    """The prepared PNGs hold the classes of the policy; a pothole is a road there."""
    planted = write_miniature("wilddash2", tmp_path)
    (tmp_path / "wilddash/panoptic_semseg").mkdir()
    for plan in [*planted["train"], *planted["val"]]:
        Image.fromarray(plan.ids).save(tmp_path / "wilddash/panoptic_semseg" / plan.label.name)
    for variant, place in ((None, "panoptic_semseg"), ("with_void", "panoptic")):
        source = builtin_source("wilddash2", tmp_path, variant)
        assert {Path(s.label).parent.name for s in source.samples("train")} == {place}
    both = builtin_source("wilddash2", tmp_path, "with_void+with_benchmark_frames")
    assert both.label_space.num_classes == 26
    shared = {Path(s.image).stem for s in [*both.samples("train"), *both.samples("val")]}
    assert {"ae0013_100000", "zw0012_100000"} <= shared


def test_voc_background_as_a_class(write):
    source, planted = write("voc20", "with_background_21")
    plan = planted["train"][0]
    raw = np.asarray(Image.open(plan.label))
    assert source.label_space.class_names[0] == "background"
    np.testing.assert_array_equal(source.decode_label(str(plan.label)), raw)  # the official ids


def test_context_background_is_the_second_class_of_60(write):
    source, planted = write("context59", "with_background_60")
    plan = planted["train"][0]
    assert source.label_space.num_classes == 60
    assert source.label_space.class_names[:3] == ("aeroplane", "background", "bag")
    label = source.decode_label(str(plan.label))
    np.testing.assert_array_equal(label == 1, plan.ids == 255)
    assert not (label == 255).any()


def test_msegs_camvid_keeps_only_colours_of_the_same_name(tmp_path):
    source = builtin_source("camvid11", tmp_path, "mseg")
    path = tmp_path / "label.png"
    Image.fromarray(np.array([[[128, 64, 128], [128, 0, 192]]], np.uint8)).save(path)
    road = source.label_space.index("Road")
    assert source.decode_label(str(path)).tolist() == [[road, 255]]
    merged = builtin_source("camvid11", tmp_path)
    assert merged.decode_label(str(path)).tolist() == [[road, road]]


def test_augmented_voc_has_its_own_labels_and_list(write, tmp_path):
    write("voc20")
    base = tmp_path / "VOCdevkit/VOC2012"
    (base / "SegmentationClass").rename(base / "SegmentationClassAug")
    source = builtin_source("voc20", tmp_path, "aug")
    with pytest.raises(UniLabelError, match=r"trainaug\.txt; it comes with the augmented labels"):
        source.samples("train")
    (base / "ImageSets/Segmentation/train_aug.txt").write_text("2007_000001\n2007_000002\n")
    assert [Path(s.label).stem for s in source.samples("train")] == ["2007_000001", "2007_000002"]


def test_unknown_names_tell_the_known_ones(tmp_path):
    with pytest.raises(UniLabelError, match=r"'cityscape'\. Did you mean 'cityscapes'"):
        builtin_source("cityscape", tmp_path)
    with pytest.raises(UniLabelError, match=r"no variant 'paper'; it has: paper_64"):
        builtin_source("mapillary", tmp_path, "paper")
    assert variant_names("ade20k150") == []


def test_root_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", "/data/sets")
    assert datasets_root() == Path("/data/sets")
    monkeypatch.delenv("DETECTRON2_DATASETS")
    assert datasets_root() == Path("datasets")


# --- other arrangements of the same dataset: see also test_dataset_layouts.py --------------------


def test_mapillary_v12_archive(write, tmp_path):
    source, _ = write("mapillary", train=2, val=1)
    folder = tmp_path / "mapillary_vistas/training"
    (folder / "v1.2/labels").rename(folder / "labels")
    assert len(source.samples("train")) == 2


def test_context_masks_of_mmsegmentation(write, tmp_path):
    source, planted = write("context59", train=1, val=1)
    base = tmp_path / "VOCdevkit/VOC2010"
    (base / "SegmentationClassContext").mkdir()
    for plans in planted.values():
        for plan in plans:
            mask = np.where(plan.ids == 255, 0, plan.ids + 1).astype(np.uint8)
            Image.fromarray(mask).save(base / f"SegmentationClassContext/{plan.label.stem}.png")
    sample = source.samples("train")[0]
    assert sample.label.endswith(".png")
    np.testing.assert_array_equal(source.decode_label(sample.label), planted["train"][0].ids)
    np.testing.assert_array_equal(
        source.decode_label(str(planted["train"][0].label)), planted["train"][0].ids
    )


# --- splits --------------------------------------------------------------------------------------


def test_wilddash_leaves_out_what_the_benchmark_shows(write, tmp_path):
    source, _ = write("wilddash2")
    names = [Path(s.image).stem for split in ("train", "val") for s in source.samples(split)]
    assert "ae0013_100000" not in names
    assert "zw0012_100000" not in names
    assert len(names) == 6
    (tmp_path / "wilddash/test/images").rename(tmp_path / "wilddash/elsewhere")
    with pytest.raises(UniLabelError, match=r"Unpack wd_both_02\.zip.*'with_benchmark_frames'"):
        source.samples("train")


def test_wilddash_countries_are_in_one_split_and_about_a_fifth_is_val():
    letters = "abcdefghijklmnopqrstuvwxyz"
    share = np.mean([wilddash_country_is_val(a + b) for a in letters for b in letters])
    assert 0.15 < share < 0.25
    assert wilddash_country_is_val("it")
    assert not wilddash_country_is_val("de")


def test_camvid_split_has_the_usual_sizes():
    keys = {f"0001TP_{n:06d}" for n in range(6690, 10381, 30)}  # 62 + 62
    keys |= {f"Seq05VD_f{n:05d}" for n in range(0, 5101, 30)}  # 171
    keys |= {f"0006R0_f{n:05d}" for n in range(930, 3931, 30)}  # 101
    keys |= {f"0016E5_{n:05d}" for n in range(204)} | {f"0016E5_{n}" for n in range(7959, 8160, 2)}
    assert len(camvid_split(Path(), "train", keys)) == 468
    assert len(camvid_split(Path(), "val", keys)) == 233


def test_scannet_needs_its_official_lists(write, tmp_path):
    source, _ = write("scannet20")
    (tmp_path / "scannet/scannetv2_val.txt").unlink()
    assert len(source.samples("train")) == 4
    with pytest.raises(UniLabelError, match=r"scannetv2_val\.txt; fetch it from .*ScanNet"):
        source.samples("val")

"""Configuration files and overrides: what is read, what is refused and with which words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("detectron2")

from detectron2.config import CfgNode, get_cfg

from unilabel import config_keys
from unilabel.config import add_unilabel_config, load_config
from unilabel.core.errors import UniLabelError

pytestmark = pytest.mark.d2

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def written(folder: Path, text: str) -> Path:
    path = folder / "some.yaml"
    path.write_text(text)
    return path


TOY = "DATASETS:\n  TOY: True\n"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: str(p.relative_to(ROOT / "configs")))
def test_every_configuration_of_the_project_is_valid(path: Path) -> None:
    if path.name.startswith("Base-"):
        with pytest.raises(UniLabelError, match=r"no dataset is named: give DATASETS\.NAMES"):
            load_config(path)
        return
    cfg = load_config(path)
    assert cfg.OUTPUT_DIR.startswith("output/")
    assert cfg.MODEL.META_ARCHITECTURE == "UniLabelSegmentor"


def test_output_folders_are_distinct() -> None:
    names = [load_config(p).OUTPUT_DIR for p in CONFIGS if not p.name.startswith("Base-")]
    assert len(names) == len(set(names))


def test_defaults_file_and_overrides_in_this_order(tmp_path: Path) -> None:
    written(tmp_path, TOY + "SEED: 3\nLOG_PERIOD: 7\nMODEL:\n  EMBED_DIM: 9\n")
    (tmp_path / "child.yaml").write_text("_BASE_: some.yaml\nLOG_PERIOD: 8\n")
    cfg = load_config(tmp_path / "child.yaml", ["MODEL.EMBED_DIM", "10", "DATASETS.NAMES", "['a']"])
    assert (cfg.SEED, cfg.LOG_PERIOD, cfg.MODEL.EMBED_DIM) == (3, 8, 10)
    assert cfg.DATASETS.NAMES == ["a"]
    assert cfg.UNIFY.NODES == "fused"
    assert isinstance(cfg, CfgNode)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('{"layers": [1, 1]}', '{"layers": [1, 1]}'),
        ("'{\"layers\": [1, 1]}'", '{"layers": [1, 1]}'),
        ("2048", "2048"),
        ("", ""),
    ],
)
def test_text_keys_keep_text_that_looks_like_another_type(value: str, expected: str) -> None:
    cfg = load_config(ROOT / "configs/toy.yaml", ["MODEL.TIMM.ARGS", value])
    assert cfg.MODEL.TIMM.ARGS == expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("DATASETS.CUSTOM", "/data/a", ["/data/a"]),
        ("DATASETS.CUSTOM", "[/data/a, ../b]", ["/data/a", "../b"]),
        ("DATASETS.CUSTOM", "[/data/a,/data/b]", ["/data/a", "/data/b"]),
        ("DATASETS.CUSTOM", "['/data/a', \"/data/b\"]", ["/data/a", "/data/b"]),
        ("DATASETS.CUSTOM", "'/data/a'", ["/data/a"]),
        ("DATASETS.CUSTOM", "('a', 'b')", ["a", "b"]),
        ("DATASETS.CUSTOM", "2024", ["2024"]),
        ("DATASETS.CUSTOM", "", []),
        ("DATASETS.CUSTOM", "[]", []),
        ("DATASETS.ONLY", "toy_city", ["toy_city"]),
        ("DATASETS.NAMES", "[cityscapes, idd26]", ["cityscapes", "idd26"]),
        ("SCHEDULE", "[[MULTI_HEAD, 5]]", [["MULTI_HEAD", 5]]),
        ("INPUT.CROP_SIZE", "[64, 32]", [64, 32]),
        ("INPUT.CROP_SIZE", "(64, 32)", [64, 32]),
        ("DATASETS.VARIANTS", "[[toy_city, x]]", [["toy_city", "x"]]),
    ],
)
def test_lists_on_the_command_line_need_no_quotes(key: str, value: str, expected: list) -> None:
    cfg = load_config(ROOT / "configs/toy.yaml", [key, value])
    for part in key.split("."):
        cfg = cfg[part]
    assert cfg == expected


def test_one_name_in_a_file_needs_no_brackets(tmp_path: Path) -> None:
    cfg = load_config(written(tmp_path, "DATASETS:\n  CUSTOM: /data/a\n  ONLY: a\n"))
    assert (cfg.DATASETS.CUSTOM, cfg.DATASETS.ONLY) == (["/data/a"], ["a"])


def test_dump_is_read_back(tmp_path: Path) -> None:
    cfg = load_config(ROOT / "configs/toy.yaml", ["SEED", "5"])
    again = load_config(written(tmp_path, cfg.dump()))
    assert json.dumps(again) == json.dumps(cfg)  # tuples and lists alike


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"holds a|cannot be read"),
        ("- a\n- b\n", "holds a list, expected KEY: value lines"),
        ("just words\n", "holds a str, expected KEY: value lines"),
        ("A: [1\n", "cannot be read as a configuration"),
        ("_BASE_: none.yaml\n", "cannot be read as a configuration"),
        ("SEED: !!python/object/apply:os.getcwd []\n", "cannot be read as a configuration"),
        ("MODEL: 5\n", "MODEL is 5, but it is a group of keys; set MODEL.A"),
        ("MODEL:\n  EMBED_DIMS: 3\n", "key 'MODEL.EMBED_DIMS'; did you mean 'MODEL.EMBED_DIM'"),
        ("SEEED: 3\n", "unknown configuration key 'SEEED'; did you mean 'SEED'"),
        ("SEED:\n  A: 3\n", "unknown configuration key 'SEED.A'"),
        ("1: 3\n", "unknown configuration key '1'"),
        ("SEED: abc\n", "Type mismatch.*SEED"),
        ("SCHEDULE: 5\n", "Type mismatch.*SCHEDULE"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UniLabelError, match=message) as caught:
        load_config(path)
    assert str(path) in str(caught.value)


def test_missing_file_is_refused_with_the_known_ones(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(
        UniLabelError, match=r"no such file: nope\.yaml\. Known:.*configs/toy\.yaml"
    ):
        load_config("nope.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UniLabelError, match=r"none below \./configs \(run from the project's"):
        load_config("nope.yaml")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("SEED", "overrides are KEY VALUE pairs, but 'SEED' has no value"),
        ("SEED 3 --resume", "--resume stands behind KEY VALUE pairs; options come first"),
        ("SEED=3", "'SEED=3' has no value"),
        ("SOLVER.BASE_LRR 1", "command line: unknown configuration key 'SOLVER.BASE_LRR'; did you "
         "mean 'SOLVER.BASE_LR'"),
        ("SEED abc", "SEED abc: Type mismatch"),
        ("SEED -1", "SEED is -1, expected 0 or more"),
        ("DATASETS.CUSTOM {1:2}", "DATASETS.CUSTOM .*: Type mismatch"),
        ("DATASETS.CUSTOM [a", "DATASETS.CUSTOM is|DATASETS.CUSTOM .*: Type mismatch"),
        ("INPUT.CROP_SIZE 64", "INPUT.CROP_SIZE 64: Type mismatch"),
        ("MODEL 5", "command line: MODEL is '5', but it is a group of keys; set MODEL"),
        ("SCHEDULE [[GNN,5]]", "SCHEDULE .*: Type mismatch|GNN"),
        ("SCHEDULE [['GNN',5],['SEG',5]]", "SCHEDULE begins with GNN"),
        ("SCHEDULE [5]", "SCHEDULE entry 5: expected"),
        ("UNIFY.NODES magic", "UNIFY.NODES is 'magic', expected one of fused, ilp,"),
        ("UNIFY.SOLVER magic", "UNIFY.SOLVER is 'magic', expected one of exact, uot, links"),
        ("UNIFY.MERGE_SCORE f1", "UNIFY.MERGE_SCORE is 'f1'"),
        ("MODEL.MAPPING_MODE sum", "MODEL.MAPPING_MODE is 'sum', expected one of probability_sum"),
        ("LOSS.ORTH_FORM x", "LOSS.ORTH_FORM is 'x'"),
        ("LOSS.STRIDE 2", "LOSS.STRIDE is 2, expected one of 1, 4"),
        ("SOLVER.AMP_DTYPE float32", "SOLVER.AMP_DTYPE is 'float32'"),
        ("INPUT.IMAGES_PER_DATASET 0", "INPUT.IMAGES_PER_DATASET is 0, expected 1 or more"),
        ("INPUT.ACCUMULATE 0", "INPUT.ACCUMULATE is 0"),
        ("TEST.BATCH_SIZE 0", "TEST.BATCH_SIZE is 0"),
        ("SOLVER.CHECKPOINT_PERIOD -1", "SOLVER.CHECKPOINT_PERIOD is -1"),
        ("LOG_PERIOD 0", "LOG_PERIOD is 0"),
        ("UNIFY.CACHE_IMAGES 0", "UNIFY.CACHE_IMAGES is 0"),
        ("UNIFY.FIT_PIXELS 0", "UNIFY.FIT_PIXELS is 0"),
        ("GRAPH.PIXELS 0", "GRAPH.PIXELS is 0"),
        ("GRAPH.SOLVE_PERIOD 0", "GRAPH.SOLVE_PERIOD is 0"),
        ("SOLVER.LAYER_DECAY 0.0", r"SOLVER.LAYER_DECAY is 0\.0, expected more than 0"),
        ("UNIFY.TEXT_WEIGHT 1.5", r"UNIFY.TEXT_WEIGHT is 1\.5, expected 0 to 1"),
        ("INPUT.FLIP_PROB -0.1", "INPUT.FLIP_PROB is -0.1, expected 0 to 1"),
        ("DATASETS.TOY_IMAGES [8]", r"DATASETS.TOY_IMAGES is \[8\], expected two positive numbers"),
        ("DATASETS.TOY_IMAGES [8,0]", r"DATASETS.TOY_IMAGES is \[8, 0\]"),
        ("INPUT.CROP_SIZE [96]", r"INPUT.CROP_SIZE is \[96\]"),
        ("INPUT.CROP_SIZE ['a','b']", "INPUT.CROP_SIZE is"),
        ("INPUT.SCALE_RANGE [0.0,2.0]", r"INPUT.SCALE_RANGE is \[0\.0, 2\.0\], expected two"),
        ("INPUT.SCALE_RANGE [2.0,0.5]", "INPUT.SCALE_RANGE is.*expected the smaller one first"),
        ("DATASETS.VARIANTS [['city']]", r"DATASETS.VARIANTS holds \['city'\], expected \[data"),
        ("UNIFY.NODES file", "UNIFY.NODES is file, but MODEL.LABEL_SPACE names no label_space.js"),
        ("MODEL.LABEL_SPACE a.json", "UNIFY.NODES is fused, which does not read it; set UNIFY.NOD"),
        ("MODEL.FIX_HUMAN_LINKS True", "MODEL.FIX_HUMAN_LINKS needs links: name a file"),
        ("UNIFY.NODES relations", "UNIFY.NODES is relations, but DATASETS.RELATIONS names no file"),
        ("SCHEDULE [['SEG',5]]", "UNIFY.NODES fused measures a multi-head network, but SCHEDULE"),
        ("DATASETS.TOY False", "no dataset is named: give DATASETS.NAMES"),
    ],
)  # fmt: skip
def test_bad_overrides_are_refused(overrides: str, message: str) -> None:
    with pytest.raises(UniLabelError, match=message):
        load_config(ROOT / "configs/toy.yaml", overrides.split(" "))


@pytest.mark.parametrize("key", sorted(config_keys.REMOVED))
def test_keys_that_are_gone_say_so(tmp_path: Path, key: str) -> None:
    group, name = key.split(".")
    message = rf"{key} is gone \(.*\); delete its line"
    with pytest.raises(UniLabelError, match=message):
        load_config(written(tmp_path, f"{TOY}{group}:\n  {name}: 0.5\n"))
    with pytest.raises(UniLabelError, match=message):
        load_config(ROOT / "configs/toy.yaml", [key, "0.5"])
    assert key not in config_keys.flatten(load_config(ROOT / "configs/toy.yaml"))


@pytest.mark.parametrize("nodes", ["concat", "names", "text_cluster"])
def test_text_methods_need_no_multi_head_stage(nodes: str) -> None:
    overrides = ["UNIFY.NODES", nodes, "SCHEDULE", "[['SEG',5]]"]
    assert load_config(ROOT / "configs/toy.yaml", overrides).UNIFY.NODES == nodes


def test_keys_are_added_to_those_of_detectron2() -> None:
    cfg = get_cfg()
    before = set(cfg)
    add_unilabel_config(cfg)
    assert before < set(cfg)
    assert cfg.SOLVER.MAX_ITER  # Detectron2's own keys stay

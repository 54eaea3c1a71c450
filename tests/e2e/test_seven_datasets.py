"""The large configurations, run through train_net.py on datasets laid out as their archives are."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("detectron2")

import program

sys.path.append(str(Path(__file__).parents[1] / "d2"))  # the writers of miniature datasets

from miniature_datasets import PAPER_DATASETS, write_miniature

from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.checkpoint import load_file

pytestmark = [pytest.mark.d2, pytest.mark.slow]

RVC = ("cityscapes", "ade20k150", "mapillary", "viper", "scannet20", "wilddash2")
DRIVING = ("cityscapes", "mapillary", "bdd100k", "idd26", "wilddash2")
SEVEN = [19, 64, 37, 19, 26, 150, 133]  # 448 classes
STAGES = [["MULTI_HEAD", 4], ["GNN", 3], ["SEG", 2], ["GNN", 3], ["FINAL", 4]]
ONE_STEP = [[stage, 1] for stage, _ in STAGES]
SMALL_NETWORK = {
    "MODEL.TIMM.NAME": "resnet18",
    # in quotes: it is a text (JSON), and the command line would read a dictionary
    "MODEL.TIMM.ARGS": '{"layers": [1, 1, 1, 1], "channels": [16, 24, 32, 48]}',
    "MODEL.TIMM.OUT_INDICES": "[1, 2, 3, 4]",
    "MODEL.EMBED_DIM": "32",
    "MODEL.PIXEL_DECODER.HIDDEN_DIM": "32",
    "GRAPH.HIDDEN_DIM": "64",
}
FEW_ITERATIONS = {
    "MODEL.DEVICE": "cpu",
    "MODEL.TIMM.PRETRAINED": "",
    "TEXT.ENCODER": "hashed",
    "INPUT.IMAGES_PER_DATASET": "1",
    "UNIFY.CACHE_PIXELS": "2000",
    "UNIFY.FIT_ITERATIONS": "20",
    "DATALOADER.NUM_WORKERS": "0",
}


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One root with a small copy of every dataset of the three configurations."""
    root = tmp_path_factory.mktemp("datasets")
    for name in dict.fromkeys((*PAPER_DATASETS, *RVC, *DRIVING)):
        write_miniature(name, root, train=3, val=2, size=(128, 160), block=16)
    return root


def run(
    config: str, folder: Path, stages: list[list[Any]], overrides: dict[str, str]
) -> dict[str, Any]:
    options = {**FEW_ITERATIONS, "SCHEDULE": json.dumps(stages), "OUTPUT_DIR": str(folder)}
    pairs = [text for pair in {**options, **overrides}.items() for text in pair]
    done = program.train_net("--config-file", config, *pairs)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    return json.loads((folder / "results.json").read_text())


def check(
    folder: Path,
    results: dict[str, Any],
    datasets: tuple[str, ...],
    classes: list[int],
    stages: list[list[Any]],
) -> UnifiedLabelSpace:
    space = UnifiedLabelSpace.load(folder / "label_space.json")
    assert list(results["datasets"]) == list(datasets)
    assert space.label_spaces.num_classes == classes
    assert [s["name"] for s in results["stages"]] == [name for name, _ in stages]
    assert results["num_unified"] == len(space.names) >= max(classes)
    for entry in results["datasets"].values():
        assert entry["images"] == 2
        assert 0 <= entry["miou"] <= 100
        assert 0 <= entry["unified_miou"] <= 100
    return space


@pytest.mark.parametrize(
    ("config", "names", "classes", "overrides"),
    [
        ("configs/7ds.yaml", PAPER_DATASETS, SEVEN, {}),
        (
            "configs/7ds_1gpu.yaml",
            PAPER_DATASETS,
            [19, 64, 37, 19, 26, 150, 133],
            {"INPUT.ACCUMULATE": "2"},
        ),
        ("configs/baselines/7ds_paper.yaml", PAPER_DATASETS, SEVEN, {}),
        ("configs/rvc.yaml", RVC, [19, 150, 64, 23, 20, 26], {}),
        ("configs/driving.yaml", DRIVING, [19, 64, 19, 26, 26], {}),
        (
            "configs/7ds.yaml",
            ("mapillary", "ade20k150"),
            [64, 150],
            {"DATASETS.ONLY": '["mapillary", "ade20k150"]', "UNIFY.NODES": "ilp"},
        ),
    ],
    ids=["7ds", "7ds_1gpu", "paper", "rvc", "driving", "subset"],
)
def test_all_stages(
    config: str,
    names: tuple[str, ...],
    classes: list[int],
    overrides: dict[str, str],
    datasets: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets))
    overrides = {**SMALL_NETWORK, "INPUT.CROP_SIZE": "[64, 64]", **overrides}
    results = run(config, tmp_path, STAGES, overrides)
    check(tmp_path, results, names, classes, STAGES)


@pytest.mark.parametrize("name", ["7ds_multi_head", "7ds_single"])
def test_baselines_without_unified_labels(
    name: str, datasets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets))
    overrides = {**SMALL_NETWORK, "INPUT.CROP_SIZE": "[64, 64]"}
    stages = [["MULTI_HEAD", 2]]
    results = run(f"configs/baselines/{name}.yaml", tmp_path, stages, overrides)
    assert list(results["datasets"]) == list(PAPER_DATASETS)
    assert not (tmp_path / "label_space.json").exists()
    assert (tmp_path / "model_final.pth").exists() == (name == "7ds_multi_head")


def test_paper_size_fits_into_20_gib(
    datasets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets))
    results = run("configs/7ds.yaml", tmp_path, ONE_STEP, {"INPUT.CROP_SIZE": "[128, 128]"})
    space = check(tmp_path, results, PAPER_DATASETS, SEVEN, ONE_STEP)
    weights = load_file(tmp_path / "model_final.pth")["model"]
    assert weights["uni_head.label_embedding"].shape == (len(space.names), 512)
    assert sum(v.numel() for k, v in weights.items() if k.startswith("backbone.")) > 65e6
    # Largest resident set of all programs started so far, in KiB.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"peak memory {peak:.1f} GiB")
    assert peak <= 20

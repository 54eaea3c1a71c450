"""Training on after an addition: datasets at hand train, the others are kept by distillation."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2")

from folder_datasets import write_folder
from tiny_model import tiny_model

from unilabel.adding.base import read_base
from unilabel.adding.finetune import (
    class_log_probabilities,
    distillation,
    finetune,
    sources_at_hand,
)
from unilabel.adding.job import add_dataset
from unilabel.core.errors import UniLabelError
from unilabel.core.synthetic import write_toy_world
from unilabel.data.build import build_sources
from unilabel.data.folders import folder_source

pytestmark = pytest.mark.d2


@pytest.mark.parametrize("mode", ["probability_sum", "logit_sum"])
def test_distillation_is_a_divergence(mode) -> None:
    model, other = tiny_model(mode, 0).eval(), tiny_model(mode, 1).eval()
    embedding = torch.randn(1, 6, 3, 4, generator=torch.Generator().manual_seed(0))
    for dataset in ("city", "idd"):
        same = distillation(model, model, embedding, embedding, dataset)
        assert float(same.detach()) == pytest.approx(0.0, abs=1e-6)
        assert float(distillation(model, other, embedding, embedding, dataset).detach()) > 0.01
        total = class_log_probabilities(model, embedding, dataset).exp().sum(1)
        assert torch.allclose(total, torch.ones_like(total), atol=1e-5)


@pytest.fixture(scope="module")
def added(toy_weights: Path, tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("sets")
    write_toy_world(root, 0, 2, 1)
    base = read_base(toy_weights)
    cfg = base.cfg
    cfg.DATASETS.TOY = False
    cfg.DATASETS.CUSTOM = [str(root / "toy_city"), str(root / "nowhere")]
    cfg.INPUT.IMAGES_PER_DATASET, cfg.INPUT.CROP_SIZE = 1, [32, 32]
    cfg.DATALOADER.NUM_WORKERS = 0
    source = folder_source(str(write_folder(root / "mine", "stone moss lamp", train=2, val=1)))
    return add_dataset(base, source, encoder="hashed")


def test_what_is_at_hand_is_scored_and_the_rest_is_kept(added) -> None:
    before = {k: v.clone() for k, v in added.model.state_dict().items()}
    tuned = finetune(added, 2)
    assert set(tuned.after) == set(tuned.before) == {"toy_city", "mine"}
    assert set(tuned.kept) == {"toy_fine", "toy_idd", "toy_coarse"}
    assert all(0.5 < share <= 1 for share in tuned.kept.values())
    after = tuned.added.model.state_dict()
    assert any(not torch.equal(before[k], after[k]) for k in before if k.startswith("backbone."))
    assert all(torch.equal(v, before[k]) for k, v in added.model.state_dict().items())
    new = slice(len(added.base.space.names), None)
    silent = tuned.added.model.uni_head.dataset_bias[:, new] < -5e3
    names = added.space.label_spaces.names
    assert silent.shape[1] > 0
    assert silent[names.index("toy_fine")].all()
    assert not silent[names.index("toy_city")].any()
    told = "\n".join(tuned.lines())
    assert "toy_city: mIoU" in told
    assert "toy_idd: not at hand" in told


@pytest.mark.parametrize("way", ["folder", "builtin's name", "toy", "export", "changed classes"])
def test_at_hand_is_what_training_would_find(
    added, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the configuration names a dataset, finetuning opens it as training does."""
    city = added.base.space.label_spaces.get("toy_city")
    name = "camvid11" if way == "builtin's name" else "toy_city"
    root = tmp_path / ("toy_world" if way == "toy" else "sets")
    if way == "toy":
        write_toy_world(root, 0, 2, 1)
    elif way == "export":  # photos and masks with a list of names
        write_toy_world(tmp_path / "world", 0, 2, 1)
        for kind, title in (("images", "images"), ("labels", "masks")):
            shutil.copytree(tmp_path / "world/toy_city" / kind, root / "toy_city" / title)
        (root / "toy_city/labels.txt").write_text("\n".join(city.class_names))
    else:
        write_toy_world(root, 0, 2, 1)
        (root / "toy_city").rename(root / "moved")
        shutil.move(root / "moved", root / name)
        content = json.loads((root / name / "classes.json").read_text()) | {"name": "toy_city"}
        if way == "changed classes":
            content["classes"][0]["name"] = "heaven"
        (root / name / "classes.json").write_text(json.dumps(content))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    cfg = added.base.cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = str(tmp_path)
    cfg.DATASETS.TOY = way == "toy"
    cfg.DATASETS.CUSTOM = [] if way == "toy" else [name]
    if way == "changed classes":
        cfg.DATASETS.CLASSES = [["toy_city", {"heaven": city.class_names[0]}]]
    trained = {s.name: s.label_space.class_names for s in build_sources(cfg)}
    found = sources_at_hand(replace(added, base=replace(added.base, cfg=cfg)))
    assert {s.name: s.label_space.class_names for s in found} == trained
    assert trained["toy_city"] == city.class_names
    assert len(found[0].samples("train")) == 2


def test_nothing_to_train(added) -> None:
    with pytest.raises(UniLabelError, match="at least one"):
        finetune(added, 0)

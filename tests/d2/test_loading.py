"""A finished model from its file alone, and files that are refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

pytest.importorskip("detectron2")

import unilabel.modeling  # noqa: F401  registers the backbone
from unilabel.config_keys import FORMER
from unilabel.core.errors import UniLabelError
from unilabel.core.synthetic import toy_label_spaces
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.checkpoint import load_file, save_file
from unilabel.engine.loading import config_of, load_model

pytestmark = pytest.mark.d2


def test_unified_model_comes_back(toy_weights: Path, toy_space: UnifiedLabelSpace) -> None:
    model, space = load_model(toy_weights)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert model.multi_head is None
    assert torch.equal(model.uni_head.mapping, toy_space.mapping.stacked())
    assert space == toy_space
    assert model.label_spaces.names == [s.name for s in toy_label_spaces()]
    saved = load_file(toy_weights)["model"]
    assert all(torch.equal(v, saved[k]) for k, v in model.state_dict().items())


def test_multi_head_model_comes_back(multi_head_weights: Path) -> None:
    model, space = load_model(multi_head_weights)
    assert space is None
    assert model.uni_head is None
    assert [len(w) for w in model.multi_head.weights] == [17, 14, 11, 11]


def test_checkpoint_of_a_run_answers_with_its_unified_labels(
    toy_weights: Path, toy_space: UnifiedLabelSpace, tmp_path: Path, caplog
) -> None:
    """As the trainer writes it between stages: no label space, heads perhaps still beside."""
    content = load_file(toy_weights)
    final, _ = load_model(toy_weights)
    heads = {
        f"multi_head.weights.{i}": torch.zeros(
            space.num_classes, final.uni_head.label_embedding.shape[1]
        )
        for i, space in enumerate(toy_label_spaces())
    }
    names = toy_space.mapping.stacked()
    for more in ({}, heads):
        checkpoint = {k: v for k, v in content.items() if k != "label_space"}
        checkpoint |= {
            "model": {**content["model"], **more},
            "iteration": 7,
            "edge_weights": 0.5 * names.float(),
            "human_links": names & (torch.arange(len(names)) == 3)[:, None],
        }
        save_file(tmp_path / "model_0000007.pth", checkpoint)
        caplog.clear()
        model, space = load_model(tmp_path / "model_0000007.pth")
        assert "at iteration 7, not its finished model" in caplog.text
        assert model.multi_head is None
        assert space is not None
        assert torch.equal(space.mapping.stacked(), names)
        assert {link.weight for link in space.links.values()} == {0.5}
        assert {row for (row, _, _), x in space.links.items() if x.source == "human"} == {3}
        assert model.spaces() == final.spaces()
    checkpoint["edge_weights"] = torch.zeros(2, 2)  # of an earlier moment
    checkpoint["human_links"] = None
    save_file(tmp_path / "model_0000007.pth", checkpoint)
    space = load_model(tmp_path / "model_0000007.pth")[1]
    assert {link.weight for link in space.links.values()} == {1.0}


def test_checkpoint_with_a_mapping_that_is_none_is_refused(toy_weights: Path, tmp_path: Path):
    def cut(model: dict) -> dict:
        return {**model, "uni_head.mapping": torch.zeros_like(model["uni_head.mapping"])}

    path = changed(toy_weights, tmp_path, label_space=None, model=cut)
    with pytest.raises(UniLabelError, match=r"changed\.pth: its unified labels are no label space"):
        load_model(path)


def test_label_space_without_unified_labels_is_refused(
    multi_head_weights: Path, toy_space: UnifiedLabelSpace, tmp_path: Path
) -> None:
    path = changed(multi_head_weights, tmp_path, label_space=toy_space.to_dict())
    with pytest.raises(UniLabelError, match="a label space without unified labels"):
        load_model(path)


def changed(path: Path, folder: Path, **values: Any) -> Path:
    """The file with other content; None removes a key."""
    content = copy.deepcopy(load_file(path))
    for key, value in values.items():
        if value is None:
            del content[key]
        else:
            content[key] = value(content[key]) if callable(value) else value
    save_file(folder / "changed.pth", content)
    return folder / "changed.pth"


@pytest.mark.parametrize("key", ["model", "num_unified", "label_spaces", "config"])
def test_incomplete_files_are_refused(toy_weights: Path, tmp_path: Path, key: str) -> None:
    with pytest.raises(UniLabelError, match=rf"changed\.pth lacks {key}; it is no finished model"):
        load_model(changed(toy_weights, tmp_path, **{key: None}))


def test_weights_of_another_size_are_refused(toy_weights: Path, tmp_path: Path) -> None:
    path = changed(toy_weights, tmp_path, num_unified=7)
    with pytest.raises(UniLabelError, match="the weights do not fit their configuration"):
        load_model(path)
    path = changed(toy_weights, tmp_path, model=lambda m: {**m, "x": torch.zeros(1)})
    with pytest.raises(UniLabelError, match="the weights do not fit their configuration"):
        load_model(path)


def test_label_space_that_disagrees_with_the_weights_is_refused(toy_weights, tmp_path: Path):
    def cut_a_link(data: dict) -> dict:
        several = [x for x in data["labels"] if sum(v is not None for v in x["links"].values()) > 1]
        pole = next(x for x in several if x["name"] == "road")
        pole["links"]["toy_city"] = None
        return data

    with pytest.raises(UniLabelError, match="label space and weights disagree; the file was edit"):
        load_model(changed(toy_weights, tmp_path, label_space=cut_a_link))


def test_damaged_parts_are_named_with_the_file(toy_weights: Path, tmp_path: Path) -> None:
    path = changed(toy_weights, tmp_path, label_space=lambda d: {**d, "version": 9})
    with pytest.raises(UniLabelError, match=r'changed\.pth: "version" is 9'):
        load_model(path)
    path = changed(toy_weights, tmp_path, label_spaces=lambda d: d[:1] * 2)
    with pytest.raises(UniLabelError, match=r"changed\.pth: the dataset 'toy_fine' is named twice"):
        load_model(path)


@pytest.mark.parametrize("text", ["A: [1", "!!python/object/apply:os.getcwd []", "- 1", "", "5"])
def test_configuration_that_is_no_plain_mapping_is_refused(toy_weights, tmp_path, text: str):
    with pytest.raises(UniLabelError, match=r"changed\.pth: its configuration is not plain YAML"):
        load_model(changed(toy_weights, tmp_path, config=text))


def test_configuration_of_another_version_is_read() -> None:
    dump = "SEED: 7\nGONE: 3\nMODEL:\n  EMBED_DIM: 9\n  LOST:\n    A: 1\n"
    cfg = config_of(dump, "x")
    assert (cfg.SEED, cfg.MODEL.EMBED_DIM) == (7, 9)
    assert cfg.UNIFY.NODES == "fused"
    assert "GONE" not in cfg


def test_group_of_keys_that_is_no_group_is_refused() -> None:
    with pytest.raises(UniLabelError, match="x: its configuration is not plain YAML"):
        config_of("MODEL: 5\n", "x")


def test_pretrained_weights_are_not_fetched_again(toy_weights: Path, tmp_path: Path) -> None:
    path = changed(
        toy_weights,
        tmp_path,
        config=lambda text: text.replace("PRETRAINED: ''", "PRETRAINED: nowhere.pth"),
    )
    assert "nowhere.pth" in load_file(path)["config"]
    assert load_model(path)[1] is not None


def test_settings_that_are_gone_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Those of a training that had another value than the one that stayed."""
    usual = {key.split(".")[1]: value for key, value in FORMER.items() if key.startswith("GRAPH.")}
    config_of(yaml.safe_dump({"GRAPH": usual}), "old")
    assert not caplog.records
    config_of(yaml.safe_dump({"GRAPH": {**usual, "LAYERS": 2}}), "old")
    assert [r.getMessage() for r in caplog.records] == [
        "old was trained with GRAPH.LAYERS 2, which is gone (nothing ever set it; the label graph "
        "has 3); going on with 3."
    ]

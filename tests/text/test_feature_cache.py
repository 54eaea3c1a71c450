from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.text import cache
from unilabel.text.cache import encode_labels, load_features, load_or_encode, save_features


def space(name, classes, descriptions):
    colors = tuple((i, 0, 0) for i in range(len(classes)))
    return LabelSpace(name, tuple(classes), colors, descriptions=tuple(descriptions))


@pytest.fixture
def spaces():
    return LabelSpaceSet(
        [
            space("streets", ["road", "tree"], ["Paved ground.", "A tall plant."]),
            space("rooms", ["wall"], ["The side of a room."]),
        ]
    )


@pytest.fixture
def path(spaces, tmp_path):
    file = tmp_path / "features.safetensors"
    load_or_encode(file, spaces, "hashed:32")
    return file


def refuse_to_encode(*args, **kwargs):
    raise AssertionError("the file should have been used")


def test_features_are_read_back_without_encoding(path, spaces, monkeypatch):
    fresh = load_or_encode(None, spaces, "hashed:32")
    monkeypatch.setattr(cache, "build_text_encoder", refuse_to_encode)
    assert torch.equal(load_or_encode(path, spaces, "hashed:32"), fresh)
    assert fresh.shape == (3, 32)


def test_a_file_serves_fewer_datasets_in_another_order(path, spaces, monkeypatch):
    monkeypatch.setattr(cache, "build_text_encoder", refuse_to_encode)
    everything = load_or_encode(path, spaces, "hashed:32")
    turned = load_or_encode(path, LabelSpaceSet([spaces[1], spaces[0]]), "hashed:32")
    assert torch.equal(turned, everything[[2, 0, 1]])
    assert torch.equal(load_or_encode(path, LabelSpaceSet([spaces[1]]), "hashed:32"), turned[:1])


def test_a_changed_text_makes_the_file_stale(path, spaces):
    edited = replace(spaces[0], descriptions=("Paved ground.", "A palm."))
    with pytest.raises(UniLabelError, match="the text of 'streets:tree' has changed"):
        load_or_encode(path, LabelSpaceSet([edited, spaces[1]]), "hashed:32")


def test_a_file_without_a_label_is_refused(path, spaces):
    more = LabelSpaceSet([*spaces, space("fields", ["grass"], ["Green."])])
    with pytest.raises(UniLabelError, match="no features of 'fields:grass'"):
        load_or_encode(path, more, "hashed:32")


@pytest.mark.parametrize(
    ("spec", "mode", "message"),
    [
        ("hashed:64", "prompt+description", "encoder 'hashed:32', not 'hashed:64'"),
        ("minilm", "prompt+description", "encoder 'hashed:32', not 'minilm'"),
        ("hashed:32", "name", r"mode 'prompt\+description', not 'name'"),
    ],
)
def test_a_file_of_another_encoder_or_mode_is_refused(path, spaces, spec, mode, message):
    with pytest.raises(UniLabelError, match=message):
        load_or_encode(path, spaces, spec, mode=mode)


def test_a_file_of_other_weights_is_refused_where_the_model_is_there(spaces, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    content = replace(
        encode_labels(spaces, "hashed:32"), encoder="sentence:model", model_hash="0" * 64
    )
    file = tmp_path / "features.safetensors"
    save_features(file, content)
    with pytest.raises(UniLabelError, match="other weights of sentence:model"):
        load_or_encode(file, spaces, f"sentence:{model}")
    elsewhere = load_or_encode(file, spaces, "sentence:/not/here/model")
    assert torch.equal(elsewhere, content.features)


def test_foreign_and_broken_files_are_refused(path, tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, foreign)
    with pytest.raises(UniLabelError, match="expected 'unilabel-text-features 1'"):
        load_features(foreign)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UniLabelError, match="cannot read the feature file"):
        load_features(broken)


@pytest.mark.parametrize(
    "features", [torch.zeros(2, 4), torch.zeros(3), torch.full((3, 4), torch.nan)]
)
def test_features_that_do_not_fit_the_labels_are_refused(spaces, tmp_path, features):
    file = tmp_path / "features.safetensors"
    save_features(file, replace(encode_labels(spaces, "hashed:32"), features=features))
    with pytest.raises(UniLabelError, match="expected one finite row"):
        load_features(file)


def test_the_file_says_what_made_it(path):
    content = load_features(path)
    assert content.encoder == "hashed:32"
    assert content.mode == "prompt+description"
    assert content.label_names == ("streets:road", "streets:tree", "rooms:wall")
    assert content.text_hashes[2] == cache.text_hash(
        "An image of wall from the dataset rooms. The side of a room."
    )

"""Evaluation and predictor ask the network in the same way: windows, several sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2")

from folder_datasets import SIZE, write_folder
from tiny_model import tiny_model

from unilabel.config import load_config
from unilabel.core.errors import UniLabelError
from unilabel.data.build import build_sources
from unilabel.data.test_size import TestSize
from unilabel.engine.evaluate import count, score_datasets
from unilabel.modeling.windows import TTA_SCALES, Asking
from unilabel.predictor import UniLabelPredictor

pytestmark = pytest.mark.d2

QUICK = Path(__file__).parents[2] / "configs/quick/toy.yaml"
SHORT_SIDE = 3 * SIZE[0]  # larger than a window


def config(folder: Path, *more: str):
    values = ["DATASETS.TOY", "False", "DATASETS.CUSTOM", f"['{folder}']"]
    values += ["INPUT.TEST_SHORT_SIDE", str(SHORT_SIDE)]
    return load_config(QUICK, [*values, *more])


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        ({}, {}),
        ({"TEST.WINDOW": "64"}, {"window": 64}),
        ({"TEST.SCALES": str(list(TTA_SCALES))}, {"tta": True}),
        ({"TEST.SCALES": str(list(TTA_SCALES)), "TEST.WINDOW": "64"}, {"tta": True, "window": 64}),
    ],
)
def test_scores_are_those_of_the_predictors_answers(tmp_path, keys, options) -> None:
    cfg = config(
        write_folder(tmp_path / "city", "road car"), *(w for pair in keys.items() for w in pair)
    )
    (source,) = build_sources(cfg)
    model = tiny_model().eval()
    predictor = UniLabelPredictor(model, None, TestSize(SHORT_SIDE))
    sizes: set[tuple[int, ...]] = set()
    model.backbone.register_forward_hook(lambda _, images, __: sizes.add(images[0].shape[2:]))
    expected = torch.zeros(2, 2, dtype=torch.int64)
    for sample in source.samples("val"):
        answer = predictor.predict(sample.image, "city", **options).labels
        label = source.decode_label(sample.label)
        valid = label != 255
        np.add.at(expected.numpy(), (label[valid], answer[valid]), 1)
    asked = sizes.copy()
    sizes.clear()
    found = count(cfg, model, source, "val", ["city"])["city"]
    assert torch.equal(found.long(), expected)
    assert model.asking == Asking()  # as it was
    assert sizes == asked
    whole = (SHORT_SIDE, SHORT_SIDE * SIZE[1] // SIZE[0])
    assert (whole in sizes) == ("window" not in options)
    assert (len(sizes) > 1) == ("tta" in options)
    tested = score_datasets(cfg, model, [source], None)["test"]
    assert tested["window"] == options.get("window", 0)
    assert tested["scales"] == list(TTA_SCALES if "tta" in options else ())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("TEST.WINDOW", "63", r"TEST\.WINDOW is 63, expected 0"),
        ("TEST.WINDOW", "-1", r"TEST\.WINDOW is -1"),
        ("TEST.SCALES", "[1.0, 0]", r"TEST\.SCALES is \[1\.0, 0\], expected positive"),
    ],
)
def test_bad_values_are_refused_before_the_training(tmp_path, key, value, message) -> None:
    with pytest.raises(UniLabelError, match=message):
        config(tmp_path, key, value)


@pytest.mark.parametrize("values", [{"window": 5}, {"window": -1}, {"scales": (1.0, 0.0)}])
def test_bad_ways_to_ask_are_refused(values) -> None:
    with pytest.raises(UniLabelError, match="expected"):
        Asking(**values)

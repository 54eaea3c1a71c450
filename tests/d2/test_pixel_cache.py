"""Cached pixel embeddings: which pixels, their labels, and that they can be drawn again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2")

from folder_datasets import write_folder
from made_up_world import config
from tiny_model import CLASSES, DIM, TinyDecoder, tiny_item, tiny_model
from torch import nn

from unilabel.core.errors import UniLabelError
from unilabel.data.folders import folder_source
from unilabel.data.sources import DatasetSource, load_sample
from unilabel.engine.pixel_cache import PixelCache, collect_pixels, embed_batch

pytestmark = pytest.mark.d2


@pytest.fixture
def sources(tmp_path: Path) -> list[DatasetSource]:
    city = write_folder(tmp_path / "city", "road car", train=4)
    idd = write_folder(tmp_path / "idd", "road marking sky", train=3, seed=1)
    return [folder_source(str(city)), folder_source(str(idd))]


def collect(sources: list[DatasetSource], salt: int = 0, **values) -> PixelCache:
    cfg = config(**{"UNIFY__CACHE_PIXELS": 60, "DATALOADER__NUM_WORKERS": 0, **values})
    return collect_pixels(tiny_model(), cfg, sources, salt)


@torch.no_grad()
def test_every_cached_pixel_is_a_cell_of_a_training_image(sources) -> None:
    cache = collect(sources, UNIFY__CACHE_PIXELS=10**6)
    model = tiny_model().eval()
    for source, embeddings, labels in zip(sources, cache.embeddings, cache.labels, strict=True):
        rows, truth = [], []
        for sample in source.samples("train"):
            image, label = load_sample(source, sample)
            cells = model.embed(torch.from_numpy(image).permute(2, 0, 1)[None])[0]
            at = model.grid(label.shape).labels(torch.from_numpy(label), tuple(cells.shape[1:]))
            at = at.flatten().long()
            rows.append(cells.flatten(1).T[at != 255])
            truth.append(at[at != 255])
        wanted = torch.cat([torch.cat(rows).half().float(), torch.cat(truth)[:, None]], 1)
        found = torch.cat([embeddings, labels[:, None]], 1)
        assert found.shape == wanted.shape
        # the same rows in another order; batches of several sizes round a little differently
        order, other = found.sum(1).argsort(), wanted.sum(1).argsort()
        assert torch.allclose(found[order], wanted[other], atol=5e-3)
        assert embeddings.dtype == torch.float32
        assert 255 not in labels


def test_number_of_pixels_and_images(sources) -> None:
    cache = collect(sources)
    assert [len(y) for y in cache.labels] == [60, 60]  # 15 of each of 4, 20 of each of 3 images
    assert [e.shape for e in cache.embeddings] == [(60, DIM), (60, DIM)]
    some = collect(sources, UNIFY__CACHE_PIXELS=5)
    assert [len(y) for y in some.labels] == [8, 6]  # 5 of 4 images: 2 of each, not 1
    few = collect(sources, UNIFY__CACHE_IMAGES=1)
    assert all(len(y) <= 48 for y in few.labels)  # 6 x 8 cells of one image


def test_collection_repeats_itself_and_leaves_the_model_as_it_was(sources) -> None:
    model, cfg = tiny_model(), config(DATALOADER__NUM_WORKERS=0, UNIFY__CACHE_PIXELS=40)
    model.train()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    one, two = (collect_pixels(model, cfg, sources, 3) for _ in range(2))
    assert model.training
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in state.items())
    for a, b in zip(one.embeddings + one.labels, two.embeddings + two.labels, strict=True):
        assert torch.equal(a, b)
    other = collect_pixels(model.eval(), cfg, sources, 4)
    assert not model.training
    assert not torch.equal(one.embeddings[0], other.embeddings[0])


def test_collection_does_not_depend_on_the_global_generator(sources) -> None:
    torch.manual_seed(5)
    one = collect(sources)
    torch.manual_seed(6)
    two = collect(sources)
    assert torch.equal(one.embeddings[0], two.embeddings[0])


def test_dataset_without_labelled_pixels_is_refused(tmp_path: Path, sources) -> None:
    import cv2
    import numpy as np

    for path in (tmp_path / "idd" / "labels" / "train").iterdir():
        cv2.imwrite(str(path), np.full((24, 32), 255, np.uint8))
    with pytest.raises(UniLabelError, match="dataset 'idd' has no labelled pixel in 3 training im"):
        collect(sources)


def test_batches_draw_from_every_dataset() -> None:
    cache = PixelCache(
        [torch.arange(5.0)[:, None], 10 + torch.arange(3.0)[:, None]],
        [torch.arange(5), torch.arange(3)],
    )
    pairs = cache.batch(200, torch.Generator().manual_seed(0))
    for offset, (pixels, labels) in zip((0, 10), pairs, strict=True):
        assert pixels.shape == (200, 1)
        assert torch.equal(pixels[:, 0], labels + float(offset))  # a pixel keeps its label
    assert set(pairs[0][1].tolist()) == set(range(5))
    again = cache.batch(200, torch.Generator().manual_seed(0))
    assert torch.equal(again[1][1], pairs[1][1])


def test_class_counts_include_absent_classes() -> None:
    cache = PixelCache([torch.zeros(3, 1)], [torch.tensor([0, 2, 2])])
    assert cache.class_counts([4])[0].tolist() == [1, 0, 2, 0]


@torch.no_grad()
def test_batches_are_embedded_by_the_network_as_it_is() -> None:
    """Labelled cells of each dataset, in eval mode: neither batch statistics nor their update."""
    decoder = TinyDecoder()
    decoder.conv = nn.Sequential(decoder.conv, nn.BatchNorm2d(DIM), nn.Dropout(0.5))
    model = tiny_model(pixel_decoder=decoder).train()
    batch = [
        tiny_item(name, (20, 28), seed) for name, seed in (("city", 0), ("city", 1), ("idd", 2))
    ]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    pairs = embed_batch(model, batch)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in state.items())
    model.eval()
    assert len(pairs) == len(CLASSES)
    for name, (pixels, truth) in zip(CLASSES, pairs, strict=True):
        wanted, labels = [], []
        for item in (i for i in batch if i["dataset_name"] == name):
            cells = model.embed(item["image"][None])[0]
            at = model.grid((20, 28)).labels(item["sem_seg"], tuple(cells.shape[1:])).flatten()
            wanted.append(cells.flatten(1).T[at != 255])
            labels.append(at[at != 255].long())
        assert torch.allclose(pixels, torch.cat(wanted), atol=1e-5)
        assert torch.equal(truth, torch.cat(labels))
        assert 0 < len(truth) < 35 * len(labels)  # some cells are void

"""Photos that are predicted in windows: the answers of the whole embedding, in little memory."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2")

from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from unilabel.core.grid import CellGrid
from unilabel.core.label_space import UNIFIED
from unilabel.core.reading import BandReader, read_labels
from unilabel.predictor import build_predictor

pytestmark = pytest.mark.d2


@settings(deadline=None)
@given(
    st.integers(1, 60),
    st.sampled_from([0, 1, 4]),
    st.integers(1, 90),
    st.lists(st.integers(1, 6), min_size=1, max_size=12),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_bands_are_read_as_the_whole(pixels, stride, rows, steps, several, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    height = -(-pixels // stride) if stride else max(2, pixels // 3)
    scores = torch.randn(1, 5, height, 3, generator=generator)
    mapping = torch.eye(5, 3, dtype=torch.bool) if several else None
    if several:
        mapping[3, 0] = True
    grid, size = CellGrid((pixels, 3 * max(stride, 1)), stride), (rows, 7)
    reader, first = BandReader(grid, (height, 3), size, confidence=True), 0
    for step in [*steps, height]:
        if first < height:
            reader.add(scores[:, :, first : first + step], mapping)
            first += step
    found, expected = reader.labels(), read_labels(scores, grid, size, mapping, confidence=True)
    assert torch.equal(found.labels, expected.labels)
    assert torch.allclose(found.confidence, expected.confidence, atol=1e-3)


@pytest.mark.parametrize("size", [(300, 170), (64, 500), (97, 96), (50, 40)])
def test_windows_one_after_the_other_give_the_same_answers(toy_weights: Path, size) -> None:
    predictor = build_predictor(toy_weights)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = image.repeat(2, 0).repeat(2, 1)[: size[0], : size[1]]
    spaces = [(predictor, UNIFIED), (predictor, "toy_city")]
    whole = predictor.encode(image, short_side=0, window=96)
    for (_, name), answer in zip(
        spaces, predictor.predict_in_windows(image, spaces, 96, 0), strict=True
    ):
        expected = predictor.predict(whole, name)
        assert answer.space == name
        assert (answer.labels == expected.labels).all()
        assert np.allclose(answer.confidence, expected.confidence, atol=1e-3)
        assert np.allclose(answer.shares, expected.shares)


class LiveBytes(TorchDispatchMode):
    """Bytes of the tensors that are there at a time, at most."""

    def __init__(self) -> None:
        super().__init__()
        self.known: set[int] = set()
        self.now = self.peak = 0

    def gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in (leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)):
            storage = tensor.untyped_storage()
            if storage._cdata not in self.known:
                self.known.add(storage._cdata)
                self.now += storage.nbytes()
                weakref.finalize(storage, self.gone, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return out


def test_memory_grows_with_the_answer_not_with_channels_and_labels(toy_weights: Path) -> None:
    predictor = build_predictor(toy_weights, optimize=False)  # packed weights hide their storage
    spaces = [(predictor, UNIFIED)]

    def in_windows(image):
        return list(predictor.predict_in_windows(image, spaces, 96, 0))

    def as_a_whole(image):
        return predictor.predict(predictor.encode(image, 0, window=96), UNIFIED)

    width, heights = 128, (512, 1536)
    growth = []
    for ask in (in_windows, as_a_whole):
        peaks = []
        for height in heights:
            with LiveBytes() as live:
                ask(np.zeros((height, width, 3), np.uint8))
            peaks.append(live.peak)
        growth.append((peaks[1] - peaks[0]) / (width * (heights[1] - heights[0])))
    # the photo has 3 bytes, a label and its confidence have 2 each; the embedding and scores, 48
    # channels and 19 unified labels of 4 bytes for each of 16 pixels, have 16.75 more
    assert growth[0] <= 7.1
    assert growth[1] >= 16.75


def test_windows_without_effect_are_said(toy_weights: Path) -> None:
    predictor = build_predictor(toy_weights)  # asked at a short side of 96 pixels
    assert "--short-side 0" in predictor.size_note((900, 1200), None, 256)
    assert predictor.size_note((900, 1200), 0, 256) == ""
    assert predictor.size_note((200, 256), None, 256) == ""

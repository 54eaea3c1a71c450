"""One entry for applications: an image in, a label map of any label space out.

Letters: D embedding dim, N unified labels, C_i classes of dataset i, R labels of the answer, h x w
feature size, H x W image size.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

import unilabel.modeling  # noqa: F401  (registers backbones and meta-architecture)
from unilabel.core.errors import UniLabelError
from unilabel.core.projection import dataset_logits
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.augment import resize_short_side
from unilabel.engine.loading import config_of, load_model
from unilabel.modeling.meta_arch import UNIFIED, UniLabelSegmentor, upsample_rows

_MIN_SIDE = 32  # pixels; backbones reduce images by this factor
_TTA_SCALES = (0.75, 1.0, 1.25)
_CHUNK = 2**22  # scores at image resolution held at once
_MIN_COMMON = 0.5  # share of links that an edited label space has in common with the model's


@dataclass(frozen=True)
class EncodedImage:
    """What the network sees in an image; every label space is answered from it.

    Attributes:
        embedding: (1, D, h, w) pixel embeddings.
        size: (H, W) of the image.
    """

    embedding: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class Prediction:
    """A label map and what its ids mean.

    Attributes:
        space: name of the label space.
        labels: (H, W) int16 label ids.
        names: R label names.
        colors: R display colours.
        shares: (R,) share of pixels of each label, adds up to 1.
        confidence: (H, W) float16 probability of the label, or None if it was not asked for.
    """

    space: str
    labels: NDArray[np.int16]
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    shares: NDArray[np.float64]
    confidence: NDArray[np.float16] | None = None

    def legend(self) -> list[tuple[str, tuple[int, int, int], float]]:
        """Name, colour and share of the labels that occur, the largest first."""
        found = np.argsort(-self.shares, kind="stable")
        entries = [(self.names[i], self.colors[i], float(self.shares[i])) for i in found]
        return [entry for entry in entries if entry[2] > 0]


class UniLabelPredictor:
    """Predicts images in the label space of any dataset of a model, or in the unified one.

    It never changes the model: predictors of several label spaces may share one, from several
    threads.
    """

    def __init__(
        self,
        model: UniLabelSegmentor,
        label_space: UnifiedLabelSpace | None,
        test_short_side: int = 0,
        crop_side: int = 0,
    ) -> None:
        """Keep the parts; see :func:`build_predictor`.

        Args:
            model: the network.
            label_space: its unified labels.
            test_short_side: short side of the images that it was tested with; 0: their own.
            crop_side: short side of its training crops; 0: unknown.
        """
        self.model = model
        self.label_space = label_space
        self.test_short_side = test_short_side
        self.crop_side = crop_side

    @property
    def spaces(self) -> list[str]:
        """Names of the label spaces: the datasets, and "unified" if the model has it."""
        return self.model.spaces()

    def with_label_space(
        self, label_space: UnifiedLabelSpace | str | os.PathLike[str]
    ) -> UniLabelPredictor:
        """The same model under edited links, names and colours; the weights are shared.

        Raises:
            UniLabelError: the label space is not one of this model's unified labels.
        """
        if not isinstance(label_space, UnifiedLabelSpace):
            label_space = UnifiedLabelSpace.load(label_space)
        check_label_space(self.label_space, label_space)
        return UniLabelPredictor(self.model, label_space, self.test_short_side, self.crop_side)

    def suggested_short_side(self, size: tuple[int, int]) -> int:
        """Short side at which things have about the size that the network was trained on.

        Args:
            size: (H, W) of an image.

        Returns:
            the side of the tests, if one was set; else that of the training crops for images of
            more than twice their size; else 0: keep the size.
        """
        if self.test_short_side:
            return self.test_short_side
        return self.crop_side if 0 < 2 * self.crop_side < min(size) else 0

    @torch.inference_mode()
    def encode(
        self, image: NDArray[np.uint8], short_side: int = 0, tta: bool = False, window: int = 0
    ) -> EncodedImage:
        """Run the network once, for any number of label spaces.

        Args:
            image: (H, W, 3) uint8 RGB.
            short_side: pixels to resize the short side to for the network; 0: keep the size.
            tta: average the embeddings of three scales and their mirror images.
            window: side of overlapping square windows, pixels, for images larger than the network
                was trained on; 0: the whole image at once.

        Raises:
            UniLabelError: the array is no RGB image, or an option is out of range.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise UniLabelError(
                f"the image is {image.dtype} of shape {image.shape}, expected uint8 (H, W, 3) RGB."
            )
        if short_side < 0 or 0 < window < 2 * _MIN_SIDE or window < 0:
            raise UniLabelError(
                f"short_side is {short_side} and window {window}; expected 0 or more, and 0 or at "
                f"least {2 * _MIN_SIDE}."
            )
        resized = np.ascontiguousarray(resize_short_side(image, short_side))
        pixels = torch.from_numpy(resized).permute(2, 0, 1)[None].float()  # (1, 3, H', W')
        pixels = _resize(pixels.to(self.model.device), 1.0)
        embedding = self._embed(pixels, window)
        if tta:
            size = (embedding.shape[2], embedding.shape[3])
            total = torch.zeros_like(embedding)
            for scale in _TTA_SCALES:
                scaled = _resize(pixels, scale)
                total += _resample(self._embed(scaled, window), size)
                total += _resample(self._embed(scaled.flip(3), window).flip(3), size)
            # the heads are linear: their mean over the variants is the answer to the mean embedding
            embedding = total / (2 * len(_TTA_SCALES))
        return EncodedImage(embedding, (image.shape[0], image.shape[1]))

    def _embed(self, pixels: Tensor, window: int) -> Tensor:
        """(1, 3, H, W) -> (1, D, h, w), in overlapping windows if ``window`` is not 0."""
        height, width = pixels.shape[2:]
        if window == 0 or max(height, width) <= window:
            return self.model.embed(pixels)
        probe = self.model.embed(pixels[:, :, :_MIN_SIDE, :_MIN_SIDE])
        stride = _MIN_SIDE // probe.shape[2]
        size = (-(-height // stride), -(-width // stride))
        total = probe.new_zeros(1, probe.shape[1], *size)
        weight = probe.new_zeros(1, 1, *size)
        for top, tall in _tiles(height, window):
            for left, wide in _tiles(width, window):
                part = self.model.embed(pixels[:, :, top : top + tall, left : left + wide])
                rows, y = _nodes(top, tall, height, size[0], part.device)
                columns, x = _nodes(left, wide, width, size[1], part.device)
                grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None]
                sampled = F.grid_sample(part, grid, align_corners=True, padding_mode="border")
                # nodes near the border of a window count less: they see less of the image
                share = (1.05 - y.abs())[:, None] * (1.05 - x.abs())[None]
                total[:, :, rows, columns] += sampled * share
                weight[:, :, rows, columns] += share
        return total / weight

    @torch.inference_mode()
    def predict(
        self,
        image: NDArray[np.uint8] | EncodedImage,
        space: str | os.PathLike[str] | UnifiedLabelSpace = UNIFIED,
        *,
        short_side: int = 0,
        tta: bool = False,
        window: int = 0,
        confidence: bool = True,
    ) -> Prediction:
        """Segment an image.

        Args:
            image: (H, W, 3) uint8 RGB, or the answer of :meth:`encode`.
            space: a dataset, "unified", or an edited label space of the same unified labels
                (object or ``label_space.json``) whose names and colours the answer then has;
                ``label_space.json:<dataset>`` answers in that dataset under the edited links.
            short_side: see :meth:`encode`.
            tta: see :meth:`encode`.
            window: see :meth:`encode`.
            confidence: also return the probability of each pixel's label.

        Raises:
            UniLabelError: the model does not answer in this space.
        """
        if isinstance(space, UnifiedLabelSpace):
            predictor, name = self.with_label_space(space), UNIFIED
        else:
            predictor, name = self.resolve(os.fspath(space))
        if not isinstance(image, EncodedImage):
            image = self.encode(image, short_side, tta, window)
        return predictor._answer(image, name, confidence)

    def resolve(self, space: str) -> tuple[UniLabelPredictor, str]:
        """Predictor and label space that the argument ``space`` of :meth:`predict` stands for."""
        path, colon, dataset = space.rpartition(":")
        if colon and path.lower().endswith(".json"):
            return self.with_label_space(path), dataset
        if space.lower().endswith(".json"):
            return self.with_label_space(space), UNIFIED
        return self, space

    def _answer(self, image: EncodedImage, space: str, confidence: bool) -> Prediction:
        names, colors = self.labels_of(space)
        labels = np.empty(image.size, np.int16)
        certainty = np.empty(image.size, np.float16) if confidence else None
        counts = torch.zeros(len(names), dtype=torch.int64)
        for top, scores in self._scores(image, space):
            best, label = scores[0].max(0)  # (rows, W)
            rows = slice(top, top + len(label))
            labels[rows] = label.to(torch.int16).cpu().numpy()
            counts += torch.bincount(label.flatten(), minlength=len(names)).cpu()
            if certainty is not None:
                certainty[rows] = self._probability(scores, best, space).half().cpu().numpy()
        shares = counts.double().numpy() / labels.size
        return Prediction(space, labels, names, colors, shares, certainty)

    def labels_of(self, space: str) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
        """Names and colours of the labels of "unified" or a dataset.

        Raises:
            UniLabelError: the model does not answer in this space.
        """
        if space == UNIFIED and self.label_space is not None:
            return self.label_space.names, self.label_space.colors
        if space == UNIFIED:
            raise UniLabelError(
                "this model has one head per dataset and no unified labels; choose one of: "
                f"{', '.join(self.spaces)}."
            )
        if space not in self.spaces:
            raise UniLabelError(
                f"unknown label space {space!r}; this model answers in: {', '.join(self.spaces)}, "
                "or in an edited label_space.json of it."
            )
        classes = self.model.label_spaces.get(space)
        return classes.class_names, classes.colors

    def _scores(self, image: EncodedImage, space: str) -> Iterator[tuple[int, Tensor]]:
        """First row and (1, R, rows, W) scores; the same arithmetic as in the model's inference."""
        head = self.model.uni_head
        mapping = None
        if head is None or self.label_space is None or space == UNIFIED:
            scores = self.model.scores(image.embedding, space)
        else:
            dataset_id = self.model.label_spaces.dataset_index(space)
            mapping = self.label_space.mapping[space].to(image.embedding.device)
            scores = head.unified_logits(image.embedding, dataset_id)
            if head.mode == "logit_sum":  # linear: may be summed before the interpolation
                scores, mapping = dataset_logits(scores, mapping, head.mode), None
        rows = max(1, _CHUNK // (scores.shape[1] * image.size[1]))
        for top, chunk in upsample_rows(scores, image.size, rows):
            if mapping is not None:
                chunk = dataset_logits(chunk, mapping, "probability_sum")
            yield top, chunk

    def _probability(self, scores: Tensor, best: Tensor, space: str) -> Tensor:
        """(rows, W) probability of the best label."""
        head = self.model.uni_head
        if head is not None and head.mode == "probability_sum" and space != UNIFIED:
            return best.exp().clamp(max=1)  # they are log-probabilities
        return (best - scores[0].logsumexp(0)).exp()


def build_predictor(
    weights: str | os.PathLike[str],
    device: str = "cpu",
    label_space: UnifiedLabelSpace | str | os.PathLike[str] | None = None,
) -> UniLabelPredictor:
    """A predictor from a model file alone.

    Args:
        weights: ``model_final.pth`` of a training run.
        device: "cpu" or "cuda".
        label_space: an edited label space of the model's unified labels, or its file; None: the
            one that the model was trained with.

    Raises:
        UniLabelError: the file is no model, the label space does not belong to it, or there is no
            such device.
    """
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise UniLabelError(f"device is {device!r}, expected cpu, or cuda on a machine with a GPU.")
    model, own = load_model(weights, device)
    # load_model has checked the file; mapped into memory, its weights are not read a second time
    content = torch.load(weights, map_location="cpu", weights_only=True, mmap=True)
    sizes = config_of(content["config"], str(weights)).INPUT
    predictor = UniLabelPredictor(model, own, sizes.TEST_SHORT_SIDE, min(sizes.CROP_SIZE))
    return predictor if label_space is None else predictor.with_label_space(label_space)


def check_label_space(own: UnifiedLabelSpace | None, edited: UnifiedLabelSpace) -> None:
    """Whether ``edited`` describes the unified labels of a model: other links and names only.

    Raises:
        UniLabelError: it has other datasets, classes or another number of unified labels, or so
            few links in common that it must belong to another model.
    """
    if own is None:
        raise UniLabelError(
            "this model has one head per dataset and no unified labels; a label space cannot be "
            "applied to it. Use a model that was trained to the end."
        )
    if len(edited.names) != len(own.names):
        raise UniLabelError(
            f"the label space has {len(edited.names)} unified labels, the model {len(own.names)}; "
            "it belongs to another model."
        )
    found = {space.name: space.class_names for space in edited.label_spaces}
    expected = {space.name: space.class_names for space in own.label_spaces}
    if found.keys() != expected.keys():
        raise UniLabelError(
            f"the label space has the datasets {', '.join(sorted(found))}, the model "
            f"{', '.join(sorted(expected))}; it belongs to another model."
        )
    for name, classes in expected.items():
        if found[name] != classes:
            raise UniLabelError(
                f"the classes of {name!r} in the label space are not those of the model "
                f"({', '.join(classes)}); only links, names and colours can be edited."
            )
    common = sum(key in edited.links for key in own.links)
    if common < _MIN_COMMON * len(own.links):
        raise UniLabelError(
            f"only {common} of the model's {len(own.links)} links are in the label space; it "
            "belongs to another model."
        )


def _resize(pixels: Tensor, scale: float) -> Tensor:
    """Resize (1, 3, H, W), at least to the smallest size that a backbone takes."""
    height, width = pixels.shape[2:]
    size = (max(_MIN_SIDE, round(height * scale)), max(_MIN_SIDE, round(width * scale)))
    if size == (height, width):
        return pixels
    return F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)


def _resample(embedding: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(embedding, size, mode="bilinear", align_corners=True)


def _tiles(length: int, window: int) -> list[tuple[int, int]]:
    """Start and length of windows that overlap by a third or more and cover ``length``."""
    if length <= window:
        return [(0, length)]
    count = -(-(length - window) // (window * 2 // 3)) + 1
    starts = np.linspace(0, length - window, count)
    return [(round(float(start)), window) for start in starts]


def _nodes(
    start: int, length: int, total: int, nodes: int, device: torch.device
) -> tuple[slice, Tensor]:
    """Nodes of the whole feature grid inside a window, and where they lie in it (-1..1).

    With aligned corners node i of n lies at pixel ``i (total - 1) / (n - 1)``.
    """
    step = (total - 1) / max(nodes - 1, 1)
    first = int(np.ceil(start / step - 1e-6)) if step else 0
    last = int(np.floor((start + length - 1) / step + 1e-6)) if step else 0
    last = min(last, nodes - 1)
    pixels = torch.arange(first, last + 1, device=device, dtype=torch.float32) * step - start
    return slice(first, last + 1), pixels * (2 / max(length - 1, 1)) - 1

"""One entry for applications: an image in, a label map of any label space out.

Letters: D embedding dim, N unified labels, C_i classes of dataset i, R labels of the answer, h x w
feature size, H x W image size.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import unilabel.modeling  # noqa: F401  (registers backbones and meta-architecture)
from unilabel.core.compatibility import check_label_space
from unilabel.core.errors import UniLabelError
from unilabel.core.grid import CellGrid
from unilabel.core.io import read_json
from unilabel.core.label_space import UNIFIED
from unilabel.core.reading import BandReader, Labels, read_labels
from unilabel.core.transfer import TransferMapping, is_transfer_mapping
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.images import read_image
from unilabel.data.test_size import TestSize
from unilabel.engine.loading import config_of, load_model
from unilabel.modeling.meta_arch import UniLabelSegmentor
from unilabel.modeling.packing import prepare_network
from unilabel.modeling.windows import MIN_SIDE, TTA_SCALES, Asking, embed_bands

NO_CLASS = "no class"  # labels that are no class of an unseen dataset


@dataclass(frozen=True)
class EncodedImage:
    """What the network sees in an image; every label space is answered from it.

    Attributes:
        embedding: (1, D, h, w) pixel embeddings.
        size: (H, W) of the image.
        grid: where the cells lie in the image that the network saw.
    """

    embedding: Tensor
    size: tuple[int, int]
    grid: CellGrid


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
        found = [i for i in np.argsort(-self.shares, kind="stable") if self.shares[i] > 0]
        return [(self.names[i], self.colors[i], float(self.shares[i])) for i in found]


class UniLabelPredictor:
    """Predicts images in the label space of any dataset of a model, or in the unified one.

    It never changes the model: predictors of several label spaces may share one, from several
    threads.
    """

    def __init__(
        self,
        model: UniLabelSegmentor,
        label_space: UnifiedLabelSpace | None,
        test_size: TestSize = TestSize(),  # noqa: B008  (frozen)
        crop_side: int = 0,
        unseen: TransferMapping | None = None,
    ) -> None:
        """Keep the parts; see :func:`build_predictor`.

        Args:
            model: the network.
            label_space: its unified labels.
            test_size: the size at which it was tested and is asked.
            crop_side: short side of its training crops, pixels; 0: unknown.
            unseen: a dataset that it was not trained on, see :meth:`with_mapping`.
        """
        self.model = model
        self.label_space = label_space
        self.test_size = test_size
        self.crop_side = crop_side
        self.unseen = unseen

    @property
    def spaces(self) -> list[str]:
        """Names of the label spaces: datasets, "unified" if the model has it, the unseen one."""
        return self.model.spaces() + ([self.unseen.label_space.name] if self.unseen else [])

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
        sides = self.test_size, self.crop_side
        return UniLabelPredictor(self.model, label_space, *sides, self.unseen)

    def with_mapping(self, mapping: TransferMapping | str | os.PathLike[str]) -> UniLabelPredictor:
        """The same model that also answers in the classes of a dataset it was not trained on.

        Args:
            mapping: of ``tools/map_unseen.py``, or its file.

        Raises:
            UniLabelError: the mapping is one of another model, or its dataset is not unseen.
        """
        source = "the mapping" if isinstance(mapping, TransferMapping) else os.fspath(mapping)
        if not isinstance(mapping, TransferMapping):
            mapping = TransferMapping.load(mapping)
        if mapping.label_space.name in self.model.spaces():
            raise UniLabelError(
                f"{source} is for {mapping.label_space.name!r}, in which the model answers by "
                "itself; choose that label space without a mapping."
            )
        mapping.check_model(self.labels_of(mapping.space)[0], source)
        sides = self.test_size, self.crop_side
        return UniLabelPredictor(self.model, self.label_space, *sides, mapping)

    def size_note(
        self, size: tuple[int, int], short_side: int | None = None, window: int = 0
    ) -> str:
        """What a person should know about the size at which an image is predicted, or "".

        Args:
            size: (H, W) of an image.
            short_side: see :meth:`encode`.
            window: see there.
        """
        asked = self.test_size if short_side is None else TestSize(short_side)
        seen = asked.of(*size)
        if max(size) > window >= max(seen):
            return (
                f"windows of {window} pixels have no effect: the network sees this image at "
                f"{seen[1]}x{seen[0]} pixels; a short side of 0 (--short-side 0) keeps its size"
            )
        shorter = min(seen)
        if window or not 0 < 2 * self.crop_side < shorter:
            return ""
        return (
            f"the network sees this image with a short side of {shorter} pixels, but was trained "
            f"on crops of {self.crop_side}: things look {shorter / self.crop_side:.0f} times as "
            f"large; a short side of about {self.crop_side} may suit it better"
        )

    @torch.inference_mode()
    def encode(
        self,
        image: NDArray[np.uint8],
        short_side: int | None = None,
        tta: bool = False,
        window: int = 0,
    ) -> EncodedImage:
        """Run the network once, for any number of label spaces.

        Args:
            image: (H, W, 3) uint8 RGB.
            short_side: pixels to resize the short side to for the network; 0: keep the size;
                None: as the model was tested (``test_size``).
            tta: average the embeddings of three scales and their mirror images.
            window: side of overlapping square windows, pixels, for images larger than the network
                was trained on; 0: the whole image at once.

        Raises:
            UniLabelError: the array is no RGB image, or an option is out of range.
        """
        asking = Asking(window, TTA_SCALES if tta else ())
        pixels = self._pixels(image, short_side)
        embedding = asking.embed(self.model, pixels)
        grid = self.model.grid((pixels.shape[2], pixels.shape[3]))
        return EncodedImage(embedding, (image.shape[0], image.shape[1]), grid)

    def _pixels(self, image: NDArray[np.uint8], short_side: int | None) -> Tensor:
        """(1, 3, H', W') uint8 as the network is asked, see :meth:`encode`."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise UniLabelError(
                f"the image is {image.dtype} of shape {image.shape}, expected uint8 (H, W, 3) RGB."
            )
        if (short_side or 0) < 0:
            raise UniLabelError(f"short_side is {short_side}; expected 0 (keep the size) or more.")
        asked = self.test_size if short_side is None else TestSize(short_side)
        resized = np.ascontiguousarray(asked.resize(image))
        return torch.from_numpy(resized).permute(2, 0, 1)[None].to(self.model.device)

    @torch.inference_mode()
    def predict(
        self,
        image: NDArray[np.uint8] | EncodedImage | str | os.PathLike[str],
        space: str | os.PathLike[str] | UnifiedLabelSpace = UNIFIED,
        *,
        short_side: int | None = None,
        tta: bool = False,
        window: int = 0,
        confidence: bool = True,
    ) -> Prediction:
        """Segment an image.

        Args:
            image: (H, W, 3) uint8 RGB, an image file, or the answer of :meth:`encode`.
            space: a dataset, "unified", or an edited label space of the same unified labels
                (object or ``label_space.json``) whose names and colours the answer then has;
                ``label_space.json:<dataset>`` answers in that dataset under the edited links. The
                file of a mapping to an unseen dataset answers in the classes of that one.
            short_side: see :meth:`encode`.
            tta: see there.
            window: see there.
            confidence: also return the probability of each pixel's label.

        Raises:
            UniLabelError: the model does not answer in this space.
        """
        if isinstance(space, UnifiedLabelSpace):
            predictor, name = self.with_label_space(space), UNIFIED
        else:
            predictor, name = self.resolve(os.fspath(space))
        if isinstance(image, str | os.PathLike):
            image = read_image(os.fspath(image))
        if not isinstance(image, EncodedImage):
            image = self.encode(image, short_side, tta, window)
        return predictor._answer(image, name, confidence)

    @torch.inference_mode()
    def energy(self, image: EncodedImage) -> float:
        """How familiar an image is to the model, see :mod:`unilabel.core.familiarity`."""
        return self.model.energy(image.embedding)

    def resolve(self, space: str) -> tuple[UniLabelPredictor, str]:
        """Predictor and label space that the argument ``space`` of :meth:`predict` stands for."""
        path, colon, dataset = space.rpartition(":")
        if colon and path.lower().endswith(".json"):
            return self.with_label_space(path), dataset
        if space.lower().endswith(".json"):
            if is_transfer_mapping(read_json(space)):
                predictor = self.with_mapping(space)
                return predictor, predictor.spaces[-1]
            return self.with_label_space(space), UNIFIED
        return self, space

    def _answer(self, image: EncodedImage, space: str, confidence: bool) -> Prediction:
        scores, links = self._scores(image.embedding, space)
        read = read_labels(scores, image.grid, image.size, links, confidence)
        return self._prediction(read, space)

    @torch.inference_mode()
    def predict_in_windows(
        self,
        image: NDArray[np.uint8],
        spaces: Sequence[tuple[UniLabelPredictor, str]],
        window: int,
        short_side: int | None = None,
    ) -> Iterator[Prediction]:
        """The answers of :meth:`predict`; only a row of windows is embedded and scored at a time.

        Args:
            image: (H, W, 3) uint8 RGB.
            spaces: answers of :meth:`resolve`; all predictors share this one's model.
            window: see :meth:`encode`.
            short_side: see there.
        """
        pixels = self._pixels(image, short_side)
        grid = self.model.grid((pixels.shape[2], pixels.shape[3]))
        readers: list[BandReader] = []
        for _, embedding, height in embed_bands(self.model, pixels, Asking(window).window):
            if not readers:
                cells = (height, embedding.shape[3])
                readers = [BandReader(grid, cells, image.shape[:2], True) for _ in spaces]
            for reader, (predictor, name) in zip(readers, spaces, strict=True):
                reader.add(*predictor._scores(embedding, name))
        del pixels, embedding, reader  # else an answer would be there as long
        for predictor, name in spaces:
            yield predictor._prediction(readers.pop(0).labels(), name)

    def _scores(self, embedding: Tensor, space: str) -> tuple[Tensor, Tensor | None]:
        """What the answer in a label space is read from, see ``UniLabelSegmentor.scores``."""
        self.labels_of(space)  # refuses a space that the model does not answer in
        if self.unseen is not None and space == self.unseen.label_space.name:
            space = self.unseen.space
        links = None
        if self.label_space is not None and space != UNIFIED:
            links = self.label_space.mapping[space].to(embedding.device)
        return self.model.scores(embedding, space, links)

    def _prediction(self, found: Labels, space: str) -> Prediction:
        if self.unseen is not None and space == self.unseen.label_space.name:
            return _read_as(self._prediction(found, self.unseen.space), self.unseen)
        (names, colors), labels = self.labels_of(space), found.labels[0].cpu()
        counts = torch.zeros(len(names), dtype=torch.int64)
        for rows in labels.split(256):  # counting takes 8 bytes for every label
            counts += rows.int().flatten().bincount(minlength=len(names))
        return Prediction(
            space,
            labels.numpy(),
            names,
            colors,
            counts.double().numpy() / labels.numel(),
            None if found.confidence is None else found.confidence[0].cpu().numpy(),
        )

    def labels_of(self, space: str) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
        """Names and colours of the labels of "unified" or a dataset.

        Raises:
            UniLabelError: the model does not answer in this space.
        """
        if self.unseen is not None and space == self.unseen.label_space.name:
            unseen = self.unseen.label_space
            return (*unseen.class_names, NO_CLASS), (*unseen.colors, (0, 0, 0))
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


def _read_as(answer: Prediction, mapping: TransferMapping) -> Prediction:
    """The labels of a model as classes of an unseen dataset; those without a class come last."""
    classes = mapping.label_space
    table = mapping.class_of.numpy()
    table = np.where(table < 0, classes.num_classes, table)  # (N,)
    shares = np.bincount(table, answer.shares, classes.num_classes + 1)
    return Prediction(
        classes.name,
        table.astype(np.int16)[answer.labels],
        (*classes.class_names, NO_CLASS),
        (*classes.colors, (0, 0, 0)),
        shares,
        answer.confidence,
    )


def build_predictor(
    weights: str | os.PathLike[str],
    device: str = "cpu",
    label_space: UnifiedLabelSpace | str | os.PathLike[str] | None = None,
    optimize: bool = True,
) -> UniLabelPredictor:
    """A predictor from a model file alone.

    Args:
        weights: ``model_final.pth`` of a training run.
        device: "cpu" or "cuda".
        label_space: an edited label space of the model's unified labels, or its file; None: the
            one that the model was trained with.
        optimize: rebuild the network for faster prediction, see
            :func:`unilabel.modeling.packing.prepare_network`; False: as it was trained.

    Raises:
        UniLabelError: the file is no model, the label space does not belong to it, or there is no
            such device.
    """
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise UniLabelError(f"device is {device!r}, expected cpu, or cuda on a machine with a GPU.")
    model, own = load_model(weights, device)
    if optimize:
        side = -(-2 * MIN_SIDE // model.divisibility) * model.divisibility
        example = torch.rand(1, 3, side, side, device=device)
        prepare_network(model.backbone, model.pixel_decoder, example)
    # load_model has checked the file; mapped into memory, its weights are not read a second time
    content = torch.load(weights, map_location="cpu", weights_only=True, mmap=True)
    sizes = config_of(content["config"], str(weights)).INPUT
    size = TestSize(sizes.TEST_SHORT_SIDE)
    predictor = UniLabelPredictor(model, own, size, min(sizes.CROP_SIZE))
    return predictor if label_space is None else predictor.with_label_space(label_space)

"""Datasets of a configuration, and the loaders over them.

A training item is ``{"image": (3, H, W) uint8, "sem_seg": (H, W) uint8, "dataset_name",
"dataset_id", "file_name", "height", "width", "view"}``; the dataset travels with the sample by
name, and the view says where in its photo a crop lies.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from torch.utils.data import DataLoader, Dataset

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE, LabelSpaceSet
from unilabel.core.synthetic import TOY_DATASETS, write_toy_world
from unilabel.data import bad_samples
from unilabel.data.augment import TrainAugmentation
from unilabel.data.builtin import HINT, builtin_source, datasets_root
from unilabel.data.class_changes import change_classes, read_changes
from unilabel.data.folders import folder_source
from unilabel.data.images import JPEG_SUFFIXES
from unilabel.data.samplers import BalancedDatasetSampler, Draw
from unilabel.data.sources import SPLITS, DatasetSource, Sample, check_sizes, load_sample
from unilabel.data.test_size import TestSize
from unilabel.importers.cache import ready_folder
from unilabel.text.prompts import with_descriptions

logger = logging.getLogger(__name__)


def build_sources(cfg: CfgNode) -> list[DatasetSource]:
    """The datasets that the configuration names, in order, with their descriptions.

    The toy world must be there already, see :func:`generate_toy_world`.

    Raises:
        UniLabelError: a dataset is unknown, missing or named twice.
    """
    sources = [make() for _, make in source_makers(cfg)]
    variants = dict(map(tuple, cfg.DATASETS.VARIANTS))
    spaces = LabelSpaceSet(s.label_space for s in sources)  # refuses doubles
    only = list(cfg.DATASETS.ONLY)
    for key, names, known in (
        ("DATASETS.ONLY", only, spaces.names),
        ("DATASETS.VARIANTS", variants, cfg.DATASETS.NAMES),
    ):
        for name in names:
            if name not in known:
                raise UniLabelError(
                    f"{key} names {name!r}, expected one of {', '.join(known) or 'none'}."
                )
    changes = read_changes(cfg.DATASETS.CLASSES, spaces.names)
    sources = [change_classes(s, changes[s.name]) if s.name in changes else s for s in sources]
    sources = [s for s in sources if not only or s.name in only]
    if cfg.DATASETS.DESCRIPTIONS:
        kept = LabelSpaceSet(s.label_space for s in sources)
        described = with_descriptions(kept, cfg.DATASETS.DESCRIPTIONS)
        sources = [s.with_label_space(d) for s, d in zip(sources, described, strict=True)]
    return sources


def source_makers(cfg: CfgNode) -> list[tuple[str, Callable[[], DatasetSource]]]:
    """The datasets that the configuration names, in order: name or folder, and how it is opened.

    To be opened in this order. Whoever can do without one catches its error. Classes and texts
    are those of the files, before DATASETS.CLASSES and DATASETS.DESCRIPTIONS.
    """
    variants = dict(map(tuple, cfg.DATASETS.VARIANTS))
    imports, taken = imported_root(cfg), set[str]()

    def builtin(name: str) -> DatasetSource:
        return builtin_source(name, datasets_root(), variants.get(name))

    def custom(folder: str) -> DatasetSource:
        return folder_source(ready_folder(folder, imports, taken))

    makers = [(name, partial(builtin, name)) for name in cfg.DATASETS.NAMES]
    makers += [(folder, partial(custom, folder)) for folder in cfg.DATASETS.CUSTOM]
    if cfg.DATASETS.TOY:
        toys = [str(toy_root(cfg) / name) for name in TOY_DATASETS]
        makers += [(folder, partial(folder_source, folder)) for folder in toys]
    return makers


def generate_toy_world(cfg: CfgNode) -> None:
    """Write the toy world if DATASETS.TOY asks for it and it is not there; one process only."""
    if cfg.DATASETS.TOY:
        train, val = cfg.DATASETS.TOY_IMAGES
        write_toy_world(toy_root(cfg), cfg.SEED, train, val)


def imported_root(cfg: CfgNode) -> Path:
    """Folder for imports of exports of annotation tools that DATASETS.CUSTOM names."""
    return Path(cfg.OUTPUT_DIR) / "imported"


def toy_root(cfg: CfgNode) -> Path:
    """Folder of the toy world of this run."""
    return Path(cfg.OUTPUT_DIR) / "toy_world"


def register_sources(sources: Sequence[DatasetSource]) -> None:
    """Put ``<dataset>_<split>`` into Detectron2's catalogs, so that its tools can show them."""
    for source in sources:
        for split in SPLITS:
            name = f"{source.name}_{split}"
            if name in DatasetCatalog.list():
                DatasetCatalog.remove(name)
                MetadataCatalog.remove(name)
            DatasetCatalog.register(
                name,
                lambda source=source, split=split: [
                    {
                        "file_name": s.image,
                        "sem_seg_file_name": s.label,
                        "dataset_name": source.name,
                    }
                    for s in source.samples(split)
                ],
            )
            MetadataCatalog.get(name).set(
                stuff_classes=list(source.label_space.class_names),
                stuff_colors=[list(c) for c in source.label_space.colors],
                ignore_label=IGNORE,
                evaluator_type="sem_seg",
            )


class TrainDataset(Dataset):
    """Loads and augments the draws of the sampler, from all datasets."""

    def __init__(self, cfg: CfgNode, sources: Sequence[DatasetSource]) -> None:
        """List the training samples of every dataset."""
        self.sources = list(sources)
        self.samples: list[list[Sample]] = [s.samples("train") for s in sources]
        self.skip = cfg.DATASETS.ON_BAD_SAMPLE == "skip"
        self.augment = TrainAugmentation(
            crop_size=tuple(cfg.INPUT.CROP_SIZE),
            scale_range=tuple(cfg.INPUT.SCALE_RANGE),
            single_class_max_area=cfg.INPUT.SINGLE_CLASS_MAX_AREA,
            flip_prob=cfg.INPUT.FLIP_PROB,
            color_jitter=cfg.INPUT.COLOR_JITTER,
            base_short_side=cfg.INPUT.BASE_SHORT_SIDE,
        )

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        count = len(self.samples[draw.dataset])
        return bad_samples.load_good(draw, count, self._load, self.skip)

    def _load(self, draw: Draw) -> dict[str, Any]:
        source = self.sources[draw.dataset]
        sample = self.samples[draw.dataset][draw.index]
        rng = np.random.default_rng(draw.key)
        label = source.decode_label(sample.label)
        unlabelled = label.min() == IGNORE
        window = self.augment.choose(label, rng)
        reduction = window.reduction if sample.image.lower().endswith(JPEG_SUFFIXES) else 1
        image = source.read_image(sample.image, reduction)
        check_sizes(sample, image, label, reduction)
        image, label, view = self.augment.apply(image, label, window, rng)
        item = _item(source, draw.dataset, sample, image, label, label.shape)
        return {**item, "view": view, bad_samples.UNLABELLED: bool(unlabelled)}


class EvalDataset(Dataset):
    """Whole images of one dataset and split, without augmentation."""

    def __init__(
        self,
        source: DatasetSource,
        dataset_id: int,
        samples: Sequence[Sample],
        size: TestSize = TestSize(),  # noqa: B008  (frozen)
        spaces: Sequence[str] | None = None,
        skip: bool = False,
    ) -> None:
        """Keep the samples.

        Args:
            source: the dataset.
            dataset_id: its position.
            samples: of the split.
            size: at which the network sees the images.
            spaces: label spaces to predict in.
            skip: give an empty image without labels in place of a bad sample; never for scores.
        """
        self.source = source
        self.dataset_id = dataset_id
        self.samples = list(samples)
        self.size = size
        self.spaces = spaces
        self.skip = skip

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = self.samples[index]
        try:
            image, label = load_sample(self.source, sample)
        except UniLabelError as error:
            if not self.skip:
                raise
            logger.warning("bad sample left out: %s", error)
            image, label = np.zeros((64, 64, 3), np.uint8), np.full((64, 64), IGNORE, np.uint8)
        resized = self.size.resize(image)
        item = _item(self.source, self.dataset_id, sample, resized, label, label.shape)
        if self.spaces is not None:
            item["spaces"] = list(self.spaces)
        return item


def _item(
    source: DatasetSource,
    dataset_id: int,
    sample: Sample,
    image: np.ndarray,
    label: np.ndarray,
    size: tuple[int, ...],
) -> dict[str, Any]:
    return {
        "image": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
        "sem_seg": torch.from_numpy(label),
        "dataset_name": source.name,
        "dataset_id": dataset_id,
        "file_name": sample.image,
        "sem_seg_file_name": sample.label,
        "height": size[0],
        "width": size[1],
    }


def _as_list(batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return batch


def build_train_loader(
    cfg: CfgNode, sources: Sequence[DatasetSource], start: int, stop: int, rank: int, world: int
) -> DataLoader:
    """Batches ``start`` to ``stop`` of this rank; one worker pool for all datasets."""
    dataset = TrainDataset(cfg, sources)
    sampler = BalancedDatasetSampler(
        [len(s) for s in dataset.samples],
        cfg.INPUT.IMAGES_PER_DATASET,
        cfg.SEED,
        rank,
        world,
        start,
        stop,
    )
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=_as_list,
        pin_memory=torch.cuda.is_available(),
    )


def build_eval_loader(
    cfg: CfgNode,
    source: DatasetSource,
    dataset_id: int,
    samples: Sequence[Sample],
    rank: int = 0,
    world: int = 1,
    spaces: Sequence[str] | None = None,
    skip: bool = False,
) -> DataLoader:
    """Images ``rank, rank + world, ...`` of ``samples``: none is lost, none counts twice."""
    size = TestSize(cfg.INPUT.TEST_SHORT_SIDE)
    dataset = EvalDataset(source, dataset_id, samples[rank::world], size, spaces, skip)
    return DataLoader(
        dataset,
        batch_size=cfg.TEST.BATCH_SIZE,
        num_workers=min(cfg.DATALOADER.NUM_WORKERS, 2),
        collate_fn=_as_list,
    )


def class_pixel_counts(
    source: DatasetSource, samples: Sequence[Sample], limit: int, skip: bool = False
) -> torch.Tensor:
    """(C_i,) pixels of each class in up to ``limit`` evenly spread label maps.

    With ``skip`` a bad label map does not count, without it raises UniLabelError.
    """
    step = -(-len(samples) // limit)  # rounded up
    counts = np.zeros(256, np.int64)
    for sample in samples[::step]:
        try:
            label = source.decode_label(sample.label)
        except UniLabelError as error:
            if not skip:
                raise
            logger.warning("bad sample left out: %s", error)
            continue
        counts += np.bincount(label.reshape(-1), minlength=256)
    return torch.from_numpy(counts[: source.label_space.num_classes])


def check_first_samples(sources: Sequence[DatasetSource], skip: bool = False) -> None:
    """Decode the first training and validation sample of every dataset, before anything starts.

    With ``skip`` a bad training sample is only reported: the loader takes another one.

    Raises:
        UniLabelError: datasets are empty, or their first files are bad; all of them are named.
    """
    faults = []
    for source in sources:
        try:
            _check_first_samples_of(source, skip)
        except UniLabelError as error:
            faults.append(error)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        told = [str(fault) for fault in faults]
        hint = HINT if any(HINT in text for text in told) else ""
        lines = "".join(f"\n- {text.replace(HINT, '')}" for text in told)
        raise UniLabelError(
            f"{len(faults)} of {len(sources)} datasets cannot be read:{lines}"
            + (f"\n{hint.strip()}" if hint else "")
        )


def _check_first_samples_of(source: DatasetSource, skip: bool) -> None:
    for remark in source.remarks():
        logger.warning("%s", remark)
    for split in [s for s in SPLITS if s == "train" or source.has(s)]:
        samples = source.samples(split)
        try:
            load_sample(source, samples[0])
        except UniLabelError as error:
            if not skip or split != "train":
                raise
            logger.warning("bad sample: %s", error)
        logger.info(
            "%s %s: %d images, %d classes",
            source.name,
            split,
            len(samples),
            source.label_space.num_classes,
        )

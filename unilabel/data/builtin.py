"""The published datasets by name.

Files are found by scanning the folders below the root (``$DETECTRON2_DATASETS``, else
``datasets``); ``datasets/README.md`` draws them, ``tools/check_dataset.py`` checks them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.data.dataset_files import PairedFiles, pair_trees, say_once
from unilabel.data.dataset_specs import SPECS
from unilabel.data.label_decoders import ChoiceDecoder, PanopticDecoder
from unilabel.data.layouts import DatasetSpec, Decoder, Labels, Place, locate, near_misses
from unilabel.data.raw_labels import RawLabels, class_variants, load_raw_labels
from unilabel.data.sources import DatasetSource, Sample

HINT = (
    " See datasets/README.md for the folders of each dataset; the root is $DETECTRON2_DATASETS, or "
    "./datasets if that is not set."
)


def builtin_names() -> list[str]:
    """Names of the built-in datasets."""
    return sorted(SPECS)


def datasets_root() -> Path:
    """The folder that holds the datasets: ``$DETECTRON2_DATASETS``, else ``datasets``."""
    return Path(os.environ.get("DETECTRON2_DATASETS") or "datasets")


def variant_names(name: str) -> list[str]:
    """Variants of a built-in dataset: of its classes, then of its files and splits."""
    return class_variants(name) + list(SPECS[name].variants)


def builtin_source(name: str, root: Path, variant: str | None = None) -> DatasetSource:
    """A built-in dataset below ``root``.

    The files are looked for when samples are listed, so that the classes of a dataset can be used
    without its files.

    Args:
        name: one of :func:`builtin_names`.
        root: the folder that holds all datasets.
        variant: one of :func:`variant_names`, or several joined by ``+``.

    Raises:
        UniLabelError: there is no such dataset or variant.
    """
    dataset = builtin_dataset(name, root, variant)
    where = (name, Path(root), variant)  # small: it travels to worker processes
    return DatasetSource(
        dataset.table.space,
        BuiltinSamples(*where),
        BuiltinDecoder(*where),
        str(dataset.folder),
    )


@dataclass(frozen=True)
class BuiltinSamples:
    """Lists the samples of a built-in dataset, wherever it lies at that moment."""

    name: str
    root: Path
    variant: str | None

    def __call__(self, split: str) -> list[Sample]:
        """All samples of a split."""
        dataset = builtin_dataset(self.name, self.root, self.variant)
        labels, files = dataset.files(split)
        samples = files.samples()
        dataset.preload(labels, split)
        dataset.tell()
        return samples


@dataclass(frozen=True)
class BuiltinDecoder:
    """Decodes every kind of label file of a built-in dataset."""

    name: str
    root: Path
    variant: str | None

    @cached_property
    def _decode(self) -> Decoder:
        return builtin_dataset(self.name, self.root, self.variant).decoder()

    def __call__(self, path: str) -> np.ndarray:
        """Decode one file."""
        return self._decode(path)


def builtin_dataset(name: str, root: Path, variant: str | None = None) -> BuiltinDataset:
    """As :func:`builtin_source`, with the details that tools need.

    Raises:
        UniLabelError: there is no such dataset or variant.
    """
    if name not in SPECS:
        near = get_close_matches(name, SPECS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UniLabelError(
            f"there is no built-in dataset {name!r}.{hint} Known: {', '.join(builtin_names())}; "
            "your own dataset is a folder, named in DATASETS.CUSTOM."
        )
    spec, of_classes = SPECS[name], []
    for part in variant.split("+") if variant else []:
        if part in spec.variants:
            spec = replace(spec, **spec.variants[part])
        elif part in class_variants(name):
            of_classes.append(part)
        else:
            raise UniLabelError(
                f"dataset {name!r} has no variant {part!r}; it has: "
                f"{', '.join(variant_names(name)) or 'none'}."
            )
    table = load_raw_labels(name, tuple(of_classes))
    spec = replace(spec, layouts=tuple(layout.telling(of_classes) for layout in spec.layouts))
    place = locate(spec, Path(root))
    return BuiltinDataset(name, spec, Path(root), place, table, tuple(of_classes))


@dataclass(frozen=True)
class BuiltinDataset:
    """A built-in dataset in one place and variant.

    Attributes:
        name: its name.
        spec: where its files can be.
        root: the folder of all datasets.
        place: where its files are.
        table: its classes and label values.
        class_variants: variants of its classes that are in use.
    """

    name: str
    spec: DatasetSpec
    root: Path
    place: Place
    table: RawLabels
    class_variants: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Its folder, that of the first part; need not exist."""
        return self.place.folders[0]

    @property
    def counts(self) -> Mapping[str, int]:
        """Official number of images by split, or ``{"all": number}``, of the parts found."""
        return self.place.counts

    def decoder(self) -> Decoder:
        """Decodes every kind of label file of the dataset."""
        forms = self.place.layout.labels
        decoders = [(form.mark, form.decoder(self.table, self.name)) for form in forms]
        if all(decoder == decoders[0][1] for _, decoder in decoders):
            return decoders[0][1]
        return ChoiceDecoder(str(self.root), tuple(decoders))

    def tell(self) -> None:
        """Say once where the dataset is read from."""
        say_once(
            f"{self.name}: read from {' and '.join(map(str, self.place.folders))}, "
            f"laid out as {self.place.layout.origin}"
        )
        for folder in self.place.left_out:
            say_once(f"{self.name}: {folder} is left out, it has images or labels only")

    def files(self, split: str) -> tuple[Labels, PairedFiles]:
        """The form of labels that is in use, and the files of a split.

        Raises:
            UniLabelError: there are no labels or no images, the split or a variant of the classes
                cannot be told, or several folders could be the dataset.
        """
        layout = self.place.layout
        if self.place.problem:
            raise UniLabelError(f"dataset {self.name!r}: {self.place.problem}")
        for variant in layout.refuses:
            if variant in self.class_variants:
                raise UniLabelError(
                    f"dataset {self.name!r}: the labels in {self.folder} ({layout.origin}) cannot "
                    f"tell the variant {variant!r}; take the official labels, or leave it out."
                )
        places = []
        for form in layout.labels:
            files = self.files_of(form, split)
            if files.labels:
                break
            places.append(files.label_place)
        else:
            raise self._absent("labels", split, " or ".join(places))
        if not files.images:
            raise self._absent("images", split, files.image_place)
        return form, files

    def files_of(self, form: Labels, split: str) -> PairedFiles:
        """The files of a split with one form of labels, which may be absent."""
        layout = self.place.layout
        files = pair_trees(
            self.name,
            self.place.folders,
            layout.images,
            form.tree,
            split,
            layout.splits.get(split, (split,)),
            layout.select,
        )
        if form.prepared_by:
            cure = (
                f"run `python {form.prepared_by}` to write the labels that are missing, or remove "
                "all that it has written"
            )
            files = replace(files, cure=cure)
        return files

    def _absent(self, what: str, split: str, expected: str) -> UniLabelError:
        """What was looked for and where, and what was found nearby."""
        text = f"dataset {self.name!r} has no {what} of the split {split!r}; expected {expected}."
        if not self.place.found:
            names = ", ".join(f"{name}/" for name in self.spec.folders)
            drawings = "; or ".join(layout.drawing() for layout in self.spec.layouts)
            text += f" Looked below {self.root} for {names} (in any case), inside: {drawings}."
            near = near_misses(self.spec, self.root)
            if near:
                text += (
                    f" Found its files in {' and '.join(map(str, near))}: move or link that folder "
                    f"to {self.root / self.spec.folders[0]}."
                )
            elif not self.root.is_dir():
                text += f" The folder {self.root} does not exist."
        return UniLabelError(text + HINT)

    def preload(self, form: Labels, split: str) -> None:
        """Parse what all label files share now, so that worker processes inherit it."""
        decoder: Any = form.decoder(self.table, self.name)
        if isinstance(decoder, PanopticDecoder):
            for folder in self.place.folders:
                for name in self.place.layout.splits.get(split, (split,)):
                    decoder.index(form.tree.folder(folder, name))

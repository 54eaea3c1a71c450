"""The published datasets by name.

Files are found by scanning the folders below the root (``$DETECTRON2_DATASETS``, else
``datasets``); ``datasets/README.md`` draws them, ``tools/check_dataset.py`` checks them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.data.dataset_files import PairedFiles, pair_trees
from unilabel.data.dataset_specs import SPECS, DatasetSpec, Decoder, Labels
from unilabel.data.label_decoders import ChoiceDecoder, PanopticDecoder
from unilabel.data.raw_labels import RawLabels, class_variants, load_raw_labels
from unilabel.data.sources import DatasetSource, Sample


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
    return DatasetSource(
        dataset.table.space,
        partial(_list_samples, name, root, variant),  # a name travels to worker processes
        dataset.decoder(),
        str(dataset.folder),
    )


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
    choices = [Path(root) / folder for folder in spec.folders]
    folder = next((c for c in choices if c.is_dir()), choices[0])
    return BuiltinDataset(name, spec, folder, load_raw_labels(name, tuple(of_classes)))


def _list_samples(name: str, root: Path, variant: str | None, split: str) -> list[Sample]:
    dataset = builtin_dataset(name, root, variant)
    labels, files = dataset.files(split)
    samples = files.samples()
    dataset.preload(labels, split)
    return samples


@dataclass(frozen=True)
class BuiltinDataset:
    """A built-in dataset in one place and variant.

    Attributes:
        name: its name.
        spec: where its files are.
        folder: its folder; need not exist.
        table: its classes and label values.
    """

    name: str
    spec: DatasetSpec
    folder: Path
    table: RawLabels

    @property
    def counts(self) -> Mapping[str, int]:
        """Official number of images by split, or ``{"all": number}``."""
        return self.spec.counts

    def decoder(self) -> Decoder:
        """Decodes every kind of label file of the dataset."""
        decoders = [(form.mark, form.decoder(self.table, self.name)) for form in self.spec.labels]
        if all(decoder == decoders[0][1] for _, decoder in decoders):
            return decoders[0][1]
        return ChoiceDecoder(str(self.folder), tuple(decoders))

    def files(self, split: str) -> tuple[Labels, PairedFiles]:
        """The form of labels that is in use, and the files of a split.

        Raises:
            UniLabelError: there are no labels or no images, or the split cannot be told.
        """
        places = []
        for form in self.spec.labels:
            files = self.files_of(form, split)
            if files.labels:
                break
            places.append(files.label_place)
        else:
            raise UniLabelError(
                f"dataset {self.name!r} has no labels of the split {split!r}; expected "
                f"{' or '.join(places)}. See datasets/README.md for the folders of each dataset; "
                "the root is $DETECTRON2_DATASETS, or ./datasets if that is not set."
            )
        if not files.images:
            raise UniLabelError(
                f"dataset {self.name!r} has no images of the split {split!r}; expected "
                f"{files.image_place}. See datasets/README.md."
            )
        return form, files

    def files_of(self, form: Labels, split: str) -> PairedFiles:
        """The files of a split with one form of labels, which may be absent."""
        files = pair_trees(
            self.name,
            self.folder,
            self.spec.images,
            form.tree,
            split,
            self.spec.folder_splits.get(split, split),
            self.spec.select,
        )
        if form.prepared_by:
            cure = (
                f"run `python {form.prepared_by}` to write the labels that are missing, or remove "
                "all that it has written"
            )
            files = replace(files, cure=cure)
        return files

    def preload(self, form: Labels, split: str) -> None:
        """Parse what all label files share now, so that worker processes inherit it."""
        decoder: Any = form.decoder(self.table, self.name)
        if isinstance(decoder, PanopticDecoder):
            decoder.index(form.tree.folder(self.folder, self.spec.folder_splits.get(split, split)))

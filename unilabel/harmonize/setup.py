"""From a model and datasets to a job, and from a finished folder back to its datasets."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.io import file_digest
from unilabel.core.label_space import UNIFIED
from unilabel.core.transfer import TransferMapping
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.builtin import BuiltinDecoder, builtin_source
from unilabel.data.folders import folder_source
from unilabel.data.sources import DatasetSource
from unilabel.harmonize.choices import Choices
from unilabel.harmonize.job import HarmonizeJob
from unilabel.harmonize.labelling import Adviser, Labeller, Part
from unilabel.harmonize.options import Options
from unilabel.harmonize.photos import list_photos
from unilabel.harmonize.target import Target
from unilabel.predictor import UniLabelPredictor

LABEL_SPACE = "label_space.json"


Weights = str | os.PathLike[str]


def prepare(
    predictor: UniLabelPredictor,
    weights: Weights,
    sources: Sequence[DatasetSource],
    output: str | os.PathLike[str],
    space: str = UNIFIED,
    options: Options | None = None,
    unseen: Sequence[TransferMapping] = (),
    others: Sequence[tuple[UniLabelPredictor, Weights]] = (),
) -> HarmonizeJob:
    """A job that makes one folder of the datasets.

    Args:
        predictor: the model, under the label space to write (see ``with_label_space``).
        weights: its file, for the provenance.
        sources: the datasets.
        output: the folder to write.
        space: "unified", or a dataset of the model.
        options: what a person chooses.
        unseen: mappings of datasets that the model was not trained on.
        others: further models with their files; the probabilities of all are averaged.

    Raises:
        UniLabelError: the model does not know a dataset, or has no unified labels; the labels of
            another model do not correspond to those of the target.
    """
    options = options or Options()
    own = predictor.label_space
    if own is None or predictor.model.uni_head is None:
        raise UniLabelError(
            f"{weights} has one head per dataset and no unified labels, so it does not tell which "
            "classes belong together; name the model of a run that went through all stages."
        )
    folder = Path(output)
    for source in sources:
        root = Path(source.root).resolve()
        if folder.resolve() == root or root in folder.resolve().parents:
            raise UniLabelError(f"--output {folder} lies in the dataset {root}; name another one.")
    for mapping in unseen:
        mapping.check_model(own.names, f"the mapping of {mapping.label_space.name!r}")
    target = Target.of(own, space)
    parts = parts_of(own, sources, target, options, unseen)
    if others and unseen:
        raise UniLabelError(
            "--mapping is for one model, and --weights names several; give one model, or leave the "
            "dataset of the mapping out."
        )
    advisers = [adviser_of(own, target, sources, options, other, w) for other, w in others]
    labeller = Labeller(predictor, parts, target, options, advisers)
    files = {LABEL_SPACE: own.save, **{mapping_file(m): m.save for m in unseen}}
    origins = [_origin(weights), *(_origin(w) for _, w in others)]
    return HarmonizeJob(folder, labeller, list_photos(sources, options.splits), origins, files)


def _origin(weights: Weights) -> dict[str, str]:
    return {"file": Path(weights).name, "sha256": file_digest(weights)}


def adviser_of(
    own: UnifiedLabelSpace,
    target: Target,
    sources: Sequence[DatasetSource],
    options: Options,
    other: UniLabelPredictor,
    weights: Weights,
) -> Adviser:
    """A further model, in the labels of the first one's target.

    Args:
        own: unified labels of the first model.
        target: what is written.
        sources: the datasets.
        options: what a person chooses.
        other: the further model.
        weights: its file, for messages.

    Raises:
        UniLabelError: it has no unified labels, does not know a dataset, or its labels do not
            correspond to those of the target.
    """
    space = other.label_space
    if space is None:
        raise UniLabelError(
            f"{weights} has one head per dataset and no unified labels; name models of runs that "
            "went through all stages."
        )
    if target.columns is None:
        columns = same_links(own, space, weights)
    else:
        theirs = Target.of(space, target.name)
        if theirs.names != target.names:
            raise UniLabelError(f"{weights} was trained with other classes of {target.name!r}.")
        assert theirs.columns is not None
        columns = theirs.columns
    meant = replace(target, columns=columns)
    return Adviser(other, parts_of(space, sources, meant, options), columns)


def same_links(own: UnifiedLabelSpace, other: UnifiedLabelSpace, weights: Weights) -> Tensor:
    """Bool (other N, N): which unified label of another model is which of this one, by its links.

    Raises:
        UniLabelError: they do not stand for the same classes.
    """
    keys = []
    for space in (own, other):
        names = sorted(space.label_spaces.names)
        rows = torch.stack([space.mapping.class_of(name) for name in names], 1).tolist()
        keys.append([tuple(zip(names, row, strict=True)) for row in rows])
    different = sum(key not in keys[0] for key in keys[1])
    if sorted(keys[0]) != sorted(keys[1]) or len(set(keys[0])) < len(keys[0]):
        raise UniLabelError(
            f"the unified labels of {weights} are not those of the first model: {different} of its "
            f"{len(keys[1])} stand for other classes, so their probabilities cannot be averaged. "
            "Harmonise in the classes of a dataset that both know (--space DATASET), or with one "
            "model."
        )
    place = {key: i for i, key in enumerate(keys[0])}
    links = torch.zeros(len(keys[1]), len(keys[0]), dtype=torch.bool)
    links[range(len(keys[1])), [place[key] for key in keys[1]]] = True
    return links


def mapping_file(mapping: TransferMapping) -> str:
    """Name of the copy of a mapping in the output."""
    return f"mapping_{mapping.label_space.name}.json"


def parts_of(
    space: UnifiedLabelSpace,
    sources: Sequence[DatasetSource],
    target: Target,
    options: Options,
    unseen: Sequence[TransferMapping] = (),
) -> list[Part]:
    """What the pixels of every dataset may become.

    Raises:
        UniLabelError: a dataset is unknown, or its classes are not those of the model.
    """
    mappings = {m.label_space.name: m for m in unseen}
    double = [s.name for i, s in enumerate(sources) if s.name in {o.name for o in sources[:i]}]
    if double:
        raise UniLabelError(f"the dataset {double[0]!r} is given twice; give it once.")
    parts = []
    for source in sources:
        links = _links(space, source, mappings)
        choices = Choices.of(
            links,
            source.label_space,
            target,
            options.open_background,
            options.fill_ignored is not None,
        )
        parts.append(Part(source, links, choices, origin_of(source)))
    return parts


def _links(
    space: UnifiedLabelSpace, source: DatasetSource, mappings: Mapping[str, TransferMapping]
) -> Tensor:
    """(N, C) links of a dataset."""
    name, found = source.name, source.label_space.class_names
    if name in mappings:
        mapping = mappings[name]
        if mapping.space != UNIFIED:
            raise UniLabelError(
                f"the mapping of {name!r} reads the head of {mapping.space!r}, expected one of "
                "unified labels; make it again with a model that has them."
            )
        expected = mapping.label_space.class_names
        classes = range(mapping.label_space.num_classes)
        links = mapping.class_of[:, None] == mapping.class_of.new_tensor(list(classes))
    elif name in space.label_spaces.names:
        expected = space.label_spaces.get(name).class_names
        links = space.mapping[name]
    else:
        raise UniLabelError(
            f"the model was not trained on {name!r} ({source.root}), but on "
            f"{', '.join(space.label_spaces.names)}. For such a dataset make a mapping first: "
            f"python tools/map_unseen.py --weights MODEL --dataset {source.root} --output "
            f"mapping.json, and give --mapping mapping.json; or train a model on it too."
        )
    if found != expected:
        wrong = next((a for a, b in zip(found, expected, strict=False) if a != b), "")
        raise UniLabelError(
            f"dataset {name!r} in {source.root} has {len(found)} classes"
            f"{f', among them {wrong!r}' if wrong else ''}, but the model was trained with "
            f"{', '.join(expected)}; give the folder that it was trained on, or train again."
        )
    return links


def origin_of(source: DatasetSource) -> dict[str, Any]:
    """Where a dataset lies, in JSON form; see :func:`source_of`."""
    if isinstance(source.decode_label, BuiltinDecoder):
        decoder = source.decode_label
        return {
            "builtin": decoder.name,
            "root": str(Path(decoder.root).resolve()),
            "variant": decoder.variant,
        }
    return {"folder": str(Path(source.root).resolve())}


def source_of(origin: Mapping[str, Any]) -> DatasetSource:
    """The dataset of :func:`origin_of`.

    Raises:
        UniLabelError: it is not there any more.
    """
    if "builtin" in origin:
        return builtin_source(origin["builtin"], Path(origin["root"]), origin["variant"])
    if not (Path(origin["folder"]) / "classes.json").is_file():
        raise UniLabelError(
            f"the dataset is no longer in {origin['folder']}; say where it lies with --folders."
        )
    return folder_source(origin["folder"])

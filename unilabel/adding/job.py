"""Adding a dataset, from the files to the file."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import unilabel
from unilabel.adding.base import Base, check_new
from unilabel.adding.extend import extended_model
from unilabel.adding.learn import Learned, learn
from unilabel.adding.photos import LabelledPhotos, choose_photos, embed_photos
from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.builtin import BuiltinDecoder, builtin_names, builtin_source, datasets_root
from unilabel.data.folders import folder_source
from unilabel.data.sources import DatasetSource
from unilabel.data.test_size import TestSize
from unilabel.engine.checkpoint import finished_model, load_file, save_file
from unilabel.engine.node_selection import texts_of
from unilabel.engine.side_files import check_output, new_side_file
from unilabel.modeling.meta_arch import UniLabelSegmentor
from unilabel.predictor import UniLabelPredictor
from unilabel.text.containment import KIND
from unilabel.text.encoders import TextEncoder, build_text_encoder
from unilabel.text.evidence import of_labels, text_evidence
from unilabel.text.names import kind_of, same_name
from unilabel.text.prompts import with_descriptions
from unilabel.text.typed import find_typed_relations

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Added:
    """A model with one more dataset, not written yet.

    Attributes:
        base: the model before; its network is shared.
        source: the dataset.
        photos: what was looked at.
        learned: what was found.
        model: the extended model.
    """

    base: Base
    source: DatasetSource
    photos: LabelledPhotos
    learned: Learned
    model: UniLabelSegmentor

    @property
    def space(self) -> UnifiedLabelSpace:
        """The extended label space."""
        return self.learned.space

    def predictor(self) -> UniLabelPredictor:
        """Answers of the extended model."""
        sizes = self.base.cfg.INPUT
        size = TestSize(sizes.TEST_SHORT_SIDE)
        return UniLabelPredictor(self.model, self.space, size, min(sizes.CROP_SIZE))


def read_source(dataset: str, descriptions: str = "") -> DatasetSource:
    """The dataset that ``--dataset`` names: a folder with a classes.json, or a built-in one.

    Args:
        dataset: folder, NAME or NAME@VARIANT.
        descriptions: file of descriptions, "": those of its class list.
    """
    name, _, variant = dataset.partition("@")
    if name in builtin_names() and not (Path(dataset) / "classes.json").is_file():
        source = builtin_source(name, datasets_root(), variant or None)
    else:
        source = folder_source(dataset)
    if descriptions:
        (space,) = with_descriptions(LabelSpaceSet([source.label_space]), descriptions)
        source = source.with_label_space(space)
    return source


def add_dataset(
    base: Base,
    source: DatasetSource,
    photos: int | None = None,
    seed: int = 0,
    encoder: str = "",
) -> Added:
    """Teach a model a dataset from a few labelled photos; nothing is written.

    Args:
        base: of :func:`unilabel.adding.base.read_base`.
        source: the dataset; its training photos are used, never its validation photos.
        photos: how many; 0: names and descriptions alone; None: all, up to UNIFY.CACHE_IMAGES.
        seed: of the draw of photos and of the folds.
        encoder: of texts; "": that of the model.

    Raises:
        UniLabelError: the model knows the dataset, or its files are bad or hold no label.
    """
    check_new(base, source.name)
    samples = choose_photos(source.samples("train"), photos, seed) if photos != 0 else []
    most = base.cfg.UNIFY.CACHE_IMAGES
    if len(samples) > most:
        logger.warning("%s: the first %d of %d photos are used", source.name, most, len(samples))
        samples = choose_photos(samples, most, seed)
    found = embed_photos(base.model, base.cfg, source, samples)
    built = text_encoder(base, encoder)
    text = text_scores(base, source.label_space, built)
    learned = learn(base.model.uni_head, base.space, base.cfg, found, text, seed)
    space = learned.space
    if built is not None:
        space = _with_relations(base, space, source.label_space.name, built)
    notes = _notes(base, found, learned, seed)
    learned = replace(learned, space=replace(space, provenance=notes))
    model = extended_model(base.model, learned.head, learned.space.label_spaces)
    return Added(base, source, found, learned, model)


def text_encoder(base: Base, name: str = "") -> TextEncoder | None:
    """The encoder of this name, or that of the model; None, told, where the model's is missing.

    Raises:
        UniLabelError: there is no encoder ``name``.
    """
    try:
        return build_text_encoder(name or base.cfg.TEXT.ENCODER, str(base.model.device))
    except UniLabelError as error:
        if name:
            raise
        logger.warning("names are compared as words only, the text encoder is missing: %s", error)
    return None


def text_scores(base: Base, new: LabelSpace, encoder: TextEncoder | None) -> Tensor:
    """(N, C) what names and descriptions say; names alone without an encoder."""
    links, spaces = base.space.mapping.stacked(), base.space.label_spaces
    if encoder is not None:
        return text_evidence(links, spaces, new, encoder)
    both = LabelSpaceSet([*spaces, replace(new, name=f"new {new.name}")])
    seen = spaces.total
    words = torch.from_numpy(same_name(both) * 1.0).maximum(
        KIND * torch.from_numpy(kind_of(both) * 1.0)
    )[:seen, seen:]
    return of_labels(links, words)


def _with_relations(
    base: Base, space: UnifiedLabelSpace, name: str, encoder: TextEncoder
) -> UnifiedLabelSpace:
    """The label space with typed relations of the new classes that share no unified label.

    Those of the old classes stay as they are.
    """
    *old, new = texts_of(base.cfg, space.label_spaces)
    asked = f"new {name}"  # as text_evidence calls it: what its texts lack is said once
    spaces = LabelSpaceSet([*old, replace(new, name=asked)])
    found = find_typed_relations(spaces, space.mapping.links(), encoder.encode)
    about = [r.with_dataset(asked, name) for r in found if asked in (r.a[0], r.b[0])]
    return replace(space, relations=(*space.relations, *about))


def _notes(base: Base, photos: LabelledPhotos, learned: Learned, seed: int) -> dict[str, Any]:
    """Provenance of the label space: that of before, and what was added to it."""
    choice = learned.choice
    entry = {
        "dataset": photos.label_space.name,
        "to": base.weights.name,
        "photos": photos.count,
        "seed": seed,
        "reading": choice.kind,
        "penalty": choice.penalty,
        "weights": {
            f"{c.kind} {c.penalty:g}": round(c.weight, 4) for c in learned.choices if c.weight
        },
        "left_out_miou": None if choice.score is None else round(choice.score, 3),
        "unilabel": unilabel.__version__,
    }
    before = base.space.provenance
    return {**before, "added": [*before.get("added", []), entry]}


def write_model(added: Added, output: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write the model file and its label space; each is whole or not there.

    Returns:
        both files.

    Raises:
        UniLabelError: ``output`` is the model itself, or cannot be written.
    """
    path = check_output(added.base.weights, output)
    cfg = _config(added)
    content = load_file(added.base.weights)
    content = {k: v for k, v in content.items() if k not in ("format", "version")}
    content |= finished_model(cfg, added.model, added.space)
    side = new_side_file(path)
    save_file(path, content)
    added.space.save(side)
    return path, side


def _config(added: Added) -> Any:
    """The model's configuration with the dataset among those that it names."""
    cfg, source = added.base.cfg.clone(), added.source
    cfg.defrost()
    decoder = source.decode_label
    if isinstance(decoder, BuiltinDecoder):
        cfg.DATASETS.NAMES = [*cfg.DATASETS.NAMES, decoder.name]
        if decoder.variant:
            cfg.DATASETS.VARIANTS = [*cfg.DATASETS.VARIANTS, [decoder.name, decoder.variant]]
    else:
        cfg.DATASETS.CUSTOM = [*cfg.DATASETS.CUSTOM, str(Path(source.root).resolve())]
    if cfg.DATASETS.ONLY:
        cfg.DATASETS.ONLY = [*cfg.DATASETS.ONLY, source.name]
    return cfg

#!/usr/bin/env python
r"""Answer in the classes of a dataset that a model was not trained on (Section 4.1 of the paper).

No weight changes. Each unified label is read as at most one class of the unseen dataset; the best
reading is looked for on its training images, or taken from text or from a file, saved as JSON, and
evaluated on its validation images.

Examples:
  # predictions on the training images decide; the text-only mapping is printed beside it
  tools/map_unseen.py --weights output/7ds/model_final.pth --dataset camvid11 \
      --output output/camvid11_mapping.json

  # own folder (images/, labels/, classes.json), no training labels needed to find the mapping
  tools/map_unseen.py --weights output/7ds/model_final.pth --dataset datasets/mine --method text \
      --output mapping.json

  # evaluate a mapping after editing "class" in it by hand
  tools/map_unseen.py --weights output/7ds/model_final.pth --dataset datasets/mine \
      --method file --mapping mapping.json

KEY VALUE pairs at the end override the configuration in the model file (INPUT.TEST_SHORT_SIDE,
TEST.BATCH_SIZE, DATALOADER.NUM_WORKERS, MODEL.DEVICE).
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from unilabel.data.builtin import builtin_names, builtin_source, datasets_root

METHODS = ("images", "text", "file")
OBJECTIVES = ("cost", "miou")  # of unilabel.core.transfer


def build_parser() -> argparse.ArgumentParser:
    """Options of this tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True, metavar="FILE", help="model_final.pth")
    parser.add_argument(
        "--dataset",
        required=True,
        metavar="NAME|DIR",
        help=f"unseen dataset: a folder with a classes.json, or {', '.join(builtin_names())}; "
        "NAME@VARIANT for a variant",
    )
    parser.add_argument("--method", choices=METHODS, default="images", help="default: images")
    parser.add_argument("--mapping", metavar="FILE", help="mapping to read (--method file)")
    parser.add_argument("--output", metavar="FILE", help="mapping to write, *.json")
    parser.add_argument(
        "--objective",
        choices=OBJECTIVES,
        default="miou",
        help="cost: the paper's sum of 1 - IoU; miou: then improved by mean IoU (default)",
    )
    parser.add_argument(
        "--images", type=int, default=0, metavar="N", help="use N training images (default: all)"
    )
    parser.add_argument(
        "--heads",
        action="store_true",
        help="also map the label spaces of the model's own datasets, one by one (Tables 7 to 10)",
    )
    parser.add_argument(
        "--encoder", help="text encoder (default: the one that the model was trained with)"
    )
    parser.add_argument(
        "--descriptions", metavar="FILE", help="JSON {dataset: {class: description}}"
    )
    parser.add_argument(
        "--relations", metavar="FILE", help="true relations, to score the mapping found"
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="configuration overrides")
    return parser


if __name__ == "__main__":
    build_parser().parse_args()  # --help and wrong options are answered before the slow imports

warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

import torch  # noqa: E402
from detectron2.config import CfgNode  # noqa: E402
from torch import Tensor  # noqa: E402

import unilabel  # noqa: E402
import unilabel.modeling  # noqa: E402  registers backbone and meta-architecture
from unilabel.config import merge_overrides  # noqa: E402
from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.core.label_space import UNIFIED, LabelSpaceSet  # noqa: E402
from unilabel.core.metrics import mean_iou  # noqa: E402
from unilabel.core.relations import RelationTruth  # noqa: E402
from unilabel.core.transfer import (  # noqa: E402
    TransferMapping,
    assign,
    fit_mapping,
    label_iou,
)
from unilabel.core.unified_space import UnifiedLabelSpace  # noqa: E402
from unilabel.data.build import check_first_samples  # noqa: E402
from unilabel.data.folders import folder_source  # noqa: E402
from unilabel.data.sources import SPLITS, DatasetSource, Sample  # noqa: E402
from unilabel.engine.checkpoint import load_file  # noqa: E402
from unilabel.engine.evaluate import count  # noqa: E402
from unilabel.engine.loading import config_of, load_model  # noqa: E402
from unilabel.evaluation.sem_seg import through_mapping  # noqa: E402
from unilabel.modeling.meta_arch import UniLabelSegmentor  # noqa: E402
from unilabel.text.encoders import TextEncoder, build_text_encoder  # noqa: E402
from unilabel.text.evidence import of_labels  # noqa: E402
from unilabel.text.prompts import with_descriptions  # noqa: E402
from unilabel.text.transfer import transfer_scores, transfer_texts  # noqa: E402


@dataclass(frozen=True)
class Model:
    """A loaded model with its configuration."""

    cfg: CfgNode
    network: UniLabelSegmentor
    unified: UnifiedLabelSpace | None

    def names(self, space: str) -> tuple[str, ...]:
        """Names of the labels of one of its label spaces."""
        if space == UNIFIED and self.unified is not None:
            return self.unified.names
        return self.network.label_spaces.get(space).class_names

    def links(self, space: str) -> Tensor:
        """(N, S) bool: the classes that each label of a space stands for."""
        spaces = self.network.label_spaces
        if space == UNIFIED and self.unified is not None:
            return self.unified.mapping.stacked()
        index = spaces.dataset_index(space)
        start, stop = spaces.class_offsets[index : index + 2]
        return torch.eye(spaces.total, dtype=torch.bool)[start:stop]


def read_model(args: argparse.Namespace) -> Model:
    """The model of ``--weights`` under the overrides."""
    cfg = config_of(load_file(args.weights)["config"], args.weights)
    merge_overrides(cfg, args.opts)
    network, unified = load_model(args.weights, cfg.MODEL.DEVICE)
    return Model(cfg, network, unified)


def read_dataset(args: argparse.Namespace, known: Sequence[str]) -> DatasetSource:
    """The unseen dataset, with its descriptions.

    With ``--heads`` it may be one that the model knows: the other label spaces do not.
    """
    name, _, variant = args.dataset.partition("@")
    if name in builtin_names():
        source = builtin_source(name, datasets_root(), variant or None)
    else:
        source = folder_source(args.dataset)
    if source.name in known and not args.heads:
        raise UniLabelError(
            f"the model was trained on {source.name!r} and answers in it without a mapping "
            '(train_net.py --eval-only); for other images with the same name change "name" in '
            "classes.json."
        )
    if args.descriptions:
        (space,) = with_descriptions(LabelSpaceSet([source.label_space]), args.descriptions)
        source = source.with_label_space(space)
    check_first_samples([source])
    return source


def some_images(source: DatasetSource, limit: int) -> DatasetSource:
    """The dataset with at most ``limit`` evenly spread training images; 0: all."""
    if limit < 0:
        raise UniLabelError(f"--images {limit}: expected 0 (all) or more.")

    def list_samples(split: str) -> list[Sample]:
        found = source.samples(split)
        step = max(1, -(-len(found) // limit)) if limit and split == "train" else 1
        return found[::step]

    return replace(source, list_samples=list_samples)


@dataclass(frozen=True)
class Search:
    """Finds mappings from the label spaces of a model to an unseen dataset."""

    args: argparse.Namespace
    model: Model
    source: DatasetSource

    @cached_property
    def spaces(self) -> LabelSpaceSet:
        """Label spaces of the model, and of the dataset."""
        unseen = replace(self.source.label_space, name=f"unseen {self.source.name}")
        return LabelSpaceSet([*self.model.network.label_spaces, unseen])

    @cached_property
    def encoder(self) -> TextEncoder:
        """Of names and descriptions."""
        name = self.args.encoder or self.model.cfg.TEXT.ENCODER
        return build_text_encoder(name, str(self.model.network.device))

    @cached_property
    def class_scores(self) -> Tensor:
        """(S, C) what texts say about the classes of the model and the unseen ones."""
        return transfer_scores(self.spaces, self.encoder)

    def similarity(self, space: str) -> Tensor:
        """(N, C) what texts say about the labels of a space and the unseen classes."""
        return of_labels(self.model.links(space), self.class_scores)

    def by_text(self, space: str) -> TransferMapping:
        """Every label gets the class that fits best by text."""
        similarity = self.similarity(space)
        links = torch.from_numpy(assign(similarity.numpy()))
        return self._mapping(space, links, similarity, {"method": "text"})

    def by_images(self, space: str, confusion: Tensor) -> TransferMapping:
        """The mapping that fits the counts (C, N) of the training images best."""
        links = fit_mapping(confusion, self.similarity(space), self.args.objective)
        notes = {"method": "images", "objective": self.args.objective}
        return self._mapping(space, links, label_iou(confusion), notes)

    def from_file(self) -> TransferMapping:
        """The mapping of ``--mapping``, checked against model and dataset."""
        file = self.args.mapping
        if not file:
            raise UniLabelError("--method file needs --mapping FILE.")
        mapping = TransferMapping.load(file)
        if mapping.label_space.class_names != self.source.label_space.class_names:
            raise UniLabelError(
                f"{file} was made for {mapping.label_space.name!r} with the classes "
                f"{', '.join(mapping.label_space.class_names)}; {self.source.name!r} has "
                f"{', '.join(self.source.label_space.class_names)}."
            )
        mapping.check_model(self.model.names(mapping.space), file)
        return mapping

    def count(self, split: str, spaces: Sequence[str]) -> dict[str, Tensor]:
        """Confusion counts (C, N) of a split in several label spaces."""
        return count(self.model.cfg, self.model.network, self.source, split, spaces)

    def _mapping(
        self, space: str, links: Tensor, weights: Tensor, notes: dict[str, Any]
    ) -> TransferMapping:
        origin = {"weights": Path(self.args.weights).name, "unilabel": unilabel.__version__}
        names = self.model.names(space)
        about = {"encoder": self.encoder.name, "texts": transfer_texts(self.spaces)[1]}
        return TransferMapping.from_links(
            *(self.source.label_space, space, names, links, weights),
            {**origin, **notes, **about},
        )


def run(search: Search) -> tuple[TransferMapping, list[dict[str, Any]]]:
    """Find the mapping and evaluate it beside what could be had without it.

    Returns:
        the mapping, and rows of ``name``, ``labels`` in use, ``train`` and ``val`` mIoU in percent
        (None where it was not measured); the last row is that of the mapping.
    """
    method, network = search.args.method, search.model.network
    unified = [UNIFIED] if search.model.unified is not None else []
    heads = network.label_spaces.names if search.args.heads or not unified else []
    if method == "text" and not unified:
        raise UniLabelError(
            "this model has one head per dataset and no unified labels; only training images can "
            "tell which head is best: use --method images."
        )
    train = search.count("train", unified + heads) if method == "images" else {}
    tried: list[tuple[str, TransferMapping]] = []
    if method == "images":
        fitted = [search.by_images(head, train[head]) for head in heads]
        fitted.sort(key=lambda m: mapped_miou(train[m.space], m))  # the best one last
        tried += [(f"{m.space}, images", m) for m in fitted]
    elif method == "text":
        tried += [(f"{head}, text", search.by_text(head)) for head in heads]
    tried += [(f"{space}, text", search.by_text(space)) for space in unified]
    if method == "images":
        tried += [(f"{space}, images", search.by_images(space, train[space])) for space in unified]
    elif method == "file":
        given = search.from_file()
        tried.append((f"{given.space}, {Path(search.args.mapping).name}", given))
    val = search.count("val", list(dict.fromkeys(m.space for _, m in tried)))
    rows = [
        {
            "name": name,
            "labels": int((m.class_of >= 0).sum()),
            "train": mapped_miou(train[m.space], m) if m.space in train else None,
            "val": mapped_miou(val[m.space], m),
        }
        for name, m in tried
    ]
    return tried[-1][1], rows


def mapped_miou(confusion: Tensor, mapping: TransferMapping) -> float:
    """Mean IoU in percent of counts (C, N) read through a mapping."""
    classes = mapping.label_space.num_classes
    return mean_iou(through_mapping(confusion, mapping.class_of, classes))


def score_relations(search: Search, mapping: TransferMapping) -> list[str]:
    """Lines that compare the classes linked through the mapping with the true relations."""
    seen = search.model.network.label_spaces
    spaces = LabelSpaceSet([*seen, mapping.label_space])
    truth = RelationTruth.from_json(search.args.relations, spaces)
    chosen = mapping.class_of[:, None] == torch.arange(mapping.label_space.num_classes)
    pairs = search.model.links(mapping.space).T.float() @ chosen.float() > 0  # (S, C)
    lines = []
    for space, start in zip(seen, seen.class_offsets, strict=False):
        rows = slice(start, start + space.num_classes)
        true, scored = truth.related[rows, seen.total :], truth.scored[rows, seen.total :]
        if not bool(true.any()):
            continue
        found = pairs[rows] & scored
        hits, others = int((found & true).sum()), int((found & ~true).sum())
        lines.append(
            f"relations to {space.name}: {hits} of {int(true.sum())} true pairs found, "
            f"{others} others"
        )
    return lines


def print_result(search: Search, mapping: TransferMapping, rows: Sequence[dict[str, Any]]) -> None:
    """The table, and what the reader should know about the mapping."""
    source = search.source
    print(
        f"{search.args.dataset}: {source.label_space.num_classes} classes, "
        f"{len(source.samples('train'))} training and {len(source.samples('val'))} validation "
        "images"
    )
    width = max(len(row["name"]) for row in rows)
    print(f"{'mapping':<{width}}  labels  train mIoU  val mIoU")
    for row in rows:
        train = "-" if row["train"] is None else f"{row['train']:.2f}"
        print(f"{row['name']:<{width}}  {row['labels']:>6}  {train:>10}  {row['val']:>8.2f}")
    if missing := mapping.without_label():
        print(f"never predicted, since no label stands for them: {', '.join(missing)}")
    for line in score_relations(search, mapping) if search.args.relations else []:
        print(line)


def main(argv: Sequence[str] | None = None) -> int:
    """Map, evaluate, print and write; returns the exit status."""
    args = build_parser().parse_args(argv)
    logging.getLogger("detectron2.evaluation.evaluator").setLevel(logging.WARNING)
    try:
        model = read_model(args)
        source = read_dataset(args, model.network.label_spaces.names)
        search = Search(args, model, some_images(source, args.images))
        mapping, rows = run(search)
        notes = {
            **mapping.provenance,
            "dataset": args.dataset,  # with its variant: another split gives another figure
            "images": {split: len(search.source.samples(split)) for split in SPLITS},
            "val_miou": {r["name"]: round(r["val"], 4) for r in rows},
        }
        print_result(search, mapping, rows)
        if args.output:
            replace(mapping, provenance=notes).save(args.output)
            print(f"written to {args.output}")
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python
r"""How few labelled photos a dataset needs: mIoU against the number of photos.

On a finished model that does not know the dataset, the network frozen:

  add_dataset   tools/add_dataset.py
  map_unseen    tools/map_unseen.py: each unified label is read as at most one class
  linear_head   a new linear head on the pixels of the photos; its penalty by cross-validation

From scratch, by train_net.py, the other datasets whole and this one cut to the photos: single,
multi_head, multi_head_refit, ours (give --config and --others).

Every cell (method, model or seed, dataset, photos, draw) is a JSON file in --cells; what is there
is not done again. The photos of a draw are the same for all methods; scores are mIoU on all
validation photos, at their size. The network sees every photo once for each model (kept in --out).

Examples:
  python benchmarks/learning_curve.py --weights output/cmp/ours_0/model_final.pth \
      --datasets facade8 drone6 --photos 1 2 5 10 20 --draws 0 1 2 --cells cells --out output/curve
  python benchmarks/learning_curve.py --methods single ours --config configs/mini.yaml \
      --others camvid11 iddlite msrc21 --datasets camvid7 --photos 10 --seeds 0 1 2 --cells cells \
      --out output/curve
  python benchmarks/learning_curve.py --cells cells --out output/curve --table-only
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
from curve_scratch import SCRATCH, train_cell
from curve_table import plot, table

from unilabel.adding.base import Base, read_base
from unilabel.adding.choice import FINAL_PIXELS, KINDS, Start, choose, fit_mean, weighted
from unilabel.adding.fit import Reading
from unilabel.adding.job import read_source, text_encoder, text_scores
from unilabel.adding.learn import fit_options, learn
from unilabel.adding.photos import LabelledPhotos, choose_photos, pixels_of_photo
from unilabel.adding.relations import answer_counts
from unilabel.core.errors import UniLabelError
from unilabel.core.io import atomic_path, file_digest, read_json, write_json
from unilabel.core.metrics import mean_iou, update_confusion
from unilabel.core.projection import unified_logits
from unilabel.core.reading import read_labels
from unilabel.core.transfer import fit_mapping
from unilabel.data.build import EvalDataset
from unilabel.data.sources import DatasetSource
from unilabel.data.test_size import TestSize

FROZEN = ("add_dataset", "map_unseen", "linear_head")


class Embedded:
    """The photos of a dataset as a network sees them, computed once."""

    def __init__(self, base: Base, source: DatasetSource, folder: Path) -> None:
        """Read what an earlier run kept, or run the network."""
        self.base, self.source = base, source
        digest = file_digest(base.weights)[:12]
        file = folder / f"{source.name}_{digest}.pt"
        if file.is_file():
            self.splits = torch.load(file, weights_only=True)
            return
        self.splits = {split: self._embed(split) for split in ("train", "val")}
        with atomic_path(file) as temporary:
            torch.save(self.splits, temporary)

    @torch.no_grad()
    def _embed(self, split: str) -> list[dict[str, Any]]:
        model, found = self.base.model, []
        size = TestSize(self.base.cfg.INPUT.TEST_SHORT_SIDE)
        photos = EvalDataset(self.source, 0, self.source.samples(split), size)
        for number in range(len(photos)):
            item = photos[number]
            seen = tuple(item["image"].shape[1:])
            embedding = model.embed(item["image"][None])[0].half()
            label = item["sem_seg"]
            if split == "train":
                label = model.grid(seen).labels(label, tuple(embedding.shape[1:]))
            found.append({"embedding": embedding, "label": label, "seen": list(seen)})
        return found

    def photos(self, count: int, draw: int) -> LabelledPhotos:
        """The labelled photos of a draw: those of tools/add_dataset.py with this seed."""
        samples = self.source.samples("train")
        chosen = choose_photos(samples, count, draw)
        place = {sample.image: i for i, sample in enumerate(samples)}
        quota = max(256, self.base.cfg.UNIFY.CACHE_PIXELS // count)
        generator = torch.Generator().manual_seed(self.base.cfg.SEED)
        parts = []
        for number, sample in enumerate(chosen):
            entry = self.splits["train"][place[sample.image]]
            embedding = entry["embedding"].float()
            parts.append(
                pixels_of_photo(embedding, entry["label"], number, count, quota, generator)
            )
        pixels = type(parts[0])(*(torch.cat(v) for v in zip(*map(_fields, parts), strict=True)))
        return LabelledPhotos(self.source.label_space, tuple(chosen), pixels)

    def score(self, rows: torch.Tensor, bias: torch.Tensor, links: torch.Tensor) -> float:
        """Score on the validation photos: classifiers (N, D), their bias (N,), links (N, C)."""
        classes = links.shape[1]
        confusion = torch.zeros(classes, classes, dtype=torch.int64)
        for entry in self.splits["val"]:
            scores = unified_logits(entry["embedding"].float()[None], rows) + bias[:, None, None]
            label = entry["label"]
            grid = self.base.model.grid(tuple(entry["seen"]))
            answer = read_labels(scores, grid, tuple(label.shape), links).labels[0]
            update_confusion(confusion, answer, label)
        return mean_iou(confusion)

    def score_mapped(self, links: torch.Tensor, rows: torch.Tensor) -> float:
        """Score of the plain answer by X_u (N, D), read through links (N, C) as by map_unseen."""
        classes = links.shape[1]
        table_of = torch.where(links.any(1), links.int().argmax(1), -1)
        confusion = torch.zeros(classes, classes + 1, dtype=torch.int64)
        for entry in self.splits["val"]:
            scores = unified_logits(entry["embedding"].float()[None], rows)
            grid = self.base.model.grid(tuple(entry["seen"]))
            answer = read_labels(scores, grid, tuple(entry["label"].shape)).labels[0]
            update_confusion(confusion, table_of[answer.long()], entry["label"])
        return mean_iou(confusion)


def _fields(pixels: Any) -> tuple[torch.Tensor, ...]:
    return pixels.embeddings, pixels.labels, pixels.weights, pixels.groups


def add(base: Base, data: Embedded, photos: LabelledPhotos, text, draw: int) -> dict[str, Any]:
    """The cell of add_dataset."""
    start = time.process_time()
    learned = learn(base.model.uni_head, base.space, base.cfg, photos, text, draw)
    seconds = time.process_time() - start
    index = len(base.space.label_spaces)
    bias, links = learned.head.reading(index)
    old = learned.head.label_embedding[: len(base.space.names)]
    return {
        "miou": data.score(learned.head.rows(index), bias, links),
        "seconds": seconds,
        "choice": [learned.choice.kind, learned.choice.penalty, learned.choice.score],
        "new_labels": len(learned.relations.new),
        "old_rows_equal": bool(torch.equal(old, base.model.uni_head.label_embedding)),
    }


def map_labels(base: Base, data: Embedded, photos: LabelledPhotos, text) -> dict[str, Any]:
    """The cell of map_unseen."""
    start = time.process_time()
    pixels, rows = photos.pixels, base.model.uni_head.label_embedding
    answers = (pixels.embeddings @ rows.T).argmax(1)
    shape = (photos.label_space.num_classes, len(rows))
    counts = answer_counts(answers, pixels.labels, pixels.weights, shape)
    links = fit_mapping(counts, text)
    seconds = time.process_time() - start
    return {"miou": data.score_mapped(links, rows), "seconds": seconds}


def linear_head(base: Base, data: Embedded, photos: LabelledPhotos, draw: int) -> dict[str, Any]:
    """The cell of a new linear head, with the same loss, pixels and cross-validation."""
    start = time.process_time()
    classes, dim = photos.label_space.num_classes, base.cfg.MODEL.EMBED_DIM
    begin = Start(torch.zeros(classes, dim), torch.eye(classes, dtype=torch.bool))
    options = fit_options(base.cfg)
    tried = choose(photos.pixels, classes, lambda _: begin, options, draw)
    ways = weighted([c for c in tried if c.kind == KINDS[-1]])
    found: Reading = fit_mean(photos.pixels.thinned(FINAL_PIXELS, draw), begin, ways, options)
    seconds = time.process_time() - start
    present = photos.pixels.counts(classes) > 0  # a class that it never saw has no classifier
    links = begin.links & present
    return {
        "miou": data.score(found.rows, found.bias, links),
        "seconds": seconds,
        "choice": [ways[0].kind, ways[0].penalty, ways[0].score],
    }


def frozen_cells(args: argparse.Namespace, weights: str) -> None:
    """All cells on one finished model."""
    base = read_base(weights, label_space="inside")
    model = f"{Path(weights).parent.name}"
    for dataset in args.datasets:
        source = read_source(dataset)
        data = text = None
        for count in args.photos:
            for draw in args.draws:
                todo = [m for m in args.methods if m in FROZEN]
                files = {m: cell_file(args, m, model, source.name, count, draw) for m in todo}
                if all(file.is_file() for file in files.values()):
                    continue
                if data is None:
                    data = Embedded(base, source, args.out)
                    text = text_scores(base, source.label_space, text_encoder(base))
                photos = data.photos(count, draw)
                for method, file in files.items():
                    if not file.is_file():
                        found = _run(method, base, data, photos, text, draw)
                        known = {"method": method, "model": model, "dataset": source.name}
                        write_json(file, {**known, "photos": count, "draw": draw, **found})
                        print(f"{file.stem}: {found['miou']:.2f}", flush=True)


def _run(method, base, data, photos, text, draw) -> dict[str, Any]:
    if method == "add_dataset":
        return add(base, data, photos, text, draw)
    if method == "map_unseen":
        return map_labels(base, data, photos, text)
    return linear_head(base, data, photos, draw)


def cell_file(
    args: argparse.Namespace, method: str, model: str, dataset: str, photos: int, draw: int
) -> Path:
    """Where a cell is kept."""
    return args.cells / f"{dataset}_{method}_{model}_{photos}_{draw}.json"


def scratch_cells(args: argparse.Namespace) -> bool:
    """All cells that train_net.py makes; whether all have succeeded."""
    done = True
    for seed in args.seeds:
        for dataset in args.datasets:
            title = read_source(dataset).name
            for count in args.photos:
                for draw in args.draws:
                    for method in (m for m in args.methods if m in SCRATCH):
                        file = cell_file(args, method, f"seed{seed}", title, count, draw)
                        if file.is_file():
                            continue
                        found = train_cell(args, method, seed, dataset, count, draw)
                        if found is None:
                            done = False
                            continue
                        known = {"method": method, "model": f"seed{seed}", "dataset": title}
                        write_json(file, {**known, "photos": count, "draw": draw, **found})
    return done


def build_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_option = parser.add_argument
    add_option("--methods", nargs="+", choices=[*FROZEN, *SCRATCH], default=list(FROZEN))
    add_option("--weights", nargs="+", default=[], help="finished models without the datasets")
    add_option("--datasets", nargs="+", default=[], help="folders or built-in names to add")
    add_option("--photos", nargs="+", type=int, default=[1, 2, 5, 10, 20])
    add_option("--draws", nargs="+", type=int, default=[0, 1, 2], help="seeds of the photos")
    add_option("--seeds", nargs="+", type=int, default=[0], help="of trainings from scratch")
    add_option("--config", default="configs/mini.yaml", help="of trainings from scratch")
    add_option("--others", nargs="+", default=[], help="folders that they train on beside it")
    add_option("--set", nargs="+", default=[], metavar="KEY VALUE", help="their keys")
    add_option("--cells", type=Path, required=True, help="folder of the cells")
    add_option("--out", type=Path, required=True, help="folder of embeddings, runs and the table")
    add_option("--table-only", action="store_true")
    return parser


def main() -> int:
    """Fill the cells and write the table; returns the exit status."""
    args = build_parser().parse_args()
    torch.set_num_threads(1)
    done = True
    try:
        if not args.table_only:
            for weights in args.weights:
                frozen_cells(args, weights)
            done = scratch_cells(args)
        cells = [read_json(file) for file in sorted(args.cells.glob("*.json"))]
        if not cells:
            raise UniLabelError(f"no finished cell in {args.cells}.")
        text = table(cells)
        args.out.mkdir(parents=True, exist_ok=True)
        with atomic_path(args.out / "learning_curve.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
        plot(cells, args.out / "learning_curve.png")
        print(text)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())

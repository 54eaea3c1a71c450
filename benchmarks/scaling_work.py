"""The work of the rows of ``scaling.py``, a function for each; preparing is not measured.

A function gets what the row is about and a folder that is its own, and returns the work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, get_cfg
from node_selection import cross_evaluation, is_valid
from transport import soft_mappings

from unilabel.config import add_unilabel_config
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet, default_color
from unilabel.core.merging import select_nodes
from unilabel.core.pruning import merge_identical
from unilabel.core.unified_space import UnifiedLabelSpace, class_relations

ROOT = Path(__file__).resolve().parents[1]
CONCEPTS = 0.485  # of the labels
PIXELS, CHANNELS = 8000, 64
STEPS = 40  # of the training with several processes
Work = Callable[[], "str | None"]  # may return a note


class World:
    """Datasets whose classes are nouns, and the concepts behind them.

    Attributes:
        spaces: K label spaces with C classes.
        concept: (C,) concept of each class, 0..N-1.
        links: (N, C) bool.
    """

    def __init__(self, datasets: int, labels: int) -> None:
        """Draw them."""
        from unilabel.text.nouns import load_nouns

        rng = np.random.default_rng(0)
        self.sizes = [labels // datasets + (i < labels % datasets) for i in range(datasets)]
        pool = max(round(CONCEPTS * labels), max(self.sizes))
        weight = (1.0 + np.arange(pool)) ** -0.3  # some concepts are in many datasets
        drawn = [rng.choice(pool, n, replace=False, p=weight / weight.sum()) for n in self.sizes]
        concept = np.unique(np.concatenate(drawn), return_inverse=True)[1]
        self.concept = torch.from_numpy(concept)
        nouns = load_nouns()
        known = {words[0]: text for words, text in zip(nouns.words, nouns.definitions, strict=True)}
        chosen = rng.permutation(sorted(known))[: int(concept.max()) + 1].tolist()
        names = [chosen[c] for c in concept.tolist()]
        texts = [known[name] or f"A kind of {name}." for name in names]
        spaces, start = [], 0
        for number, size in enumerate(self.sizes):
            part = slice(start, start + size)
            colors = tuple(map(default_color, range(size)))
            spaces.append(
                LabelSpace(
                    f"d{number}",
                    tuple(names[part]),
                    colors,
                    descriptions=tuple(texts[part]),
                )
            )
            start += size
        self.spaces = LabelSpaceSet(spaces)
        self.links = self.concept == torch.arange(len(chosen))[:, None]

    def mapping(self) -> LabelMapping:
        """The links."""
        return LabelMapping.from_stacked(self.spaces, self.links)


def config() -> CfgNode:
    """The defaults, with the text encoder that needs no download."""
    cfg = get_cfg()
    add_unilabel_config(cfg)
    cfg.TEXT.ENCODER = "hashed"
    cfg.MODEL.EMBED_DIM = CHANNELS
    return cfg


def texts(world: World, folder: Path) -> Work:
    """What texts say about all pairs of classes (node selection, fused)."""
    from unilabel.engine.node_selection import text_score
    from unilabel.text.cache import load_or_encode

    features = load_or_encode(None, world.spaces, "hashed", mode="description")

    def work() -> None:
        text_score(config(), world.spaces, features)

    return work


def evidence(world: World, folder: Path) -> Work:
    """What pixels say about all pairs, and the unified labels from both (node selection, fused)."""
    from unilabel.core.evidence import label_tuples
    from unilabel.engine.node_selection import fused_evidence
    from unilabel.engine.pixel_cache import PixelCache

    generator = torch.Generator().manual_seed(0)
    places = F.normalize(torch.randn(len(world.links), CHANNELS, generator=generator), dim=1)
    heads, embeddings, labels = [], [], []
    for own in world.concept.split(world.sizes):
        heads.append(20 * places[own])
        truth = torch.randint(len(own), (PIXELS,), generator=generator)
        noise = torch.randn(PIXELS, CHANNELS, generator=generator)
        embeddings.append(places[own][truth] + 0.1 * noise)
        labels.append(truth)
    cache = PixelCache(embeddings, labels)
    text = (world.concept[:, None] == world.concept).float()

    def work() -> str:
        cfg = config()
        score = fused_evidence(cfg, cache, heads, world.sizes, text)
        links = label_tuples(score, world.sizes, cfg.UNIFY.SCORE_THRESHOLD)
        return f"{len(links)} unified labels, {len(world.links)} concepts"

    return work


def program(world: World, folder: Path) -> Work:
    """Node selection by the integer program (UNIFY.NODES ilp)."""
    profiles = [(size, 0.6, i % 2 == 0) for i, size in enumerate(world.sizes)]
    score, offsets = cross_evaluation(profiles=profiles, concepts=world.spaces.total / 448)

    def work() -> str:
        found = select_nodes(score, offsets)
        if not is_valid(found, offsets):
            raise RuntimeError("the selection is not valid")
        return f"{len(found.clusters)} unified labels, gap {found.gap:.2g}"

    return work


def graph_stage(world: World, folder: Path) -> Work:
    """Start of a GNN stage and one step of it."""
    from unilabel.engine.graph_stage import GraphLearner, build_label_graph
    from unilabel.engine.node_selection import NodeProposal

    cfg = config()
    generator = torch.Generator().manual_seed(0)
    score = (world.concept[:, None] == world.concept).float()
    features = torch.randn(world.spaces.total, 384, generator=generator)
    pixels = [
        (
            torch.randn(cfg.GRAPH.PIXELS, CHANNELS, generator=generator),
            torch.randint(size, (cfg.GRAPH.PIXELS,), generator=generator),
        )
        for size in world.sizes
    ]
    counts = [torch.ones(size) for size in world.sizes]

    def work() -> None:
        proposal = NodeProposal(world.links, score)
        graph = build_label_graph(cfg, world.spaces, features, proposal)
        learner = GraphLearner(cfg, world.spaces, graph, 1000, lambda soft, _: world.links, counts)
        learner.step(0, pixels)

    return work


def solve(world: World, folder: Path, solver: str = "exact") -> Work:
    """Mapping of all datasets (UNIFY.SOLVER exact)."""
    from unilabel.engine.links import solve_links

    soft = torch.from_numpy(np.concatenate(soft_mappings(len(world.links), 0, world.sizes), 1))

    def work() -> None:
        cfg = config()
        cfg.UNIFY.SOLVER = solver
        solve_links(cfg, world.spaces, soft, world.links, {})

    return work


def transport(world: World, folder: Path) -> Work:
    """Mapping of all datasets by Algorithm 2 (UNIFY.SOLVER uot)."""
    return solve(world, folder, "uot")


def label_space(world: World, folder: Path) -> Work:
    """The artefact: names, file written and read, equal labels, relations between classes."""

    def work() -> str:
        space = UnifiedLabelSpace.from_mapping(world.mapping())
        space.save(folder / "label_space.json")
        again = UnifiedLabelSpace.load(folder / "label_space.json")
        merge_identical(again.mapping)
        return f"{len(class_relations(again.mapping))} relations"

    return work


def drawing(world: World, folder: Path) -> Work:
    """label_graph.png of labels that are chained to each other by wide classes."""
    from unilabel.visual.label_graph import draw_label_graph

    links = world.links
    first = world.sizes[0]
    unlinked = torch.nonzero(~links[:, :first].any(1)).flatten()
    links[unlinked, unlinked * 7 % first] = True  # classes of the first dataset hold several
    space = UnifiedLabelSpace.from_mapping(world.mapping())

    def work() -> None:
        draw_label_graph(space, folder / "label_graph.png")

    return work


def photos_of_dataset(count: int, folder: Path) -> Work:
    """A dataset folder is opened, its samples and remarks are told."""
    from unilabel.data.folders import folder_source

    (folder / "classes.json").write_text('{"0": "road", "1": "car"}')
    for kind, suffix in (("images", ".jpg"), ("labels", ".png")):
        empty_files(folder / kind / "train", count - count // 10, suffix)
        empty_files(folder / kind / "val", count // 10, suffix)

    def work() -> str:
        source = folder_source(str(folder))
        found = source.samples("train") + source.samples("val")
        return f"{len(found)} samples, {len(source.remarks())} remarks"

    return work


def photos_to_predict(count: int, folder: Path) -> Work:
    """demo/predict.py finds its photos."""
    from unilabel.demo_app.inputs import find_images

    empty_files(folder / "photos", count, ".jpg")

    def work() -> str:
        return f"{len(find_images([str(folder / 'photos')], folder / 'output')[0])} photos"

    return work


def empty_files(folder: Path, count: int, suffix: str) -> None:
    """``count`` empty files, a thousand in a subfolder."""
    for number in range(count):
        if number % 1000 == 0:
            place = folder / f"part{number // 1000:04d}"
            place.mkdir(parents=True)
        os.close(os.open(place / f"{number % 1000:03d}{suffix}", os.O_CREAT | os.O_WRONLY))


def train_together(processes: int) -> dict[str, Any]:
    """Images a second of a training on the toy world, of all processes together."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node"]
        command += [str(processes), "--standalone", str(ROOT / "train_net.py")]
        command += ["--config-file", str(ROOT / "configs/toy.yaml"), "OUTPUT_DIR", folder]
        command += ["SCHEDULE", f'[["MULTI_HEAD", {STEPS}]]', "DATALOADER.NUM_WORKERS", "0"]
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        rows = [json.loads(line) for line in (Path(folder) / "metrics.json").open()]
    rate = [row["images_per_second"] for row in rows if "images_per_second" in row][-1]
    return {"images": processes * rate}


OF_LABELS: dict[str, Callable[[World, Path], Work]] = {
    "texts": texts,
    "evidence": evidence,
    "ilp": program,
    "graph stage": graph_stage,
    "exact solve": solve,
    "uot solve": transport,
    "label space": label_space,
    "drawing": drawing,
}
OF_OTHERS: dict[str, Any] = {
    "dataset folder": photos_of_dataset,
    "photos to predict": photos_to_predict,
    "processes": train_together,
}

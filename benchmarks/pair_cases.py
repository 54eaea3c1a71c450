"""What benchmarks/pair_score.py scores on: networks, their pixels and texts, simulated graphs.

What takes long is kept as tensors below a folder, with the processor seconds that it took.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from kept_pixels import cached, kept, plain, weights_of
from pair_network import RELATED
from simulated_graphs import LEAST_CLASSES, TYPES, PairGraph, TextDraws, evidence_graph, simulate
from torch import Tensor

import unilabel.modeling  # noqa: F401  registers backbone and meta-architecture
from unilabel.core.errors import UniLabelError
from unilabel.core.io import file_digest
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.relations import RelationTruth
from unilabel.data.build import build_sources
from unilabel.engine.checkpoint import load_file
from unilabel.engine.evaluate import relations_file
from unilabel.engine.loading import config_of, load_model
from unilabel.engine.node_selection import text_score
from unilabel.engine.pixel_cache import PixelCache, collect_pixels
from unilabel.text.cache import load_or_encode
from unilabel.text.label_tables import load_label_spaces

HELD_OUT = 3  # each dataset is held out with one of so many seeds


@dataclass
class Network:
    """What a finished multi-head network knows."""

    cfg: CfgNode
    spaces: LabelSpaceSet
    cache: PixelCache
    heads: list[Tensor]


@dataclass(frozen=True)
class Case:
    """A graph with what is known: (T, T) bool related pairs, and those that count."""

    graph: PairGraph
    related: Tensor
    scored: Tensor

    @classmethod
    def simulated(cls, graph: PairGraph) -> Case:
        """Overlaps are neither right nor wrong, as in ``relations.json``."""
        related = torch.isin(graph.types, torch.tensor(RELATED))
        return cls(graph, related, graph.apart & (graph.types != TYPES.index("overlap")))


def read_network(folder: Path, cache: Path) -> tuple[Network, float]:
    """A network with training pixels of its datasets, and the processor seconds that they took."""
    weights = weights_of(folder)
    cfg = config_of(load_file(weights)["config"], str(weights))
    cfg.defrost()
    cfg.DATALOADER.NUM_WORKERS = 0  # their seconds would not be counted
    model, space = load_model(weights, cfg.MODEL.DEVICE)
    if space is not None:
        raise UniLabelError(f"{weights} has unified labels; give a multi-head network (stem_*).")
    sources = build_sources(cfg)
    file = cache / f"pixels_{file_digest(weights)[:12]}.pt"

    def make() -> dict[str, Any]:
        torch.manual_seed(0)
        return {**plain(collect_pixels(model, cfg, sources, 1))}

    content = kept(file, make)
    heads = [w.detach().cpu() for w in model.multi_head.weights]
    spaces = LabelSpaceSet(s.label_space for s in sources)
    return Network(cfg, spaces, cached(content), heads), content["seconds"]


def texts_of_pairs(cfg: CfgNode, spaces: LabelSpaceSet) -> Tensor:
    """(C, C) text score of default node selection."""
    features = load_or_encode(None, spaces, cfg.TEXT.ENCODER, mode=cfg.TEXT.MODE)
    return text_score(cfg, spaces, features)


def known_case(network: Network) -> Case:
    """The datasets of a network with their true relations."""
    cfg, spaces = network.cfg, network.spaces
    if not relations_file(cfg):
        raise UniLabelError("a network was trained without DATASETS.RELATIONS: nothing to score.")
    truth = RelationTruth.from_json(relations_file(cfg), spaces)
    sizes, text = spaces.num_classes, texts_of_pairs(cfg, spaces)
    graph = evidence_graph(cfg, network.cache, network.heads, sizes, text)
    return Case(graph, truth.related, truth.scored)


def text_draws(args: argparse.Namespace, cfg: CfgNode) -> tuple[TextDraws, float]:
    """Text scores of published lists, and the processor seconds that they took."""

    def make() -> dict[str, Any]:
        spaces = load_label_spaces(args.lists)
        truth = RelationTruth.from_json(args.list_relations, spaces)
        text, scored = texts_of_pairs(cfg, spaces), truth.scored.triu()
        return {"sides": [text[scored & known] for known in (truth.related, ~truth.related)]}

    content = kept(args.cache / "texts.pt", make)
    return TextDraws(*content["sides"]), content["seconds"]


def held_out_names(names: Sequence[str], seed: int) -> set[str]:
    """Datasets whose graphs are for scoring only."""
    return set(sorted(set(names))[seed % HELD_OUT :: HELD_OUT])


def simulated_graphs(
    args: argparse.Namespace, networks: dict[str, Network], seed: int, texts: TextDraws
) -> tuple[list[PairGraph], list[PairGraph], float]:
    """Graphs to learn from, graphs held out, and the processor seconds that they took."""

    def make() -> dict[str, Any]:
        origins = [
            (network.cfg, network.spaces.names[i], pixels, labels)
            for network in networks.values()
            for i, (pixels, labels) in enumerate(
                zip(network.cache.embeddings, network.cache.labels, strict=True)
            )
            if len(labels.unique()) >= LEAST_CLASSES
        ]
        apart = held_out_names([name for _, name, _, _ in origins], seed)
        rng = np.random.default_rng(seed)
        sides = []
        for count, held in ((args.graphs, False), (args.held_out, True)):
            mine = [o for o in origins if (o[1] in apart) == held]
            drawn = [mine[int(rng.integers(len(mine)))] for _ in range(count)]
            graphs = [simulate(cfg, pixels, labels, texts, rng) for cfg, _, pixels, labels in drawn]
            sides.append([{f.name: getattr(g, f.name) for f in fields(g)} for g in graphs])
        return {"sides": sides}

    content = kept(args.cache / f"graphs_{seed}_{args.graphs}_{args.held_out}.pt", make)
    first, second = ([PairGraph(**g) for g in side] for side in content["sides"])
    return first, second, content["seconds"]

"""Evaluation of a model on all its datasets.

Letters: K datasets, C_i classes of dataset i, N unified labels, A atoms.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.evaluation import inference_on_dataset
from detectron2.utils import comm
from torch import Tensor

from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import UNIFIED
from unilabel.core.metrics import iou_from_confusion, mean_iou
from unilabel.core.relations import RelationTruth
from unilabel.core.typed_relations import relation_matrix
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.build import build_eval_loader
from unilabel.data.label_files import read_id_png
from unilabel.data.sources import DatasetSource, resolve_file
from unilabel.evaluation.atoms import read_atoms, score_atoms
from unilabel.evaluation.sem_seg import SpaceConfusionEvaluator, through_mapping
from unilabel.modeling.meta_arch import UniLabelSegmentor
from unilabel.modeling.windows import Asking

logger = logging.getLogger(__name__)


def evaluate_model(
    cfg: CfgNode,
    model: UniLabelSegmentor,
    sources: Sequence[DatasetSource],
    space: UnifiedLabelSpace | None,
) -> dict[str, Any]:
    """Scores on the validation split of every dataset, in its own label space.

    Args:
        cfg: TEST, INPUT, DATASETS.RELATIONS.
        model: the model; put into eval mode for the time.
        sources: datasets to score, all known to the model.
        space: unified labels with their links and relations, None for a multi-head model.

    Returns:
        ``datasets.<name>.{miou, iou, images, unseen, counted}`` and, with unified labels,
        ``unified_miou`` (plain arg max over unified labels, then their class); ``mean_miou`` and
        ``mean_unified_miou`` over those that are ``counted``; ``test``, how the network was asked;
        ``relations`` of links where truth is given, in it ``typed``, those of links and typed
        relations; ``unified`` (atom scores) where the world has atoms.
    """
    mapping = None if space is None else space.mapping
    results = score_datasets(cfg, model, sources, mapping)
    if mapping is not None:
        results["num_unified"] = mapping.num_unified
        results["num_active"] = int(mapping.active().sum())
        results["mapping_checksum"] = mapping.checksum()
    relations = relations_file(cfg)
    if relations and space is not None:
        truth = RelationTruth.from_json(relations, space.label_spaces)
        linked = space.mapping.links()
        results["relations"] = truth.score(linked)
        if space.relations:
            related = linked | relation_matrix(space.relations, space.label_spaces)
            results["relations"]["typed"] = truth.score(related)
    atoms = read_atoms([s.root for s in sources])
    if atoms is not None:
        results["unified"] = _score_atoms(cfg, model, sources, mapping, atoms)
    return results


def score_datasets(
    cfg: CfgNode,
    model: UniLabelSegmentor,
    sources: Sequence[DatasetSource],
    mapping: LabelMapping | None,
) -> dict[str, Any]:
    """The ``datasets``, the means and the ``test`` of :func:`evaluate_model`, nothing else.

    Without ``mapping`` a model with unified labels is scored in the datasets' own spaces alone.
    """
    results: dict[str, Any] = {"datasets": {}}
    for source in sources:
        if not source.has("val"):
            continue  # said at the start, see check_first_samples
        spaces = [source.name] + ([UNIFIED] if mapping is not None else [])
        confusion = count(cfg, model, source, "val", spaces)
        results["datasets"][source.name] = _scores(source, confusion, mapping)
    for name, entry in results["datasets"].items():
        if not entry["counted"]:
            logger.warning(
                "%s: its validation labels hold fewer than two classes, so any constant answer is "
                "right; its score is not part of the mean",
                name,
            )
    results["mean_miou"] = mean_over_datasets(results["datasets"])
    if mapping is not None:
        results["mean_unified_miou"] = mean_over_datasets(results["datasets"], "unified_miou")
    asking = test_asking(cfg)
    results["test"] = {
        "short_side": cfg.INPUT.TEST_SHORT_SIDE,
        "window": asking.window,
        "scales": list(asking.scales),
    }
    return results


def mean_over_datasets(entries: Mapping[str, Any], key: str = "miou") -> float | None:
    """Mean over the datasets whose validation labels can tell a right answer from a constant."""
    return mean([entry[key] for entry in entries.values() if entry["counted"]])


def relations_file(cfg: CfgNode) -> str:
    """File of true relations: DATASETS.RELATIONS, or that of the toy world, or none."""
    if cfg.DATASETS.RELATIONS:
        return str(resolve_file(cfg.DATASETS.RELATIONS))
    toy = Path(cfg.OUTPUT_DIR) / "toy_world" / "relations.json"
    return str(toy) if cfg.DATASETS.TOY else ""


def count(
    cfg: CfgNode,
    model: UniLabelSegmentor,
    source: DatasetSource,
    split: str,
    spaces: Sequence[str],
    atoms: int = 0,
) -> dict[str, Tensor]:
    """Confusion counts of a split: space -> (C_i, R), or (A, R) against atom maps."""
    dataset_id = (
        model.label_spaces.names.index(source.name)
        if (source.name in model.label_spaces.names)
        else -1
    )
    loader = build_eval_loader(
        cfg,
        source,
        dataset_id,
        source.samples(split),
        comm.get_rank(),
        comm.get_world_size(),
        spaces,
    )
    sizes = {s: space_size(model, s) for s in spaces}
    if atoms:
        evaluator = SpaceConfusionEvaluator(atoms, sizes, _atom_map)
    else:
        evaluator = SpaceConfusionEvaluator(source.label_space.num_classes, sizes)
    logger.info("predicting %d images of %s %s", len(loader.dataset), source.name, split)
    before, model.asking = model.asking, test_asking(cfg)
    try:
        return inference_on_dataset(model, loader, evaluator)
    finally:
        model.asking = before


def test_asking(cfg: CfgNode) -> Asking:
    """How the network is asked when it is scored (TEST.WINDOW, TEST.SCALES)."""
    return Asking(cfg.TEST.WINDOW, tuple(cfg.TEST.SCALES))


def space_size(model: UniLabelSegmentor, space: str) -> int:
    """R, the number of labels of a space."""
    if space == UNIFIED:
        return model.uni_head.num_unified
    return model.label_spaces.get(space).num_classes


def _scores(
    source: DatasetSource, confusion: dict[str, Tensor], mapping: LabelMapping | None
) -> dict[str, Any]:
    own = confusion[source.name]
    names = source.label_space.class_names
    entry: dict[str, Any] = {
        "miou": _number(mean_iou(own)),
        "iou": {n: _number(100 * v) for n, v in zip(names, iou_from_confusion(own), strict=True)},
        "images": len(source.samples("val")),
        "unseen": [n for n, seen in zip(names, own.sum(1) > 0, strict=True) if not seen],
        "counted": int((own.sum(1) > 0).sum()) > 1,
    }
    if mapping is not None:
        read = through_mapping(confusion[UNIFIED], mapping.class_of(source.name), len(names))
        entry["unified_miou"] = _number(mean_iou(read))
    return entry


def _score_atoms(
    cfg: CfgNode,
    model: UniLabelSegmentor,
    sources: Sequence[DatasetSource],
    mapping: LabelMapping | None,
    atoms: dict[str, Any],
) -> dict[str, Any]:
    """Atom scores of the unified space, or of the best head of a multi-head model."""
    spaces = model.label_spaces.names if mapping is None else [UNIFIED]
    total = len(atoms["atoms"])
    counts: dict[str, dict[str, dict[str, Tensor]]] = {}
    for split in ("train", "val"):
        counts[split] = {s.name: count(cfg, model, s, split, spaces, total) for s in sources}
    scored = {}
    for space in spaces:
        train = {n: c[space] for n, c in counts["train"].items()}
        val = {n: c[space] for n, c in counts["val"].items()}
        scored[space] = {k: round(v, 6) for k, v in score_atoms(train, val, atoms).items()}
    best = max(scored, key=lambda space: scored[space]["atom_miou"])
    return {"space": best, **scored[best]}


def _atom_map(item: dict[str, Any]) -> Tensor:
    """(H, W) atom ids: ``atoms/<split>/NAME.png`` beside ``labels/<split>/NAME.png``."""
    label = Path(item["sem_seg_file_name"])
    path = label.parents[2] / "atoms" / label.parent.name / label.name
    return torch.from_numpy(read_id_png(str(path)))


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of the known values, four digits; None if none is known."""
    known = [v for v in values if v is not None]
    return round(sum(known) / len(known), 4) if known else None


def _number(value: float | Tensor) -> float | None:
    """Four digits; None for NaN, which JSON does not have."""
    number = float(value)
    return None if math.isnan(number) else round(number, 4)

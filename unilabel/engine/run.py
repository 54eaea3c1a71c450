"""One whole run: data, training or evaluation, and the files that it leaves."""

from __future__ import annotations

import logging
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import detectron2
import numpy
import scipy
import timm
import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.events import JSONWriter, TensorboardXWriter

import unilabel
from unilabel.core.errors import UniLabelError
from unilabel.core.io import write_json
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.build import (
    build_sources,
    check_first_samples,
    generate_toy_world,
    register_sources,
)
from unilabel.data.findings import source_findings
from unilabel.data.sources import DatasetSource
from unilabel.engine import distributed
from unilabel.engine.checkpoint import CheckpointKeeper, finished_model, save_file
from unilabel.engine.dry_run import check_network
from unilabel.engine.evaluate import evaluate_model, mean_over_datasets
from unilabel.engine.examples import write_examples
from unilabel.engine.expected import check_expectations, verify_results
from unilabel.engine.hooks import CheckpointHook, ProgressHook
from unilabel.engine.loading import load_model
from unilabel.engine.progress import ProgressLine
from unilabel.engine.token_cache import use_token_cache
from unilabel.engine.trainer import UniLabelTrainer
from unilabel.engine.validation import ValidationHook
from unilabel.engine.warm_start import read_start, start_from
from unilabel.modeling.meta_arch import UniLabelSegmentor

logger = logging.getLogger(__name__)

FINAL_MODEL = "model_final.pth"


@distributed.explain_lost_processes()
def train(cfg: CfgNode, config_file: str, resume: bool) -> dict[str, Any]:
    """Train, evaluate and write the artefacts into OUTPUT_DIR.

    Returns:
        the content of ``results.json``.
    """
    folder = Path(cfg.OUTPUT_DIR)
    keeper = CheckpointKeeper(folder, cfg.SOLVER.KEEP_CHECKPOINTS)
    state = keeper.load_newest() if resume else None
    parts_go_on = resume and cfg.SINGLE_DATASET_MODELS  # each from a checkpoint of its own
    start = None if parts_go_on else _read_weights(cfg, state)
    if cfg.SINGLE_DATASET_MODELS:
        return _train_single_models(cfg, config_file, resume)
    sources = _prepare_data(cfg)
    doubts = _look_at_labels(sources)
    trainer = UniLabelTrainer(cfg, sources)
    check_network(cfg, trainer.model, sources)
    validation = ValidationHook(cfg, sources, trainer.unifier.label_space)
    if state is not None:
        trainer.load_state(state)
        validation.resume(state)
        trainer.max_iter = validation.ended_at or trainer.max_iter
    elif resume:
        logger.warning("--resume: no checkpoint in %s, starting from the beginning", folder)
    if start is not None:
        start_from(trainer, start, cfg.MODEL.WEIGHTS)
    # In this order: a checkpoint holds what was scored before it.
    hooks = [validation, CheckpointHook(keeper, cfg.SOLVER.CHECKPOINT_PERIOD)]
    if comm.is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        writers = [
            ProgressLine(trainer.clock, trainer.schedule, lambda: trainer.max_iter),
            JSONWriter(str(folder / "metrics.json")),
            TensorboardXWriter(str(folder)),
        ]
        hooks.append(ProgressHook(writers))
    trainer.register_hooks(hooks)
    trainer.train()
    trainer.unifier.relate()
    if cfg.SOLVER.REFIT:
        trainer.refit()
    space = trainer.unifier.finish()
    if comm.is_main_process():
        save_final(cfg, trainer.model, space)  # before the evaluation, which may fail
        write_examples(cfg, trainer.model, sources)
    results = {
        **describe_run(cfg, config_file),
        **evaluate_model(cfg, trainer.model, sources, space),
        "data": doubts,
        "stages": trainer.records,
        "notes": trainer.notes,
        "link_scores": trainer.unifier.link_scores,
        "skipped_steps": trainer.guard.skipped,
        "bad_samples": trainer.bad_samples.counts(),
        **validation.results(),
    }
    _write_results(cfg, "results.json", results)
    return results


def _read_weights(cfg: CfgNode, state: dict[str, Any] | None) -> dict[str, Any] | None:
    """What MODEL.WEIGHTS holds, before any work; nothing if a checkpoint goes on."""
    if not cfg.MODEL.WEIGHTS:
        return None
    if state is not None:
        logger.warning(
            "--resume: MODEL.WEIGHTS %s is not read, the run goes on from its checkpoint",
            cfg.MODEL.WEIGHTS,
        )
        return None
    return read_start(cfg.MODEL.WEIGHTS)


@distributed.explain_lost_processes()
def evaluate(cfg: CfgNode, config_file: str) -> dict[str, Any]:
    """Evaluate MODEL.WEIGHTS on the configured datasets; writes ``results_eval.json``."""
    if not cfg.MODEL.WEIGHTS:
        raise UniLabelError("--eval-only needs MODEL.WEIGHTS path/to/model_final.pth.")
    sources = _prepare_data(cfg)
    model, space = load_model(cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE)
    known = model.label_spaces
    for source in sources:
        have = known.get(source.name)
        if have.class_names != source.label_space.class_names:
            raise UniLabelError(
                f"{cfg.MODEL.WEIGHTS} knows {source.name!r} with the classes "
                f"{', '.join(have.class_names)}; this dataset has "
                f"{', '.join(source.label_space.class_names)}. Weights of another label space?"
            )
    check_network(cfg, model, sources, training=False)
    use_token_cache(cfg, model, sources)
    results = {
        **describe_run(cfg, config_file),
        **evaluate_model(cfg, model, sources, space),
    }
    _write_results(cfg, "results_eval.json", results)
    return results


def _write_results(cfg: CfgNode, name: str, results: dict[str, Any]) -> None:
    """Write the results, then compare them with what is expected."""
    if comm.is_main_process():
        write_json(Path(cfg.OUTPUT_DIR) / name, results)
    comm.synchronize()
    verify_results(cfg.TEST.EXPECTED_RESULTS, results)


def _prepare_data(cfg: CfgNode) -> list[DatasetSource]:
    if comm.is_main_process():
        generate_toy_world(cfg)
    comm.synchronize()
    sources = build_sources(cfg)
    check_expectations(cfg.TEST.EXPECTED_RESULTS, [s.name for s in sources])
    register_sources(sources)
    check_first_samples(sources, cfg.DATASETS.ON_BAD_SAMPLE == "skip")
    return sources


def _look_at_labels(sources: Sequence[DatasetSource]) -> dict[str, list[str]]:
    """Dataset -> what its labels make doubtful; said once, before the training."""
    if not comm.is_main_process():
        return {}
    found = {s.name: [f.message for f in source_findings(s)] for s in sources}
    for messages in found.values():
        for message in messages:
            logger.warning("%s", message)
    return {name: messages for name, messages in found.items() if messages}


def _train_single_models(cfg: CfgNode, config_file: str, resume: bool) -> dict[str, Any]:
    """The baseline of the paper: one model per dataset, all with the same schedule."""
    names = LabelSpaceSet(s.label_space for s in _prepare_data(cfg)).names
    results: dict[str, Any] = {}
    for name in names:
        one = cfg.clone()
        one.defrost()
        one.SINGLE_DATASET_MODELS = False
        one.DATASETS.ONLY = [name]
        one.TEST.EXPECTED_RESULTS = []  # of all together, below
        one.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR) / name)
        one.freeze()
        part = train(one, config_file, resume)
        results.setdefault("datasets", {}).update(part["datasets"])
        results.setdefault("stages", []).extend({**s, "dataset": name} for s in part["stages"])
    results["mean_miou"] = mean_over_datasets(results["datasets"])
    results = {**describe_run(cfg, config_file), **results}
    _write_results(cfg, "results.json", results)
    return results


def save_final(cfg: CfgNode, model: UniLabelSegmentor, space: UnifiedLabelSpace | None) -> None:
    """Write the model, its label space and the drawing, each atomically."""
    folder = Path(cfg.OUTPUT_DIR)
    save_file(folder / FINAL_MODEL, finished_model(cfg, model, space))
    if space is not None:
        from unilabel.visual.label_graph import draw_label_graph  # Matplotlib is slow to import

        space.save(folder / "label_space.json")
        draw_label_graph(space, folder / "label_graph.png")


def describe_run(cfg: CfgNode, config_file: str) -> dict[str, Any]:
    """What a reader needs to repeat the run."""
    return {
        "config": config_file,
        "seed": cfg.SEED,
        "versions": {
            "unilabel": unilabel.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "detectron2": detectron2.__version__,
            "torch_geometric": version("torch-geometric"),
            "timm": timm.__version__,
            "numpy": numpy.__version__,
            "scipy": scipy.__version__,
        },
        "git": _git_revision(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "processes": comm.get_world_size(),
    }


def _git_revision() -> str | None:
    root = Path(unilabel.__file__).parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None  # installed without a checkout
    return done.stdout.strip()


def report(results: dict[str, Any]) -> str:
    """The results as lines for the terminal."""
    lines = [f"{'dataset':<16} {'mIoU':>7} {'unified argmax':>15}"]
    rows = [(n, e["miou"], e.get("unified_miou")) for n, e in results["datasets"].items()]
    rows.append(("mean", results["mean_miou"], results.get("mean_unified_miou")))
    for name, *scores in rows:
        miou, unified = ("-" if s is None else f"{s:.2f}" for s in scores)
        counted = results["datasets"].get(name, {}).get("counted", True)
        note = "" if counted else "  not in the mean: its labels hold fewer than two classes"
        lines.append(f"{name:<16} {miou:>7} {unified:>15}{note}")
    if results.get("best"):
        best = results["best"]
        lines.append(
            f"best while training: {best['mean_miou']:.2f} at iteration {best['iteration']} "
            f"({best['file']})"
        )
    if "num_unified" in results:
        lines.append(
            f"unified labels: {results['num_unified']}, mapping {results['mapping_checksum']}"
        )
    if "relations" in results:
        r = results["relations"]
        lines.append(
            f"relations against the truth: precision {r['precision']:.3f}, recall "
            f"{r['recall']:.3f}, F1 {r['f1']:.3f} ({r['num_related']} related pairs)"
        )
    if "unified" in results:
        u = results["unified"]
        lines.append(
            f"atoms in the space {u['space']!r}: accuracy {u['atom_accuracy']:.3f}, mIoU "
            f"{u['atom_miou']:.3f}, hidden IoU {u['hidden_iou']:.3f}"
        )
    return "\n".join(lines)

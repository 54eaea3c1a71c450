"""Training on after a dataset was added: with what is at hand, and without forgetting the rest.

Datasets at hand train as ever. Those that are not are kept by distillation: on the new photos the
network goes on to answer in their classes as the old model does.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from detectron2.config import CfgNode
from torch import Tensor

from unilabel.adding.job import Added
from unilabel.core.errors import UniLabelError
from unilabel.core.losses import class_weights
from unilabel.core.projection import dataset_logits
from unilabel.data.build import build_train_loader, class_pixel_counts, source_makers
from unilabel.data.class_changes import change_classes, read_changes
from unilabel.data.sources import DatasetSource, Sample
from unilabel.engine.evaluate import score_datasets
from unilabel.engine.optim import build_network_optimizer, set_learning_rate
from unilabel.modeling.meta_arch import UniLabelSegmentor

logger = logging.getLogger(__name__)

RATE = 0.3  # of SOLVER.BASE_LR: the network is trained already
WARMUP = 0.1  # share of the iterations
MOST_PHOTOS = 200  # of a dataset that its class frequencies are measured on


@dataclass(frozen=True)
class Tuned:
    """What the training on has done.

    Attributes:
        added: with the trained model.
        before: dataset -> mIoU in percent before it, of those at hand; None: no val part.
        after: the same after it.
        kept: datasets that are not at hand -> share of the new validation photos' pixels (training
            photos where there are none) that are answered in their classes as before.
    """

    added: Added
    before: dict[str, float | None]
    after: dict[str, float | None]
    kept: dict[str, float]

    def lines(self) -> list[str]:
        """What the program prints."""
        told = ["trained on; old answers are no longer those of before:"]
        for name, new in self.after.items():
            old = self.before[name]
            if old is None or new is None:
                told.append(f"  {name}: no validation photos, no score")
            else:
                told.append(f"  {name}: mIoU {old:.2f} before, {new:.2f} after")
        told += [
            f"  {name}: not at hand, kept by distillation; {100 * share:.1f} % of the answers on "
            "the new photos are those of before"
            for name, share in self.kept.items()
        ]
        return told


def sources_at_hand(added: Added) -> list[DatasetSource]:
    """The old datasets whose files are where the model's configuration says."""
    cfg, known = added.base.cfg, added.base.space.label_spaces
    changes = read_changes(cfg.DATASETS.CLASSES, [name for name, _ in cfg.DATASETS.CLASSES])
    found = {}
    for dataset, make in source_makers(cfg):
        try:
            source = make()
            source.samples("train")
        except UniLabelError as error:
            logger.warning("not at hand: %s (%s)", dataset, str(error).splitlines()[0])
            continue
        if source.name not in known.names:
            continue  # left out of the training by DATASETS.ONLY
        if source.name in changes:
            source = change_classes(source, changes[source.name])
        if known.get(source.name).class_names != source.label_space.class_names:
            logger.warning("not at hand: %s has other classes than the model", dataset)
            continue
        found[source.name] = source
    return [found[name] for name in known.names if name in found]


def finetune(added: Added, iterations: int, seed: int = 0) -> Tuned:
    """Train network and classifiers on.

    Args:
        added: with at least one photo.
        iterations: of the configuration's batches.
        seed: of batches and augmentation.

    Raises:
        UniLabelError: there is nothing to train on, or the loss is not finite.
    """
    if iterations < 1 or not added.photos.samples:
        raise UniLabelError(
            f"--finetune {iterations} with {added.photos.count} photos: expected at least one "
            "iteration and one photo."
        )
    old = sources_at_hand(added)
    new = replace(added.source, list_samples=_Samples(added.source, added.photos.samples))
    absent = [n for n in added.base.space.label_spaces.names if n not in {s.name for s in old}]
    cfg = added.base.cfg.clone()
    cfg.defrost()
    cfg.SEED = seed
    model = _trainable(added, [s.name for s in old])
    before = _scores(cfg, added.model, [*old, new])
    _measure_classes(cfg, model, new)
    _train(cfg, model, added.base.model, [*old, new], absent, iterations)
    model.eval().requires_grad_(False)
    after = _scores(cfg, model, [*old, new])
    kept = _agreement(added, model, new, absent)
    return Tuned(replace(added, model=model), before, after, kept)


@dataclass(frozen=True)
class _Samples:
    """The photos that were chosen, and all validation photos; travels to worker processes."""

    source: DatasetSource
    chosen: tuple[Sample, ...]

    def __call__(self, split: str) -> list[Sample]:
        return list(self.chosen) if split == "train" else self.source.list_samples(split)


def _trainable(added: Added, at_hand: Sequence[str]) -> UniLabelSegmentor:
    """A copy that can be trained. New labels wake in the datasets that can train them."""
    model = copy.deepcopy(added.model)
    head, count = model.uni_head, len(added.base.space.names)
    with torch.no_grad():
        for name in at_hand:
            head.dataset_bias[model.label_spaces.dataset_index(name), count:] = 0.0
    model.requires_grad_(True)
    head.dataset_bias.requires_grad_(head.use_dataset_bias)
    return model


def _measure_classes(cfg: CfgNode, model: UniLabelSegmentor, new: DatasetSource) -> None:
    """Class weights of the new dataset, by its frequencies."""
    counts = class_pixel_counts(new, new.samples("train"), MOST_PHOTOS)
    weights = class_weights(counts, cfg.LOSS.CLASS_WEIGHT_POWER)
    model.class_weight[-len(weights) :] = weights.to(model.class_weight)


def _train(
    cfg: CfgNode,
    model: UniLabelSegmentor,
    teacher: UniLabelSegmentor,
    sources: Sequence[DatasetSource],
    absent: Sequence[str],
    iterations: int,
) -> None:
    optimizer = build_network_optimizer(cfg, model)
    loader = build_train_loader(cfg, sources, 0, iterations, 0, 1)
    model.train()
    for step, batch in enumerate(loader):
        ramp = min(1.0, (step + 1) / max(1.0, WARMUP * iterations))
        rate = cfg.SOLVER.BASE_LR * RATE * ramp * (1 - step / iterations)
        set_learning_rate(optimizer, rate)
        images = torch.stack([item["image"] for item in batch]).to(model.device)
        embedding = model.embed(images)
        losses = dict(model.losses(embedding, batch))
        mine = [i for i, item in enumerate(batch) if item["dataset_name"] == sources[-1].name]
        if absent:
            with torch.no_grad():
                taught = teacher.embed(images[mine])
            for name in absent:
                losses[f"kept/{name}"] = distillation(model, teacher, embedding[mine], taught, name)
        total = torch.stack(list(losses.values())).sum()
        if not bool(torch.isfinite(total)):
            raise UniLabelError(
                f"the loss is not finite in iteration {step} of --finetune; nothing is written. "
                "Lower SOLVER.BASE_LR."
            )
        optimizer.zero_grad()
        total.backward()
        if cfg.SOLVER.CLIP_GRADIENT > 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), cfg.SOLVER.CLIP_GRADIENT)
        optimizer.step()


def distillation(
    model: UniLabelSegmentor,
    teacher: UniLabelSegmentor,
    embedding: Tensor,
    taught: Tensor,
    dataset: str,
) -> Tensor:
    """Mean divergence of the answers in a dataset's classes from those of the old model.

    Args:
        model: that learns.
        teacher: the old one.
        embedding: (B, D, h, w) of the former.
        taught: (B, D, h, w) of the latter.
        dataset: known to both.
    """
    target, student = (
        class_log_probabilities(m, e, dataset) for m, e in ((teacher, taught), (model, embedding))
    )
    return (target.exp() * (target - student)).sum(1).mean()


def class_log_probabilities(model: UniLabelSegmentor, embedding: Tensor, dataset: str) -> Tensor:
    """(B, D, h, w) -> (B, C_i, h, w)."""
    scores, mapping = model.scores(embedding, dataset)
    if mapping is not None:
        scores = dataset_logits(scores, mapping, model.uni_head.mode)
    return scores.log_softmax(1)


def _scores(
    cfg: CfgNode, model: UniLabelSegmentor, sources: Sequence[DatasetSource]
) -> dict[str, float | None]:
    entries = score_datasets(cfg, model, sources, None)["datasets"]
    return {s.name: entries.get(s.name, {}).get("miou") for s in sources}


@torch.no_grad()
def _agreement(
    added: Added, model: UniLabelSegmentor, new: DatasetSource, absent: Sequence[str]
) -> dict[str, float]:
    """Share of equal answers of both models on new photos, for datasets that are not at hand."""
    if not absent:
        return {}
    samples = new.list_samples("val") or new.samples("train")
    before, now = added.predictor(), replace(added, model=model).predictor()
    equal, total = dict.fromkeys(absent, 0), 0
    for sample in samples[:MOST_PHOTOS]:
        image = new.read_image(sample.image)
        one, two = before.encode(image), now.encode(image)
        total += image.shape[0] * image.shape[1]
        for name in absent:
            answers = (p.predict(e, name, confidence=False) for p, e in ((before, one), (now, two)))
            first, second = (answer.labels for answer in answers)
            equal[name] += int((first == second).sum())
    return {name: count / max(total, 1) for name, count in equal.items()}

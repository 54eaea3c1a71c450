"""The last fit of a trained model's classifiers, on images as they are (SOLVER.REFIT)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode

from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpaceSet
from unilabel.data.sources import DatasetSource
from unilabel.engine import distributed
from unilabel.engine.fitting import fit_heads, fit_label_embedding
from unilabel.engine.pixel_cache import collect_pixels
from unilabel.engine.readouts import fit_readouts
from unilabel.modeling.meta_arch import UniLabelSegmentor

REFIT_SALT = 2_000  # pixel draws differ from those of the stages
PLAIN_WEIGHT = 0.5  # of answers without dataset bias


def refit(
    cfg: CfgNode,
    label_spaces: LabelSpaceSet,
    sources: Sequence[DatasetSource],
    model: UniLabelSegmentor,
) -> None:
    """Fit X_u and dataset biases, or the heads, once more; the network stays.

    Training sees changed colours and sizes. Where it is short, its classifiers are not the best
    ones for the images that the model will be asked about.
    """
    cache = collect_pixels(model, cfg, sources, REFIT_SALT)
    head = model.uni_head
    if head is None:
        weights = list(model.multi_head.weights)
        heads = fit_heads(cfg, label_spaces, cache, weights, cfg.SEED)
        distributed.broadcast(heads)
        with torch.no_grad():
            for old, new in zip(weights, heads, strict=True):
                old.copy_(new)
        return
    mapping = LabelMapping.from_stacked(label_spaces, head.mapping.cpu())
    present = head.label_embedding.detach().cpu(), head.dataset_bias.detach().cpu()
    if cfg.MODEL.DATASET_SHIFT:
        photos = [len(source.samples("train")) for source in sources]
        shift = None if head.dataset_shift is None else head.dataset_shift.detach().cpu()
        found = fit_readouts(cfg, label_spaces, cache, mapping, *present, photos, cfg.SEED, shift)
        fitted = found.embedding, found.bias, found.shift
        distributed.broadcast(fitted)
        head.set_label_space(found.embedding, head.mapping, found.bias, found.shift)
        return
    fitted = fit_label_embedding(
        cfg,
        label_spaces,
        cache,
        mapping,
        present[0],
        cfg.MODEL.MAPPING_MODE,
        cfg.SEED,
        present[1],
        PLAIN_WEIGHT if cfg.MODEL.DATASET_BIAS else 0.0,
    )
    distributed.broadcast(fitted)
    embedding, bias = fitted
    head.set_label_space(embedding, head.mapping, bias)

"""The network meets its input sizes before anything is trained, not hours later.

Many networks accept some sizes only, and BatchNorm needs more than one value of a channel. Both
show in a forward pass alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import torch
from detectron2.config import CfgNode
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.data.build import build_eval_loader
from unilabel.data.sources import DatasetSource
from unilabel.engine.evaluate import test_asking
from unilabel.engine.undisturbed import undisturbed
from unilabel.modeling.meta_arch import UniLabelSegmentor
from unilabel.modeling.windows import Asking

logger = logging.getLogger(__name__)


def check_network(
    cfg: CfgNode, model: UniLabelSegmentor, sources: Sequence[DatasetSource], training: bool = True
) -> None:
    """Embed a training batch and images of the sizes that are predicted, of grey pixels.

    Weights, BatchNorm statistics and random generators stay as they are.

    Raises:
        UniLabelError: the network does not accept a size; names it and how to mend it.
    """
    sizes: dict[tuple[int, int], str] = {}
    for size, name in _validation_sizes(cfg, sources):
        sizes.setdefault(size, name)
    with undisturbed(model), torch.no_grad():
        if training:
            height, width = cfg.INPUT.CROP_SIZE
            count = cfg.INPUT.IMAGES_PER_DATASET * len(sources)
            model.train()
            _try(cfg, model, _grey(count, (height, width)), "training crops (INPUT.CROP_SIZE)")
        model.eval()
        asking = test_asking(cfg)
        for size, name in sizes.items():
            what = f"images of {name!r} (INPUT.TEST_SHORT_SIDE)"
            _try(cfg, model, _grey(1, size), what, asking)


def _validation_sizes(
    cfg: CfgNode, sources: Sequence[DatasetSource]
) -> Iterator[tuple[tuple[int, int], str]]:
    """Size of the first validation image of every dataset, as the network will see it."""
    for index, source in enumerate(sources):
        samples = source.list_samples("val")[:1]
        if not samples:
            continue
        item = build_eval_loader(cfg, source, index, samples).dataset[0]
        yield tuple(item["image"].shape[1:]), source.name


def _grey(count: int, size: tuple[int, int]) -> Tensor:
    return torch.full((count, 3, *size), 128, dtype=torch.uint8)


def _try(
    cfg: CfgNode,
    model: UniLabelSegmentor,
    images: Tensor,
    what: str,
    asking: Asking = Asking(),  # noqa: B008  (frozen)
) -> None:
    count, _, height, width = images.shape
    try:
        asking.embed(model, images.to(model.device))
    except torch.cuda.OutOfMemoryError as error:
        raise UniLabelError(
            f"{count} {what} of {height} x {width} pixels do not fit into the memory of "
            f"{model.device}: lower INPUT.IMAGES_PER_DATASET (and raise INPUT.ACCUMULATE), "
            f"INPUT.CROP_SIZE or INPUT.TEST_SHORT_SIDE ({str(error).splitlines()[0]})"
        ) from error
    except Exception as error:  # networks refuse a size by whatever their layers raise
        text = (str(error) or type(error).__name__).splitlines()[0]
        raise UniLabelError(
            f"MODEL.TIMM.NAME {cfg.MODEL.TIMM.NAME} cannot process {count} {what} of {height} x "
            f"{width} pixels: {text} {_cure(text)}"
        ) from error


def _cure(text: str) -> str:
    """What a person can do, by what the network said."""
    if "more than 1 value per channel" in text:
        return (
            "BatchNorm needs several values: enlarge INPUT.CROP_SIZE or INPUT.IMAGES_PER_DATASET."
        )
    if "doesn't match model" in text:
        return (
            "MODEL.TIMM.ARGS hold it to the size of its pretraining: leave strict_img_size (Swin) "
            "or dynamic_img_size (ViT) out of them, other sizes are allowed then."
        )
    return (
        "Take an INPUT.CROP_SIZE and INPUT.TEST_SHORT_SIDE that fit it (multiples of 32 fit most "
        'networks, of 224 those with windows of 7), {"img_size": [height, width]} in '
        "MODEL.TIMM.ARGS, or another network."
    )

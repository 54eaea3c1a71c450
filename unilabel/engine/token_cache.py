"""Tokens of whole photos from a frozen transformer, made once and kept on disk.

A transformer takes most of the time of a step and, frozen, says the same about a photo every time.
Here it sees every photo once, whole and at its test size (as it will in prediction); crops take
their tokens from there, wherever they lie, turned to their side.

Letters: C channels of a token, h x w cells of a crop, t their stride.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.io import atomic_path
from unilabel.data.augment import View
from unilabel.data.sources import DatasetSource
from unilabel.data.test_size import TestSize
from unilabel.modeling.detail import DetailedBackbone, photo_tokens
from unilabel.modeling.meta_arch import UniLabelSegmentor
from unilabel.modeling.windows import sampled

__all__ = ["TokenCache", "use_token_cache"]

logger = logging.getLogger(__name__)


def use_token_cache(
    cfg: CfgNode, model: UniLabelSegmentor, sources: Sequence[DatasetSource]
) -> None:
    """Let a model take the tokens of loader items from INPUT.TOKEN_CACHE, if there is one.

    Raises:
        UniLabelError: the model has no transformer with a detail branch.
    """
    if not cfg.INPUT.TOKEN_CACHE:
        return
    if not isinstance(model.backbone, DetailedBackbone):
        raise UniLabelError(
            f"INPUT.TOKEN_CACHE is {cfg.INPUT.TOKEN_CACHE}, but this model has no transformer with "
            "a detail branch (MODEL.TIMM.DETAIL); leave the key empty."
        )
    model.known_tokens = TokenCache(cfg, model, sources)


class TokenCache:
    """Maps of the transformer for loader items; see :meth:`__call__`."""

    def __init__(
        self, cfg: CfgNode, model: UniLabelSegmentor, sources: Sequence[DatasetSource]
    ) -> None:
        """Keep the parts.

        Args:
            cfg: INPUT.TOKEN_CACHE and what decides on the tokens.
            model: with a :class:`unilabel.modeling.detail.DetailedBackbone`.
            sources: of the items.
        """
        self.model = model
        self.sources = {source.name: source for source in sources}
        self.size = TestSize(cfg.INPUT.TEST_SHORT_SIDE)
        self.cfg = cfg
        self.made = 0

    @cached_property
    def folder(self) -> Path:
        """Where the tokens of this network lie; known when its weights are."""
        digest = hashlib.sha256()
        cfg, timm = self.cfg, self.cfg.MODEL.TIMM
        facts = (timm.NAME, timm.ARGS, timm.OUT_INDICES, timm.TOKEN_STRIDE, str(self.size))
        digest.update(repr((facts, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)).encode())
        for name, value in sorted(self.model.backbone.main.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return Path(cfg.INPUT.TOKEN_CACHE) / digest.hexdigest()[:16]

    @torch.no_grad()
    def __call__(self, items: Sequence[dict[str, Any]]) -> list[Tensor]:
        """Tokens at the cells of the (padded) images of the items.

        Args:
            items: of a training or evaluation loader, with images of equal size.

        Returns:
            (B, C, h, w) for every map of the transformer.
        """
        model, stride = self.model, self.model.backbone.stride
        shape = items[0]["image"].shape
        step = model.divisibility
        cells = [-(-side // step) * step // stride for side in shape[1:]]
        rows = []
        for item in items:
            view = item.get("view") or whole_view(item, shape)
            rows.append([self._at(x, view, cells) for x in self._photo(item)])
        return [torch.cat(maps) for maps in zip(*rows, strict=True)]

    def _at(self, tokens: Tensor, view: View, cells: Sequence[int]) -> Tensor:
        """Tokens of a photo (1, C, n, m) at the centres of the cells of a crop: (1, C, h, w)."""
        backbone = self.model.backbone
        seen = self.size.of(*view.image)
        places = []
        for count, start, step, pixels, side in zip(
            cells, view.start, view.step, view.image, seen, strict=True
        ):
            centre = (torch.arange(count, dtype=torch.float64) + 0.5) * backbone.stride
            at = (start + centre * step) * (side / pixels)  # pixels of the photo at test size
            places.append(at / backbone.token_stride - 0.5)
        return sampled(tokens, *places)

    def _photo(self, item: dict[str, Any]) -> list[Tensor]:
        """Tokens of the photo of an item, from disk or made now and written."""
        file = Path(item["file_name"])
        about = file.stat()
        key = f"{file.resolve()}\n{about.st_size}\n{about.st_mtime_ns}"
        name = hashlib.sha256(key.encode()).hexdigest()
        path = self.folder / name[:2] / f"{name}.npy"
        try:
            stacked = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            stacked = self._make(item)
            with atomic_path(path, flush=False) as temporary, open(temporary, "wb") as out:
                np.save(out, stacked)
        except (OSError, ValueError, EOFError) as error:
            raise UniLabelError(
                f"{path} holds no tokens ({error}); delete this file or the folder "
                f"{self.folder.parent} (INPUT.TOKEN_CACHE), what is missing is made again."
            ) from error
        maps = torch.from_numpy(stacked).to(self.model.device).float()
        return list(maps.split(1))

    def _make(self, item: dict[str, Any]) -> np.ndarray:
        """(maps, C, n, m) float16."""
        if not self.made:
            logger.info(
                "tokens of photos are made and kept in %s (INPUT.TOKEN_CACHE); the first steps and "
                "the first evaluation take longer",
                self.folder,
            )
        self.made += 1
        image = self.size.resize(self.sources[item["dataset_name"]].read_image(item["file_name"]))
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        images = self.model.prepared(pixels.to(self.model.device))
        return torch.cat(photo_tokens(self.model.backbone, images)).half().cpu().numpy()


def whole_view(item: dict[str, Any], shape: Sequence[int]) -> View:
    """That of an item of an evaluation loader, which is a whole photo at test size."""
    image = (item["height"], item["width"])
    down, across = (a / b for a, b in zip(image, shape[1:], strict=True))
    return View(image, (0.0, 0.0), (down, across))

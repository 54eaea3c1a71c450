"""The segmentation model: backbone, pixel embedding, heads (Figure 2 of the paper).

Letters: B images, D embedding dim, N unified labels, C_i classes of dataset i, H x W image size,
h x w feature size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from torch import Tensor, nn

from unilabel.core.errors import UniLabelError
from unilabel.core.familiarity import mean_energy
from unilabel.core.fused_loss import upsampled_cross_entropy, upsampled_marginal_cross_entropy
from unilabel.core.grid import CellGrid
from unilabel.core.label_space import IGNORE, UNIFIED, LabelSpaceSet
from unilabel.core.losses import reduce_pixel_loss
from unilabel.core.reading import read_labels
from unilabel.modeling.heads import MultiSegHead, UniSegHead
from unilabel.modeling.pixel_decoder import PixelDecoder
from unilabel.modeling.windows import Asking


@META_ARCH_REGISTRY.register()
class UniLabelSegmentor(nn.Module):
    """Segments images in the label space of any dataset, or in the unified one.

    ``multi_head`` is in use before the unified labels are known, ``uni_head`` afterwards. Both are
    there only in the first GNN stage, whose end starts from the heads; then ``uni_head`` answers.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        pixel_decoder: PixelDecoder,
        multi_head: MultiSegHead | None,
        uni_head: UniSegHead | None,
        label_spaces: LabelSpaceSet,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        loss_stride: int = 1,
        ohem_threshold: float = 0.0,
        channels_last: bool = True,
        align_corners: bool = False,
    ) -> None:
        """Put the parts together; see :class:`unilabel.config` for what the values mean."""
        super().__init__()
        self.backbone = backbone
        self.pixel_decoder = pixel_decoder
        self.multi_head = multi_head
        self.uni_head = uni_head
        self.label_spaces = label_spaces
        self.loss_stride = loss_stride
        self.ohem_threshold = ohem_threshold
        self.align_corners = align_corners
        # Loader items -> maps of a frozen transformer that are kept elsewhere, or None.
        self.known_tokens: Callable[[Sequence[dict[str, Any]]], list[Tensor]] | None = None
        self.asking = Asking()  # how :meth:`inference` asks
        shapes = backbone.output_shape().values()
        self.stride = min(shape.stride for shape in shapes)  # pixels of a cell of the embedding
        # Images are padded to a multiple of this, so that the maps of all strides end together.
        self.divisibility = math.lcm(
            max(1, backbone.size_divisibility), *(shape.stride for shape in shapes)
        )
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        for name, value in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            self.register_buffer(name, torch.tensor(value).view(3, 1, 1), persistent=False)
        # (C,) weights of all classes; 1 until the trainer measures class frequencies.
        self.register_buffer("class_weight", torch.ones(label_spaces.total), persistent=True)

    @classmethod
    def from_config(
        cls, cfg: Any, label_spaces: LabelSpaceSet, num_unified: int | None = None
    ) -> dict[str, Any]:
        """Arguments from the configuration; ``num_unified`` builds the unified head instead."""
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        decoder = PixelDecoder(
            [shape.channels for shape in shapes.values()],
            hidden_dim=cfg.MODEL.PIXEL_DECODER.HIDDEN_DIM,
            embed_dim=cfg.MODEL.EMBED_DIM,
            normalize=cfg.MODEL.NORMALIZE_EMBEDDING,
            norm=cfg.MODEL.PIXEL_DECODER.NORM,
            context=cfg.MODEL.PIXEL_DECODER.CONTEXT,
            align_corners=cfg.MODEL.ALIGN_CORNERS,
        )
        multi_head = uni_head = None
        if num_unified is None:
            multi_head = MultiSegHead(label_spaces.num_classes, cfg.MODEL.EMBED_DIM)
        else:
            uni_head = build_uni_head(cfg, label_spaces, num_unified)
        return {
            "backbone": backbone,
            "pixel_decoder": decoder,
            "multi_head": multi_head,
            "uni_head": uni_head,
            "label_spaces": label_spaces,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "loss_stride": cfg.LOSS.STRIDE,
            "ohem_threshold": cfg.LOSS.OHEM_THRESHOLD,
            "channels_last": cfg.MODEL.CHANNELS_LAST,
            "align_corners": cfg.MODEL.ALIGN_CORNERS,
        }

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.pixel_mean.device

    def spaces(self) -> list[str]:
        """Label spaces that the model answers in."""
        own = self.label_spaces.names
        return own if self.uni_head is None else [*own, UNIFIED]

    def embed(self, images: Tensor, tokens: Sequence[Tensor] | None = None) -> Tensor:
        """(B, 3, H, W) RGB 0..255 of any dtype -> (B, D, h, w) pixel embeddings.

        The normalised image is padded with zeros, the mean colour, as Detectron2 does; where the
        cells lie is told by :meth:`grid`. ``tokens`` are those of the backbone's transformer,
        where they are known.
        """
        x = self.prepared(images)
        features = self.backbone(x) if tokens is None else self.backbone(x, tokens)
        return self.pixel_decoder(list(features.values()))

    def prepared(self, images: Tensor) -> Tensor:
        """Images 0..255 as the backbone gets them: normalised and padded."""
        x = (images.float() - self.pixel_mean) / self.pixel_std
        if not self.align_corners:
            below, right = (-side % self.divisibility for side in x.shape[2:])
            x = F.pad(x, (0, right, 0, below))
        return x.contiguous(memory_format=self.memory_format)

    def embed_items(self, items: Sequence[dict[str, Any]]) -> Tensor:
        """Embed the images of loader items, which have equal sizes: (B, D, h, w)."""
        images = torch.stack([item["image"] for item in items])
        images = images.to(self.device, non_blocking=True)
        tokens = None if self.known_tokens is None else self.known_tokens(items)
        return self.embed(images, tokens)

    def grid(self, image: tuple[int, int]) -> CellGrid:
        """Where the cells of the embedding of an image of (height, width) lie."""
        return CellGrid(image, 0 if self.align_corners else self.stride)

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Losses in training, label maps otherwise (Detectron2's contract).

        Args:
            batched_inputs: dicts with "image" (3, H, W) uint8; in training of equal size and with
                "sem_seg" (H, W) and "dataset_name", with images of one dataset beside each other.

        Returns:
            Training: ``{"loss_ce/<dataset>": scalar}``. Else per image ``{space: (H, W) int16}`` on
            the model's device, for every space that "spaces" of the input names (default: the own
            dataset and "unified").
        """
        if self.training:
            return self.losses(self.embed_items(batched_inputs), batched_inputs)
        return self.inference(batched_inputs)

    def losses(self, embedding: Tensor, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Cross-entropy of every dataset in the batch, Eq. (6) or (9)."""
        names = [item["dataset_name"] for item in batched_inputs]
        losses = {}
        start = 0
        while start < len(names):
            name = names[start]
            stop = start + 1
            while stop < len(names) and names[stop] == name:
                stop += 1
            if f"loss_ce/{name}" in losses:
                raise UniLabelError(f"images of {name!r} are not beside each other in the batch")
            target = torch.stack([item["sem_seg"] for item in batched_inputs[start:stop]]).to(
                self.device, non_blocking=True
            )
            losses[f"loss_ce/{name}"] = self.dataset_loss(embedding[start:stop], target, name)
            start = stop
        return losses

    def dataset_loss(self, embedding: Tensor, target: Tensor, dataset: str) -> Tensor:
        """Mean cross-entropy of images of one dataset; target is (B, H, W)."""
        dataset_id = self.label_spaces.dataset_index(dataset)
        cells = (embedding.shape[2], embedding.shape[3])
        grid = self.grid((target.shape[1], target.shape[2]))
        target = grid.labels(target, cells) if self.loss_stride > 1 else grid.padded(target, cells)
        if self.uni_head is None:
            pixel_loss = self._cross_entropy(self.multi_head(embedding, dataset_id), target)
        elif self.uni_head.mode == "logit_sum":
            logits = self.uni_head.summed_logits(embedding, dataset_id)
            pixel_loss = self._cross_entropy(logits, target)
        else:
            pixel_loss = self._unified_loss(embedding, target, dataset_id)
        return self._reduced(pixel_loss, target, dataset_id)

    def _unified_loss(self, embedding: Tensor, target: Tensor, dataset_id: int) -> Tensor:
        """(B, H, W) loss of added probabilities.

        Where datasets have classifiers of their own, of both answers: theirs and the unified one.
        """
        head = self.uni_head
        answers = [head.unified_logits(embedding, dataset_id)]
        if head.dataset_shift is not None:
            answers.append(head.unified_logits(embedding))
        index = torch.full((len(embedding),), dataset_id, device=embedding.device)
        losses = [
            upsampled_marginal_cross_entropy(
                logits,
                target,
                head.link_table(),
                IGNORE,
                dataset_index=index,
                align_corners=self.align_corners,
            )
            for logits in answers
        ]
        return torch.stack(losses).mean(0)

    def _cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        return upsampled_cross_entropy(
            logits, target, ignore_label=IGNORE, align_corners=self.align_corners
        )

    def _reduced(self, pixel_loss: Tensor, target: Tensor, dataset_id: int) -> Tensor:
        weight = self.label_spaces.split(self.class_weight)[dataset_id]
        return reduce_pixel_loss(
            pixel_loss, target, IGNORE, weight, ohem_threshold=self.ohem_threshold
        )

    @torch.no_grad()
    def inference(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Tensor]]:
        """Label maps of the original image sizes; images of equal size are embedded together."""
        results: list[dict[str, Tensor]] = [{} for _ in batched_inputs]
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, item in enumerate(batched_inputs):
            groups.setdefault(tuple(item["image"].shape), []).append(index)
        for shape, indices in groups.items():
            rows = self._asked([batched_inputs[i] for i in indices])
            for pixels, index in zip(rows, indices, strict=True):  # (1, D, h, w)
                item = batched_inputs[index]
                size = (item.get("height", shape[1]), item.get("width", shape[2]))
                for space in item.get("spaces", self.default_spaces(item)):
                    scores, mapping = self.scores(pixels, space)
                    answer = read_labels(scores, self.grid((shape[1], shape[2])), size, mapping)
                    results[index][space] = answer.labels[0]
        return results

    def _asked(self, items: Sequence[dict[str, Any]]) -> Iterator[Tensor]:
        """The embedding (1, D, h, w) of every item, asked for as ``asking`` says."""
        if self.asking.plain:
            yield from self.embed_items(items).split(1)
            return
        for item in items:
            yield self.asking.embed(self, item["image"][None].to(self.device))

    def default_spaces(self, item: dict[str, Any]) -> list[str]:
        """The own dataset of an image, where it says one, and the unified space."""
        own = [item["dataset_name"]] if "dataset_name" in item else []
        return own + ([UNIFIED] if self.uni_head is not None else [])

    def scores(
        self, embedding: Tensor, space: str, mapping: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """What :mod:`unilabel.core.reading` reads the answers in a label space from.

        Scores are interpolated before the arg max. Where the probabilities of unified labels are
        added, the unified logits are interpolated, so that training and prediction agree; summed
        logits are linear and are summed before.

        Args:
            embedding: (B, D, h, w).
            space: a dataset or "unified".
            mapping: bool (N, C_i) links of the dataset in an edited label space; None: the model's.

        Returns:
            (B, R, h, w) logits and, where their probabilities are to be added, the bool links
            (N, C_i); else None.

        Raises:
            UniLabelError: the model does not answer in this space.
        """
        head = self.uni_head
        if space == UNIFIED:
            if head is None:
                raise UniLabelError(
                    "this model has no unified label space: it was trained with one head per "
                    f"dataset; choose one of {', '.join(self.label_spaces.names)}."
                )
            return head.unified_logits(embedding), None
        dataset_id = self.label_spaces.dataset_index(space)
        if head is None:
            return self.multi_head(embedding, dataset_id), None
        if head.mode == "logit_sum":
            return head.summed_logits(embedding, dataset_id, mapping), None
        bias, links = head.reading(dataset_id, mapping)
        return head.unified_logits(embedding, dataset_id, bias), links

    def energy(self, embedding: Tensor) -> float:
        """How familiar images are (:mod:`unilabel.core.familiarity`), from (B, D, h, w).

        It is that of the unified labels, or of the head that knows the images best.
        """
        spaces = [UNIFIED] if self.uni_head is not None else self.label_spaces.names
        return max(mean_energy(self.scores(embedding, space)[0]) for space in spaces)


def build_uni_head(cfg: Any, label_spaces: LabelSpaceSet, num_unified: int) -> UniSegHead:
    """An empty unified head of the configured kind."""
    return UniSegHead(
        label_spaces.num_classes,
        num_unified,
        cfg.MODEL.EMBED_DIM,
        cfg.MODEL.MAPPING_MODE,
        cfg.MODEL.DATASET_BIAS,
    )

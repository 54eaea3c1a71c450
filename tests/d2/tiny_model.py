"""A segmentation model of a few weights, put together without a configuration."""

from __future__ import annotations

import torch
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from unilabel.core.label_space import LabelSpace, LabelSpaceSet, default_color
from unilabel.modeling.heads import MultiSegHead, UniSegHead
from unilabel.modeling.meta_arch import UniLabelSegmentor

DIM = 6

# city has one road, idd tells road from marking; only idd knows the sky.
CLASSES = {"city": ("road", "car"), "idd": ("road", "marking", "sky")}
MAPPING = torch.tensor(
    [[1, 0, 1, 0, 0], [1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1]], dtype=torch.bool
)


class TinyBackbone(nn.Module):
    """One convolution of stride 4."""

    size_divisibility = 0

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 5, stride=4, padding=2)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"stride4": torch.relu(self.conv(images))}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"stride4": ShapeSpec(channels=8, stride=4)}


class TinyDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, DIM, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.conv(features[0])


def tiny_spaces() -> LabelSpaceSet:
    return LabelSpaceSet(
        LabelSpace(name, classes, tuple(map(default_color, range(len(classes)))))
        for name, classes in CLASSES.items()
    )


def tiny_model(mode: str | None = "probability_sum", seed: int = 0, **more) -> UniLabelSegmentor:
    """``mode`` None: one head per dataset."""
    torch.manual_seed(seed)
    spaces = tiny_spaces()
    multi_head = uni_head = None
    if mode is None:
        multi_head = MultiSegHead(spaces.num_classes, DIM)
    else:
        uni_head = UniSegHead(spaces.num_classes, len(MAPPING), DIM, mode, True)
        bias = 0.5 * torch.randn(len(spaces), len(MAPPING))
        uni_head.set_label_space(torch.randn(len(MAPPING), DIM), MAPPING, bias)
    values = {
        "backbone": TinyBackbone(),
        "pixel_decoder": TinyDecoder(),
        "multi_head": multi_head,
        "uni_head": uni_head,
        "label_spaces": spaces,
        "pixel_mean": [120.0, 110.0, 100.0],
        "pixel_std": [60.0, 50.0, 40.0],
        **more,
    }
    return UniLabelSegmentor(**values)


def tiny_item(dataset: str, size: tuple[int, int], seed: int = 0) -> dict:
    """A training item with some ignored pixels."""
    generator = torch.Generator().manual_seed(seed)
    classes = len(CLASSES[dataset])
    label = torch.randint(0, classes, size, generator=generator)
    label[torch.rand(size, generator=generator) < 0.2] = 255
    return {
        "image": torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8),
        "sem_seg": label.to(torch.uint8),
        "dataset_name": dataset,
        "dataset_id": list(CLASSES).index(dataset),
        "file_name": f"{dataset}{seed}.png",
    }

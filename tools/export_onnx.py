#!/usr/bin/env python
r"""Export a model as an ONNX graph that answers in one label space, and check it.

Needs the packages of "pip install unilabel[export]" (onnx, onnxruntime).

Examples:
  tools/export_onnx.py --weights demo/assets/toy_model.pth --space unified --output toy.onnx
  tools/export_onnx.py --weights output/7ds/model_final.pth --space cityscapes \
      --size 1024 2048 --output cityscapes.onnx
  tools/export_onnx.py --weights output/7ds/model_final.pth --space my_labels.json \
      --images photo.jpg --output mine.onnx

The graph takes "image", uint8 (B, H, W, 3) RGB, and gives "labels", (B, H, W) uint8, or int16 with
more than 256 labels: the answer at the size of the image. It resizes images for the network by
itself, as the predictor does (to the size at which the model was tested, or --short-side), so a
photo goes in as it is. Without --size any B, H and W are accepted.
Its metadata hold "space", "labels", a JSON list of {"id", "name", "color"}, and "short_side".

The check runs onnxruntime and the predictor on the same images and prints the share of equal
labels; less than --agreement fails.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from unilabel.core.label_space import UNIFIED


def build_parser() -> argparse.ArgumentParser:
    """Options of this tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True, metavar="FILE", help="model_final.pth")
    parser.add_argument(
        "--space",
        default=UNIFIED,
        help='"unified" (default), a dataset, an edited label_space.json, or FILE.json:DATASET',
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="the ONNX file")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="only this size; default: any size"
    )
    parser.add_argument(
        "--short-side",
        type=int,
        metavar="PIXELS",
        help="resize for the network inside the graph; 0: never (default: as the model was tested)",
    )
    parser.add_argument(
        "--images",
        nargs="+",
        default=[],
        metavar="FILE",
        help="images of the check (default: random)",
    )
    parser.add_argument(
        "--agreement", type=float, default=0.995, help="least share of equal labels (default 0.995)"
    )
    return parser


if __name__ == "__main__":
    build_parser().parse_args()  # --help and wrong options are answered before the slow imports

warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.onnx import symbolic_helper, symbolic_opset13  # noqa: E402

from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.core.io import atomic_path  # noqa: E402
from unilabel.core.reading import ClassColumns, interpolated  # noqa: E402
from unilabel.data.images import read_image  # noqa: E402
from unilabel.modeling.folding import fold_batch_norms  # noqa: E402
from unilabel.modeling.meta_arch import UniLabelSegmentor  # noqa: E402
from unilabel.predictor import UniLabelPredictor, build_predictor  # noqa: E402

OPSET = 18  # the first one whose Resize has antialiasing


def _positions(graph, table, size, *_):
    """Bicubic resizing with antialiasing, by which transformers fit positions to an image.

    PyTorch's exporter knows it only without. Cubic weights as PyTorch's: a is -1/2, and what lies
    outside of the table has none.
    """
    shape = graph.op("Shape", table)
    begin, end = (graph.op("Constant", value_t=torch.tensor([v])) for v in (0, 2))
    lead = graph.op("Slice", shape, begin, end)
    size = graph.op("Concat", lead, graph.op("Cast", size, to_i=7), axis_i=0)  # 7: int64
    empty = [graph.op("Constant", value_t=torch.tensor([], dtype=torch.float32)) for _ in range(2)]
    return graph.op(
        "Resize",
        table,
        *empty,
        size,
        antialias_i=1,
        coordinate_transformation_mode_s="half_pixel",
        cubic_coeff_a_f=-0.5,
        exclude_outside_i=1,
        mode_s="cubic",
    )


torch.onnx.register_custom_op_symbolic("aten::_upsample_bicubic2d_aa", _positions, OPSET)


def _repeated(graph, values, repeats, dim=None, output_size=None):
    """Every value of the last axis so many times: the rotated positions of EVA-02.

    What PyTorch's exporter makes of it declares an axis of length 0, which onnxruntime refuses.
    """
    count = symbolic_helper._maybe_get_const(repeats, "i")
    axis = symbolic_helper._maybe_get_const(dim, "i")
    rank = symbolic_helper._get_tensor_rank(values)
    if not isinstance(count, int) or not isinstance(axis, int) or axis not in (-1, (rank or 0) - 1):
        return symbolic_opset13.repeat_interleave(graph, values, repeats, dim, output_size)
    begin, end = (graph.op("Constant", value_t=torch.tensor([v])) for v in (0, -1))
    lead = graph.op("Slice", graph.op("Shape", values), begin, end)
    beside = graph.op("Unsqueeze", values, end)
    repeated = graph.op("Concat", *[beside] * count, axis_i=-1)
    return graph.op("Reshape", repeated, graph.op("Concat", lead, end, axis_i=0))


torch.onnx.register_custom_op_symbolic("aten::repeat_interleave", _repeated, OPSET)


class LabelMap(nn.Module):
    """What is exported: images in, label maps of one label space out."""

    links: Tensor | None

    def __init__(
        self,
        model: UniLabelSegmentor,
        space: str,
        links: Tensor | None,
        num_labels: int,
        short_side: int,
    ) -> None:
        """Keep the parts.

        Args:
            model: the network, in evaluation mode.
            space: a dataset of it, or "unified".
            links: bool (N, C) links of the dataset in an edited label space; None: the model's.
            num_labels: R.
            short_side: as of :class:`unilabel.data.test_size.TestSize`.
        """
        super().__init__()
        self.model = model
        self.space = space
        self.register_buffer("links", links)
        self.short_side = short_side
        self.dtype = torch.uint8 if num_labels <= 256 else torch.int16

    def forward(self, image: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, H, W) labels."""
        height, width = image.shape[1], image.shape[2]
        pixels = image.float()
        if self.short_side:
            pixels = resized(pixels, self.short_side)
        inner = (pixels.shape[1], pixels.shape[2])
        embedding = self.model.embed(pixels.permute(0, 3, 1, 2))
        scores, mapping = self.model.scores(embedding, self.space, self.links)
        grid = self.model.grid(inner)
        axes = grid.axes((scores.shape[2], scores.shape[3]), (height, width))
        columns = None if mapping is None else ClassColumns.from_mapping(mapping, scores)
        if columns is not None:
            scores = scores.index_select(1, columns.order)
        full = interpolated(scores.permute(0, 2, 3, 1), (height, width), axes)
        return (full.argmax(-1) if columns is None else columns.best(full)).to(self.dtype)


def resized(pixels: Tensor, short_side: int) -> Tensor:
    """The resizing of :class:`~unilabel.data.test_size.TestSize` in operations of a graph.

    Both are separable: a matrix for rows and one for columns. Shrinking means the area under every
    new pixel, enlarging is bilinear with the border repeated; values are rounded as 8-bit ones are.

    Args:
        pixels: (B, H, W, 3) float, 0..255.
        short_side: pixels.
    """
    height, width = (torch.as_tensor(side) for side in pixels.shape[1:3])
    shorter = torch.minimum(height, width)
    scale = short_side / shorter.double()
    size = [(side * scale).round().clamp(min=1).long() for side in (height, width)]
    for dim, old, new in ((1, height, size[0]), (2, width, size[1])):
        matrix = _weights(old, new, shrink=shorter > short_side).to(pixels.dtype)  # (new, old)
        pixels = torch.einsum("bhwc,nh->bnwc" if dim == 1 else "bhwc,nw->bhnc", pixels, matrix)
    return pixels.round().clamp(0, 255)


def _weights(old: Tensor, new: Tensor, shrink: Tensor) -> Tensor:
    """(new, old) weights of area means, or of bilinear interpolation."""
    ratio = old.double() / new.double()
    out = torch.arange(new).double()[:, None]
    source = torch.arange(old).double()[None]
    low, high = out * ratio, (out + 1) * ratio
    area = (torch.minimum(high, source + 1) - torch.maximum(low, source)).clamp(min=0) / ratio
    centre = ((out + 0.5) * ratio - 0.5).clamp(min=0)
    centre = torch.minimum(centre, (old - 1).double())
    linear = (1 - (centre - source).abs()).clamp(min=0)
    return torch.where(shrink, area, linear)


def label_map_module(
    weights: str, space: str, short_side: int | None = None
) -> tuple[LabelMap, UniLabelPredictor, str]:
    """The exported module, and the predictor and label space that it has to agree with."""
    predictor, name = build_predictor(weights).resolve(space)
    names, _ = predictor.labels_of(name)
    # a second copy of the network: folding changes it, and the predictor is what it is checked by
    model = build_predictor(weights, optimize=False).model
    links = None
    if predictor.label_space is not None and name != UNIFIED:
        links = predictor.label_space.mapping[name]
    side = predictor.test_size.short_side if short_side is None else short_side
    module = LabelMap(model, name, links, len(names), side).eval()
    with torch.no_grad():
        example = torch.rand(1, 3, 2 * model.divisibility, 2 * model.divisibility)
        fold_batch_norms(model.backbone, example)
        fold_batch_norms(model.pixel_decoder, list(model.backbone(example).values()))
    return module, predictor, name


def export(
    module: LabelMap,
    predictor: UniLabelPredictor,
    path: Path,
    size: tuple[int, int] | None = None,
) -> None:
    """Write the graph.

    Args:
        module: see :func:`label_map_module`.
        predictor: names and colours of the labels.
        path: of the ONNX file.
        size: (H, W) that the graph accepts; None: any.

    Raises:
        UniLabelError: the packages are missing.
    """
    onnx = _import("onnx")
    height, width = size or (97, 131)  # odd: nothing may be true by chance
    names, colors = predictor.labels_of(module.space)
    axes = {0: "batch", 1: "height", 2: "width"}
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer: sizes that are equal stay equal
        torch.onnx.export(
            module,
            (torch.zeros(1, height, width, 3, dtype=torch.uint8),),
            str(temporary),
            input_names=["image"],
            output_names=["labels"],
            dynamic_axes={name: {0: "batch"} if size else axes for name in ("image", "labels")},
            opset_version=OPSET,
            dynamo=False,  # the newer exporter needs one more package and gives the same graph
        )
        graph = onnx.load(str(temporary))
        entries = [
            {"id": i, "name": name, "color": list(color)}
            for i, (name, color) in enumerate(zip(names, colors, strict=True))
        ]
        facts = {
            "space": module.space,
            "labels": json.dumps(entries, ensure_ascii=False),
            "short_side": str(module.short_side),
        }
        onnx.helper.set_model_props(graph, facts)
        onnx.checker.check_model(graph)
        onnx.save(graph, str(temporary))


def check(
    path: Path,
    predictor: UniLabelPredictor,
    space: str,
    images: Sequence[NDArray[np.uint8]],
    short_side: int | None = None,
) -> tuple[float, float, float]:
    """Compare the graph with the predictor.

    Returns:
        share of equal labels, and median seconds per image of onnxruntime and of the predictor.
    """
    runtime = _import("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    equal = total = 0
    seconds: tuple[list[float], list[float]] = ([], [])
    for image in images:
        start = time.perf_counter()
        found = session.run(["labels"], {"image": image[None]})[0][0]
        middle = time.perf_counter()
        expected = predictor.predict(image, space, short_side=short_side, confidence=False).labels
        seconds[0].append(middle - start)
        seconds[1].append(time.perf_counter() - middle)
        equal += int((found == expected).sum())
        total += expected.size
    return equal / total, statistics.median(seconds[0]), statistics.median(seconds[1])


def check_images(files: Sequence[str], size: tuple[int, int] | None) -> list[NDArray[np.uint8]]:
    """Images of the check: files, or smooth random ones of several sizes.

    Raises:
        UniLabelError: an image is damaged, or not of the graph's size.
    """
    if not files:
        rng = np.random.default_rng(0)
        sizes = [size] * 4 if size else [(96, 128), (150, 200), (131, 97), (64, 64)]
        return [_random_image(rng, *s) for s in sizes]
    images = [read_image(file) for file in files]
    for file, image in zip(files, images, strict=True):
        found = image.shape[:2]
        if size and found != tuple(size):
            raise UniLabelError(
                f"{file} has {found[0]} x {found[1]} pixels, expected {size[0]} x {size[1]}; "
                "resize it."
            )
    return images


def _random_image(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    coarse = torch.from_numpy(rng.random((1, 3, height // 16 + 2, width // 16 + 2)))
    smooth = F.interpolate(coarse, (height, width), mode="bicubic")[0].permute(1, 2, 0).numpy()
    noise = 0.05 * rng.standard_normal(smooth.shape)
    return (255 * np.clip(smooth + noise, 0, 1)).astype(np.uint8)


def _import(name: str):
    try:
        return __import__(name)
    except ImportError as error:
        raise UniLabelError(
            f"the package {name} is not installed; install it with: pip install 'unilabel[export]'"
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Export, check and print; returns the exit status."""
    args = build_parser().parse_args(argv)
    path = Path(args.output)
    try:
        if args.size and min(args.size) < 1:
            raise UniLabelError(f"--size is {args.size}, expected two positive numbers.")
        if args.short_side is not None and args.short_side < 0:
            raise UniLabelError(f"--short-side is {args.short_side}, expected 0 or more.")
        size = tuple(args.size) if args.size else None
        _import("onnxruntime")
        images = check_images(args.images, size)
        module, predictor, space = label_map_module(args.weights, args.space, args.short_side)
        export(module, predictor, path, size)
        agreement, ours, reference = check(path, predictor, space, images, args.short_side)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    labels = len(predictor.labels_of(space)[0])
    accepted = f"{size[0]} x {size[1]}" if size else "any size"
    print(f"{path}: {space}, {labels} labels, images of {accepted}, {path.stat().st_size} bytes")
    print(f"equal labels: {agreement:.6f} on {len(images)} images")
    print(f"seconds per image: onnxruntime {ours:.4f}, predictor {reference:.4f}")
    if agreement < args.agreement:
        print(f"error: less than {args.agreement} of the labels are equal", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

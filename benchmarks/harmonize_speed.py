#!/usr/bin/env python
"""Seconds of a processor for a harmonised photo, against demo/predict.py on the same photos.

Photos of several datasets are taken evenly. Those whose pixels are all certain are counted apart:
how often the network was asked about them is told as well. Start-up and loading of the model, the
same for both, are left out. The main process does all the work.

Example:
  python benchmarks/harmonize_speed.py --weights output/mini/model_final.pth \
      --folders datasets/camvid11 datasets/camvid7 datasets/iddlite datasets/msrc21 \
      --markdown docs/HARMONIZE.md
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import torch
from common import hardware

from unilabel.core.io import put_table, write_json
from unilabel.data.folders import folder_source
from unilabel.data.sources import load_sample
from unilabel.harmonize.job import HarmonizeJob
from unilabel.harmonize.options import Options
from unilabel.harmonize.photos import Photo
from unilabel.harmonize.setup import prepare
from unilabel.predictor import build_predictor

ROOT = Path(__file__).resolve().parents[1]
TABLE = "harmonize_speed"  # in docs/HARMONIZE.md


def seconds(task: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    start = time.process_time()
    task()
    return time.process_time() - start


def predict_tool() -> ModuleType:
    """The module demo/predict.py."""
    sys.path.insert(0, str(ROOT / "demo"))
    try:
        import predict
    finally:
        sys.path.pop(0)
    return predict


def split_by_certainty(job: HarmonizeJob) -> tuple[list[Photo], list[Photo]]:
    """Photos that need the network, and those that do not."""
    asked, certain = [], []
    for photo in job.photos:
        part = job.labeller.parts[photo.dataset]
        _, drawn = load_sample(part.source, photo.sample)
        (asked if part.choices.asks(drawn) else certain).append(photo)
    return asked, certain


def measure(weights: str, folders: Sequence[str], photos: int, work: Path) -> dict[str, float]:
    """Milliseconds a photo, and how many there were."""
    predictor = build_predictor(weights)
    sources = [folder_source(folder) for folder in folders]
    options = Options(("train",))
    job = prepare(predictor, weights, sources, work / "merged", options=options)
    job.start(resume=False)
    step = max(1, len(job.photos) // photos)
    job.photos = job.photos[::step]
    asked, certain = split_by_certainty(job)
    encode, calls = predictor.encode, [0]

    def counted(*arguments: object, **more: object) -> object:
        calls[0] += 1
        return encode(*arguments, **more)

    predictor.encode = counted  # type: ignore[method-assign]
    found: dict[str, float] = {"asked": len(asked), "certain": len(certain)}
    job.photos = asked[:3]
    job.run(workers=1)  # warm
    for name, chosen in (("asked", asked[3:]), ("certain", certain)):
        job.photos, calls[0] = chosen, 0
        spent = seconds(lambda: job.run(workers=1))
        found[f"{name}_ms"] = round(1000 * spent / max(len(chosen), 1), 1)
        found[f"{name}_network"] = calls[0]
    tool = predict_tool()
    images = [photo.sample.image for photo in asked]
    base = ["--weights", weights, "--output"]
    short = seconds(lambda: tool.main([*base, str(work / "a"), "--input", *images[:3]]))
    long = seconds(lambda: tool.main([*base, str(work / "b"), "--input", *images]))
    found["predict_ms"] = round(1000 * (long - short) / max(len(images) - 3, 1), 1)
    return found


def table(found: dict[str, float]) -> str:
    """The figures as Markdown, with the machine."""
    rows = (
        ("harmonise, a photo that needs the network", "asked_ms", "asked", "asked_network"),
        (
            "harmonise, a photo that is certain everywhere",
            "certain_ms",
            "certain",
            "certain_network",
        ),
        ("`demo/predict.py`, photos of the first row", "predict_ms", "asked", ""),
    )
    lines = ["| | ms a photo | photos | calls of the network |", "| --- | --- | --- | --- |"]
    for text, key, count, network in rows:
        calls = f"{found[network]:.0f}" if network else "-"
        lines.append(f"| {text} | {found[key]:.0f} | {found[count]:.0f} | {calls} |")
    lines += ["", f"Processor time of one core, {hardware()['cpu']}, without start-up."]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code is 1 if the network was asked about certain photos."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--weights", required=True, metavar="FILE", help="model_final.pth with unified labels")
    add("--folders", nargs="+", required=True, metavar="DIR", help="datasets of the model")
    add("--photos", type=int, default=200, help="about so many")
    add("--json", type=Path, metavar="FILE")
    add("--markdown", type=Path, metavar="PAGE", help="put the table there")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args.weights, args.folders, args.photos, Path(folder))
    print(table(found))
    if args.json:
        write_json(args.json, {**found, "hardware": hardware()})
    if args.markdown:
        put_table(args.markdown, TABLE, table(found))
    return int(found["certain_network"] > 0)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python
r"""Write a report of a model as one HTML file that needs nothing else.

Examples:
  python tools/report.py --weights output/toy/model_final.pth
  python tools/report.py --weights output/mini/model_final.pth --images 50 --output report.html
  python tools/report.py --weights model_final.pth --images 0 --input photo1.jpg photo2.jpg

Shows the label graph, the relations of the classes and, where results.json lies beside the model or
is named, its scores. Confusion and examples come from the validation images of the model's datasets
(drawn anew for the toy world); datasets that are not there are left out and named.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights", metavar="FILE", help="model_final.pth (default: the toy run's)"
    )
    parser.add_argument(
        "--results", metavar="FILE", help="results.json of the run (default: beside the model)"
    )
    parser.add_argument("--output", default="report.html", metavar="FILE")
    parser.add_argument(
        "--images", type=int, default=32, help="validation images of each dataset; 0: none"
    )
    parser.add_argument("--examples", type=int, default=3, help="of them that are shown")
    parser.add_argument("--input", nargs="*", default=[], metavar="IMAGE", help="images to show")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    parse_arguments()  # --help and wrong options are answered before the slow imports

warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

import numpy as np  # noqa: E402
import torch  # noqa: E402

from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.core.io import atomic_path, read_json  # noqa: E402
from unilabel.core.label_space import UNIFIED  # noqa: E402
from unilabel.core.metrics import iou_from_confusion, mean_iou, update_confusion  # noqa: E402
from unilabel.data.build import build_sources, generate_toy_world  # noqa: E402
from unilabel.data.images import read_image  # noqa: E402
from unilabel.data.sources import DatasetSource, load_sample  # noqa: E402
from unilabel.demo_app.weights import find_weights  # noqa: E402
from unilabel.engine.checkpoint import load_file  # noqa: E402
from unilabel.engine.loading import config_of  # noqa: E402
from unilabel.predictor import UniLabelPredictor, build_predictor  # noqa: E402
from unilabel.visual.overlay import overlay  # noqa: E402
from unilabel.visual.report_page import (  # noqa: E402
    DatasetReport,
    Example,
    numbers_of,
    report_html,
)

OPACITY = 0.7


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report; the exit code is 2 after a wrong argument or file."""
    args = parse_arguments(arguments)
    try:
        if args.images < 0 or args.examples < 0:
            raise UniLabelError("--images and --examples must not be negative.")
        weights = find_weights(args.weights)
        predictor = build_predictor(weights, args.device)
        results = read_results(args.results, weights)
        reports = [DatasetReport(space) for space in predictor.model.label_spaces]
        add_results(reports, results)
        notes = []
        if args.images:
            notes = add_validation(args, weights, predictor, reports)
        examples = own_images(args.input, predictor)
        facts = [("model", f"{weights.resolve().parent.name}/{weights.name}"), *numbers_of(results)]
        if not results and args.images:
            facts.append(("scores", f"of at most {args.images} validation images of each dataset"))
        facts += [("not shown", note) for note in notes]
        title = "Report of a unilabel model"
        page = report_html(title, reports, predictor.label_space, facts, examples)
        with atomic_path(args.output) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {args.output} ({Path(args.output).stat().st_size / 2**20:.1f} MB)")
    return 0


def read_results(given: str | None, weights: Path) -> dict[str, Any]:
    """The run's results, or nothing where there are none beside the model."""
    path = Path(given) if given else weights.with_name("results.json")
    if not given and not path.is_file():
        return {}
    results = read_json(path)
    if not isinstance(results, dict) or not isinstance(results.get("datasets", {}), dict):
        raise UniLabelError(f"{path} is no results.json of a run.")
    return results


def add_results(reports: Sequence[DatasetReport], results: dict[str, Any]) -> None:
    """Scores of a run."""
    for report in reports:
        entry = results.get("datasets", {}).get(report.space.name)
        if entry:
            report.iou = entry.get("iou", {})
            report.miou, report.unified_miou = entry.get("miou"), entry.get("unified_miou")


def add_validation(
    args: argparse.Namespace,
    weights: Path,
    predictor: UniLabelPredictor,
    reports: Sequence[DatasetReport],
) -> list[str]:
    """Confusion and examples of every dataset that is there.

    Returns:
        sentences about datasets that are not.
    """
    cfg = config_of(load_file(weights)["config"], str(weights))
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        if cfg.DATASETS.TOY:
            cfg.OUTPUT_DIR = folder
            cfg.DATASETS.TOY_IMAGES = [1, args.images]
        try:
            generate_toy_world(cfg)
            sources = {source.name: source for source in build_sources(cfg)}
        except UniLabelError as error:
            return [str(error)]
        for report in reports:
            name = report.space.name
            try:
                if name not in sources:
                    raise UniLabelError(f"{name} is not among the datasets of the configuration.")
                add_source(report, sources[name], predictor, args.images, args.examples)
            except UniLabelError as error:
                notes.append(str(error))
    return notes


def add_source(
    report: DatasetReport,
    source: DatasetSource,
    predictor: UniLabelPredictor,
    images: int,
    examples: int,
) -> None:
    """Confusion and examples of one dataset, on images spread over its validation split."""
    if source.label_space.class_names != report.space.class_names:
        raise UniLabelError(f"{source.name} in {source.root} has other classes than the model.")
    samples = source.samples("val")
    count = min(images, len(samples))
    chosen = [samples[i * len(samples) // count] for i in range(count)]
    space = report.space
    confusion = torch.zeros(space.num_classes, space.num_classes, dtype=torch.int64)
    for index, sample in enumerate(chosen):
        image, truth = load_sample(source, sample)
        encoded = predictor.encode(image)
        answer = predictor.predict(encoded, source.name, confidence=False)
        update_confusion(confusion, torch.from_numpy(answer.labels), torch.from_numpy(truth))
        if index < examples:
            pictures = [
                ("image", image),
                ("ground truth", overlay(image, truth, space.colors, OPACITY)),
                ("prediction", overlay(image, answer.labels, answer.colors, OPACITY)),
            ]
            if UNIFIED in predictor.spaces:
                unified = predictor.predict(encoded, UNIFIED, confidence=False)
                picture = overlay(image, unified.labels, unified.colors, OPACITY)
                pictures.append(("unified labels", picture))
            report.examples.append(Example(Path(sample.image).name, pictures))
    report.confusion, report.images = confusion.numpy(), count
    if report.miou is None:
        scores = (100 * iou_from_confusion(confusion)).tolist()
        known = [None if np.isnan(score) else score for score in scores]
        report.iou = dict(zip(space.class_names, known, strict=True))
        report.miou = mean_iou(confusion)


def own_images(paths: Sequence[str], predictor: UniLabelPredictor) -> list[Example]:
    """Examples of the user's images, in every label space of the model."""
    examples = []
    for path in paths:
        image = read_image(path)
        encoded = predictor.encode(image)
        pictures = [("image", image)]
        for name in predictor.spaces:
            answer = predictor.predict(encoded, name, confidence=False)
            pictures.append((name, overlay(image, answer.labels, answer.colors, OPACITY)))
        examples.append(Example(Path(path).name, pictures))
    return examples


if __name__ == "__main__":
    sys.exit(main())

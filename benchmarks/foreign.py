#!/usr/bin/env python
"""How often the demo calls a picture foreign: false alarms on the model's own, finds among others.

  python benchmarks/foreign.py --weights model_final.pth --usual camvid11/images/val \
      --own camvid11/images/train --other drone6/images/val toy

``toy`` draws streets of the toy world. Of --usual the usual range of the energy is told, the others
are judged by it; --own and --usual must hold no common photo.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.core.familiarity import FOREIGN, Familiarity  # noqa: E402
from unilabel.core.synthetic import TOY_DATASETS, render_scene  # noqa: E402
from unilabel.data.dataset_files import walk_files  # noqa: E402
from unilabel.data.examples import spread_out  # noqa: E402
from unilabel.data.images import IMAGE_SUFFIXES, read_image  # noqa: E402
from unilabel.predictor import build_predictor  # noqa: E402

TOY = "toy"
_SEEDS = {"usual": 8, "own": 100, "other": 200}


def pictures(place: str, count: int, seed: int) -> list[NDArray[np.uint8]]:
    """Pictures of a folder at even steps, or drawn ones."""
    if place == TOY:
        names = list(TOY_DATASETS)
        return [
            render_scene(np.random.default_rng([seed, i]), names[i % len(names)])[0]
            for i in range(count)
        ]
    paths = sorted(p for p in walk_files(Path(place)) if p.lower().endswith(IMAGE_SUFFIXES))
    if not paths:
        raise UniLabelError(f"no picture in {place}; expected {', '.join(IMAGE_SUFFIXES)}.")
    return [read_image(path) for path in spread_out(paths, count)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True, metavar="FILE")
    for name in _SEEDS:
        parser.add_argument(f"--{name}", nargs="+", required=True, metavar="DIR")
    parser.add_argument("--count", type=int, default=24, help="pictures of each folder")
    args = parser.parse_args(arguments)
    try:
        predictor = build_predictor(args.weights)
        found = {
            (kind, place): [
                predictor.energy(predictor.encode(picture))
                for picture in pictures(place, args.count, seed)
            ]
            for kind, seed in _SEEDS.items()
            for place in getattr(args, kind)
        }
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    usual = Familiarity.of(
        [e for (kind, _), all_ in found.items() if kind == "usual" for e in all_]
    )
    print(
        f"usual {usual.mean:.2f} ± {usual.spread:.2f} ({usual.count} pictures); foreign below "
        f"{usual.limit:.2f} (mean - {FOREIGN} deviations)\n"
    )
    print("| pictures | number | energy | called foreign |\n| --- | --- | --- | --- |")
    for (kind, place), energies in found.items():
        if kind == "usual":
            continue
        called = sum(map(usual.is_foreign, energies))
        name = place if place == TOY else "/".join(Path(place).parts[-3::2])
        share = f"{called} ({100 * called / len(energies):.0f} %)"
        spread = f"{np.mean(energies):.2f} ± {np.std(energies):.2f}"
        print(f"| {kind}: {name} | {len(energies)} | {spread} | {share} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

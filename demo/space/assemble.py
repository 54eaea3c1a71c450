#!/usr/bin/env python
"""Put everything that a Hugging Face Space of the demo needs into one folder.

python demo/space/assemble.py my-space
python demo/space/assemble.py my-space --weights output/mini/model_final.pth
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODEL = "toy_model.pth"  # the name that app.py looks for
FILES = ("app.py", "requirements.txt", "README.md")
PACKAGES = ("unilabel", "detectron2")


def main(arguments: Sequence[str] | None = None) -> int:
    """Copy; 2 if something is missing or in the way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--weights", type=Path, default=HERE.parent / "assets" / MODEL, metavar="FILE"
    )
    args = parser.parse_args(arguments)
    if not args.weights.is_file():
        print(f"error: --weights: no such file: {args.weights}.", file=sys.stderr)
        return 2
    if args.output.exists() and any(args.output.iterdir()):
        print(f"error: {args.output} is not empty; name another folder.", file=sys.stderr)
        return 2
    args.output.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy2(HERE / name, args.output / name)
    shutil.copy2(args.weights, args.output / MODEL)
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            print(f"error: {name} is not installed; run make install.", file=sys.stderr)
            return 2
        source = next(iter(spec.submodule_search_locations))
        shutil.copytree(
            source, args.output / name, ignore=shutil.ignore_patterns("__pycache__", "*.so")
        )
    print(f"wrote {args.output}; try it: python {args.output / 'app.py'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

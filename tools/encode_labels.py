#!/usr/bin/env python
r"""Encode label texts once and keep the features in a file.

Training reads the file (config key TEXT.FEATURES) instead of loading a language model. The file
holds the encoder's name, a fingerprint of its weights and a hash of every text, so a run notices
when it does not fit. A file for many datasets also serves runs on some of them.

Examples:
  # 7 datasets of the paper, with the offline MiniLM encoder
  tools/encode_labels.py --datasets cityscapes mapillary@paper_64 sunrgbd37 bdd100k idd26 \
      ade20k150 coco_panoptic133 --encoder minilm --output output/labels_minilm.safetensors

  # the paper's encoder, from a folder with the Llama-2-7B weights in safetensors form
  tools/encode_labels.py --datasets cityscapes idd26 --encoder llama:/models/Llama-2-7b-hf \
      --device cuda --dtype float16 --output output/labels_llama.safetensors

  # own datasets: folders that hold a classes.json
  tools/encode_labels.py --folders datasets/mine datasets/other --mode name --encoder hashed:512 \
      --output output/labels.safetensors
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from unilabel.text.arguments import add_label_options, selected_label_spaces
from unilabel.text.prompts import MODES


def build_parser() -> argparse.ArgumentParser:
    """Options of this tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_label_options(parser)
    parser.add_argument(
        "--encoder",
        default="minilm",
        help="hashed[:DIM], minilm, sentence:<folder or hub id> or llama:<folder or hub id> "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="prompt+description",
        help='text of a label; prompt: "An image of <label> from the dataset <dataset>." '
        "(default: %(default)s)",
    )
    parser.add_argument("--output", required=True, help="feature file to write, *.safetensors")
    parser.add_argument("--device", default="cpu", help="cpu or cuda[:index] (default: cpu)")
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=("float32", "float16", "bfloat16"),
        help="precision of the model; features are float32 (default: float32)",
    )
    parser.add_argument("--batch-size", type=int, default=16, help="texts at once (default: 16)")
    parser.add_argument("--force", action="store_true", help="replace an existing output file")
    return parser


if __name__ == "__main__":
    build_parser().parse_args()  # --help and wrong options are answered before the slow imports

from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.text.cache import encode_labels, save_features  # noqa: E402


def main(argv: Sequence[str] | None = None) -> int:
    """Encode and write; returns the exit status."""
    args = build_parser().parse_args(argv)
    try:
        if Path(args.output).exists() and not args.force:
            raise UniLabelError(f"{args.output} exists; add --force to replace it.")
        spaces = selected_label_spaces(args)
        start = time.perf_counter()
        content = encode_labels(
            spaces,
            args.encoder,
            mode=args.mode,
            device=args.device,
            dtype=args.dtype,
            batch_size=args.batch_size,
        )
        save_features(args.output, content)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for space in spaces:
        print(f"{space.name}: {space.num_classes} labels")
    labels, dim = content.features.shape
    print(f"encoder {content.encoder}, weights {content.model_hash[:12] or 'none'}")
    print(f"{labels} labels x {dim} in {time.perf_counter() - start:.1f} s -> {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

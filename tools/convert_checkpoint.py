#!/usr/bin/env python
r"""Turn published weights into files of unilabel, and prove that they compute the same.

A release of the paper's authors becomes a model file that train_net.py --eval-only, the predictor
and the demo read; it needs no text encoder and no side file. The converted model and a forward pass
written from the published architecture must agree to 1e-5 in every score, or nothing is written.
The classes are put into the order of unilabel/label_spaces (the release has "bag" of SUN RGB-D and
"flag" of ADE20K in front).

Examples:
  # the authors' model of seven datasets
  tools/convert_checkpoint.py --input model_final.pth --output output/release_7ds.pth
  python train_net.py --config-file configs/7ds.yaml --eval-only \
      MODEL.WEIGHTS output/release_7ds.pth OUTPUT_DIR output/release_7ds

  # official HRNet weights of ImageNet, for MODEL.TIMM.PRETRAINED
  tools/convert_checkpoint.py --kind backbone --input hrnetv2_w48_imagenet_pretrained.pth \
      --output output/hrnet_w48.safetensors

Only tensors and plain values are read; a file with other objects is refused, since opening it can
run code.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Mapping, Sequence

from unilabel.text.label_tables import PAPER_DATASETS


def build_parser() -> argparse.ArgumentParser:
    """Options of this tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", required=True, metavar="FILE", help="published file")
    parser.add_argument(
        "--output", required=True, metavar="FILE", help="*.pth, or *.safetensors of a backbone"
    )
    parser.add_argument(
        "--kind",
        choices=("release", "backbone"),
        default="release",
        help="release: the authors' model; backbone: HRNet weights of ImageNet (default: release)",
    )
    parser.add_argument(
        "--datasets",
        nargs="+",
        default=list(PAPER_DATASETS),
        metavar="NAME",
        help="datasets of the release in its order (default: the seven of the paper)",
    )
    parser.add_argument("--backbone", default="hrnet_w48", help="timm name (default: hrnet_w48)")
    return parser


if __name__ == "__main__":
    build_parser().parse_args()  # --help and wrong options are answered before the slow imports

warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

from safetensors.torch import save_file as save_safetensors  # noqa: E402

import unilabel.modeling  # noqa: E402, F401  registers backbone and meta-architecture
from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.core.io import atomic_path  # noqa: E402
from unilabel.engine.checkpoint import save_file  # noqa: E402
from unilabel.engine.published import (  # noqa: E402
    class_order,
    convert_backbone,
    convert_release,
    read_state,
    split_release,
    verify_release,
)

TOLERANCE = 1e-5


def convert_model(args: argparse.Namespace) -> None:
    """Convert, verify and write a whole model; print the key report."""
    state = read_state(args.input)
    release = split_release(state)
    model, content = convert_release(release, args.datasets, args.backbone, args.input)
    count = sum(k.startswith("backbone.") for k in release.state)
    decoder = sum(k.startswith("proj.") for k in release.state)
    print(f"{args.input}: {len(state)} tensors")
    print(f"  backbone ({args.backbone}): {count}")
    print(f"  pixel decoder: {decoder}")
    if release.num_unified is None:
        print(f"  heads: {len(release.num_classes)}, classes {release.num_classes}")
    else:
        links = int(model.uni_head.mapping.sum())
        active = int(model.uni_head.mapping.any(1).sum())
        width = release.state["unify_prototype"].shape[1]
        print(f"  unified labels: {release.num_unified} x {width}, {active} in use, {links} links")
    print_left_out(release.left_out)
    moved = [s.name for s in model.label_spaces if int(class_order(s.name, s.num_classes)[0])]
    if moved:
        print(f"  classes reordered: {', '.join(moved)}")
    check_differences(verify_release(model, release))
    print(f"written to {args.output}, SHA-256 {save_file(args.output, content)}")


def convert_weights(args: argparse.Namespace) -> None:
    """Convert, verify and write backbone weights; print the key report."""
    if not args.output.endswith(".safetensors"):
        raise UniLabelError(f"--output {args.output}: expected a name ending in .safetensors.")
    state = read_state(args.input)
    kept, left_out, found = convert_backbone(state, args.backbone, args.input)
    print(f"{args.input}: {len(state)} tensors")
    print(f"  backbone ({args.backbone}): {len(kept)}")
    print_left_out(left_out)
    check_differences(found)
    with atomic_path(args.output) as temporary:
        save_safetensors(kept, temporary)
    print(f"written to {args.output}; use it with MODEL.TIMM.PRETRAINED {args.output}")


def print_left_out(left_out: Mapping[str, int]) -> None:
    """What of the file is not used."""
    if left_out:
        parts = (f"{name} {count}" for name, count in sorted(left_out.items()))
        print(f"  not used: {', '.join(parts)}")


def check_differences(found: Mapping[str, float]) -> None:
    """Print the differences to the published architecture and stop if they are too large.

    Rounding in float32 grows with the values, so they are compared relative to the largest one
    where that is above 1.
    """
    print(
        f"  largest |difference| to the published architecture: float32 {found['float32']:.2e}, "
        f"float64 {found['float64']:.2e} (largest value {found['scale']:.2f})"
    )
    limit = TOLERANCE * max(1.0, found["scale"])
    if not (found["float64"] <= TOLERANCE and found["float32"] <= limit):
        raise UniLabelError(
            f"the converted weights do not compute what the published ones do (tolerance "
            f"{TOLERANCE}); nothing was written."
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Convert; returns the exit status."""
    args = build_parser().parse_args(argv)
    try:
        convert_model(args) if args.kind == "release" else convert_weights(args)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

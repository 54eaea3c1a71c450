#!/usr/bin/env python
r"""Edit a trained model without training: datasets go, unified labels are split and merged.

Writes a new model file and its label_space.json; the model that is edited stays as it is. Names,
colours, checks and links that a person gave are kept.

Examples:
  # forget a dataset; the answers for all others stay the same
  tools/edit_model.py remove-dataset output/mine/model_final.pth my_old_set --output smaller.pth

  tools/edit_model.py rename-dataset model.pth my_streets streets_2024 --output renamed.pth

  # "plant" should be two things: the class of msrc21 goes to a unified label of its own
  tools/edit_model.py split-label model.pth plant --away msrc21 --name tree --output split.pth

  # two unified labels are the same thing; photos (no labels needed) show how to join their rows
  tools/edit_model.py merge-labels model.pth van car --photos photos/ --output merged.pth

  # write down how classes are related that share no unified label, by their texts
  tools/edit_model.py find-relations model.pth --output related.pth

`tools/inspect_label_space.py model.pth` lists unified labels, ids and links. Train on from
an edited model with MODEL.WEIGHTS edited.pth SCHEDULE '[["FINAL", 500]]'.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

WHAT = argparse.RawDescriptionHelpFormatter
EXACT = """Exact: network and classifiers stay, so every other answer is the same as before."""
MERGE = r"""Make one unified label of two or more. The first one keeps its id.

Exact, and done at once, where one row can answer like all of them:
- MODEL.MAPPING_MODE logit_sum: labels with the same links (their rows are added);
- probability_sum: labels whose rows differ by a constant, such as the two parts of a split.
Elsewhere it is refused, unless
- --photos DIR: the row is fitted so that the answers on these photos change least (no labels are
  needed; some 20 photos like those of later use), and it is said how many pixels change; or
- --approximate: it is guessed.
Labels that a dataset tells apart cannot be merged.

Examples:
  tools/edit_model.py merge-labels model.pth road "road (2)" --output merged.pth
  tools/edit_model.py merge-labels model.pth 4 7 --name vehicle --photos photos/ --output new.pth
"""
SPLIT = r"""Make two unified labels of one. Both have its row, so datasets are answered as before;
the unified space answers the first one until a training tells them apart (MODEL.WEIGHTS).

The links are divided: --away DATASET ... go to the new label (it stands at the end), --both
DATASET ... belong to both parts, all others stay. Exact, but for --both in a model of
MODEL.MAPPING_MODE logit_sum, which is refused without --approximate.

Example:
  # road and lane marking look like one label; idd's class stays, city's has both kinds in it
  tools/edit_model.py split-label model.pth road --away ade --both city --name marking \
      --output new.pth
"""
RELATE = r"""Find typed relations of classes that share no unified label, by names, dictionary and
descriptions: "shirt" of one dataset is part of "pedestrian" of another. They stand in
label_space.json under "relations"; no answer of the model changes. New models have them already.

Relations that a person wrote ("source": "human") stay; "type": "none" denies one."""


def build_parser() -> argparse.ArgumentParser:
    """Subcommands and their options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=WHAT)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, help_line: str) -> argparse.ArgumentParser:
        part = commands.add_parser(name, description=text, help=help_line, formatter_class=WHAT)
        part.add_argument("weights", metavar="MODEL.pth", help="finished model; it is not changed")
        return part

    gone = "Unified labels that stand for no class any more go with it."
    text = f"Take a dataset out of a model.\n\n{EXACT}\n{gone}"
    remove = command("remove-dataset", text, "take a dataset out")
    remove.add_argument("dataset")
    remove.add_argument("--keep-labels", action="store_true", help="keep those unified labels")
    text = f"Give a dataset another name.\n\n{EXACT}"
    rename = command("rename-dataset", text, "give a dataset another name")
    rename.add_argument("dataset")
    rename.add_argument("new", metavar="NEW_NAME")
    merge = command("merge-labels", MERGE, "make one unified label of several")
    merge.add_argument("labels", nargs="+", metavar="LABEL", help="names or ids")
    merge.add_argument("--name", help="of the merged label (default: that of the first one)")
    merge.add_argument("--photos", nargs="+", metavar="FILE|DIR", help="photos to fit the row on")
    merge.add_argument("--approximate", action="store_true", help="guess the row, without photos")
    split = command("split-label", SPLIT, "make two unified labels of one")
    split.add_argument("label", help="name or id")
    split.add_argument("--away", nargs="+", default=[], metavar="DATASET", help="to the new label")
    split.add_argument("--both", nargs="+", default=[], metavar="DATASET", help="to both parts")
    split.add_argument("--name", help='of the new label (default: "LABEL (2)")')
    split.add_argument("--approximate", action="store_true", help="accept other answers (--both)")
    relate = command("find-relations", RELATE, "relations of classes without a common label")
    for part in (remove, rename, merge, split, relate):
        part.add_argument("--output", required=True, metavar="NEW.pth", help="model file to write")
        part.add_argument(
            "--label-space", metavar="FILE|inside", help="reviewed label space to go on from; "
            '"inside": the one in the model file, whatever lies beside it',
        )  # fmt: skip
    return parser


if __name__ == "__main__":
    build_parser().parse_args()  # --help and wrong options are answered before the slow imports

warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.demo_app.inputs import find_images  # noqa: E402
from unilabel.editing.datasets import remove_dataset, rename_dataset  # noqa: E402
from unilabel.editing.imitate import Sample, look_at  # noqa: E402
from unilabel.editing.labels import merge_labels, split_label  # noqa: E402
from unilabel.editing.parts import Parts, read_parts, write_parts  # noqa: E402
from unilabel.editing.relations import find_relations  # noqa: E402
from unilabel.engine.side_files import check_output  # noqa: E402
from unilabel.predictor import build_predictor  # noqa: E402


def main(argv: Sequence[str] | None = None) -> int:
    """Edit and write; the exit code is 2 after a mistake."""
    args = build_parser().parse_args(argv)
    try:
        check_output(Path(args.weights), args.output)
        done = edit(args, read_parts(args.weights, args.label_space))
        files = write_parts(done, args.output)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for note in done.notes:
        print(note)
    print(f"wrote {' and '.join(str(f) for f in files)}")
    return 0


def edit(args: argparse.Namespace, parts: Parts) -> Parts:
    """What the command asks for."""
    if args.command == "remove-dataset":
        return remove_dataset(parts, args.dataset, args.keep_labels)
    if args.command == "rename-dataset":
        return rename_dataset(parts, args.dataset, args.new)
    if args.command == "split-label":
        return split_label(parts, args.label, args.away, args.both, args.name, args.approximate)
    if args.command == "find-relations":
        return find_relations(parts)
    sample = _sample(args) if args.photos else None
    return merge_labels(parts, args.labels, args.name, args.approximate, sample)


def _sample(args: argparse.Namespace) -> Sample:
    try:
        images, notes = find_images(args.photos, Path(args.output))
    except UniLabelError as error:
        raise UniLabelError(str(error).replace("--input", "--photos")) from None
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return look_at(build_predictor(args.weights), list(images.values()))


if __name__ == "__main__":
    sys.exit(main())

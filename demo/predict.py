#!/usr/bin/env python
r"""Segment images in any label space of a model.

Examples:
  python demo/predict.py --input photo.jpg --output predictions
  python demo/predict.py --weights output/mini/model_final.pth --input photos/ more.png \
      --space unified camvid11 --output predictions
  python demo/predict.py --input photo.jpg --space edited/label_space.json --output predictions
  # on four machines, then once to see that nothing is missing
  python demo/predict.py --input photos/ --output predictions --shard 1/4      # 2/4, 3/4, 4/4
  python demo/predict.py --input photos/ --output predictions --finish
  # after an interruption, with the options of before
  python demo/predict.py --input photos/ --output predictions --resume
  # the classes of a dataset that the model was not trained on, see tools/map_unseen.py
  python demo/predict.py --input photo.jpg --mapping mapping.json --output predictions

Writes for every image NAME.png (label ids of 8 bit with a palette of the label colours; 16 bit
without one for more than 255 labels), NAME_overlay.jpg (colours over the image, with a legend) and
NAME.json (shares of the labels), and one classes.json with all ids, names and colours. Folders are
searched with their subfolders, which the output has too. With several label spaces each gets a
folder of its own below --output. A hidden .predict.json there says how the results were made, so
that --resume adds no others. Pixels without a class of an unseen dataset get the id behind its
last class, which classes.json names under "ignore_values".
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unilabel.data.shards import SHARD_HELP, Shard


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights", metavar="FILE", help="model_final.pth (default: the model of the toy run)"
    )
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="PATH",
        help="images, or folders with images (also in subfolders)",
    )
    parser.add_argument(
        "--space",
        nargs="+",
        default=[],
        help='"unified" (default), dataset names, label_space.json files, or '
        "label_space.json:DATASET",
    )
    parser.add_argument(
        "--mapping",
        metavar="FILE",
        help="also answer in the classes of an unseen dataset: a mapping of tools/map_unseen.py",
    )
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--shard", metavar="I/N", help=SHARD_HELP)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="after an interruption: leave out the images that have all their results",
    )
    parser.add_argument(
        "--finish",
        action="store_true",
        help="predict nothing: say which images have no result yet, after the shards",
    )
    parser.add_argument("--opacity", type=float, default=0.6, help="of the overlay, 0 to 1")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--short-side",
        type=int,
        metavar="PIXELS",
        help="resize the short side for the network (the answer keeps the image's size); 0: never; "
        "default: as the model was tested",
    )
    parser.add_argument(
        "--image-scale",
        nargs=2,
        type=float,
        metavar=("BLACK", "WHITE"),
        help="values of black and white in images of more than 8 bits, 0 4095 for example "
        "(the image_scale of the training set)",
    )
    parser.add_argument(
        "--max-pixels",
        type=int,
        metavar="N",
        help="width times height of the largest image that is read (default: 100 million)",
    )
    parser.add_argument("--tta", action="store_true", help="average three scales and mirror images")
    parser.add_argument(
        "--window", type=int, default=0, metavar="PIXELS", help="cut large images into windows"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    parse_arguments()  # --help and wrong options are answered before the slow imports

warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

from PIL import Image  # noqa: E402

from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.core.io import (  # noqa: E402
    atomic_path,
    file_digest,
    read_json,
    remove_unfinished,
    write_json,
)
from unilabel.core.settings import require_same_settings  # noqa: E402
from unilabel.data.headers import MAX_PIXELS, read_bytes  # noqa: E402
from unilabel.data.images import ImageReader  # noqa: E402
from unilabel.demo_app.inputs import CLASS_LIST, RealPaths, find_images  # noqa: E402
from unilabel.demo_app.outputs import class_list, label_png, prediction_record  # noqa: E402
from unilabel.demo_app.weights import find_weights  # noqa: E402
from unilabel.predictor import Prediction, UniLabelPredictor, build_predictor  # noqa: E402
from unilabel.visual.overlay import Image8, overlay, with_legend  # noqa: E402

SETTINGS = ".predict.json"
ANSWER_OPTIONS = ("space", "mapping", "opacity", "short_side", "image_scale", "tta", "window")


def main(arguments: Sequence[str] | None = None) -> int:
    """Predict all images; the exit code is 2 after a mistake in arguments or images."""
    args = parse_arguments(arguments)
    try:
        if not 0 <= args.opacity <= 1:
            raise UniLabelError(f"--opacity is {args.opacity}, expected 0 to 1.")
        if args.image_scale and not args.image_scale[0] < args.image_scale[1]:
            raise UniLabelError("--image-scale expects the value of black, then a larger one.")
        images, notes = find_images(args.input, Path(args.output))
        spaces = args.space + ([args.mapping] if args.mapping else [])
        folders = output_folders(spaces or ["unified"], Path(args.output))
        check_outputs(images, folders.values())
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
        if args.finish:
            return finish(images, folders.values(), args.output)
        shard = Shard.parse(args.shard)
        settings = settings_of(args)
        require_same(args, settings)
        images = dict(shard.of(list(images.items())))
        if args.resume:
            if shard.count == 1:
                remove_unfinished(args.output, "**/*")
            images = left_to_do(images, list(folders.values()))
            if not images:
                return 0
        predictor = build_predictor(find_weights(args.weights), args.device)
        bound = {name: bind(predictor, name) for name in folders}
        write_json(Path(args.output) / SETTINGS, settings)
        failed = predict_all(args, images, bound, folders)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if failed:
        print(f"error: {failed} of {len(images)} images failed, see above.", file=sys.stderr)
        return 2
    return 0


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """What the results depend on, with digests of the files among it."""
    named = [args.mapping or "", *args.space]
    files = [s for name in named for s in (name, name.rpartition(":")[0]) if Path(s).is_file()]
    return {
        "--weights": file_digest(find_weights(args.weights)),
        **{f"--{name.replace('_', '-')}": getattr(args, name) for name in ANSWER_OPTIONS},
        **{file: file_digest(file) for file in files},
    }


def require_same(args: argparse.Namespace, settings: Mapping[str, Any]) -> None:
    """What is added to results that are there must be made alike.

    Raises:
        UniLabelError: they were made with other settings.
    """
    file = Path(args.output) / SETTINGS
    if file.is_file() and (args.resume or Shard.parse(args.shard).count > 1):
        old = read_json(file)
        old = old if isinstance(old, dict) else {}
        require_same_settings(old, settings, args.output, "choose another --output")


def result_of(folder: Path, name: str) -> Path:
    """The last of the three files of an image that is written."""
    return folder / f"{name}.json"


def left_to_do(images: Mapping[str, Path], folders: Sequence[Path]) -> dict[str, Path]:
    """Images that lack a result, which a run was interrupted at or has not come to."""
    left = {
        name: path
        for name, path in images.items()
        if not all(result_of(folder, name).is_file() for folder in folders)
    }
    print(f"{len(images) - len(left)} of {len(images)} images have their results already")
    return left


def finish(images: Mapping[str, Path], folders: Iterable[Path], output: str) -> int:
    """Say which images have no result; 2 if there are some, which another process may write now."""
    missing = [
        result_of(folder, name)
        for folder in folders
        for name in images
        if not result_of(folder, name).is_file()
    ]
    if missing:
        print(
            f"error: {len(missing)} results are missing, {missing[0]} for example; run the shards "
            "that are missing (the same command with --shard I/N).",
            file=sys.stderr,
        )
        return 2
    remove_unfinished(output, "**/*")
    print(f"all {len(images)} images have their results")
    return 0


def output_folders(spaces: Sequence[str], output: Path) -> dict[str, Path]:
    """Folder of each label space: the output itself, or one below it for each of several."""
    if output.exists() and not output.is_dir():
        raise UniLabelError(f"--output: {output} is a file, expected a folder.")
    if len(spaces) == 1:
        return {spaces[0]: output}
    folders: dict[str, Path] = {}
    for space in spaces:
        name = Path(space).name.replace(".json:", "_").removesuffix(".json")
        folder = output / "".join(c if c.isalnum() or c in "-_. " else "_" for c in name)
        if folder in folders.values():
            raise UniLabelError(
                f"--space: two of {', '.join(spaces)} would be written to {folder}."
            )
        folders[space] = folder
    return folders


def check_outputs(images: Mapping[str, Path], folders: Iterable[Path]) -> None:
    """Refuse to write over an input.

    Raises:
        UniLabelError: a label PNG or overlay would have the path of an input.
    """
    real = RealPaths()
    inputs = {real.of(str(path)) for path in images.values()}
    for folder in folders:
        for name in images:
            for written in (f"{name}.png", f"{name}_overlay.jpg"):
                if real.of(os.path.join(folder, written)) in inputs:
                    raise UniLabelError(
                        f"--output: {folder / written} is an input and would be overwritten; "
                        "choose another folder."
                    )


def bind(predictor: UniLabelPredictor, space: str) -> tuple[UniLabelPredictor, str]:
    """Predictor and name of a label space, so that label space files are read once.

    Raises:
        UniLabelError: the model does not answer in this space.
    """
    bound, name = predictor.resolve(space)
    bound.labels_of(name)
    return bound, name


def reader_of(args: argparse.Namespace) -> ImageReader:
    """The reader of photos that the options ask for."""
    scale = (args.image_scale[0], args.image_scale[1]) if args.image_scale else None
    return ImageReader(scale, args.max_pixels or MAX_PIXELS)


def predict_all(
    args: argparse.Namespace,
    images: Mapping[str, Path],
    spaces: dict[str, tuple[UniLabelPredictor, str]],
    folders: dict[str, Path],
) -> int:
    """Predict and write; returns the number of images that could not be read."""
    failed = 0
    reader = reader_of(args)
    for space, (predictor, name) in spaces.items():
        write_class_list(folders[space], predictor, name)
    for number, (stem, path) in enumerate(images.items(), 1):
        start = time.perf_counter()
        try:
            image = reader.decode(read_bytes(str(path)), str(path))
        except UniLabelError as error:
            failed += 1
            print(f"[{number}/{len(images)}] {error}", file=sys.stderr)
            continue
        first = next(iter(spaces.values()))[0]
        found = ""
        for space, prediction in answers(args, image.pixels, spaces):
            write(folders[space] / stem, path.name, image.pixels, prediction, args.opacity)
            found = found or ", ".join(
                f"{n} {100 * s:.0f} %" for n, _, s in prediction.legend()[:3]
            )
        seconds = time.perf_counter() - start
        print(f"[{number}/{len(images)}] {path}: {found} ({seconds:.1f} s)", flush=True)
        size_note = first.size_note(image.pixels.shape[:2], args.short_side, args.window)
        for note in [*image.notes, *([size_note] if size_note else [])]:
            print(f"    {note}")
    print(f"wrote {args.output}")
    return failed


def answers(
    args: argparse.Namespace, image: Image8, spaces: Mapping[str, tuple[UniLabelPredictor, str]]
) -> Iterator[tuple[str, Prediction]]:
    """Label space and answer in it, one after the other; the network is asked once."""
    first = next(iter(spaces.values()))[0]
    if args.window and not args.tta:
        bound = list(spaces.values())
        answered = first.predict_in_windows(image, bound, args.window, args.short_side)
        yield from zip(spaces, answered, strict=True)
        return
    encoded = first.encode(image, args.short_side, args.tta, args.window)
    for space, (predictor, name) in spaces.items():
        yield space, predictor.predict(encoded, name)


def write_class_list(folder: Path, predictor: UniLabelPredictor, space: str) -> None:
    """All labels of the space, in the form in which datasets list their classes."""
    known = predictor.model.label_spaces
    title = known.get(space).display_name if space in known.names else ""
    write_json(folder / CLASS_LIST, class_list(space, *predictor.labels_of(space), title))


def write(
    stem: Path, image_name: str, image: Image8, prediction: Prediction, opacity: float
) -> None:
    """Write the three files of an image; ``stem`` is their path without suffix."""
    with atomic_path(stem.with_name(f"{stem.name}.png")) as temporary:
        temporary.write_bytes(label_png(prediction, palette=True))
    picture = overlay(image, prediction.labels, prediction.colors, opacity)
    legend = prediction.legend()
    picture = with_legend(picture, legend, [prediction.names.index(name) for name, _, _ in legend])
    with atomic_path(stem.with_name(f"{stem.name}_overlay.jpg")) as temporary:
        Image.fromarray(picture).save(temporary, "JPEG", quality=92)
    write_json(stem.with_name(f"{stem.name}.json"), prediction_record(prediction, image_name))


if __name__ == "__main__":
    sys.exit(main())

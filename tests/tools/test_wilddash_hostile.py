"""What goes wrong for a competitor: each situation ends with one line that names it."""

from __future__ import annotations

import json
import pickle
import re
import runpy
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from wilddash_frames import write_frames

from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.checkpoint import load_file, save_file
from unilabel.submission.label_png import encode_png

pytestmark = pytest.mark.d2

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = ("wilddash_submit", "rvc_submit", "wilddash_eval", "calibrate_void", "zero_shot_wilddash")
MAIN: dict[str, Callable[[list[str]], int]] = {
    name: runpy.run_path(str(REPOSITORY / f"tools/{name}.py"))["main"] for name in TOOLS
}
STEM = "wd0000_100000"
ROAD = encode_png(np.full((16, 24), 7, np.uint8))


class Place:
    """A folder with a model, frames, results and ground truth that are in order."""

    def __init__(self, root: Path, weights: Path) -> None:
        self.root, self.weights = root, weights
        self.images = write_frames(root / "images", [STEM])
        self.output = root / "out.zip"
        self.results, self.truth = root / "results", root / "truth"
        for folder in (self.results, self.truth):
            folder.mkdir()
            (folder / f"{STEM}.png").write_bytes(ROAD)
        self.archive = self.zip("good.zip", {f"{STEM}.png": ROAD})

    def file(self, name: str, content: bytes | str | Any = b"") -> str:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    def zip(self, name: str, members: dict[str, bytes]) -> Path:
        with zipfile.ZipFile(self.root / name, "w") as file:
            for member, data in members.items():
                file.writestr(member, data)
        return self.root / name

    def changed(self, **values: Any) -> str:
        """The model's file with other content."""
        save_file(self.root / "changed.pth", {**load_file(self.weights), **values})
        return str(self.root / "changed.pth")

    def submit(self, *more: str, **changes: str) -> list[str]:
        given = {"weights": str(self.weights), "images": str(self.images), **changes}
        given = {"output": str(self.output), **given}
        return [word for key, value in given.items() for word in (f"--{key}", value)] + [*more]

    def check(self, archive: Path) -> list[str]:
        return ["--check-only", str(archive), "--images", str(self.images)]

    def score(self, *more: str, **changes: str) -> list[str]:
        given = {"pred": str(self.results), "gt": str(self.truth), **changes}
        return [word for key, value in given.items() for word in (f"--{key}", value)] + [*more]

    def known(self, *more: str, **changes: str) -> list[str]:
        given = {"weights": str(self.weights), "negative": str(self.images), **changes}
        return [word for key, value in given.items() for word in (f"--{key}", value)] + [*more]

    def mapping(self, **changes: Any) -> str:
        """A mapping file with something else in it."""
        path = self.root / "mapping.json"
        options = ["--weights", str(self.weights), "--write-mapping", str(path)]
        assert MAIN["wilddash_submit"](options) == 0
        return self.file("mapping.json", {**json.loads(path.read_text()), **changes})


def other_space(place: Place) -> str:
    """An edited label space of another model."""
    data = UnifiedLabelSpace.from_dict(load_file(place.weights)["label_space"], "x").to_dict()
    data["labels"] = data["labels"][:-1]
    return place.file("label_space.json", data)


def with_two(place: Place) -> str:
    Image.new("RGB", (24, 16)).save(place.images / f"{STEM}.png")
    return str(place.images)


def cut(place: Place) -> str:
    path = place.images / f"{STEM}.jpg"
    path.write_bytes(path.read_bytes()[:200])
    return str(place.images)


def work(place: Place, state: Any) -> str:
    place.file("out.zip.work/job.json", state)
    return "--resume"


def size(place: Place, width: int) -> Path:
    ids = np.full((16, width), 7, np.uint8)
    return place.zip("size.zip", {f"{STEM}.png": encode_png(ids)})


def panoptic(place: Place, data: Any) -> str:
    (place.root / "panoptic_truth/panoptic").mkdir(parents=True)
    place.file("panoptic_truth/panoptic.json", data)
    return str(place.root / "panoptic_truth")


Situation = tuple[str, Callable[[Place], list[str]], str]
SUBMIT, SCORE, KNOWN = "wilddash_submit", "wilddash_eval", "calibrate_void"
ONE_FRAME = {"annotations": [{"file_name": f"{STEM}.png", "segments_info": []}]}

SITUATIONS: dict[str, Situation] = {
    # the model
    "no model": (SUBMIT, lambda p: p.submit(weights="none.pth"), "no such checkpoint: none.pth"),
    "model is a picture": (
        SUBMIT,
        lambda p: p.submit(weights=str(p.images / f"{STEM}.jpg")),
        r"\.jpg .*damaged",
    ),
    "model with code": (
        SUBMIT,
        lambda p: p.submit(weights=p.file("m.pth", pickle.dumps(print))),
        r"m\.pth is damaged or holds objects other than tensors",
    ),
    "model without weights": (
        SUBMIT,
        lambda p: p.submit(weights=p.changed(model={})),
        "the weights do not fit their configuration",
    ),
    "label space of another model": (
        SUBMIT,
        lambda p: p.submit("--label-space", other_space(p)),
        "this model has 19|no unified label",
    ),
    "no GPU": (SUBMIT, lambda p: p.submit(device="cuda:99"), "cuda:99"),
    "unknown device": (SUBMIT, lambda p: p.submit(device="tpu"), "device is 'tpu', expected cpu"),
    # the mapping
    "unknown way": (SUBMIT, lambda p: p.submit(mapping="best"), r"expected learned, zero-shot, a"),
    "never trained on it": (SUBMIT, lambda p: p.submit(mapping="learned"), "was not trained on"),
    "no mapping file": (SUBMIT, lambda p: p.submit(mapping="m.json"), r"cannot read m\.json"),
    "mapping of another benchmark": (
        SUBMIT,
        lambda p: p.submit(mapping=p.mapping(benchmark="viper")),
        "is a mapping to 'viper', not to 'wilddash2'",
    ),
    "mapping of another model": (
        SUBMIT,
        lambda p: p.submit(mapping=p.mapping(labels=[])),
        "lists 0 labels that are not the 19 of this model",
    ),
    "broken mapping": (
        SUBMIT,
        lambda p: p.submit(mapping=p.file("m.json", "{")),
        r"m\.json is not valid JSON",
    ),
    "relations without a list": (
        SUBMIT,
        lambda p: p.submit("--relations", p.file("r.json", {})),
        'expected an object with a list "relations"',
    ),
    "benchmark without a mapping": (
        "rvc_submit",
        lambda p: ["--benchmark", "viper", *p.submit()],
        "there is a zero-shot mapping to wilddash2 only",
    ),
    "way to count that is none": (
        "rvc_submit",
        lambda p: ["--benchmark", "mapillary", "--values", "0-65", *p.submit()],
        "mapillary has the readings: 1-65, 0-64",
    ),
    # void and size
    "unknown void": (SUBMIT, lambda p: p.submit("--void", "maybe"), "'maybe' is not understood"),
    "threshold of 40": (
        SUBMIT,
        lambda p: p.submit("--void", "threshold=40"),
        "'threshold=40' is not understood",
    ),
    "void class of no dataset": (
        SUBMIT,
        lambda p: p.submit("--void", "class=ade:wall"),
        "unknown dataset 'ade'",
    ),
    "void class that is none": (
        SUBMIT,
        lambda p: p.submit("--void", "class=toy_fine:void"),
        "no class 'void'",
    ),
    "negative size": (SUBMIT, lambda p: p.submit("--short-side=-1"), "short_side is -1"),
    "small window": (SUBMIT, lambda p: p.submit("--window", "3"), "window is 3"),
    # images and outputs
    "no images": (SUBMIT, lambda p: p.submit(images="none"), "no such folder of images: none"),
    "empty folder": (
        SUBMIT,
        lambda p: p.submit(images=str(Path(p.file("empty/readme.txt")).parent)),
        r"no image \(\.",
    ),
    "two images of one name": (
        SUBMIT,
        lambda p: p.submit(images=with_two(p)),
        r"would both have the result wd0000_100000\.png; move one",
    ),
    "cut image": (SUBMIT, lambda p: p.submit(images=cut(p)), "1 of 1 frames have no result"),
    "list of other frames": (
        SUBMIT,
        lambda p: p.submit("--frames", p.file("f.txt", "wd0009_100000")),
        "1 of the chosen frames are not in",
    ),
    "list that is no text": (
        SUBMIT,
        lambda p: p.submit("--frames", p.file("f.txt", b"\xff\xfe\0")),
        "cannot be read",
    ),
    "no list": (SUBMIT, lambda p: p.submit("--frames", "none.txt"), "none.txt cannot be read"),
    "no output": (
        SUBMIT,
        lambda p: ["--weights", str(p.weights), "--images", str(p.images)],
        "give --images DIR and --output FILE.zip",
    ),
    "output of another kind": (
        SUBMIT,
        lambda p: p.submit(output=str(p.root / "x.tar")),
        "expected a file name ending in .zip",
    ),
    "output below a file": (
        SUBMIT,
        lambda p: p.submit(output=str(p.archive / "x.zip")),
        r"cannot write the lock file .*Name an --output in a folder that can be written",
    ),
    "output is there": (
        SUBMIT,
        lambda p: p.submit(output=str(p.archive)),
        "exists already; give --resume to continue",
    ),
    "resumed another job": (
        SUBMIT,
        lambda p: p.submit(work(p, {"settings": {"void": "none"}, "images": {}})),
        r"made with other settings \(.*void.*images\)",
    ),
    "resumed no job": (
        SUBMIT,
        lambda p: p.submit(work(p, [])),
        "is no job of this program; remove",
    ),
    "another host works": (
        SUBMIT,
        lambda p: [
            p.file("out.zip.lock", {"pid": 1, "host": "elsewhere"}) and "--tta",
            *p.submit(),
        ],
        r"process 1 on elsewhere is working on this output .*remove .*out\.zip\.lock",
    ),
    "folder of the archive upwards": (
        SUBMIT,
        lambda p: p.submit("--layout", "folder", "../x"),
        "expected a plain folder name",
    ),
    "layout of three words": (
        SUBMIT,
        lambda p: p.submit("--layout", "folder", "a", "b"),
        "expected root, or folder NAME",
    ),
    "mapping below a file": (
        SUBMIT,
        lambda p: [
            *("--weights", str(p.weights), "--write-mapping", str(p.archive / "m.json")),
        ],
        r"good\.zip is a file where a folder is needed",
    ),
    # archives of others
    "no archive": (SUBMIT, lambda p: p.check(p.root / "none.zip"), "no such archive"),
    "archive is a picture": (
        SUBMIT,
        lambda p: p.check(p.images / f"{STEM}.jpg"),
        "cannot be read as a zip file",
    ),
    "empty archive": (SUBMIT, lambda p: p.check(p.zip("e.zip", {})), "there is no result for"),
    "wrong size": (SUBMIT, lambda p: p.check(size(p, 30)), "30 x 16 pixels; its image"),
    "train ids": (
        SUBMIT,
        lambda p: p.check(
            p.zip("t.zip", {f"{STEM}.png": encode_png(np.full((16, 24), 255, "u1"))})
        ),
        "id 255 on 384 pixels; expected only",
    ),
    # scores
    "results of no frame": (
        SCORE,
        lambda p: p.score(pred=str(p.root / "none.zip")),
        "neither a folder of PNGs nor a zip file",
    ),
    "truth that is none": (
        SCORE,
        lambda p: p.score(gt=str(p.images)),
        r"has neither panoptic\.json",
    ),
    "panoptic truth without PNG": (
        SCORE,
        lambda p: p.score(gt=panoptic(p, ONE_FRAME)),
        rf"{STEM}\.png",
    ),
    "panoptic truth of another form": (
        SCORE,
        lambda p: p.score(gt=panoptic(p, {"images": []})),
        "is no panoptic annotation file",
    ),
    "hazard that is none": (
        SCORE,
        lambda p: p.score("--tags", p.file("t.json", {STEM: {"blur": "very"}})),
        "'blur' as 'very', expected one of none, low, high",
    ),
    "share of all": (
        SCORE,
        lambda p: p.score("--negative", str(p.results), "--negative-share", "1"),
        "the share of negative frames is 1, expected 0 to below 1",
    ),
    "benchmark images that are not there": (
        SCORE,
        lambda p: p.score("--benchmark-images", "none"),
        "no such folder: none",
    ),
    # known images
    "nothing known": (KNOWN, lambda p: ["--weights", str(p.weights)], "no image of which it is"),
    "only void": (KNOWN, lambda p: p.known(), "there are no pixels with a class"),
    "no negative images": (KNOWN, lambda p: p.known(negative="none"), "no such folder of images"),
    "void class of no set": (
        KNOWN,
        lambda p: p.known("--void-classes", "mine:bed"),
        r"--void-classes 'mine:bed': expected unknown, or DATASET:CLASS of: none",
    ),
    "folder without classes": (
        KNOWN,
        lambda p: p.known("--folders", str(p.images)),
        r"classes\.json",
    ),
    "unknown dataset": (KNOWN, lambda p: p.known("--datasets", "cityscape"), "mean 'cityscapes'"),
    "recipe without images": (
        "zero_shot_wilddash",
        lambda p: ["--weights", str(p.weights), "--output", str(p.output)],
        "give --weights FILE, --images DIR and --output FILE.zip",
    ),
}


def test_there_are_45() -> None:
    assert len(SITUATIONS) >= 45


@pytest.fixture
def place(toy_weights: Path, tmp_path: Path) -> Place:
    return Place(tmp_path, toy_weights)


@pytest.mark.parametrize("name", SITUATIONS)
def test_situation_is_named(name: str, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    tool, arguments, words = SITUATIONS[name]
    given = arguments(place)
    capsys.readouterr()
    code = MAIN[tool](given)
    captured = capsys.readouterr()
    if "--check-only" in given and not captured.err:
        assert code == 1
        message = captured.out
    else:
        assert code == 2
        lines = [x for x in captured.err.splitlines() if "error:" in x]
        assert len(lines) == 1
        assert lines[0].startswith("error: ")
        message = lines[0]
    assert re.search(words, message), message
    assert "Traceback" not in captured.err
    if "--output" in given and name != "output is there":
        written = Path(given[given.index("--output") + 1])
        assert not written.is_file()


def test_nothing_goes_wrong_where_nothing_is_wrong(place: Place) -> None:
    """The same files in order: else the messages above could have another reason."""
    assert MAIN["wilddash_submit"](place.submit("--layout", "folder", "x")) == 0
    assert MAIN["wilddash_submit"](place.check(place.archive)) == 0
    assert MAIN["wilddash_eval"](place.score()) == 0

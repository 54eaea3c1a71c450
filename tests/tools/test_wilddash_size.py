"""A submission asks a model at the size at which it was tested, and says so first."""

from __future__ import annotations

import re
import runpy
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from wilddash_frames import write_frames

from unilabel.engine.checkpoint import load_file, save_file

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAMS: dict[str, Callable[[list[str]], int]] = {
    name: runpy.run_path(str(REPOSITORY / f"tools/{name}.py"))["main"]
    for name in ("wilddash_submit", "calibrate_void")
}


def sized(weights: Path, side: int, path: Path) -> Path:
    """The same model as if it had been tested at another size."""
    content = load_file(weights)
    content["config"], count = re.subn(
        r"TEST_SHORT_SIDE: \d+", f"TEST_SHORT_SIDE: {side}", content["config"]
    )
    assert count == 1
    save_file(path, content)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def weights(toy_weights: Path, folder: Path) -> Path:
    """A model that was tested at a short side of 48 pixels."""
    return sized(toy_weights, 48, folder / "model_48.pth")


@pytest.fixture(scope="module")
def own_size(toy_weights: Path, folder: Path) -> Path:
    """A model that was tested with images of their own size."""
    return sized(toy_weights, 0, folder / "model_0.pth")


def pixels(path: Path) -> list[bytes]:
    with zipfile.ZipFile(path) as archive:
        return [archive.read(name) for name in archive.namelist()]


def test_the_size_of_the_tests_is_the_default(
    weights: Path, own_size: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = write_frames(tmp_path / "in", ["wd0000_100000", "wd0001_100000"], (128, 96))

    def submit(name: str, model: Path, *more: str) -> tuple[list[bytes], str]:
        output = tmp_path / f"{name}.zip"
        options = ["--weights", str(model), "--images", str(images), "--output", str(output)]
        assert PROGRAMS["wilddash_submit"]([*options, *more]) == 0
        return pixels(output), capsys.readouterr().out.splitlines()[0]

    plain, why = submit("plain", weights)
    assert why == (
        "size of the images for the network: short side 48 pixels: as the model was tested "
        "(INPUT.TEST_SHORT_SIDE 48); --short-side changes it"
    )
    asked, why = submit("asked", weights, "--short-side", "48")
    assert why.endswith("short side 48 pixels: as --short-side says, and as the model was tested")
    assert asked == plain
    _, why = submit("own", weights, "--short-side", "0", "--window", "64", "--tta")
    assert why.endswith(
        "each image's own, in windows of 64 pixels, at three scales and mirrored: as --short-side "
        "says; the model was tested at a short side of 48 pixels"
    )
    whole, why = submit("whole", weights, "--short-side", "0")
    assert whole != plain
    kept, why = submit("kept", own_size)
    assert why.endswith(
        "each image's own: as the model was tested (INPUT.TEST_SHORT_SIDE 0); "
        "--short-side changes it"
    )
    assert kept == whole
    other, why = submit("other", own_size, "--short-side", "48")
    assert why.endswith("as --short-side says; the model was tested at each image's own size")
    assert other == plain


def test_every_tool_says_it_first(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping = ["--mapping", "zero-shot", "--write-mapping", str(tmp_path / "mapping.json")]
    assert PROGRAMS["wilddash_submit"](["--weights", str(weights), *mapping]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert "short side 48 pixels: as the model was tested" in first
    negative = write_frames(tmp_path / "negative", ["a"])
    options = ["--weights", str(weights), "--negative", str(negative)]
    assert PROGRAMS["calibrate_void"](options) == 2  # no pixel with a class
    assert capsys.readouterr().out.splitlines()[0] == first


def test_much_larger_images_than_the_crops_are_noted(
    own_size: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = write_frames(tmp_path / "in", ["wd0000_100000"], (400, 300))
    options = ["--weights", str(own_size), "--images", str(images)]
    assert PROGRAMS["wilddash_submit"]([*options, "--output", str(tmp_path / "a.zip")]) == 0
    assert (
        "wd0000_100000.jpg: the network sees this image with a short side of 300 pixels, but"
        in (capsys.readouterr().out)
    )
    more = ["--short-side", "64", "--output", str(tmp_path / "b.zip")]
    assert PROGRAMS["wilddash_submit"]([*options, *more]) == 0
    assert "the network sees" not in capsys.readouterr().out

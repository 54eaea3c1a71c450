"""A submission asks a model at the size at which it was tested, and says so first."""

from __future__ import annotations

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
TESTED = 48


@pytest.fixture(scope="module")
def weights(toy_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was tested at a short side of 48 pixels."""
    content = load_file(toy_weights)
    key = "TEST_SHORT_SIDE: "
    assert f"{key}0" in content["config"]
    content["config"] = content["config"].replace(f"{key}0", f"{key}{TESTED}")
    path = tmp_path_factory.mktemp("weights") / "model_final.pth"
    save_file(path, content)
    return path


def pixels(path: Path) -> list[bytes]:
    with zipfile.ZipFile(path) as archive:
        return [archive.read(name) for name in archive.namelist()]


def test_the_size_of_the_tests_is_the_default(
    weights: Path, toy_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_frames(tmp_path / "in", ["wd0000_100000", "wd0001_100000"], (128, 96))

    def submit(name: str, model: Path, *more: str) -> tuple[list[bytes], str]:
        output = tmp_path / f"{name}.zip"
        options = ["--weights", str(model), "--images", str(folder), "--output", str(output)]
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
    kept, why = submit("kept", toy_weights)
    assert why.endswith(
        "each image's own: as the model was tested (INPUT.TEST_SHORT_SIDE 0); "
        "--short-side changes it"
    )
    assert kept == whole
    other, why = submit("other", toy_weights, "--short-side", "48")
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

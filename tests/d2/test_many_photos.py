"""demo/predict.py on folders of many photos: found at once, and gone on with after a kill."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from scripts import load_script

pytest.importorskip("detectron2")

from unilabel.core.errors import UniLabelError
from unilabel.core.synthetic import render_scene
from unilabel.demo_app.inputs import find_images

pytestmark = pytest.mark.d2

PREDICT = Path(__file__).parents[2] / "demo/predict.py"


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    return load_script("demo/predict.py")


def test_links_of_a_folder_are_followed_once_not_for_every_photo(
    demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        path = tmp_path / f"photos/part{number % 3}/{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    followed, realpath = [], os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda p, **k: followed.append(p) or realpath(p, **k))
    output = tmp_path / "photos/answers"
    output.mkdir()
    (output / "old.png").touch()
    images, notes = find_images([str(tmp_path / "photos")], output)
    demo.check_outputs(images, [output])
    assert len(images) == 300
    assert list(images)[:2] == ["part0/0", "part0/102"]
    assert "1 images below" in notes[0]
    assert len(followed) < 30


def test_a_photo_is_never_written_over_also_behind_a_link(demo: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "real.png").touch()
    (tmp_path / "photos/a.png").symlink_to(tmp_path / "real.png")
    for output in (tmp_path / "photos", tmp_path / "other"):
        output.mkdir(exist_ok=True)
        if output.name == "other":
            (output / "a.png").symlink_to(tmp_path / "real.png")
        images, _ = find_images([str(tmp_path / "photos")], output)
        with pytest.raises(UniLabelError, match="would be overwritten"):
            demo.check_outputs(images, [output])


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}


def test_a_killed_run_goes_on_where_it_was(
    demo: ModuleType, toy_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(12):
        image = render_scene(np.random.default_rng(number), "toy_fine")[0]
        Image.fromarray(image).save(tmp_path / f"photos/{number:02d}.png")

    def arguments(output: str, *more: str) -> list[str]:
        given = ["--weights", str(toy_weights), "--input", str(tmp_path / "photos"), *more]
        return [*given, "--output", str(tmp_path / output)]

    killed = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(PREDICT), *arguments("killed")],
        stdout=subprocess.DEVNULL,
    )
    while killed.poll() is None and not list(tmp_path.glob("killed/0?.json")):
        time.sleep(0.001)
    killed.kill()
    killed.wait()
    done = len(list(tmp_path.glob("killed/[01]*.json")))
    assert 0 < done < 12
    assert demo.main(arguments("killed", "--resume")) == 0
    told = capsys.readouterr().out
    assert f"{done} of 12 images have their results already" in told
    assert f"[{12 - done}/{12 - done}]" in told
    assert demo.main(arguments("whole")) == 0
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
    assert demo.main(arguments("killed", "--resume")) == 0
    assert "12 of 12" in capsys.readouterr().out

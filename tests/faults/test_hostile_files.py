"""Files that want to do harm: nothing in them is executed, nothing outside is written or removed.

The pictures, archives and label spaces that visitors upload to the demo are in
``tests/tools/test_bad_uploads.py``.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("detectron2")

import breakable
import torch
from folder_datasets import write_folder
from safetensors.torch import save_file as save_tensors

import unilabel.modeling  # noqa: F401  registers backbone and meta-architecture
from unilabel.config import load_config
from unilabel.core.errors import UniLabelError
from unilabel.core.io import MAX_JSON_BYTES, read_json
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.build import build_sources
from unilabel.engine import run
from unilabel.engine.checkpoint import CheckpointKeeper, file_digest, load_file
from unilabel.engine.loading import load_model
from unilabel.text.cache import load_features
from unilabel.visual.graph_page import graph_html

pytestmark = [pytest.mark.d2, pytest.mark.faults]

HEADER = {"format": "unilabel/checkpoint", "version": 1}


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


class Place:
    """A folder to work in, and a canary beside it that an executed payload would make."""

    def __init__(self, root: Path, weights: Path) -> None:
        self.root = root
        self.inside = root / "inside"
        self.inside.mkdir()
        self.canary = root / "canary"
        self.precious = root / "precious.pth"
        self.precious.write_bytes(b"do not touch")
        self.payload = f"touch {self.canary}"
        self.weights = weights

    def path(self, name: str) -> Path:
        return self.inside / name

    def assert_unharmed(self) -> None:
        assert not self.canary.exists()
        assert sorted(p.name for p in self.root.iterdir()) == ["inside", "precious.pth"]
        assert self.precious.read_bytes() == b"do not touch"


@pytest.fixture
def place(tmp_path: Path, toy_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place(tmp_path, toy_weights)
    monkeypatch.chdir(place.inside)
    yield place
    place.assert_unharmed()


def quick(place: Place, *overrides: str) -> Any:
    return load_config(breakable.QUICK, ["OUTPUT_DIR", str(place.path("out")), *overrides])


# --- checkpoints ---


def pickle_in_a_checkpoint(place: Place) -> None:
    torch.save({**HEADER, "x": Evil(place.payload)}, place.path("model.pth"))
    load_file(place.path("model.pth"))


def pickle_in_the_newest_checkpoint(place: Place) -> None:
    """With the right checksum: whoever writes the folder can make one."""
    path = place.path("out/model_0000005.pth")
    path.parent.mkdir()
    torch.save({**HEADER, "x": Evil(place.payload)}, path)
    entry = {"file": path.name, "iteration": 5, "sha256": file_digest(path)}
    (path.parent / "last_checkpoint.json").write_text(json.dumps({"checkpoints": [entry]}))
    run.train(quick(place), "x", resume=True)


def plain_pickle(place: Place) -> None:
    place.path("model.pth").write_bytes(pickle.dumps(Evil(place.payload)))
    load_file(place.path("model.pth"))


def pickle_as_weights(place: Place) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}, "x": Evil(place.payload)}, "weights.pth")
    cfg = quick(place, "MODEL.TIMM.PRETRAINED", "weights.pth")
    run.train(cfg, "x", resume=False)


def members_outside(place: Place) -> None:
    """A checkpoint is a zip archive; members may have any name."""
    write_members(place, "../../canary", str(place.canary), "../../precious.pth")
    load_file("model.pth")


def write_members(place: Place, *names: str) -> None:
    data = io.BytesIO()
    torch.save({**HEADER, "x": torch.zeros(3)}, data)
    with zipfile.ZipFile(data) as old, zipfile.ZipFile("model.pth", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        for name in names:
            new.writestr(name, b"harm")


def list_that_names_other_files(place: Place) -> None:
    """Old checkpoints are removed: the list must not make that ../precious.pth."""
    keeper = CheckpointKeeper(place.inside, 1)
    entry = {"file": "../precious.pth", "iteration": 1, "sha256": "0" * 64}
    place.path("last_checkpoint.json").write_text(json.dumps({"checkpoints": [entry]}))
    keeper.save(2, {"iteration": 2})


def edited(place: Place, **changes: Any) -> Path:
    content = load_file(place.weights)
    content.update(changes)
    torch.save(content, place.path("model.pth"))
    return place.path("model.pth")


def checkpoint_of_absurd_size(place: Place) -> None:
    load_model(edited(place, num_unified=10**12))


def yaml_tag_in_a_checkpoint(place: Place) -> None:
    tag = f"SEED: !!python/object/apply:os.system ['{place.payload}']\n"
    load_model(edited(place, config=tag))


def checkpoint_that_names_another_file(place: Place) -> None:
    torch.save({"state_dict": {}, "x": Evil(place.payload)}, "other.pth")
    config = load_file(place.weights)["config"]
    args = json.dumps({"checkpoint_path": str(place.path("other.pth"))})
    changed = re.sub(r"ARGS: .*(\n {6,}.*)*", lambda _: f"ARGS: '{args}'", config)
    assert changed != config
    load_model(edited(place, config=changed))


# --- configurations ---


def yaml_tag(place: Place) -> None:
    text = f"SEED: !!python/object/apply:os.system ['{place.payload}']\n"
    place.path("evil.yaml").write_text(text)
    load_config("evil.yaml")


def yaml_tag_in_a_base(place: Place) -> None:
    text = f"X: !!python/object/new:os.system ['{place.payload}']\n"
    place.path("base.yaml").write_text(text)
    place.path("child.yaml").write_text("_BASE_: base.yaml\n")
    load_config("child.yaml")


def python_in_an_override(place: Place) -> None:
    quick(place, "SEED", f"__import__('os').system('{place.payload}')")


def yaml_bomb(place: Place) -> None:
    lines = ["A0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for i in range(1, 12):
        lines.append(f"A{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]")
    place.path("bomb.yaml").write_text("\n".join([*lines, "SCHEDULE: *a11"]))
    load_config("bomb.yaml")


def base_of_itself(place: Place) -> None:
    place.path("circle.yaml").write_text("_BASE_: circle.yaml\n")
    load_config("circle.yaml")


# --- JSON ---


def json_of_great_depth(place: Place) -> None:
    place.path("deep.json").write_text("[" * 200_000 + "]" * 200_000)
    LabelSpace.from_json("deep.json")


def json_of_great_size(place: Place) -> None:
    with open("large.json", "wb") as file:
        file.truncate(1 << 40)  # takes no space on the disk
    UnifiedLabelSpace.load("large.json")


def json_of_great_numbers(place: Place) -> None:
    place.path("number.json").write_text('{"a": ' + "9" * 100_000 + "}")
    read_json("number.json")


def not_a_number(place: Place) -> None:
    space = load_file(place.weights)["label_space"]
    text = json.dumps(space)
    changed = re.sub(r'"weight": [0-9.]+', '"weight": NaN', text, count=1)
    assert changed != text
    place.path("space.json").write_text(changed)
    UnifiedLabelSpace.load("space.json")


# --- feature files ---


def pickle_as_features(place: Place) -> None:
    place.path("text.safetensors").write_bytes(pickle.dumps(Evil(place.payload)))
    load_features("text.safetensors")


def features_of_absurd_size(place: Place) -> None:
    place.path("text.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{" * 100)
    load_features("text.safetensors")


def features_with_a_json_bomb(place: Place) -> None:
    metadata = {
        "format": "unilabel-text-features",
        "version": "1",
        "encoder": "hashed",
        "model_hash": "",
        "mode": "name",
        "label_names": "[" * 100_000,
        "text_hashes": "[]",
    }
    save_tensors({"features": torch.zeros(1, 2)}, "text.safetensors", metadata=metadata)
    load_features("text.safetensors")


# --- names ---


def dataset_called_like_a_path(place: Place) -> None:
    """A model of each dataset is written into a folder of the dataset's name."""
    folder = write_folder(place.path("data"), name="../../canary")
    cfg = quick(
        place,
        "DATASETS.TOY", "False", "DATASETS.CUSTOM", f"['{folder}']",
        "SINGLE_DATASET_MODELS", "True", "SCHEDULE", "[['MULTI_HEAD', 1]]",
    )  # fmt: skip
    run.train(cfg, "x", resume=False)


def control_characters(place: Place) -> None:
    """They would change what a terminal shows."""
    folder = write_folder(place.path("data"), classes="road \x1b[2Jcar sky")
    build_sources(quick(place, "DATASETS.TOY", "False", "DATASETS.CUSTOM", f"['{folder}']"))


def reversed_text(place: Place) -> None:
    folder = write_folder(place.path("data"), display_name="safe\u202egnp.exe")
    build_sources(quick(place, "DATASETS.TOY", "False", "DATASETS.CUSTOM", f"['{folder}']"))


REFUSED: dict[Callable[[Place], None], str] = {
    pickle_in_a_checkpoint: r"model\.pth is damaged or holds objects other than tensors",
    pickle_in_the_newest_checkpoint: r"model_0000005\.pth is damaged or holds objects other than",
    plain_pickle: r"model\.pth (is damaged or holds objects|cannot be read)",
    pickle_as_weights: r"weights\.pth",
    members_outside: r"model\.pth cannot be read as a checkpoint",
    list_that_names_other_files: r'last_checkpoint\.json holds no list "checkpoints" of entries',
    checkpoint_of_absurd_size: "has 1000000000000 unified labels, expected 1 to 20000",
    yaml_tag_in_a_checkpoint: r"model\.pth: its configuration is not plain YAML",
    checkpoint_that_names_another_file: r"ARGS must not hold \['checkpoint_path'\]",
    yaml_tag: r"evil\.yaml cannot be read as a configuration",
    yaml_tag_in_a_base: r"child\.yaml cannot be read as a configuration",
    python_in_an_override: "SEED __import__",
    yaml_bomb: r"bomb\.yaml cannot be read as a configuration: more than 100000 values",
    base_of_itself: r"circle\.yaml cannot be read .* its _BASE_ files form a circle",
    json_of_great_depth: r"deep\.json is not valid JSON",
    json_of_great_size: rf"large\.json has 1099511627776 bytes, expected .* {MAX_JSON_BYTES}",
    json_of_great_numbers: r"number\.json is not valid JSON",
    not_a_number: r"link weight nan, expected a number of 0\.\.1",
    pickle_as_features: r"cannot read the feature file text\.safetensors",
    features_of_absurd_size: r"cannot read the feature file text\.safetensors",
    features_with_a_json_bomb: r"cannot read the feature file text\.safetensors",
    dataset_called_like_a_path: r'"name" is \'\.\./\.\./canary\', expected one without /',
    control_characters: "control characters are not allowed",
    reversed_text: "control characters are not allowed",
}


def test_there_are_enough_cases() -> None:
    assert len(REFUSED) + 2 >= 15


@pytest.mark.parametrize("case", REFUSED, ids=lambda f: f.__name__)
def test_refused(place: Place, case: Callable[[Place], None]) -> None:
    with pytest.raises(UniLabelError, match=REFUSED[case]) as caught:
        case(place)
    assert len(str(caught.value)) < 4000
    assert "\x1b" not in str(caught.value)


def test_members_outside_are_not_unpacked(place: Place) -> None:
    write_members(place, "archive/../../../canary", "archive/../../../precious.pth")
    assert torch.equal(load_file("model.pth")["x"], torch.zeros(3))


def test_links_in_a_dataset_are_only_read(place: Place) -> None:
    """An image that is a link to another file is an image or refused, and stays as it is."""
    folder = write_folder(place.path("data"))
    image = folder / "images/train/train0.png"
    image.unlink()
    image.symlink_to(place.precious)
    options = ("DATASETS.TOY", "False", "DATASETS.CUSTOM", f"['{folder}']")
    with pytest.raises(UniLabelError, match=r"train0\.png cannot be decoded as an image"):
        run.train(quick(place, *options), "x", resume=False)


HTML = '<script>alert(1)</script><img src=x onerror="alert(2)">\'"&'


def test_names_with_html_are_shown_as_text(place: Place) -> None:
    spaces = [
        LabelSpace.from_dict(
            {
                "name": f"d{i}",
                "display_name": HTML,
                "classes": [
                    {"id": 0, "name": f"{HTML}", "description": f"</script>{HTML}"},
                    {"id": 1, "name": "</title><b>car"},
                ][: 2 if i else 1],
            }
            if i == 0
            else {"name": f"d{i}", "display_name": HTML, "classes": [{"id": 0, "name": HTML}]}
        )
        for i in range(2)
    ]
    mapping = LabelMapping.from_stacked(LabelSpaceSet(spaces), torch.ones(1, 2, dtype=torch.bool))
    page = graph_html(UnifiedLabelSpace.from_mapping(mapping), title=HTML)
    body = page.split("<body>")[1]
    assert page.count("<script>") == 1
    assert page.count("</script>") == 1
    assert "<img src=x" not in page
    assert "onerror=" not in body.split("<script>")[0].replace("onerror=&quot;", "")
    assert "&lt;script&gt;alert(1)" in page  # the title
    assert r"\u003cscript\u003ealert(1)" in page  # the names
    assert "default-src 'none'" in page

"""Whatever a file holds, our parsers answer with a result or with our own error."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import random
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("detectron2")

import bad_files
import breakable
import torch
from mutation import STRANGE, mutate_bytes, mutate_tree, to_text

from unilabel.config import load_config
from unilabel.core.errors import UniLabelError
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.core.relations import RelationTruth
from unilabel.core.stages import StageSchedule
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.images import read_image
from unilabel.data.label_decoders import PanopticDecoder
from unilabel.data.label_files import read_id_png
from unilabel.engine.checkpoint import CheckpointKeeper, load_file, save_file
from unilabel.modeling.backbone import _parse_args
from unilabel.text.cache import encode_labels, load_features, save_features, select_features
from unilabel.text.prompts import with_descriptions

pytestmark = [pytest.mark.d2, pytest.mark.faults, pytest.mark.slow]

SLOWEST = 5.0  # seconds for one input
SPACES = LabelSpaceSet(
    LabelSpace(name, names, tuple((i, 9, 0) for i in range(len(names))), 255, name.title(), texts)
    for name, names, texts in (
        ("city", ("road", "car"), ("A road.", "A car.")),
        ("idd", ("road", "marking", "sky"), ("A road.", "Paint.", "The sky.")),
    )
)
LINKS = torch.tensor([[1, 0, 1, 0, 0], [1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1]]) > 0
RELATION = {
    "a": {"dataset": "city", "label": "road"},
    "b": {"dataset": "idd", "label": "marking"},
    "type": "superset",
    "source": "definition",
}
POLYGONS = {
    "imgWidth": 32,
    "imgHeight": 24,
    "objects": [{"label": "road", "polygon": [[0, 0], [9, 0], [9, 9]], "deleted": 0}],
}


@dataclass(frozen=True)
class Target:
    """A parser.

    Attributes:
        count: inputs.
        inputs: seeded source of inputs -> one of them; bytes are written to a file.
        parse: called with the file, or with what is no bytes.
        name: of the file.
    """

    count: int
    inputs: Callable[[random.Random], Any]
    parse: Callable[[Any], Any]
    name: str = "input.json"


def tree(valid: Any, share_of_bytes: float = 0.25) -> Callable[[random.Random], bytes]:
    """Damaged trees, and damaged text of the valid one."""
    text = to_text(valid)

    def make(source: random.Random) -> bytes:
        if source.random() < share_of_bytes:
            return mutate_bytes(text, source)
        return to_text(mutate_tree(valid, source))

    return make


def damaged(valid: bytes) -> Callable[[random.Random], bytes]:
    return lambda source: mutate_bytes(valid, source)


def valid_files(folder: Path) -> dict[str, bytes]:
    """One good file of each kind that is no JSON."""
    content = {"x": torch.arange(6.0).view(2, 3), "n": {"a": [1, None, "t"]}, "num_unified": 3}
    save_file(folder / "x.pth", content)
    save_features(folder / "x.safetensors", encode_labels(SPACES, "hashed", mode="name"))
    bad_files.write_dataset(folder / "png", "folder", 1)
    bad_files.write_dataset(folder / "mat", "mat", 1)
    spot = bad_files.write_dataset(folder / "jpeg", "folder", 1)[0]
    bad_files.jpeg(lambda data: data)(spot)
    return {
        "checkpoint": (folder / "x.pth").read_bytes(),
        "features": (folder / "x.safetensors").read_bytes(),
        "image": (folder / "png/images/s0.png").read_bytes(),
        "jpeg": spot.image.read_bytes(),
        "label": (folder / "png/labels/s0.png").read_bytes(),
        "mat": (folder / "mat/labels/s0.mat").read_bytes(),
    }


def parse_features(path: str) -> None:
    select_features(load_features(path), SPACES, "hashed", "name", path)


def parse_index(path: str) -> None:
    CheckpointKeeper(Path(path).parent, 2).load_newest()


def parse_panoptic(path: str) -> None:
    """The file beside a folder of PNGs."""
    folder = path.removesuffix(".json")
    PanopticDecoder(bad_files.IDS, "streets").index(folder)


def parse_overrides(pairs: list[str]) -> None:
    load_config(breakable.QUICK, pairs)


def overrides(source: random.Random) -> list[str]:
    keys = (
        "SEED", "SCHEDULE", "INPUT.CROP_SIZE", "INPUT.SCALE_RANGE", "DATASETS.CUSTOM", "MODEL",
        "DATASETS.VARIANTS", "DATASETS.CLASSES", "UNIFY.NODES", "GRAPH.LR", "X.Y",
        "SOLVER.BASE_LR", "MODEL.TIMM.ARGS", "OUTPUT_DIR", "DATASETS.MAX_BAD_SHARE", "", "SEED.A",
        "DATASETS.TOY_IMAGES", "SOLVER.ON_NONFINITE", "TEST.BATCH_SIZE", "DATASETS", "_BASE_",
    )  # fmt: skip
    pairs = []
    for _ in range(source.choice((1, 1, 2))):
        value = source.choice(STRANGE)
        text = value if isinstance(value, str) and source.random() < 0.7 else repr(value)
        if source.random() < 0.3:
            text = mutate_bytes(text.encode(errors="replace"), source).decode(errors="replace")
        pairs += [source.choice(keys), text]
    return pairs if source.random() < 0.95 else pairs[:-1]


def schedule(source: random.Random) -> Any:
    valid = [["MULTI_HEAD", 6], ["GNN", 5], ["SEG", 4], ["FINAL", 6]]
    changed = mutate_tree(valid, source)
    return changed if isinstance(changed, list) else [changed]


def mapping(source: random.Random) -> torch.Tensor:
    rows = source.randrange(1, 7)
    bits = [[source.random() < 0.3 for _ in range(SPACES.total)] for _ in range(rows)]
    return torch.tensor(bits)


def targets(folder: Path) -> dict[str, Target]:
    files = valid_files(folder)
    space = UnifiedLabelSpace.from_mapping(LabelMapping.from_stacked(SPACES, LINKS)).to_dict()
    classes = {**SPACES[1].to_dict(), "ignore_label": 255}
    described = {s.name: dict(zip(s.class_names, s.descriptions, strict=True)) for s in SPACES}
    relations = {"relations": [RELATION, {**RELATION, "type": "equal"}], "overlaps": [RELATION]}
    index = {"checkpoints": [{"file": "model_0000001.pth", "iteration": 1, "sha256": "0" * 64}] * 2}
    segments = [{"id": 7, "category_id": 1}, {"id": 70000, "category_id": 2}]
    panoptic = {"annotations": [{"file_name": "a.png", "segments_info": segments}]}
    config = b"_BASE_: base.yaml\nSEED: 3\nSCHEDULE: [[MULTI_HEAD, 2]]\nMODEL:\n  EMBED_DIM: 8\n"
    (folder / "base.yaml").write_text("DATASETS:\n  TOY: True\nMODEL:\n  DEVICE: cpu\n")
    timm = '{"layers": [1, 1], "stem_type": "deep"}'
    polygons = bad_files.FORMS["polygons"][2]
    return {
        "classes.json": Target(20_000, tree(classes), LabelSpace.from_json),
        "label_space.json": Target(16_000, tree(space), UnifiedLabelSpace.load),
        "relations.json": Target(
            14_000, tree(relations), lambda path: RelationTruth.from_json(path, SPACES)
        ),
        "descriptions": Target(
            12_000, tree(described), lambda path: with_descriptions(SPACES, path)
        ),
        "list of checkpoints": Target(8_000, tree(index), parse_index, "last_checkpoint.json"),
        "checkpoint": Target(3_000, damaged(files["checkpoint"]), load_file),
        "features": Target(5_000, damaged(files["features"]), parse_features),
        "configuration": Target(800, damaged(config), load_config, "c.yaml"),
        "KEY VALUE": Target(800, overrides, parse_overrides),
        "schedule": Target(12_000, schedule, StageSchedule),
        "timm arguments": Target(
            5_000,
            lambda source: mutate_bytes(timm.encode(), source).decode(errors="replace"),
            _parse_args,
        ),
        "mapping": Target(2_000, mapping, lambda m: LabelMapping.from_stacked(SPACES, m)),
        "polygons": Target(5_000, tree(POLYGONS), polygons),
        "panoptic": Target(4_000, tree(panoptic), parse_panoptic, "folder.json"),
        "mat": Target(1_500, damaged(files["mat"]), bad_files.FORMS["mat"][2], "x.mat"),
        "image png": Target(3_000, damaged(files["image"]), read_image, "x.png"),
        "image jpeg": Target(2_000, damaged(files["jpeg"]), read_image, "x.jpg"),
        "label png": Target(3_000, damaged(files["label"]), read_id_png, "x.png"),
    }


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Decoders complain about damaged files on their own."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


NAMES = (
    "classes.json", "label_space.json", "relations.json", "descriptions", "list of checkpoints",
    "checkpoint", "features", "configuration", "KEY VALUE", "schedule", "timm arguments", "mapping",
    "polygons", "panoptic", "mat", "image png", "image jpeg", "label png",
)  # fmt: skip
TOTAL: Counter[str] = Counter()


def answer(target: Target, value: Any, which: tuple[str, int]) -> str | None:
    """The message of our error, or None if the input was read; other errors fail the test."""
    try:
        with quiet():
            target.parse(value)
    except UniLabelError as error:
        return str(error)
    except BaseException as error:
        held = (
            Path(value).read_bytes() if isinstance(value, str) and Path(value).is_file() else value
        )
        pytest.fail(f"{which}: {type(error).__name__}: {error}\n{str(held)[:600]}")
    return None


@pytest.mark.parametrize("name", NAMES)
def test_parser(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = targets(tmp_path)[name]
    path = tmp_path / target.name
    counts: Counter[str] = Counter()
    slowest = 0.0
    for number in range(target.count):
        value = target.inputs(random.Random(f"{name} {number}"))
        if isinstance(value, bytes):
            path.write_bytes(value)
        start = time.monotonic()
        message = answer(target, str(path) if isinstance(value, bytes) else value, (name, number))
        counts["read" if message is None else "refused"] += 1
        assert message is None or 0 < len(message) < 20_000, (number, value)
        slowest = max(slowest, time.monotonic() - start)
    assert slowest < SLOWEST
    assert counts["read"]
    assert counts["refused"]
    TOTAL.update(counts)
    with capsys.disabled():
        print(f"\n{name}: {target.count} inputs, {dict(counts)}, slowest {1000 * slowest:.0f} ms")


def test_there_are_enough_inputs(tmp_path: Path) -> None:
    found = targets(tmp_path)
    assert tuple(found) == NAMES
    assert sum(t.count for t in found.values()) >= 100_000


def test_valid_inputs_are_read(tmp_path: Path) -> None:
    """Otherwise the fuzzing would only test the first line of each parser."""
    space = UnifiedLabelSpace.from_mapping(LabelMapping.from_stacked(SPACES, LINKS))
    path = tmp_path / "space.json"
    space.save(path)
    assert UnifiedLabelSpace.load(path).mapping == space.mapping
    assert ast.literal_eval(str(json.loads(path.read_text())["version"])) == 1

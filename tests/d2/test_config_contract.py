"""No key without effect: Detectron2's keys and our own are read somewhere, or refused."""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("detectron2")

from detectron2.config import get_cfg
from detectron2.modeling.backbone.build import build_backbone

from unilabel.config import add_unilabel_config, load_config
from unilabel.config_contract import INSTEAD, READ_KEYS, leaves, replacement
from unilabel.core.errors import UniLabelError
from unilabel.engine.loading import config_of

pytestmark = pytest.mark.d2

ROOT = Path(__file__).parents[2]
THEIRS = dict(leaves(get_cfg()))
UNREAD = sorted(set(THEIRS) - READ_KEYS)
# Reads of the configuration do not count where it is only defined and checked.
DEFINING = {"config.py", "config_keys.py", "config_contract.py", "config_checks.py"}


def all_keys() -> dict[str, Any]:
    cfg = get_cfg()
    add_unilabel_config(cfg)
    return dict(leaves(cfg))


def other_value(value: Any) -> Any:
    """A value of the same type that is another one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    return [*value, *(value[-1:] or ["x"])]


@cache
def chains() -> set[str]:
    """``A.B.C`` of every ``something.A.B.C`` that the program reads (not assigns)."""
    files = [ROOT / "train_net.py", *(ROOT / "unilabel").rglob("*.py")]
    trees = [ast.parse(f.read_text(encoding="utf-8")) for f in files if f.name not in DEFINING]
    trees.append(ast.parse(inspect.getsource(build_backbone)))
    found = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        names: list[str] = []
        if isinstance(getattr(node, "ctx", None), ast.Store):
            continue
        while isinstance(node, ast.Attribute):
            names.insert(0, node.attr)
            node = node.value
        keys = [n for n in names if n.isupper()]
        if keys:
            found.add(".".join(keys))
    return found


def is_read(key: str) -> bool:
    """Whether the whole key is read, or its last part from a group that is read as a whole."""
    group, _, name = key.rpartition(".")
    return key in chains() or (bool(group) and group in chains() and name in chains())


@pytest.mark.parametrize("key", sorted(all_keys().keys() - UNREAD))
def test_every_key_that_is_accepted_is_read(key: str) -> None:
    assert is_read(key), f"{key} is accepted, but nothing reads it"


def test_most_of_detectron2_is_another_program() -> None:
    assert READ_KEYS <= set(THEIRS)
    assert len(UNREAD) > 150


@pytest.mark.parametrize("key", UNREAD)
def test_keys_that_nothing_reads_are_refused_in_a_file(key: str, tmp_path: Path) -> None:
    parts = key.split(".")
    path = tmp_path / "some.yaml"
    text = "".join(f"{'  ' * depth}{part}:\n" for depth, part in enumerate(parts[:-1]))
    value = str(other_value(THEIRS[key])).replace("(", "[").replace(")", "]").replace(",]", "]")
    quoted = f'"{value}"' if isinstance(THEIRS[key], str) else value
    path.write_text(f"{text}{'  ' * (len(parts) - 1)}{parts[-1]}: {quoted}\n")
    with pytest.raises(UniLabelError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: {key} is ")
    assert "a key of Detectron2 that has no effect in unilabel: " in message
    assert replacement(key) in message


@pytest.mark.parametrize("key", UNREAD)
def test_what_to_do_instead_names_keys_that_do_something(key: str) -> None:
    known = all_keys()
    beginnings = [key.rsplit(".", n)[0] for n in range(key.count(".") + 1)]
    assert any(b in INSTEAD for b in beginnings), f"no word about {key}"
    for named in re.findall(r"\b[A-Z]+(?:[._][A-Z_]+)+\b(?!\.md)", replacement(key)):
        below = [k for k in known if k == named or k.startswith(f"{named}.")]
        assert below, f"{key}: {named} is no key"
        assert not set(below) & set(UNREAD), f"{key}: {named} is not read either"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("SOLVER.MAX_ITER 5", "command line: SOLVER.MAX_ITER is 5, .* use SCHEDULE; leave the"),
        ("SOLVER.IMS_PER_BATCH 2", "use INPUT.IMAGES_PER_DATASET and INPUT.ACCUMULATE"),
        ("INPUT.MIN_SIZE_TEST 640", "use INPUT.TEST_SHORT_SIDE"),
        ("DATASETS.TRAIN ('a',)", r"DATASETS.TRAIN is \('a',\).* DATASETS.CUSTOM \(your folders\)"),
        ("MODEL.RESNETS.DEPTH 18", "use MODEL.TIMM.NAME and MODEL.TIMM.ARGS"),
        ("MODEL.MASK_ON True", "no boxes, masks or keypoints"),
    ],
)
def test_keys_that_nothing_reads_are_refused_on_the_command_line(overrides, message) -> None:
    with pytest.raises(UniLabelError, match=message):
        load_config(ROOT / "configs/toy.yaml", overrides.split(" "))


def test_their_defaults_may_be_written_out(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("DATASETS:\n  TOY: True\nSOLVER:\n  MAX_ITER: 40000\n  STEPS: [30000]\n")
    assert load_config(path, ["INPUT.MIN_SIZE_TEST", "800"]).SOLVER.MAX_ITER == 40000


def test_configurations_of_old_checkpoints_still_load() -> None:
    """Those were written when every key of Detectron2 was accepted."""
    cfg = load_config(ROOT / "configs/toy.yaml")
    cfg.SOLVER.MAX_ITER = 5
    assert config_of(cfg.dump(), "old").SOLVER.MAX_ITER == 5

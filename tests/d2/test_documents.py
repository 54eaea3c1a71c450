"""The commands and files that the documents show exist and are understood."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("detectron2")

from unilabel.config import load_config
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.core.relations import RelationTruth
from unilabel.data.builtin import builtin_source

pytestmark = pytest.mark.d2
ROOT = Path(__file__).parents[2]
DOCUMENTS = ("REPRODUCE.md", "CUSTOM_DATASET.md")


def text_of(document: str) -> str:
    return (ROOT / "docs" / document).read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text_of(document), flags=re.DOTALL)


@cache
def help_of(script: str) -> str:
    done = subprocess.run(
        [sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


def commands() -> list[tuple[str, str]]:
    """(script, its arguments) of every command line in the documents."""
    found = []
    for document in DOCUMENTS:
        inline = re.findall(r"`(python [^`]+)`", text_of(document))
        for source in [*blocks(document, "bash"), *inline]:
            joined = source.replace("\\\n", " ")
            found += re.findall(r"python ([\w/]+\.py)([^\n;#]*)", joined)
    return sorted(set(found))


def test_there_are_commands() -> None:
    assert len(commands()) > 25


@pytest.mark.slow
@pytest.mark.parametrize(("script", "arguments"), commands())
def test_command_is_understood(script: str, arguments: str) -> None:
    known = help_of(script)
    for option in re.findall(r"--[a-z][a-z-]*", arguments):
        assert option in known, f"{script} has no option {option}"
    if script == "train_net.py":
        config = re.search(r"--config-file (\S+)", arguments)
        if config and config.group(1) != "configs/mine.yaml":
            words = shlex.split(arguments)
            keys = [i for i, w in enumerate(words) if re.fullmatch(r"[A-Z][A-Z_]+[A-Z_.]*", w)]
            load_config(ROOT / config.group(1), [w for i in keys for w in words[i : i + 2]])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_exist(document: str) -> None:
    pattern = r"\b(?:configs|tools|docs|tests|benchmarks|datasets|demo|unilabel)/[\w/.]+\.\w+"
    for path in re.findall(pattern, text_of(document)):
        if path != "configs/mine.yaml":
            assert (ROOT / path).exists(), f"{document} names {path}"


def test_own_dataset(tmp_path: Path) -> None:
    first, relations = map(json.loads, blocks("CUSTOM_DATASET.md", "json"))
    mine = LabelSpace.from_dict(first)
    assert mine.descriptions
    theirs = LabelSpace("their_streets", ("lane marking",), ((1, 2, 3),))
    (tmp_path / "relations.json").write_text(json.dumps(relations))
    truth = RelationTruth.from_json(tmp_path / "relations.json", LabelSpaceSet([mine, theirs]))
    assert bool(truth.related[0, 2])
    (yaml,) = blocks("CUSTOM_DATASET.md", "yaml")
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.replace("_BASE_: mini.yaml", f"_BASE_: {ROOT / 'configs/mini.yaml'}"))
    cfg = load_config(path)
    assert cfg.DATASETS.CUSTOM == ["/data/my_streets", "/data/their_streets"]
    assert len(yaml.strip().splitlines()) <= 20


def test_unseen_datasets_are_known(tmp_path: Path) -> None:
    (names,) = re.findall(r"for name in (kitti [^;]+);", text_of("REPRODUCE.md"))
    for name in names.split():
        dataset, _, variant = name.partition("@")
        assert builtin_source(dataset, tmp_path, variant or None).label_space.num_classes > 10

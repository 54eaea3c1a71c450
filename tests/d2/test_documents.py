"""The commands and files that the documents show exist and are understood."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("detectron2")

from unilabel.config import load_config
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.core.relations import RelationTruth
from unilabel.data.builtin import builtin_source
from unilabel.data.class_list import read_class_list
from unilabel.text.prompts import label_texts

pytestmark = pytest.mark.d2
ROOT = Path(__file__).parents[2]
DOCUMENTS = ("REPRODUCE.md", "CUSTOM_DATASET.md")


def text_of(document: str) -> str:
    return (ROOT / "docs" / document).read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text_of(document), flags=re.DOTALL)


def values_of_loops() -> dict[str, list[str]]:
    """Shell variable -> its values, from assignments and loops."""
    text = "\n".join(source for document in DOCUMENTS for source in blocks(document, "bash"))
    values = {k: v.split() for k, v in re.findall(r'^(\w+)="([^"\n]*)"', text, flags=re.MULTILINE)}
    for name, words in re.findall(r"for (\w+) in ([^;\n]+);", text):
        for word in words.split():
            more = values[word[1:]] if word.startswith("$") else [word]
            values.setdefault(name, []).extend(more)
    return values


def commands() -> list[tuple[str, str]]:
    """(script, its arguments) of every command line in the documents."""
    values, found = values_of_loops(), []
    for document in DOCUMENTS:
        inline = re.findall(r"`(python [^`]+)`", text_of(document))
        for source in [*blocks(document, "bash"), *inline]:
            joined = source.replace("\\\n", " ")
            found += re.findall(r"python ([\w/]+\.py)([^\n;#]*)", joined)

    def fill(match: re.Match[str]) -> str:
        first = values[match["name"]][0]
        return first.split("@")[0] if match["cut"] else first

    variable = re.compile(r"\$\{?(?P<name>\w+)(?P<cut>%@\*)?\}?")
    return sorted({(script, variable.sub(fill, arguments)) for script, arguments in found})


@pytest.fixture(scope="module")
def parsed() -> dict[tuple[str, str], dict[str, Any]]:
    """What each program makes of its command line; one process for all, for the imports' sake."""
    lines = [(script, shlex.split(arguments)) for script, arguments in commands()]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("parse_commands.py"))],
        input=json.dumps(lines),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(commands(), json.loads(done.stdout), strict=True))


def test_there_are_commands() -> None:
    assert len(commands()) > 45


@pytest.mark.slow
@pytest.mark.parametrize(("script", "arguments"), commands())
def test_command_is_understood(
    script: str, arguments: str, parsed: dict[tuple[str, str], dict[str, Any]]
) -> None:
    result = parsed[script, arguments]
    assert result["error"] == ""
    config = ast.literal_eval(result["values"].get("config_file", "None"))
    if config and config != "configs/mine.yaml":
        options = ast.literal_eval(result["values"].get("opts", "[]"))
        load_config(ROOT / config, options)


@pytest.mark.slow
def test_wrong_commands_would_be_found() -> None:
    lines = [
        ["train_net.py", ["--config-file", "x", "SEED", "1"]],
        ["tools/map_unseen.py", ["--weights", "a", "--dataset", "b", "--methode", "text"]],
        ["tools/map_unseen.py", ["--weights", "a", "--dataset", "b", "--method", "guess"]],
        ["tools/check_dataset.py", ["--dataset", "b"]],
    ]
    script = Path(__file__).with_name("parse_commands.py")
    done = subprocess.run(
        [sys.executable, str(script)],
        input=json.dumps(lines),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    errors = [result["error"] for result in json.loads(done.stdout)]
    assert [bool(error) for error in errors] == [False, True, True, False]
    assert "--methode" in errors[1]
    assert "invalid choice: 'guess'" in errors[2]


# The rows of the paper's tables 2 to 14, as it prints them; "other" are other authors' methods.
TRAINING = ("CS", "MPL", "SUN", "BDD", "IDD", "ADE", "COCO")
PAPER_ROWS = {
    2: ("other authors' methods", "Single dataset", "Multi-SegHead", "Ours"),
    3: (*TRAINING, "Ours"),
    4: ("other authors' methods", "Ours, not trained", "Ours, trained"),
    5: (
        *("Direct concatenation", "Clustered by text features", "Without GNN training"),
        *("Without GPT's label description", "Our proposed method"),
    ),
    6: ("General", "Specific"),
    7: (*TRAINING, "Ours"),
    8: (*TRAINING, "Ours"),
    9: (*TRAINING, "Ours"),
    10: (*TRAINING, "Ours"),
    11: ("General", "Specific"),
    12: ("General", "Specific"),
    13: ("General", "Specific"),
    14: ("General", "Specific"),
}


def test_every_row_of_the_papers_tables_has_commands() -> None:
    text = text_of("REPRODUCE.md")
    table = text.split("| tables | row | model and measurement |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    found: dict[int, set[str]] = {number: set() for number in PAPER_ROWS}
    letters = set()
    for tables, name, how in rows:
        names = [name] if "COCO" not in name else name.split(" (")[0].split(", ")
        named = re.findall(r"\b[A-V]\b", how)
        assert named or name == "other authors' methods", name
        letters |= set(named)
        if numbers := [int(number) for number in tables.split(", ")]:
            for number in numbers:
                found[number] |= set(names)
    assert found == {number: set(names) for number, names in PAPER_ROWS.items()}
    for letter in letters:
        comment = rf"^# (?:[A-V] and )?{letter}(?: and [A-V])?: .*\n(?:.*\n){{0,3}}?.*python "
        assert re.search(comment, text, flags=re.MULTILINE), letter


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_exist(document: str) -> None:
    pattern = r"\b(?:configs|tools|docs|tests|benchmarks|datasets|demo|unilabel)/[\w/.]+\.\w+"
    for path in re.findall(pattern, text_of(document)):
        if path != "configs/mine.yaml":
            assert (ROOT / path).exists(), f"{document} names {path}"


def test_own_dataset(tmp_path: Path) -> None:
    first, relations = map(json.loads, blocks("CUSTOM_DATASET.md", "json"))
    (tmp_path / "classes.json").write_text(json.dumps(first))
    mine = read_class_list(tmp_path / "classes.json").space
    assert mine.descriptions == ("The carriageway with its markings.", "")
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


def test_datasets_of_the_loops_are_known(tmp_path: Path) -> None:
    values = values_of_loops()
    assert len(set(values["name"])) >= 12
    for name in {*values["name"], *values["model"]}:
        dataset, _, variant = name.partition("@")
        assert builtin_source(dataset, tmp_path, variant or None).label_space.num_classes > 10


def test_the_row_without_descriptions_has_no_descriptions() -> None:
    """Table 5: the text of a label is its prompt alone."""
    (row,) = [a for s, a in commands() if s == "train_net.py" and "TEXT.MODE prompt" in a]
    cfg = load_config(ROOT / "configs/baselines/7ds_paper.yaml", ["TEXT.MODE", "prompt"])
    space = LabelSpace("x", ("road",), ((1, 2, 3),), descriptions=("Where cars drive.",))
    assert "7ds_paper.yaml" in row
    assert label_texts(LabelSpaceSet([space]), cfg.TEXT.MODE) == [
        "An image of road from the dataset x."
    ]

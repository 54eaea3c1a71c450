"""Every kind of wrong configuration or artefact is named: what was found, expected, and the cure.

More of them: single keys in ``tests/d2/test_config.py`` (over 40), whole command lines in
``tests/e2e/test_command_line_errors.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("detectron2")

import breakable
import torch
from folder_datasets import write_folder

import unilabel.modeling  # noqa: F401  registers backbone and meta-architecture
from unilabel.config import load_config
from unilabel.core.errors import UniLabelError
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.build import build_sources
from unilabel.engine import run
from unilabel.engine.checkpoint import CheckpointKeeper, load_file, save_file
from unilabel.engine.loading import load_model
from unilabel.engine.trainer import UniLabelTrainer
from unilabel.text.cache import encode_labels, save_features

pytestmark = [pytest.mark.d2, pytest.mark.faults]


class Bench:
    """Two datasets, a model file, and ways to use them."""

    def __init__(self, folder: Path, weights: Path) -> None:
        self.folder = folder
        self.weights = weights
        self.data = [
            write_folder(folder / "city", "road car sky", train=2, val=1),
            write_folder(folder / "idd", "road marking", train=2, val=1, seed=1),
        ]

    def config(self, **more: Any) -> Any:
        return load_config(
            breakable.QUICK, breakable.overrides(self.data, self.folder / "out", **more)
        )

    def trainer(self, **more: Any) -> UniLabelTrainer:
        cfg = self.config(**more)
        return UniLabelTrainer(cfg, build_sources(cfg))

    def train(self, **more: Any) -> None:
        run.train(self.config(**more), "x", resume=False)

    def write(self, name: str, content: Any) -> str:
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    def classes(self, **changes: Any) -> None:
        """Read the first dataset with a changed classes.json."""
        path = self.data[0] / "classes.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        build_sources(self.config())

    def space(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Read the label space of the model, changed."""
        data = load_file(self.weights)["label_space"]
        change(data)
        UnifiedLabelSpace.load(self.write("label_space.json", data))

    def model(self, **changes: Any) -> None:
        """Load the model with other content."""
        content = {**load_file(self.weights), **changes}
        save_file(self.folder / "model.pth", {k: v for k, v in content.items() if v != "gone"})
        load_model(self.folder / "model.pth")

    def features(self, **made: Any) -> None:
        """Train with a feature file that was made otherwise."""
        cfg = self.config()
        spaces = UniLabelTrainer(cfg, build_sources(cfg)).label_spaces
        path = self.folder / "text.safetensors"
        spaces = spaces if "spaces" not in made else type(spaces)(spaces[: made["spaces"]])
        save_features(path, encode_labels(spaces, "hashed", mode=made.get("mode", "description")))
        self.trainer(TEXT__FEATURES=str(path)).unifier.features()


def label_renamed(data: dict[str, Any]) -> None:
    data["labels"][1]["name"] = data["labels"][0]["name"]


def link(**values: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        dataset = next(iter(data["labels"][0]["links"]))
        data["labels"][0]["links"][dataset] = {"class": "x", "source": "human", **values}

    return change


def stale_features(bench: Bench) -> None:
    cfg = bench.config()
    spaces = UniLabelTrainer(cfg, build_sources(cfg)).label_spaces
    path = bench.folder / "text.safetensors"
    save_features(path, encode_labels(spaces, "hashed", mode="description"))
    file = bench.data[0] / "classes.json"
    file.write_text(file.read_text().replace("A road.", "A street."))
    bench.trainer(TEXT__FEATURES=str(path)).unifier.features()


def other_datasets(bench: Bench) -> None:
    trainer = bench.trainer()
    trainer.iter = 0
    state = trainer.state()
    bench.trainer(DATASETS__ONLY="['idd']").load_state(state)


def later_iteration(bench: Bench) -> None:
    trainer = bench.trainer()
    trainer.iter = 22
    state = trainer.state()
    bench.trainer(SCHEDULE="[['MULTI_HEAD', 5]]").load_state(state)


def no_whole_checkpoint(bench: Bench) -> None:
    keeper = CheckpointKeeper(bench.folder, 2)
    for iteration in (1, 2):
        keeper.save(iteration, {"iteration": iteration})
        (bench.folder / f"model_000000{iteration}.pth").write_bytes(b"")
    keeper.load_newest()


def eval_of_other_classes(bench: Bench) -> None:
    trainer = bench.trainer(SCHEDULE="[['MULTI_HEAD', 5]]")
    run.save_final(trainer.cfg, trainer.model, None)
    file = bench.data[0] / "classes.json"
    file.write_text(file.read_text().replace('"sky"', '"heaven"'))
    weights = bench.folder / "out/model_final.pth"
    run.evaluate(bench.config(MODEL__WEIGHTS=str(weights)), "x")


ENTRY = {"a": {"dataset": "city", "label": "road"}, "b": {"dataset": "idd", "label": "road"}}

KINDS: dict[str, tuple[Callable[[Bench], Any], tuple[str, ...]]] = {
    # --- configurations ---
    "number that is none": (lambda b: b.config(SOLVER__BASE_LR="1e999"),
        (r"SOLVER\.BASE_LR is inf", "expected a value like the default 0.0001")),
    "empty value": (lambda b: b.config(SCHEDULE="None"),
        ("SCHEDULE is None", r"expected a value like the default \[\['MULTI_HEAD'")),
    "unknown policy for samples": (lambda b: b.config(DATASETS__ON_BAD_SAMPLE="ignore"),
        (r"DATASETS\.ON_BAD_SAMPLE is 'ignore'", "expected one of error, skip")),
    "share above one": (lambda b: b.config(DATASETS__MAX_BAD_SHARE=5.0),
        (r"DATASETS\.MAX_BAD_SHARE is 5\.0", "expected 0 to 1")),
    "unknown policy for steps": (lambda b: b.config(SOLVER__ON_NONFINITE="hope"),
        (r"SOLVER\.ON_NONFINITE is 'hope'", "expected one of stop, skip")),
    "backbone that names files": (lambda b: b.trainer(MODEL__TIMM__ARGS='{"cache_dir": "x"}'),
        (r"MODEL\.TIMM\.ARGS must not hold \['cache_dir'\]",)),
    "weights that are not there": (lambda b: b.trainer(MODEL__TIMM__PRETRAINED="no.pth"),
        (r"MODEL\.TIMM\.PRETRAINED: no file 'no\.pth'", "expected a .pth or .safetensors")),
    "descriptions of no dataset": (lambda b: b.train(
        DATASETS__DESCRIPTIONS=b.write("d.json", {"citty": {"road": "A road."}})),
        (r"d\.json: unknown dataset 'citty'", "the run has: city, idd", "Did you mean 'city'")),
    "description left out": (lambda b: b.train(
        DATASETS__DESCRIPTIONS=b.write("d.json", {"idd": {"road": "A road."}})),
        (r"d\.json: dataset 'idd': class 'marking' has no description", "add one")),
    # --- classes.json ---
    "one class id twice": (lambda b: b.classes(classes=[{"id": 0, "name": n} for n in "ab"]),
        (r"classes\.json: the value 0 belongs to 'a' and to 'b'", "may stand for one class")),
    "negative class id": (lambda b: b.classes(classes=[{"id": -1, "name": "a"}]),
        (r'classes\[0\] has "id" -1', r"0 to 65535")),
    "class twice": (lambda b: b.classes(classes=[{"id": i, "name": "a"} for i in range(2)]),
        (r"classes\.json: .*names the class 'a' twice", "rename one or merge")),
    "colour out of range": (lambda b: b.classes(
        classes=[{"id": 0, "name": "a", "color": [0, 0, 256]}]),
        (r"is \[0, 0, 256\]", r"expected \[red, green, blue\] of 0\.\.255")),
    "too many classes": (lambda b: b.classes(
        classes=[{"id": i, "name": f"c{i}"} for i in range(256)]),
        ("256 classes|ignore_label", "expected")),
    "void label of a class": (lambda b: b.classes(ignore_label=1),
        ("the value 1 is to be ignored, but belongs to the class 'car'", "that no class has")),
    # --- label_space.json ---
    "file of another program": (lambda b: b.space(lambda d: d.update(schema="coco")),
        (r"label_space\.json: .schema. is 'coco'", "expected 'unilabel/label_space'")),
    "label space of the future": (lambda b: b.space(lambda d: d.update(version=99)),
        (r"label_space\.json", "99", "expected|reads")),
    "unified label twice": (lambda b: b.space(label_renamed),
        ("two unified labels are named", "rename one")),
    "link to no class": (lambda b: b.space(link()),
        (r"has no class 'x'; it has:",)),
    "link from nowhere": (lambda b: b.space(link(**{"class": "road", "source": "rumour"})),
        ("has no class 'road'|link source 'rumour', expected one of",)),
    "class without unified label": (lambda b: b.space(
        lambda d: [label["links"].pop("toy_fine", None) for label in d["labels"]]),
        (r"class '.+' of 'toy_fine' has no unified label; every class needs at least one",)),
    "unified label left out": (lambda b: b.space(lambda d: d["labels"].pop(0)),
        (r"label_space\.json: labels\[0\] must be an object with \"id\" 0",)),
    "label space of other data": (lambda b: b.train(
        MODEL__LABEL_SPACE=b.write("l.json", load_file(b.weights)["label_space"]),
        UNIFY__NODES="file"), (r"l\.json", "city", "idd|toy_fine")),
    # --- relations.json ---
    "relations are no list": (lambda b: b.train(DATASETS__RELATIONS=b.write("r.json", {"a": 1})),
        (r'r\.json: expected an object with a list "relations"',)),
    "relation of no class": (lambda b: b.train(DATASETS__RELATIONS=b.write("r.json", {
        "relations": [{**ENTRY, "b": {"dataset": "idd", "label": "boat"}}]})),
        (r"r\.json: relations\[0\]: dataset 'idd' has no class 'boat'", "it has: road, marking")),
    "relation of no type": (lambda b: b.train(DATASETS__RELATIONS=b.write("r.json", {
        "relations": [{**ENTRY, "type": "like"}]})),
        (r'r\.json: relations\[0\]: "type" is \'like\'', "expected one of")),
    "relations are not there": (lambda b: b.train(DATASETS__RELATIONS="none.json"),
        (r"no such file: neither none\.json nor",)),
    # --- feature files ---
    "features in another mode": (lambda b: b.features(mode="name"),
        (r"text\.safetensors was made with mode 'name', not 'description'", "make it anew")),
    "features of fewer labels": (lambda b: b.features(spaces=1),
        (r"text\.safetensors has no features of 'idd:road'", "make it anew")),
    "features of old texts": (stale_features,
        ("is out of date: the text of 'city:road' has changed since", "make it anew")),
    # --- checkpoints and models ---
    "model without weights": (lambda b: b.model(model="gone"),
        (r"model\.pth lacks model", "no finished model")),
    "model with other weights": (lambda b: b.model(model={"x": torch.zeros(1)}),
        (r"model\.pth: the weights do not fit their configuration",)),
    "model with an edited label space": (lambda b: b.model(num_unified=5),
        (r"model\.pth: the weights do not fit their configuration|disagree",)),
    "model of no configuration": (lambda b: b.model(config="[1, 2]"),
        (r"model\.pth: its configuration is not plain YAML", "KEY: value")),
    "checkpoint of other datasets": (other_datasets,
        (r"was trained on \['city', 'idd'\]", r"names \['idd'\]", "use another OUTPUT_DIR")),
    "checkpoint beyond the schedule": (later_iteration,
        ("is at iteration 23", "the SCHEDULE has only 5")),
    "no whole checkpoint": (no_whole_checkpoint,
        ("none of the 2 checkpoints in .* is whole", "start again without --resume")),
    "evaluation of other classes": (eval_of_other_classes,
        (r"knows 'city' with the classes road, car, sky", "this dataset has road, car, heaven",
         "Weights of another label space")),
}  # fmt: skip


def test_there_are_enough_kinds() -> None:
    assert len(KINDS) >= 25


@pytest.mark.parametrize("name", KINDS)
def test_bad_artefact(name: str, tmp_path: Path, toy_weights: Path) -> None:
    use, patterns = KINDS[name]
    with pytest.raises(UniLabelError) as caught:
        use(Bench(tmp_path, toy_weights))
    message = str(caught.value)
    for pattern in patterns:
        assert re.search(pattern, message, re.DOTALL), f"{pattern!r} not in: {message}"
    assert not (tmp_path / "out/results.json").exists() or name == "evaluation of other classes"

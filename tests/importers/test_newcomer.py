"""From the folders of two annotation tools to a trained model, without a file edited by hand."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import export_makers as makers
import export_pictures as scenes
import pytest
from importing import train

pytest.importorskip("detectron2")

from unilabel.config import load_config
from unilabel.core.errors import UniLabelError
from unilabel.data.build import build_sources, check_first_samples

pytestmark = pytest.mark.d2
ROOT = Path(__file__).parents[2]
FORMS = list(makers.MAKERS)
PAIRS = [(FORMS[i], FORMS[(i + 1) % len(FORMS)]) for i in range(0, len(FORMS), 2)]


def config(output: Path, folders: list[Path]):
    keys = ["DATASETS.TOY", "False", "OUTPUT_DIR", str(output), "DATASETS.CUSTOM"]
    return load_config(ROOT / "configs/quick/toy.yaml", [*keys, str([str(f) for f in folders])])


def export(form: str, folder: Path) -> Path:
    if form == "hf_parquet":
        pytest.importorskip("pyarrow")
    makers.MAKERS[form](folder, scenes.draw())
    return folder


def test_two_exports_become_datasets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = export("cvat_masks", tmp_path / "a/export")
    second = export("labelme", tmp_path / "b/export")  # the same folder name
    cfg = config(tmp_path / "run", [first, second])
    with caplog.at_level(logging.INFO):
        sources = build_sources(cfg)
    assert [s.name for s in sources] == ["export", "b_export"]
    assert [len(s.samples("train")) for s in sources] == [3, 3]
    check_first_samples(sources)
    told = [r.getMessage() for r in caplog.records if "importers" in r.name]
    assert len(told) == 2
    assert "CVAT masks: 5 labels, 5 photos, splits train (3) / val (2); imported to" in told[0]
    before = (tmp_path / "run/imported/export/classes.json").stat().st_mtime_ns
    caplog.clear()
    with caplog.at_level(logging.INFO):
        build_sources(cfg)
    assert (tmp_path / "run/imported/export/classes.json").stat().st_mtime_ns == before
    assert all("import kept in" in r.getMessage() for r in caplog.records if "importers" in r.name)


def test_a_changed_export_is_imported_again(tmp_path: Path) -> None:
    source = export("labelme", tmp_path / "tool")
    cfg = config(tmp_path / "run", [source])
    assert len(build_sources(cfg)[0].samples("train")) == 3
    (source / "train/photo 0001.json").unlink()
    assert len(build_sources(cfg)[0].samples("train")) == 2


def test_a_folder_of_no_form_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/readme.md").write_text("nothing")
    with pytest.raises(UniLabelError, match=r"notes has no classes\.json.*none of the known forms"):
        build_sources(config(tmp_path / "run", [tmp_path / "notes"]))


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_training_on_two_exports(pair: tuple[str, str], tmp_path: Path) -> None:
    results = train([export(form, tmp_path / form) for form in pair], tmp_path / "run")
    assert all(form in json.dumps(results) for form in pair)

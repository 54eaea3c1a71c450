"""Checkpoints: what comes back, which are kept, and what is refused."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import resource
from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2")

from unilabel.core.errors import UniLabelError
from unilabel.engine.checkpoint import CheckpointKeeper, file_digest, load_file, save_file

pytestmark = pytest.mark.d2

CONTENT = {
    "weight": torch.arange(6.0).view(2, 3),
    "links": torch.tensor([[True, False]]),
    "nested": {"a": [1, 2.5, None, "text"], "b": (1, 2)},
}


def test_content_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "model.pth"
    digest = save_file(path, CONTENT)
    assert digest == file_digest(path)
    assert os.listdir(path.parent) == ["model.pth"]
    content = load_file(path)
    assert torch.equal(content["weight"], CONTENT["weight"])
    assert torch.equal(content["links"], CONTENT["links"])
    assert content["nested"] == CONTENT["nested"]


def test_digest_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert file_digest(tmp_path / "empty") == empty


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil_was_here",)


def test_files_that_could_run_code_are_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": "unilabel/checkpoint", "version": 1, "x": Evil()}, "evil.pth")
    with pytest.raises(UniLabelError, match=r"evil\.pth is damaged or holds objects other than"):
        load_file("evil.pth")
    Path("evil.pkl").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UniLabelError, match=r"evil\.pkl"):
        load_file("evil.pkl")
    assert not Path("evil_was_here").exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with pytest.raises(UniLabelError, match=r"no such checkpoint: .*x\.pth"):
        load_file(path)
    with pytest.raises(UniLabelError, match="cannot be read as a checkpoint"):
        load_file(tmp_path)
    torch.save({"model": {}}, path)
    with pytest.raises(UniLabelError, match="is no unilabel checkpoint"):
        load_file(path)
    torch.save([1, 2], path)
    with pytest.raises(UniLabelError, match="is no unilabel checkpoint"):
        load_file(path)
    torch.save({"format": "unilabel/checkpoint", "version": 2}, path)
    with pytest.raises(UniLabelError, match="has the checkpoint version 2, this program reads 1"):
        load_file(path)
    torch.save({"format": "unilabel/checkpoint"}, path)
    with pytest.raises(UniLabelError, match="has the checkpoint version None"):
        load_file(path)


def test_damage_anywhere_gives_our_error_or_another_digest(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    digest = save_file(path, CONTENT)
    data = path.read_bytes()
    for cut in [0, 1, 4, 100, *range(200, len(data), 131)]:
        path.write_bytes(data[:cut])
        with pytest.raises(UniLabelError, match=r"x\.pth"):
            load_file(path)
    for position in range(0, len(data), 29):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        assert file_digest(path) != digest
        with contextlib.suppress(UniLabelError):  # any other error fails the test
            load_file(path)


# --- the last few of a run ---


def test_last_checkpoints_are_kept(tmp_path: Path) -> None:
    keeper = CheckpointKeeper(tmp_path, 2)
    assert keeper.load_newest() is None
    for iteration in (5, 10, 10, 15):
        keeper.save(iteration, {"iteration": iteration})
    assert sorted(os.listdir(tmp_path)) == [
        "last_checkpoint.json",
        "model_0000010.pth",
        "model_0000015.pth",
    ]
    assert keeper.load_newest()["iteration"] == 15
    listed = json.loads((tmp_path / "last_checkpoint.json").read_text())["checkpoints"]
    assert [e["iteration"] for e in listed] == [10, 15]
    assert listed[1]["sha256"] == file_digest(tmp_path / "model_0000015.pth")


@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
def test_damaged_newest_gives_way_to_the_one_before(tmp_path: Path, damage: str, caplog) -> None:
    keeper = CheckpointKeeper(tmp_path, 3)
    for iteration in (5, 10):
        keeper.save(iteration, {"iteration": iteration})
    newest = tmp_path / "model_0000010.pth"
    data = newest.read_bytes()
    newest.unlink()
    if damage != "missing":
        newest.write_bytes(data[:-1] if damage == "cut" else data[:-1] + b"x")
    assert keeper.load_newest()["iteration"] == 5
    (tmp_path / "model_0000005.pth").unlink()
    with pytest.raises(UniLabelError, match=r"none of the 2 checkpoints in .* is whole; start"):
        keeper.load_newest()


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"checkpoints": 5}', '{"checkpoints": [5]}'])
def test_damaged_list_of_checkpoints_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "last_checkpoint.json").write_text(content)
    with pytest.raises(UniLabelError, match=r"last_checkpoint\.json"):
        CheckpointKeeper(tmp_path, 2).load_newest()


def test_full_disk_leaves_the_older_ones(tmp_path: Path) -> None:
    keeper = CheckpointKeeper(tmp_path, 1)
    keeper.save(5, {"iteration": 5})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # no file may grow beyond
    try:
        with pytest.raises(
            UniLabelError, match=r"cannot write .*model_0000010\.pth.*Free some disk"
        ):
            keeper.save(10, {"iteration": 10, "weight": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint.json", "model_0000005.pth"]
    assert keeper.load_newest()["iteration"] == 5

"""Checkpoints survive kills while they are written, cuts at every place, and full disks."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("detectron2")

import breakable
import saving
import torch

from unilabel.core.errors import UniLabelError
from unilabel.engine.checkpoint import CheckpointKeeper, file_digest, load_file

pytestmark = [pytest.mark.d2, pytest.mark.faults, pytest.mark.slow]

KILLS = 200
BLOCK = 4096


def assert_whole(content: dict, iteration: int) -> None:
    assert content["iteration"] == iteration
    assert content["nested"] == [{"iteration": iteration}] * 3
    assert content["values"].shape == (saving.VALUES,)
    assert bool((content["values"] == iteration).all())


def kill_while_saving(context, folder: Path, share: float) -> int:
    """Kill a child ``share`` of a save after it begins one: the last iteration that was saved."""
    events, theirs = context.Pipe(duplex=False)
    process = context.Process(target=saving.save_forever, args=(folder, theirs))
    process.start()
    theirs.close()
    for _ in range(2):  # saves that go well
        assert events.recv() > 0
        begun = time.perf_counter()
        finished = -events.recv()
        usual = time.perf_counter() - begun
    assert events.recv() == finished + 1
    begun = time.perf_counter()
    while time.perf_counter() - begun < share * usual:
        pass
    process.kill()
    assert breakable.finish(process) == -9
    while True:  # what it had still said
        try:
            event = events.recv()
        except EOFError:
            return finished
        finished = max(finished, -event)


def test_killed_while_saving(tmp_path: Path) -> None:
    context = breakable.server()
    # Most of a save is waiting for the disk; many moments fall into the writing before.
    shares = [0.001 * i for i in range(KILLS // 2)]
    shares += [1.2 * i / (KILLS // 2) for i in range(KILLS // 2)]
    random.Random(0).shuffle(shares)
    states: Counter[str] = Counter()
    for share in shares:
        finished = kill_while_saving(context, tmp_path, share)
        keeper = CheckpointKeeper(tmp_path, 2)
        newest = keeper.load_newest()
        assert newest["iteration"] >= finished  # what was saved is not lost
        assert newest["iteration"] <= finished + 1
        assert_whole(newest, newest["iteration"])
        entries = json.loads((tmp_path / "last_checkpoint.json").read_text())["checkpoints"]
        assert len(entries) == 2
        for entry in entries:  # the one before is whole as well
            assert file_digest(tmp_path / entry["file"]) == entry["sha256"]
            assert_whole(load_file(tmp_path / entry["file"]), entry["iteration"])
        assert newest["iteration"] == entries[-1]["iteration"]
        half_written = [p.name for p in tmp_path.glob(".*.tmp")]
        listed = {e["file"] for e in entries}
        unlisted = [p.name for p in tmp_path.glob("model_*.pth") if p.name not in listed]
        states[
            "between two files" if unlisted else "within a file" if half_written else "else"
        ] += 1
    print(f"\n{KILLS} kills while saving: {dict(states)}, 0 checkpoints lost")
    assert sum(states.values()) == KILLS
    assert states["within a file"]  # the moments are what they should be
    keeper.save(newest["iteration"] + 1, saving.content(newest["iteration"] + 1))
    assert list(tmp_path.glob(".*.tmp")) == []  # kills do not fill the disk


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two checkpoints of tensors of several sizes."""
    folder = tmp_path_factory.mktemp("two")
    keeper = CheckpointKeeper(folder, 2)
    for iteration in (1, 2):
        weights = {f"w{i}": torch.randn(17 * i, 101) for i in range(1, 25)}
        keeper.save(iteration, {**saving.content(iteration), "weights": weights})
    return folder


def test_cut_at_every_block(two: Path, tmp_path: Path) -> None:
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "model_0000002.pth"
    data = path.read_bytes()
    cuts = range(0, len(data), BLOCK)
    assert len(cuts) > 400
    for cut in reversed(cuts):  # ever shorter
        os.truncate(path, cut)
        with pytest.raises(UniLabelError, match=r"model_0000002\.pth (cannot be read|is damaged)"):
            load_file(path)
        if cut % (8 * BLOCK) == 0 or cut < 4 * BLOCK:
            newest = CheckpointKeeper(tmp_path, 2).load_newest()
            assert_whole(newest, 1)
    print(f"\n{len(cuts)} cuts refused, the checkpoint before taken")


def test_zeros_in_every_block(two: Path, tmp_path: Path) -> None:
    """What a power cut leaves on some file systems."""
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "model_0000002.pth"
    data = path.read_bytes()
    listed = json.loads((tmp_path / "last_checkpoint.json").read_text())["checkpoints"][1]
    for start in range(0, len(data), 16 * BLOCK):
        damaged = bytearray(data)
        damaged[start : start + BLOCK] = bytes(len(damaged[start : start + BLOCK]))
        if damaged == data:
            continue
        path.write_bytes(damaged)
        assert file_digest(path) != listed["sha256"]
        assert_whole(CheckpointKeeper(tmp_path, 2).load_newest(), 1)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def refused(context, folder: Path, limit: int | None) -> str:
    events, theirs = context.Pipe(duplex=False)
    process = context.Process(target=saving.save_once, args=(folder, 3, limit, theirs))
    process.start()
    theirs.close()
    message = events.recv()
    assert breakable.finish(process) == 2
    return message


def test_full_disk(two: Path, tmp_path: Path) -> None:
    """At every size at which the disk may be full."""
    context = breakable.server()
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    for limit in (0, 1, 100, BLOCK, 100 * BLOCK, 480 * BLOCK):
        message = refused(context, tmp_path, limit)
        assert "cannot write" in message
        assert "model_0000003.pth" in message
        assert "Free some disk space or choose another place" in message
        assert "OUTPUT_DIR" in message
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert_whole(CheckpointKeeper(tmp_path, 2).load_newest(), 2)


def test_folder_that_may_not_be_written(two: Path, open_folder: Path) -> None:
    context = breakable.server()
    shutil.copytree(two, open_folder, dirs_exist_ok=True)
    for path in open_folder.iterdir():
        path.chmod(0o644)
    open_folder.chmod(0o555)
    before = {p.name: p.read_bytes() for p in open_folder.iterdir()}
    message = refused(context, open_folder, None)
    assert "cannot write" in message
    assert "Permission denied" in message
    assert "model_0000003.pth" in message
    assert {p.name: p.read_bytes() for p in open_folder.iterdir()} == before
    assert_whole(CheckpointKeeper(open_folder, 2).load_newest(), 2)


def test_run_on_a_full_disk_goes_on_when_there_is_space(tmp_path: Path) -> None:
    """The whole program: clear error, and the same end as without the fault."""
    from folder_datasets import write_folder

    context = breakable.server()
    folders = [write_folder(tmp_path / "city", "road car sky", train=4)]
    ends = {}
    for name, limits in (("alone", [None]), ("full", [2_000_000, None])):
        output = tmp_path / name
        options = breakable.overrides(folders, output)
        for limit in limits:
            arguments = (output, options, True, None, limit)
            process = context.Process(target=breakable.train, args=arguments)
            process.start()
            code = breakable.finish(process)
            text = (output / "terminal.txt").read_text()
            assert code == (2 if limit else 0), text[-2000:]
            if limit:
                assert "error: cannot write" in text
                assert "Traceback" not in text.replace("--- Logging error ---", "")
        ends[name] = load_file(output / "model_final.pth")["model"]
    assert ends["alone"].keys() == ends["full"].keys()
    assert all(torch.equal(v, ends["full"][k]) for k, v in ends["alone"].items())

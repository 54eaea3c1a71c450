"""One, two and three processes count alike; one that dies does not leave the others waiting."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("detectron2")

import breakable
import torch
from folder_datasets import write_folder

from unilabel.core.io import read_json
from unilabel.engine.checkpoint import load_file

pytestmark = [pytest.mark.d2, pytest.mark.ddp, pytest.mark.faults, pytest.mark.slow]

LIMIT = 60  # seconds in which the others have to end


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Numbers of images that neither 2 nor 3 divides, and a dataset with fewer than processes."""
    root = tmp_path_factory.mktemp("datasets")
    return [
        write_folder(root / "city", "road car sky", train=4, val=5),
        write_folder(root / "idd", "road marking", train=3, val=7, seed=1),
        write_folder(root / "one", "car sky", train=2, val=1, seed=2),
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(target: Any, world: int, arguments: list[tuple], timeout: int = LIMIT) -> list[Any]:
    context, port = breakable.server(), free_port()
    processes = [
        context.Process(target=target, args=((rank, world, port, timeout), *arguments[rank]))
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    return processes


def train(
    folders: list[Path],
    output: Path,
    world: int = 2,
    timeout: int = LIMIT,
    options: dict[str, Any] | None = None,
    **of_rank: Any,
) -> list[Any]:
    """``rank1={...}`` are further arguments of that process."""
    options = breakable.overrides(folders, output, **(options or {}))
    arguments = []
    for rank in range(world):
        more = of_rank.get(f"rank{rank}", {})
        arguments.append((output, options, more.get("kill"), more.get("spoil")))
    return start(breakable.train_together, world, arguments, timeout)


def terminal(output: Path, rank: int) -> str:
    return (output / f"rank{rank}/terminal.txt").read_text()


@pytest.fixture(scope="module")
def together(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an undisturbed run of two processes."""
    output = tmp_path_factory.mktemp("together")
    codes = [breakable.finish(p) for p in train(folders, output)]
    assert codes == [0, 0], terminal(output, 0)[-3000:] + terminal(output, 1)[-3000:]
    return output


def checksums(output: Path, rank: int) -> list[str]:
    return re.findall(r"mapping ([0-9a-f]{16})", terminal(output, rank))


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_evaluation_is_the_same(
    folders: list[Path], together: Path, tmp_path: Path, batch_size: int
) -> None:
    weights = str(together / "model_final.pth")
    found = []
    for world in (1, 2, 3):
        output = tmp_path / str(world)
        options = breakable.overrides(
            folders, output, MODEL__WEIGHTS=weights, TEST__BATCH_SIZE=batch_size
        )
        receive, send = breakable.server().Pipe(duplex=False)
        processes = start(breakable.evaluate_together, world, [(output, options, send)] * world)
        send.close()
        results = [receive.recv() for _ in range(world)]
        assert [breakable.finish(p) for p in processes] == [0] * world
        for one in results:
            assert one.pop("processes") == world
        assert all(one == results[0] for one in results)
        found.append(results[0])
    assert found[0] == found[1] == found[2]
    assert [e["images"] for e in found[0]["datasets"].values()] == [5, 7, 1]
    trained = json.loads((together / "results.json").read_text())
    assert found[0]["mapping_checksum"] == trained["mapping_checksum"]
    assert found[0]["datasets"] == trained["datasets"]


def test_every_process_has_the_same_mappings(folders: list[Path], together: Path, tmp_path: Path):
    codes = [breakable.finish(p) for p in train(folders, tmp_path, world=3)]
    assert codes == [0, 0, 0], terminal(tmp_path, 2)[-3000:]
    for output, world in ((together, 2), (tmp_path, 3)):
        lists = [checksums(output, rank) for rank in range(world)]
        assert len(lists[0]) >= 4
        assert all(found == lists[0] for found in lists)


def test_scores_on_the_way_are_those_of_all_and_disturb_nobody(
    folders: list[Path], together: Path, tmp_path: Path
) -> None:
    codes = [
        breakable.finish(p) for p in train(folders, tmp_path, options={"TEST__EVAL_PERIOD": 2})
    ]
    assert codes == [0, 0], terminal(tmp_path, 0)[-3000:]
    one, two = (load_file(f / "model_final.pth")["model"] for f in (tmp_path, together))
    assert all(torch.equal(v, two[k]) for k, v in one.items())
    results = read_json(tmp_path / "results.json")
    assert [e["iteration"] for e in results["validation"]] == [2, 4, 6, 13, 15, 22, 24, 26]
    lines = [re.findall(r"iteration \d+: mean mIoU .+", terminal(tmp_path, r)) for r in (0, 1)]
    assert len(lines[0]) == 8
    assert lines[0] == lines[1]
    # what was scored is what was kept, and one process alone scores it alike
    weights = str(tmp_path / "model_best.pth")
    options = breakable.overrides(folders, tmp_path / "alone", MODEL__WEIGHTS=weights)
    receive, send = breakable.server().Pipe(duplex=False)
    (process,) = start(breakable.evaluate_together, 1, [(tmp_path / "alone", options, send)])
    send.close()
    alone = receive.recv()
    assert breakable.finish(process) == 0
    best = {name: entry["miou"] for name, entry in alone["datasets"].items()}
    assert results["best"]["datasets"] == pytest.approx(best, abs=0.01)


def test_all_end_when_one_loses_patience(folders: list[Path], tmp_path: Path) -> None:
    options = {"TEST__EVAL_PERIOD": 1, "TEST__PATIENCE": 1, "SOLVER__BASE_LR": 0.0}
    schedule = [["MULTI_HEAD", 2], ["FINAL", 12]]
    options |= {"SCHEDULE": schedule, "SOLVER__WEIGHT_DECAY": 0.0, "UNIFY__PRUNE_AT": 0.0}
    codes = [breakable.finish(p) for p in train(folders, tmp_path, options=options)]
    assert codes == [0, 0], terminal(tmp_path, 0)[-3000:]
    ended = [
        re.findall(r"FINAL ended at iteration (\d+) of 14", terminal(tmp_path, r)) for r in (0, 1)
    ]
    assert ended[0] == ended[1]
    assert len(ended[0]) == 1


def test_processes_go_on_from_one_model_alike(
    folders: list[Path], together: Path, tmp_path: Path
) -> None:
    """Heads of the new dataset, its links and X_u are the same everywhere."""
    more = [*folders, write_folder(tmp_path / "new", "road tree", train=3, val=1, seed=4)]
    weights = {"MODEL__WEIGHTS": str(together / "model_final.pth"), "SCHEDULE": [["FINAL", 4]]}
    codes = [breakable.finish(p) for p in train(more, tmp_path / "out", options=weights)]
    assert codes == [0, 0], terminal(tmp_path / "out", 0)[-3000:]
    assert checksums(tmp_path / "out", 0) == checksums(tmp_path / "out", 1)
    before = read_json(together / "label_space.json")["labels"]
    after = read_json(tmp_path / "out/label_space.json")["labels"]
    assert [label["name"] for label in after[: len(before)]] == [x["name"] for x in before]


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("iteration", [3, 8, 17])
def test_killed_process_ends_the_other(
    folders: list[Path], together: Path, tmp_path: Path, victim: int, iteration: int
) -> None:
    processes = train(folders, tmp_path, **{f"rank{victim}": {"kill": (iteration, "stepped")}})
    assert breakable.finish(processes[victim]) == -signal.SIGKILL
    died = time.monotonic()
    code = breakable.finish(processes[1 - victim])
    seconds = time.monotonic() - died
    text = terminal(tmp_path, 1 - victim)
    assert code == 2, text[-3000:]
    assert seconds < LIMIT
    assert re.search(
        r"error: another process of this run has ended or is silent \(.+\)\. Its", text
    )
    print(f"\nrank {victim} killed at iteration {iteration}: the other ended in {seconds:.1f} s")
    # both resumed: as if nothing had happened
    codes = [breakable.finish(p) for p in train(folders, tmp_path)]
    assert codes == [0, 0], terminal(tmp_path, 0)[-3000:]
    one, two = (load_file(f / "model_final.pth")["model"] for f in (tmp_path, together))
    assert all(torch.equal(v, two[k]) for k, v in one.items())
    assert checksums(tmp_path, 0)[-1] == checksums(together, 0)[-1]


@pytest.mark.parametrize(("iteration", "world"), [(3, 1), (8, 3), (13, 1), (17, 3), (24, 1)])
def test_goes_on_with_another_number_of_processes(
    folders: list[Path], tmp_path: Path, iteration: int, world: int
) -> None:
    """From every stage. Other batches, so other weights, but nothing is lost or done twice."""
    processes = train(folders, tmp_path, rank1={"kill": (iteration, "saved")})
    assert breakable.finish(processes[1]) == -signal.SIGKILL
    breakable.finish(processes[0])
    newest = read_json(tmp_path / "last_checkpoint.json")["checkpoints"][-1]
    assert iteration - breakable.PERIOD <= newest["iteration"] <= iteration + 1
    before = load_file(tmp_path / newest["file"])
    logged = (tmp_path / "rank0/terminal.txt").stat().st_size
    codes = [breakable.finish(p) for p in train(folders, tmp_path, world=world)]
    assert codes == [0] * world, terminal(tmp_path, 0)[-3000:]
    results = read_json(tmp_path / "results.json")
    assert results["notes"][: len(before["notes"])] == before["notes"]
    done = [(s["name"], s["iterations"]) for s in results["stages"]]
    assert done == [*map(tuple, breakable.SCHEDULE), ("REFIT", 0)]
    assert results["stages"][: len(before["records"])] == before["records"]
    weights = load_file(tmp_path / "model_final.pth")["model"]
    assert all(v.isfinite().all() for v in weights.values() if v.is_floating_point())
    text = (tmp_path / "rank0/terminal.txt").read_text()[logged:]
    assert "starting from the beginning" not in text
    assert len({checksums(tmp_path, rank)[-1] for rank in range(world)}) == 1


def test_silent_process_ends_the_other(folders: list[Path], tmp_path: Path) -> None:
    """It hangs instead of dying."""
    processes = train(folders, tmp_path, timeout=5)
    while (
        "stage GNN" not in (tmp_path / "rank1/terminal.txt").read_text()
        if (tmp_path / "rank1/terminal.txt").exists()
        else True
    ):
        time.sleep(0.01)
    os.kill(processes[1].pid, signal.SIGSTOP)
    try:
        stopped = time.monotonic()
        assert breakable.finish(processes[0]) == 2
        assert time.monotonic() - stopped < LIMIT
    finally:
        processes[1].kill()
        processes[1].join()
    assert "error: another process of this run has ended or is silent" in terminal(tmp_path, 0)


def test_loss_of_one_process_that_is_not_finite_stops_all(folders: list[Path], tmp_path: Path):
    processes = train(folders, tmp_path, rank1={"spoil": 4})
    assert [breakable.finish(p) for p in processes] == [2, 2], terminal(tmp_path, 0)[-3000:]
    assert re.search(
        r"error: the loss of city, idd, one is not finite at iteration 4; f", terminal(tmp_path, 1)
    )
    assert "error: the gradient, but no loss here, is not finite" in terminal(tmp_path, 0)
    folder = tmp_path / "nonfinite_0000004"
    assert json.loads((folder / "report.json").read_text())["rank"] == 0
    assert json.loads((folder / "rank1_report.json").read_text())["datasets"]

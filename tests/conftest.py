from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from toy_models import save_toy_model

from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet, default_color
from unilabel.core.synthetic import atom_table, toy_label_spaces
from unilabel.core.unified_space import UnifiedLabelSpace

# Small tensors gain nothing from threads, and on a busy machine waiting threads cost minutes.
torch.set_num_threads(1)

# A shell starts background jobs with Ctrl-C ignored, and every process of a test would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, however busy the machine is.
settings.register_profile("unilabel", derandomize=True, deadline=None)
settings.load_profile("unilabel")

SIZES = {
    "street": 65,
    "things": 133,
    "india": 26,
    "scenes": 150,
    "rooms": 37,
    "city": 19,
    "drive": 18,
}
_START_SECONDS = 180.0  # of the demo
WORDS = ("road", "wall", "tree", "cabinet", "railing", "swimming pool", "traffic sign", "person")


@pytest.fixture(autouse=True)
def _messages_reach_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what programs did to the logger in earlier tests, so that caplog sees messages."""
    logger = logging.getLogger("unilabel")
    logger.setLevel(logging.NOTSET)
    monkeypatch.setattr(logger, "propagate", True)


@pytest.fixture(scope="session")
def toy_space() -> UnifiedLabelSpace:
    """The true unified labels of the toy world: one per atom, with weights of 0.2 to 1."""
    spaces = LabelSpaceSet(toy_label_spaces())
    matrices = {}
    for space in spaces:
        table = torch.from_numpy(atom_table(space.name)).long()
        matrices[space.name] = table[:, None] == torch.arange(space.num_classes)
    weights = 0.2 + 0.8 * torch.rand(19, spaces.total, generator=torch.Generator().manual_seed(0))
    return UnifiedLabelSpace.from_mapping(LabelMapping(spaces, matrices), weights)


@pytest.fixture(scope="session")
def large_space() -> UnifiedLabelSpace:
    """448 classes of 7 datasets and 217 unified labels, many of them shared."""
    return _invented_space(217)


@pytest.fixture(scope="session")
def space_of_250() -> UnifiedLabelSpace:
    """The same classes with 250 unified labels."""
    return _invented_space(250)


def _invented_space(count: int) -> UnifiedLabelSpace:
    random = torch.Generator().manual_seed(5)
    spaces, matrices = [], {}
    for name, size in SIZES.items():
        matrix = torch.zeros(count, size, dtype=torch.bool)
        wide = min(count, size + size // 4)
        nodes = torch.randperm(count, generator=random)[:wide]
        extra = torch.randint(size, (wide - size,), generator=random)
        matrix[nodes, torch.cat([torch.arange(size), extra])] = True
        first = [int(torch.nonzero(column)[0]) for column in matrix.T]
        names = tuple(f"{WORDS[node % len(WORDS)]} {node}" for node in first)
        taken: dict[str, int] = {}
        distinct = []
        for text in names:
            taken[text] = taken.get(text, 0) + 1
            distinct.append(text if taken[text] == 1 else f"{text} ({taken[text]})")
        colors = tuple(default_color(node) for node in first)
        spaces.append(LabelSpace(name, tuple(distinct), colors))
        matrices[name] = matrix
    mapping = LabelMapping(LabelSpaceSet(spaces), matrices)
    weights = torch.rand(count, mapping.label_spaces.total, generator=random)
    return UnifiedLabelSpace.from_mapping(mapping, weights)


@pytest.fixture(scope="session")
def toy_weights(toy_space: UnifiedLabelSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of a model with the unified labels of ``toy_space``."""
    path = tmp_path_factory.mktemp("weights") / "unified.pth"
    save_toy_model(path, toy_space)
    return path


@pytest.fixture(scope="session")
def weights_of_250(
    space_of_250: UnifiedLabelSpace, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """File of a model with the unified labels of ``space_of_250``."""
    path = tmp_path_factory.mktemp("weights") / "large.pth"
    save_toy_model(path, space_of_250)
    return path


@pytest.fixture(scope="session")
def logit_sum_weights(
    toy_space: UnifiedLabelSpace, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same in the mapping mode ``logit_sum``."""
    path = tmp_path_factory.mktemp("weights") / "logit_sum.pth"
    save_toy_model(path, toy_space, "logit_sum")
    return path


@pytest.fixture(scope="session")
def multi_head_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of a model with one head per dataset."""
    path = tmp_path_factory.mktemp("weights") / "multi_head.pth"
    save_toy_model(path, None)
    return path


@dataclass(frozen=True)
class DemoServer:
    """A running demo.

    Attributes:
        url: its address.
        temp_dir: where it may write.
        process: the process.
        seconds: from the command to the first page.
    """

    url: str
    temp_dir: Path
    process: subprocess.Popen[str]
    seconds: float

    def left_behind(self) -> list[Path]:
        """Files of visitors; not the photos of links, which the demo of a toy model draws."""
        drawn = self.temp_dir / "work/toy_world"
        files = [path for path in self.temp_dir.rglob("*") if path.is_file()]
        return [path for path in files if not path.is_relative_to(drawn)]


def _start_demo(folder: Path, weights: Path | None, *more: str) -> Iterator[DemoServer]:
    """Run demo/app.py, with further arguments, on a free port until the generator is closed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = Path(__file__).parents[1]
    command = [sys.executable, str(root / "demo/app.py"), "--port", str(port), *more]
    if weights is not None:
        command += ["--weights", str(weights)]
    url = f"http://127.0.0.1:{port}"
    start = time.monotonic()
    with open(folder / "server.log", "w", encoding="utf-8") as log:
        environment = {**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "2"}
        process = subprocess.Popen(
            command, stdout=log, stderr=log, text=True, env=environment, cwd=folder
        )
        try:
            while True:
                if process.poll() is not None or time.monotonic() - start > _START_SECONDS:
                    raise RuntimeError((folder / "server.log").read_text(encoding="utf-8"))
                with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=30) as page:
                    if page.status == 200:
                        break
                time.sleep(0.2)
            seconds = time.monotonic() - start
            temp_dir = next(folder.glob("unilabel_demo_*"))
            yield DemoServer(url, temp_dir, process, seconds)
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture(scope="session")
def demo_server(
    toy_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DemoServer]:
    """The demo with a tiny model of random weights."""
    pytest.importorskip("gradio")
    yield from _start_demo(tmp_path_factory.mktemp("demo"), toy_weights)


@pytest.fixture(scope="session")
def start_demo() -> Callable[..., Iterator[DemoServer]]:
    """The function (folder, weights or None, *arguments) that runs a demo until it is closed."""
    return _start_demo

"""Eight visitors at once. UNILABEL_LOAD_SECONDS says for how long (default 15)."""

from __future__ import annotations

import base64
import contextlib
import io
import ipaddress
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("detectron2")
gradio_client = pytest.importorskip("gradio_client")

from unilabel.core.synthetic import render_scene  # noqa: E402
from unilabel.core.unified_space import UnifiedLabelSpace  # noqa: E402
from unilabel.predictor import build_predictor  # noqa: E402

pytestmark = [pytest.mark.d2, pytest.mark.slow]

VISITORS = 8
GROWTH = 20  # MB between the second and the last quarter of the time


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def other_hosts(pid: int) -> set[str]:
    """Addresses outside of this machine with which a process holds or opens a connection."""
    own = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            own.add(os.readlink(entry))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            words = bytes.fromhex(fields[2].partition(":")[0])
            # words of four bytes, each in the byte order of the machine
            raw = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
            address = ipaddress.ip_address(raw)
            address = getattr(address, "ipv4_mapped", None) or address
            listening = address.is_unspecified
            if f"socket:[{fields[9]}]" in own and not (listening or address.is_loopback):
                found.add(str(address))
    return found


class Visitor(threading.Thread):
    """Sends its pictures and label space again and again, and checks every answer."""

    def __init__(
        self, number: int, url: str, folder: Path, predictor: Any, space: UnifiedLabelSpace
    ) -> None:
        super().__init__()
        self.number = number
        self.client = gradio_client.Client(url, verbose=False)
        # two visitors each send the same file under the same name
        seed = number // 2
        pixels = render_scene(np.random.default_rng(seed), "toy_fine")[0]
        self.file = folder / str(number) / f"photo{seed}.png"
        self.file.parent.mkdir()
        Image.fromarray(pixels).save(self.file)
        self.expected = {name: predictor.predict(pixels, name).labels for name in predictor.spaces}
        data = space.to_dict()
        for entry in data["labels"]:
            entry["name"] = f"{entry['name']} of visitor {number}"
        self.space = folder / str(number) / "label_space.json"
        self.space.write_text(json.dumps(data))
        self.stop = 0.0
        self.done = 0
        self.errors: list[str] = []

    def run(self) -> None:
        try:
            self.ask(self.space, "label_space", "unified")
            while time.monotonic() < self.stop:
                for space in ("unified", "toy_idd"):
                    self.check(self.ask(self.file, "predict", space), space)
                    self.done += 1
        except Exception as error:  # of any kind: told by the test
            self.errors.append(repr(error))

    def ask(self, file: Path, where: str, space: str) -> dict[str, Any]:
        sent = gradio_client.handle_file(str(file))
        answer = self.client.predict(sent, space, "none", 0, False, api_name=f"/{where}")
        payload: dict[str, Any] = json.loads(answer[0])
        return payload

    def check(self, payload: dict[str, Any], space: str) -> None:
        panel = payload["panels"][0]
        picture = Image.open(io.BytesIO(base64.b64decode(panel["labels"].split(",")[1])))
        if payload["notes"] or panel["space"] != space:
            self.errors.append(f"{payload['notes']} {panel['space']}")
        elif (np.array(picture) != self.expected[space]).any():
            self.errors.append("labels of another picture")
        mine = f"of visitor {self.number}"
        if space == "unified" and not all(e["name"].endswith(mine) for e in panel["entries"]):
            self.errors.append("names of another visitor")


def test_eight_visitors(
    demo_server: Any, toy_weights: Path, toy_space: UnifiedLabelSpace, tmp_path: Path
) -> None:
    predictor = build_predictor(toy_weights)
    seconds = float(os.environ.get("UNILABEL_LOAD_SECONDS", "15"))
    visitors = [
        Visitor(number, demo_server.url, tmp_path, predictor, toy_space)
        for number in range(VISITORS)
    ]
    start = time.monotonic()
    for visitor in visitors:
        visitor.stop = start + seconds
        visitor.start()
    used, hosts = [], set()
    while any(visitor.is_alive() for visitor in visitors):
        used.append(resident_mb(demo_server.process.pid))
        hosts |= other_hosts(demo_server.process.pid)
        time.sleep(seconds / 100)
    quarters = [part.mean() for part in np.array_split(np.array(used), 4)]
    answers = sum(visitor.done for visitor in visitors)
    shown = ", ".join(f"{mb:.0f}" for mb in quarters)
    print(f"\n{answers} answers in {seconds:.0f} s; memory by quarters {shown} MB")
    assert [error for visitor in visitors for error in visitor.errors] == []
    assert min(visitor.done for visitor in visitors) > 0
    assert hosts == set()
    assert quarters[3] - quarters[1] < GROWTH
    assert demo_server.left_behind() == []

"""Where a model is put."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("detectron2")

from unilabel.core.errors import UniLabelError
from unilabel.engine.segmentor import device_of

pytestmark = pytest.mark.d2


def test_auto_takes_what_is_there(monkeypatch) -> None:
    for there, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert device_of("auto").type == expected
    assert device_of("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:3"])
def test_a_gpu_that_is_asked_for_has_to_be_there(name: str, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UniLabelError, match=f"'{name}' was asked for .* there are 0 CUDA devices"):
        device_of(name)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert str(device_of(name)) == name


@pytest.mark.parametrize("name", ["gpu", "", "cpu 0"])
def test_devices_that_do_not_exist_are_named(name: str) -> None:
    with pytest.raises(UniLabelError, match=f"the device '{name}' is unknown, expected cpu, cuda"):
        device_of(name)

"""What only a CUDA device shows: NCCL, tensors of two devices, a model that moves to the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("detectron2")

import program
import torch
import torch.distributed as dist
from detectron2.utils import comm

from unilabel.engine import distributed
from unilabel.modeling.backbone import TimmBackbone
from unilabel.modeling.packing import prepare_for_prediction
from unilabel.predictor import build_predictor

pytestmark = [
    pytest.mark.d2,
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_nccl_gives_all_ranks_tensors_of_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One process stands for several: NCCL refuses tensors of the CPU whatever the number of ranks.
    store = dist.FileStore(str(tmp_path / "store"), 1)
    torch.cuda.set_device(0)
    dist.init_process_group("nccl", store=store, rank=0, world_size=1)
    try:
        monkeypatch.setattr(comm, "get_world_size", lambda: 2)
        tensors = [torch.arange(3.0), torch.arange(4.0, device="cuda")]
        distributed.broadcast(tensors)
        assert [t.tolist() for t in tensors] == [[0, 1, 2], [0, 1, 2, 3]]
        assert [t.device.type for t in tensors] == ["cpu", "cuda"]
    finally:
        dist.destroy_process_group()


def test_a_deep_network_is_prepared_for_prediction() -> None:
    # TF32 convolutions of a GPU change the outputs more than the check of folding allows.
    torch.manual_seed(0)
    backbone = TimmBackbone("hrnet_w18_small").cuda().eval()
    images = torch.randn(1, 3, 64, 64, device="cuda")
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        before = list(backbone(images).values())
        after = list(prepare_for_prediction(backbone, images)(images).values())
    assert torch.backends.cudnn.allow_tf32
    for old, new in zip(before, after, strict=True):
        assert (old - new).abs().max() <= 1e-4 * old.abs().max()


@pytest.mark.parametrize("autocast", [False, True])
def test_a_run_on_the_gpu_goes_on_and_answers_on_the_cpu(tmp_path: Path, autocast: bool) -> None:
    values = ["OUTPUT_DIR", str(tmp_path), "MODEL.DEVICE", "cuda"]
    values += ["SOLVER.AMP.ENABLED", str(autocast)]
    stages = ["SCHEDULE", '[["MULTI_HEAD", 12], ["GNN", 8], ["SEG", 6], ["FINAL", 8]]']
    done = program.train_net("--config-file", program.QUICK, *values, *stages, gpu=True)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert results["device"] == torch.cuda.get_device_name()
    longer = ["SCHEDULE", '[["MULTI_HEAD", 12], ["GNN", 8], ["SEG", 6], ["FINAL", 12]]']
    done = program.train_net("--config-file", program.QUICK, "--resume", *values, *longer, gpu=True)
    assert done.returncode == 0, done.stderr

    image = torch.randint(0, 256, (96, 128, 3), generator=torch.Generator().manual_seed(0)).byte()
    here, there = (build_predictor(tmp_path / "model_final.pth", device=d) for d in ("cpu", "cuda"))
    for space in here.spaces:
        labels = [p.predict(image.numpy(), space).labels for p in (here, there)]
        assert (labels[0] == labels[1]).mean() > 0.95, space

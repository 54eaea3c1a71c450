"""The kernels of the fused loss: in the interpreter, and compiled without a GPU."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

TRITON = importlib.util.find_spec("triton") is not None

INTERPRETED = """
import warnings
warnings.simplefilter("ignore", RuntimeWarning)   # log(0) of pixels outside the image
import sys
import torch
sys.path.insert(0, {folder!r})
from test_fused_loss import (LinkTable, fused, loss_and_grad, random_mapping, random_target)

torch.manual_seed(0)
for small, large, align in (((4, 5), (14, 11), False), ((3, 1), (5, 1), True),
                            ((10, 17), (11, 68), True)):  # the last: several tiles each way
    mappings = [random_mapping(70, 40), random_mapping(70, 3)]
    target = torch.cat([random_target(1, large, 40), random_target(1, large, 3)])
    table = LinkTable.from_mappings(mappings)
    for logits, reference, options in (
        (5 * torch.randn(2, 40, *small), None, dict(num_classes=table.num_classes)),
        (5 * torch.randn(2, 70, *small), table, dict(dataset_index=torch.tensor([0, 1]))),
    ):
        options["align_corners"] = align
        results = [
            loss_and_grad(z, fused(target, reference, backend=backend, **options))
            for z, backend in ((logits, "triton"), (logits.double(), "torch"))
        ]
        for ours, exact in zip(*results):
            assert (ours - exact).abs().max() <= 2e-5, (small, large, (ours - exact).abs().max())
print("equal")
"""


@pytest.mark.skipif(not TRITON, reason="needs triton")
def test_triton_kernels_in_the_interpreter() -> None:
    folder = Path(__file__).parent
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    root = str(folder.parents[1])
    environment["PYTHONPATH"] = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED.format(folder=str(folder))],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "equal"


@pytest.mark.slow
@pytest.mark.skipif(not TRITON, reason="needs triton")
@pytest.mark.parametrize("marginal", [False, True])
@pytest.mark.parametrize("kernel", ["_forward_kernel", "_backward_kernel"])
def test_triton_kernels_compile_for_hopper_without_spills(
    kernel: str, marginal: bool, tmp_path: Path
) -> None:
    """Machine code can be made without a GPU; its assembler tells how many registers spill."""
    compiler = pytest.importorskip("triton.compiler")
    backends = pytest.importorskip("triton.backends.compiler")
    from unilabel.core import triton_loss

    function = getattr(triton_loss, kernel)
    pointers = {
        "z": "*bf16",
        "dz": "*bf16",
        "labels": "*u8",
        "limits": "*i64",
        "loss": "*fp32",
        "lse": "*fp32",
        "grad": "*fp32",
        "row_start": "*i32",
        "column_start": "*i32",
        "node_class": "*i32",
        "group": "*i64",
    }
    constants = {"MARGINAL": marginal, "PIXELS": triton_loss._FORWARD_PIXELS}
    constants["BLOCK"] = triton_loss._FORWARD_CHANNELS
    warps = 4
    if kernel == "_backward_kernel":
        warps = triton_loss._TILE_WARPS
        constants |= {"PIXELS": triton_loss._TILE_PIXELS, "BLOCK": triton_loss._TILE_CHANNELS}
        constants |= {"ROWS": triton_loss._TILE_ROWS, "COLUMNS": triton_loss._TILE_COLUMNS}
    if not marginal:
        constants |= {"node_class": None, "group": None}
        if kernel == "_backward_kernel":
            constants["loss"] = None
    names = function.arg_names
    signature = {
        name: "constexpr" if name in constants else pointers.get(name, "i32") for name in names
    }
    aligned = [n for n in names if n in pointers and n not in constants] + ["stride"]
    source = compiler.ASTSource(
        function,
        signature,
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    target = backends.GPUTarget("cuda", 90, 32)
    compiled = compiler.compile(source, target=target, options={"num_warps": warps})
    assert "ld.global.v4" in compiled.asm["ptx"], "logits must be read in whole vectors"
    assembler = Path(backends.__file__).parent / "nvidia" / "bin" / "ptxas"
    if not assembler.is_file():
        pytest.skip("this build of triton brings no ptxas")
    (tmp_path / "kernel.ptx").write_text(compiled.asm["ptx"])
    command = [assembler, "-v", "--gpu-name=sm_90a", "kernel.ptx", "-o", "kernel.cubin"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert " 0 bytes spill stores" in done.stderr, done.stderr

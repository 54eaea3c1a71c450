"""Several processes: start, agreement, averaging. Works with torchrun and Detectron2's launch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import Tensor, nn

from unilabel.core.errors import UniLabelError

TIMEOUT = "UNILABEL_TIMEOUT"  # environment variable: seconds to wait for another process
DEFAULT_TIMEOUT = 1800  # the first process alone writes the toy world and the artefacts
# How gloo, NCCL and the store say that another process is gone or silent.
_LOST = ("gloo", "connection", "timed out", "timeout", "nccl", "socket", "broken pipe", "peer")


def init_from_environment() -> None:
    """Join the process group that torchrun describes; nothing to do without torchrun.

    NCCL on CUDA machines, gloo on others.

    Raises:
        UniLabelError: the processes do not find each other, or UNILABEL_TIMEOUT is no number.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    with explain_lost_processes():
        dist.init_process_group("nccl" if cuda else "gloo", timeout=_timeout())
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    if hasattr(comm, "create_local_process_group"):  # Detectron2 0.6
        comm.create_local_process_group(local)
        return
    for machine in range(dist.get_world_size() // local):  # 0.5: what its launch() does
        ranks = list(range(machine * local, (machine + 1) * local))
        group = dist.new_group(ranks)
        if dist.get_rank() in ranks:
            comm._LOCAL_PROCESS_GROUP = group


def _timeout() -> timedelta:
    value = os.environ.get(TIMEOUT, str(DEFAULT_TIMEOUT))
    if not value.isdecimal() or int(value) == 0:
        raise UniLabelError(f"{TIMEOUT} is {value!r}, expected seconds, 1 or more.")
    return timedelta(seconds=int(value))


@contextmanager
def explain_lost_processes() -> Iterator[None]:
    """Say in words that another process of the run is gone; a traceback of gloo does not.

    Raises:
        UniLabelError: in place of the error of PyTorch.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error).lower()
        if int(os.environ.get("WORLD_SIZE", "1")) == 1 and comm.get_world_size() == 1:
            raise
        if not any(word in text for word in _LOST):
            raise
        raise UniLabelError(
            f"another process of this run has ended or is silent ({str(error).splitlines()[0]}). "
            "Its own output (log.txt.rank* in OUTPUT_DIR) says why; start all processes again with "
            f"--resume. {TIMEOUT} is how many seconds a process waits (default {DEFAULT_TIMEOUT})."
        ) from error


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average gradients over ranks; for modules too small to be worth DDP (the label graph)."""
    if comm.get_world_size() == 1:
        return
    for parameter in parameters:
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= comm.get_world_size()


def average_buffers(model: nn.Module) -> None:
    """Give all ranks the mean of floating-point buffers (BN statistics), so that they agree."""
    if comm.get_world_size() == 1:
        return
    for buffer in model.buffers():
        if buffer.is_floating_point():
            dist.all_reduce(buffer)
            buffer /= comm.get_world_size()


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Give all ranks the tensors of rank 0, in place; NCCL sends those of the CPU by the GPU."""
    if comm.get_world_size() == 1:
        return
    for tensor in tensors:
        sent = tensor.cuda() if dist.get_backend() == dist.Backend.NCCL else tensor
        dist.broadcast(sent, 0)
        if sent is not tensor:
            tensor.copy_(sent)


def assert_equal_on_all_ranks(value: str, what: str) -> None:
    """Compare a checksum.

    Raises:
        UniLabelError: the ranks hold different ones.
    """
    values = comm.all_gather(value)
    if len(set(values)) > 1:
        raise UniLabelError(
            f"the {what} differs between processes ({values}); they must run the same program, "
            "configuration and data."
        )

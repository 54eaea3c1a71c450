"""Imported once by the process from which the children of ``breakable`` are forked."""

from __future__ import annotations

import torch

import unilabel.modeling
from unilabel.engine import run

torch.set_num_threads(1)
__all__ = ["run", "unilabel"]

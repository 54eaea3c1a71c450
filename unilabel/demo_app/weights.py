"""Which model the demo uses."""

from __future__ import annotations

import os
from pathlib import Path

from unilabel.core.errors import UniLabelError

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "demo/assets/toy_model.pth"
FALLBACKS = (ROOT / "output/toy/model_final.pth", SHIPPED)


def find_weights(given: str | os.PathLike[str] | None) -> Path:
    """The given model file, else that of a toy run, else the small one of the repository.

    Raises:
        UniLabelError: the given file, or any at all, is missing.
    """
    if given:
        if not Path(given).is_file():
            raise UniLabelError(f"--weights: no such file: {given}.")
        return Path(given)
    for fallback in FALLBACKS:
        if fallback.is_file():
            return fallback
    names = " nor ".join(str(path.relative_to(ROOT)) for path in FALLBACKS)
    raise UniLabelError(
        f"no model: neither {names} is there. Name one with --weights, "
        "or train one in a few minutes: python train_net.py --config-file configs/toy.yaml"
    )


def title_of(path: Path) -> str:
    """What a model is called: its folder and file, no more of the path."""
    return f"{path.resolve().parent.name}/{path.name}"

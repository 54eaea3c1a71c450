"""Small folders of benchmark frames, and archives made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from unilabel.submission.formats import get_benchmark
from unilabel.submission.frames import Frame
from unilabel.submission.job import SubmissionJob

WILDDASH = get_benchmark("wilddash2")


def label(image: np.ndarray) -> np.ndarray:
    """A stand-in for a model: red decides."""
    return np.where(image[..., 0] > 127, np.uint8(7), np.uint8(23))


def write_frames(folder: Path, stems: list[str], size: tuple[int, int] = (24, 16)) -> Path:
    """Images of noise; ``size`` is (width, height)."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(len(stems))
    for stem in stems:
        pixels = random.integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{stem}.jpg")
    return folder


def official_stems() -> list[str]:
    """812 names as in the benchmark: 776 of its own, 36 of public frames."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    countries = [f"{a}{b}" for a in letters[:6] for b in letters[:6]]
    return [f"wd{i:04d}_100000" for i in range(776)] + [
        f"{c}{i:04d}_100000" for i, c in enumerate(countries)
    ]


def make_archive(output: Path, frames: list[Frame], folder: str | None = None) -> Path:
    """Predict with :func:`label` and pack."""
    job = SubmissionJob(output, frames, WILDDASH, {"model": 1}, folder)
    assert job.start(resume=False) == 0
    assert len(list(job.predict(label))) == len(frames)
    job.finish({}, allow_missing=False)
    return output

"""What each benchmark wants in an archive, and how certain that is.

The servers' own texts need a registration; "verified" names the public file that a rule was read
from, "unverified" lists what to look up on the site before the first upload.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.core.tables import read_table
from unilabel.submission import wilddash


@dataclass(frozen=True)
class Benchmark:
    """The format of one benchmark.

    Attributes:
        name: name of the benchmark and of the dataset in ``unilabel/label_spaces``.
        void: value of a pixel without a class; None: every pixel needs a class.
        ids: class name -> value in result files.
        result_stem: path of an image below the images' folder -> name of its result without .png.
        frames: number of test images, None if no public source says it for sure.
        folder: folder inside the archive, "" for its root.
        official_name: pattern of result stems, None if names are free.
        known: values that the organisers' own tables have besides those of ``ids``: not scored, so
            no result needs them, but no fault either.
        readings: way to count the values, where sources disagree -> what is added to the raw ids
            of the label files; the first is the default. Empty: there is one way.
        verified: rules with a public source.
        unverified: rules without one.
    """

    name: str
    void: int | None
    ids: dict[str, int]
    result_stem: Callable[[PurePath], str]
    frames: int | None
    folder: str = ""
    official_name: re.Pattern[str] | None = None
    known: frozenset[int] = frozenset()
    readings: Mapping[str, int] = field(default_factory=dict)
    verified: str = ""
    unverified: str = ""

    @property
    def allowed(self) -> frozenset[int]:
        """Every value that may occur."""
        return frozenset(self.ids.values()) | ({self.void} if self.void is not None else set())

    def class_of(self, value: int) -> str | None:
        """Name of a value, None for void."""
        return next((name for name, own in self.ids.items() if own == value), None)


def input_stem(image: PurePath) -> str:
    """The result is called like the image."""
    return image.stem


def scene_and_stem(image: PurePath) -> str:
    """ScanNet: ``scene0707_00/color/000100.jpg`` -> ``scene0707_00_000100``."""
    scene = next((p for p in image.parts if p.startswith("scene")), None)
    if scene is None or image.stem.startswith("scene"):
        return image.stem
    return f"{scene}_{image.stem}"


_CITYSCAPES_IDS = frozenset(range(34))  # cityscapesScripts helpers/labels.py, without id -1

_DETAILS: dict[str, dict[str, Any]] = {
    wilddash.DATASET: {
        "void": wilddash.VOID,
        "frames": wilddash.BENCHMARK_FRAMES,
        "official_name": wilddash.BENCHMARK_NAME,
        "known": frozenset(range(wilddash.MAX_EVAL_ID + 1)),
        "verified": "ids and names: ozendelait/wilddash_scripts wd2_unified_label_policy.json, "
        "Mrhonor/AutoUniSeg save_result.py; number of frames: ozendelait/rvc_devkit "
        "segmentation/test_set_pano.sh; the truth is that of the beta phase, ids 0..38: "
        "ozendelait/rvc_devkit issues 54 and 60",
        "unverified": "whether the PNGs lie at the root or in one folder; size limit; whether "
        "guardrail and onrails are scored (docs/WILDDASH.md)",
    },
    "cityscapes": {
        "void": 0,
        "frames": 1525,
        "official_name": re.compile(r"[a-z-]+_\d{6}_\d{6}.*"),
        "known": _CITYSCAPES_IDS,
        "verified": "ids 0..33 (not train ids), one file CITY_SEQ_FRAME*.png for each image, size "
        "of the image: mcordts/cityscapesScripts evalPixelLevelSemanticLabeling.py",
        "unverified": "folders inside the archive",
    },
    "kitti": {
        "void": 0,
        "frames": 200,
        "folder": "semantic",
        "official_name": re.compile(r"\d{6}_10"),
        "known": _CITYSCAPES_IDS,
        "verified": "ids of Cityscapes, semantic/NAME.png: ozendelait/rvc_devkit (2018) "
        "benchmark_kitti2015.py",
        "unverified": "whether the server still wants the folder",
    },
    "ade20k150": {
        "void": 0,
        "frames": None,
        "official_name": re.compile(r"ADE_test_\d{8}"),
        "verified": "zip of PNGs called like the images, values 1..150, 0 is not scored: "
        "CSAILVision/sceneparsing README.md",
        "unverified": "number of test images (2,000 in the readme, 3,352 in the released archive)",
    },
    "mapillary": {
        "void": None,
        "frames": 5000,
        "readings": {"1-65": 1, "0-64": 0},
        "verified": "PNGs KEY.png at the root: ozendelait/rvc_devkit issue 65, where the server "
        "looks for them; number of images: segmentation/test_set_pano.sh",
        "unverified": "the values: 1..65 with bird = 1 and no unlabeled is a note of "
        "ozendelait/rvc_devkit segmentation/README.md about the panoptic task, bird = 0 (0..64, as "
        "in the label files) is its semantic mapping segmentation/ss_mapping.csv; --values chooses",
    },
    "scannet20": {
        "void": 0,
        "frames": None,
        "result_stem": scene_and_stem,
        "verified": "ids of NYU40, width of the image or 640 x 480: ScanNet/ScanNet "
        "BenchmarkScripts/2d_evaluation/evalPixelLevelSemanticLabeling.py; names SCENE_FRAME.png: "
        "ozendelait/rvc_devkit (2018) benchmark_scannet.py",
        "unverified": "folders inside the archive",
    },
    "viper": {
        "void": 0,
        "frames": 2500,
        "official_name": re.compile(r"\d{3}_\d{5}"),
        "verified": "one zip file of 8-bit PNGs of class ids, called like the image, "
        "002_00003.png for example: srrichter/viper EVALUATION.md; class ids: its classes.csv; "
        "number of images: ozendelait/rvc_devkit segmentation/test_set_pano.sh",
        "unverified": "whether all 2,500 images are scored (EVALUATION.md: the test set holds more "
        "than single tasks use)",
    },
}


def benchmark_names() -> list[str]:
    """Benchmarks with a known format."""
    return list(_DETAILS)


@lru_cache(maxsize=32)
def get_benchmark(name: str, values: str | None = None) -> Benchmark:
    """Format of a benchmark.

    Args:
        name: its name.
        values: one of its ``readings``; None: the first.

    Raises:
        UniLabelError: there is no benchmark, or no such reading, of this name.
    """
    if name not in _DETAILS:
        raise UniLabelError(
            f"no format of a benchmark {name!r} is known; choose one of: "
            f"{', '.join(benchmark_names())}."
        )
    details = {"result_stem": input_stem, **_DETAILS[name]}
    readings = details.get("readings", {})
    if values is not None and values not in readings:
        known = f"{', '.join(readings)}" if readings else "none, there is one way to count"
        raise UniLabelError(f"--values {values}: {name} has the readings: {known}.")
    shift = readings[values or next(iter(readings))] if readings else 0
    return Benchmark(name, ids=_result_ids(name, shift), **details)


def _result_ids(name: str, shift: int) -> dict[str, int]:
    table = read_table(name)
    if name == wilddash.DATASET:
        return {c["name"]: c["submission_id"] for c in table["classes"]}
    return {c["name"]: c["raw_ids"][0] + shift for c in table["classes"]}

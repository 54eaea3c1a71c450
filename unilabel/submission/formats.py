"""What each benchmark wants in an archive, and how certain that is.

The servers' own texts need a registration; "verified" names the public file that a rule was read
from, "unverified" lists what to look up on the site before the first upload.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import PurePath
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json
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


_DETAILS: dict[str, dict[str, Any]] = {
    wilddash.DATASET: {
        "void": wilddash.VOID,
        "frames": wilddash.BENCHMARK_FRAMES,
        "official_name": wilddash.BENCHMARK_NAME,
        "verified": "ids and names: ozendelait/wilddash_scripts wd2_unified_label_policy.json, "
        "Mrhonor/AutoUniSeg save_result.py; number of frames: ozendelait/rvc_devkit "
        "segmentation/test_set_pano.sh",
        "unverified": "whether the PNGs lie at the root or in one folder; size limit",
    },
    "cityscapes": {
        "void": 0,
        "frames": 1525,
        "official_name": re.compile(r"[a-z-]+_\d{6}_\d{6}.*"),
        "verified": "ids 0..33 (not train ids), one file CITY_SEQ_FRAME*.png for each image, size "
        "of the image: mcordts/cityscapesScripts evalPixelLevelSemanticLabeling.py",
        "unverified": "folders inside the archive",
    },
    "kitti": {
        "void": 0,
        "frames": 200,
        "folder": "semantic",
        "official_name": re.compile(r"\d{6}_10"),
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
        "verified": "values 1..65, bird = 1, no unlabeled: ozendelait/rvc_devkit "
        "segmentation/README.md; number of images: test_set_pano.sh",
        "unverified": "folders inside the archive",
    },
    "scannet20": {
        "void": 0,
        "frames": None,
        "result_stem": scene_and_stem,
        "verified": "ids of NYU40, width of the image or 640 x 480: ScanNet/ScanNet "
        "BenchmarkScripts/2d_evaluation/evalPixelLevelSemanticLabeling.py",
        "unverified": "file names (written as SCENE_FRAME.png) and folders inside the archive",
    },
    "viper": {
        "void": 0,
        "frames": 2500,
        "official_name": re.compile(r"\d{3}_\d{5}"),
        "verified": "names as in the test set with .png: ozendelait/rvc_devkit "
        "segmentation/README.md; class ids: common/label_definitions/viper_classes.csv",
        "unverified": "folders inside the archive",
    },
}


def benchmark_names() -> list[str]:
    """Benchmarks with a known format."""
    return list(_DETAILS)


@lru_cache(maxsize=16)
def get_benchmark(name: str) -> Benchmark:
    """Format of a benchmark.

    Raises:
        UniLabelError: there is none of this name.
    """
    if name not in _DETAILS:
        raise UniLabelError(
            f"no format of a benchmark {name!r} is known; choose one of: "
            f"{', '.join(benchmark_names())}."
        )
    details = {"result_stem": input_stem, **_DETAILS[name]}
    return Benchmark(name, ids=_result_ids(name), **details)


def _result_ids(name: str) -> dict[str, int]:
    table = read_json(str(files("unilabel") / "label_spaces" / f"{name}.json"))
    if name == wilddash.DATASET:
        return {c["name"]: c["submission_id"] for c in table["classes"]}
    shift = 1 if name == "mapillary" else 0  # its server counts from 1, its label files from 0
    return {c["name"]: c["raw_ids"][0] + shift for c in table["classes"]}

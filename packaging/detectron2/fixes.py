"""The edits that turn the source of Detectron2 0.5 into this distribution.

An edit is a search pattern together with the files it must hit and how often. Anything else (a hit
missing, a hit too many, a hit in another file) stops the build, so that neither a different source
nor a careless pattern can pass unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

NOTICE = "# Modified from Detectron2 0.5. CHANGES.txt in the detectron2 package says how.\n"
CHANGE_LOG = "CHANGES.txt"


class FixError(RuntimeError):
    """The source does not look as an edit expects it."""


@dataclass(frozen=True)
class Edit:
    """One replacement.

    Attributes:
        reason: Why the edit is needed; goes into the change log of the wheel.
        pattern: What is searched.
        replacement: Template in the syntax of `re.sub`.
        hits: File (relative to the package) -> number of hits.
        scope: Only files below this prefix are searched.
    """

    reason: str
    pattern: re.Pattern[str]
    replacement: str
    hits: Mapping[str, int]
    scope: str = ""

    def run(self, texts: dict[str, str]) -> None:
        """Apply the edit to `texts` (file -> content) in place; raise `FixError` on other hits."""
        found: dict[str, int] = {}
        for name in sorted(texts):
            if name.startswith(self.scope):
                texts[name], count = self.pattern.subn(self.replacement, texts[name])
                if count:
                    found[name] = count
        if found != dict(self.hits):
            raise FixError(
                f"pattern {self.pattern.pattern!r} ({self.reason}) was found in {found}, expected "
                f"{dict(self.hits)}: this is not the source of Detectron2 0.5, or fixes.py is wrong"
            )


def literal(reason: str, old: str, new: str, *files: str, scope: str = "") -> Edit:
    """An edit that replaces the text `old`, found exactly once in each of `files`."""
    template = new.replace("\\", r"\\")
    return Edit(reason, re.compile(re.escape(old)), template, dict.fromkeys(files, 1), scope)


# Takes the place of the compiled module `detectron2._C`. It has another name on purpose: code that
# asks whether the compiled module exists (collect_env, the COCO evaluator) must get the answer no.
STAND_IN = "_no_ops.py"
STAND_IN_SOURCE = '''\
"""Stand-in for the compiled operators, which are not part of this build of Detectron2."""


class _Operators:
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotImplementedError(
            f"the operator {name} is compiled code, and this build of Detectron2 has none: "
            "install the official Detectron2 to use it"
        )


_C = _Operators()
'''

_NO_OPERATORS = "this build has no compiled operators"
_NO_PKG_RESOURCES = "setuptools 82 dropped pkg_resources"
_AMP = "PyTorch 2.4 moved automatic mixed precision out of torch.cuda"

EDITS = (
    literal(
        _NO_OPERATORS,
        "from detectron2 import _C\n",
        "try:\n    from detectron2 import _C\n"
        "except ImportError:\n    from detectron2._no_ops import _C\n",
        "layers/deform_conv.py",
        "layers/roi_align_rotated.py",
        "layers/rotated_boxes.py",
        scope="layers/",
    ),
    literal(
        _NO_OPERATORS + ": evaluate with pycocotools",
        "from detectron2.evaluation.fast_eval_api import COCOeval_opt\n",
        "try:\n    from detectron2.evaluation.fast_eval_api import COCOeval_opt\n"
        "except ImportError:\n    COCOeval_opt = COCOeval\n",
        "evaluation/coco_evaluation.py",
    ),
    literal(
        "PyTorch 2 has no caffe2, and utils/analysis.py needs the rest of this package",
        "from .api import *\n",
        "try:\n    from .api import *\nexcept ImportError:\n    pass\n",
        "export/__init__.py",
    ),
    Edit(
        "PyTorch 2 made the name LRScheduler public; its own schedulers left the old class",
        re.compile(r"\blr_scheduler\._LRScheduler\b"),
        "lr_scheduler.LRScheduler",
        {
            "engine/hooks.py": 2,
            "projects/deeplab/build_solver.py": 1,
            "projects/deeplab/lr_scheduler.py": 1,
            "solver/build.py": 1,
            "solver/lr_scheduler.py": 4,
        },
    ),
    Edit(
        _AMP,
        re.compile(r"\bfrom torch\.cuda\.amp import\b"),
        "from torch.amp import",
        {"engine/train_loop.py": 2},
    ),
    literal(_AMP, "with autocast():", 'with autocast("cuda"):', "engine/train_loop.py"),
    Edit(
        "PyTorch 2 deprecates typed storages",
        re.compile(
            r"^( +)storage = torch\.ByteStorage\.from_buffer\(buffer\)\n"
            r" +tensor = torch\.ByteTensor\(storage\)",
            re.MULTILINE,
        ),
        r"\1tensor = torch.frombuffer(bytearray(buffer), dtype=torch.uint8)",
        {"utils/comm.py": 1},
    ),
    literal(
        "PyTorch wants the indexing of a mesh grid spelled out",
        "meshgrid(shifts_y, shifts_x)",
        'meshgrid(shifts_y, shifts_x, indexing="ij")',
        "modeling/anchor_generator.py",
    ),
    literal(
        "NumPy 2 warns when it converts a tensor",
        "np.array(output, dtype",
        "np.array(output.numpy(), dtype",
        "evaluation/sem_seg_evaluation.py",
    ),
    Edit(
        "NumPy 1.24 dropped its aliases of built-in types",
        re.compile(r"\bnp\.(bool|float|int|str)\b"),
        r"\1",
        {
            "data/build.py": 2,
            "data/datasets/pascal_voc.py": 1,
            "evaluation/pascal_voc_evaluation.py": 2,
            "evaluation/sem_seg_evaluation.py": 7,
            "structures/masks.py": 2,
            "utils/video_visualizer.py": 1,
            "utils/visualizer.py": 3,
        },
    ),
    literal(
        "NumPy 2 refuses copy=False where a copy is needed",
        "np.array(mask, copy=False)",
        "np.asarray(mask)",
        "layers/mask_ops.py",
    ),
    literal(
        "Pillow 10 dropped the alias LINEAR",
        "Image.LINEAR",
        "Image.BILINEAR",
        "data/transforms/transform.py",
    ),
    literal(
        _NO_PKG_RESOURCES,
        "import pkg_resources\n",
        "from pathlib import Path\n",
        "model_zoo/model_zoo.py",
    ),
    Edit(
        _NO_PKG_RESOURCES,
        re.compile(r"pkg_resources\.resource_filename\([^()]*\(([^()]*)\)\s*\)"),
        r"str(Path(__file__).parent.joinpath(\1))",
        {"model_zoo/model_zoo.py": 1},
    ),
)


def apply(package: Path, edits: Iterable[Edit] = EDITS) -> None:
    """Edit the Python files below `package` (the folder `detectron2`) in place.

    Every edited file is marked at its top, and `CHANGES.txt` lists files and reasons (section 4(b)
    of the Apache License). Nothing is written if an edit fails.

    Raises:
        FixError: An edit does not hit the files it names exactly as often as it says.
    """
    paths = {path.relative_to(package).as_posix(): path for path in package.rglob("*.py")}
    texts = {name: path.read_text(encoding="utf-8") for name, path in paths.items()}
    reasons: dict[str, list[str]] = {}
    for edit in edits:
        edit.run(texts)
        for name in edit.hits:
            reasons.setdefault(name, []).append(edit.reason)

    for name in reasons:
        paths[name].write_text(NOTICE + texts[name], encoding="utf-8")
    (package / STAND_IN).write_text(STAND_IN_SOURCE, encoding="utf-8")
    log = ["How this distribution differs from Detectron2 0.5", ""]
    for name in sorted(reasons):
        log += [name, *(f"  - {reason}" for reason in dict.fromkeys(reasons[name]))]
    log += [STAND_IN, f"  - new file: {_NO_OPERATORS}", ""]
    (package / CHANGE_LOG).write_text("\n".join(log), encoding="utf-8")

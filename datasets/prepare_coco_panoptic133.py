"""Convert the labels of COCO panoptic to PNGs of class ids.

From ``coco/annotations/panoptic_{train,val}2017``
to ``coco/panoptic_semseg_{train,val}2017``:

    python datasets/prepare_coco_panoptic133.py [--root DIR] [--check]
"""

from __future__ import annotations

import sys

from prepare_common import run

if __name__ == "__main__":
    sys.exit(run("coco_panoptic133", "COCO panoptic labels"))

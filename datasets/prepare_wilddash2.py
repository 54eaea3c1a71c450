"""Convert the labels of WildDash 2 to PNGs of class ids.

From ``wilddash/panoptic``
to ``wilddash/panoptic_semseg``:

    python datasets/prepare_wilddash2.py [--root DIR] [--check]
"""

from __future__ import annotations

import sys

from prepare_common import run

if __name__ == "__main__":
    sys.exit(run("wilddash2", "WildDash 2 labels"))

"""Convert the labels of IDD to PNGs of class ids.

From ``IDD/gtFine/*/*/*_gtFine_polygons.json``
to ``*_gtFine_labellevel3Ids.png`` beside them, as the AutoNUE tool createLabels.py names them:

    python datasets/prepare_idd26.py [--root DIR] [--check]
"""

from __future__ import annotations

import sys

from prepare_common import run

if __name__ == "__main__":
    sys.exit(run("idd26", "IDD labels"))

#!/usr/bin/env python
"""The demo in a browser: predict, read the label graph, correct it.

Examples:
  python demo/app.py
  python demo/app.py --weights output/mini/model_final.pth --port 7861

Works offline and without arguments: the model of the toy run, else the small one of the repository;
the example pictures are drawn at the start.
"""

from __future__ import annotations

import sys

from unilabel.demo_app.launch import main

if __name__ == "__main__":
    sys.exit(main(description=__doc__))

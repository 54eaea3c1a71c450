#!/usr/bin/env python
"""The demo as a Hugging Face Space, with the model that lies beside this file.

In the repository it takes the model of ``demo/assets``. PORT chooses another port than 7860.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from unilabel.demo_app.launch import main

HERE = Path(__file__).resolve().parent
MODEL = "toy_model.pth"

if __name__ == "__main__":
    weights = HERE / MODEL if (HERE / MODEL).is_file() else HERE.parent / "assets" / MODEL
    port = os.environ.get("PORT", "7860")
    host = os.environ.get("HOST", "0.0.0.0")  # a Space is reached from outside of its container
    sys.exit(main(["--weights", str(weights), "--host", host, "--port", port]))

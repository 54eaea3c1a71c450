"""A dataset is added in a process of its own, so that a visitor can cancel it.

  python -m unilabel.demo_app.add_job MODEL FOLDER OUTPUT

Prints a JSON object a line: {"text": what it does now}, at the end {"lines": what was found} or
{"error": what is wrong}.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from typing import Any

warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

from unilabel.adding.base import check_new, read_base  # noqa: E402
from unilabel.adding.job import add_dataset, read_source, write_model  # noqa: E402
from unilabel.adding.words import lines  # noqa: E402
from unilabel.core.errors import UniLabelError  # noqa: E402


def say(**content: Any) -> None:
    """One line for the demo."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Add and write; 2 after a mistake in what was given."""
    weights, folder, output = arguments
    try:
        say(text="Reading the photos.")
        base = read_base(weights, label_space="inside")
        source = read_source(folder)
        check_new(base, source.name)
        count = len(source.samples("train"))
        say(text=f"Learning {source.label_space.num_classes} classes from {count} photos.")
        added = add_dataset(base, source)
        say(text="Writing the model.")
        write_model(added, output)
    except UniLabelError as error:
        say(error=str(error))
        return 2
    say(lines=lines(added.learned, added.photos, base.space), dataset=source.name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Let programs parse their command lines without doing anything (run by test_documents.py).

Standard input: JSON list of [script, arguments]. Standard output: JSON list of {"error", "values"}.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import runpy
import sys
from pathlib import Path
from typing import Any

Original = argparse.ArgumentParser.parse_args


class Parsed(BaseException):
    """Not an Exception: programs catch those."""


def stop_after(self: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> None:
    raise Parsed(vars(Original(self, *args, **kwargs)))


def parse(script: str, arguments: list[str]) -> dict[str, Any]:
    errors = io.StringIO()
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent.resolve()))
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            runpy.run_path(script, run_name="__main__")
    except Parsed as parsed:
        return {"error": "", "values": {k: repr(v) for k, v in parsed.args[0].items()}}
    except SystemExit:
        return {"error": errors.getvalue().strip() or "it ended before it parsed", "values": {}}
    finally:
        sys.path.pop(0)
    return {"error": "it has no command line", "values": {}}


def main() -> None:
    commands = json.load(sys.stdin)
    argparse.ArgumentParser.parse_args = stop_after  # type: ignore[assignment,method-assign]
    json.dump([parse(script, arguments) for script, arguments in commands], sys.stdout)


if __name__ == "__main__":
    main()

"""Faults made by hand, one after the other, and whether the tests see them.

    python tests/mutants.py                   # all of tests/mutants.json
    python tests/mutants.py --only NAME ...   # some
    python tests/mutants.py --list

A fault that no test sees ("survived") shows what the tests leave unsaid. Every fault is put into a
temporary copy of the working tree, and only the tests that should see it run, so nothing here is
touched. First the same tests run without any fault: those that fail anyway prove nothing.

Exit code 1: more than ``--allow`` faults survived, or one could not be judged, because its old text
is gone, its tests are gone, or they fail without it.

Packages are imported once; each run is a fork of this process, which spares most of its seconds.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.dont_write_bytecode = True  # two faults in one second could share a file of byte code
sys.path = [p for p in sys.path if Path(p).resolve() != ROOT / "tests"]  # helpers: of the copy

PACKAGES = (
    "numpy cv2 scipy.optimize torch torchvision timm detectron2.engine detectron2.evaluation "
    "torch_geometric.nn ot sklearn.cluster hypothesis pytest tensorboard PIL.Image"
).split()
KILLED, SURVIVED, OUTDATED, UNDECIDED = "killed", "survived", "old text not found", "no verdict"


class Mutant(NamedTuple):
    """One fault of ``mutants.json``.

    Attributes:
        name: of the fault.
        file: that it is put into.
        old: text that stands there once.
        new: what it becomes.
        tests: files or tests that should see it.
        why: what would go wrong.
    """

    name: str
    file: str
    old: str
    new: str
    tests: list[str]
    why: str


def copy_tree(target: Path) -> None:
    """Copy what is in the repository, or could be: all files that Git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def mutated(mutant: Mutant, text: str) -> str | None:
    """The text of a file with the fault; None where the old text does not stand in it once."""
    if text.count(mutant.old) != 1 or mutant.old == mutant.new:
        return None
    return text.replace(mutant.old, mutant.new)


def run_tests(tree: Path, tests: Sequence[str], log: Path, limit: float) -> int | None:
    """Run tests of a tree in a fork of this process; pytest's exit code, None after ``limit`` s."""
    pid = os.fork()
    if pid == 0:
        _run_in_child(tree, tests, log)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def _run_in_child(tree: Path, tests: Sequence[str], log: Path) -> None:
    """Never returns: whatever happens, the process ends here."""
    code = 70
    try:
        os.setsid()  # processes that tests start can be ended with this one
        with open(log, "ab", 0) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.chdir(tree)
        os.environ.update(PYTHONPATH=str(tree), PYTHONDONTWRITEBYTECODE="1")
        sys.path.insert(0, str(tree))
        import pytest

        import unilabel

        if not Path(unilabel.__file__).is_relative_to(tree):
            raise RuntimeError(f"{unilabel.__file__} is not in {tree}")
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))
    except BaseException as error:  # a fork must not go on with the work of its parent
        print(repr(error), flush=True)
    finally:
        sys.stdout.flush()
        os._exit(code)


def judge(mutant: Mutant, tree: Path, folder: Path, limit: float) -> str:
    """Put a fault into the copy, run its tests, and put the file back."""
    file = tree / mutant.file
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    changed = mutated(mutant, text)
    if changed is None:
        return OUTDATED
    file.write_text(changed, encoding="utf-8")
    try:
        code = run_tests(tree, mutant.tests, folder / f"{mutant.name}.log", limit)
    finally:
        file.write_text(text, encoding="utf-8")
    if code is None or code == 1:  # a program that does not end is seen as well
        return KILLED
    return SURVIVED if code == 0 else UNDECIDED


def failing_anyway(mutants: Sequence[Mutant], tree: Path, folder: Path, limit: float) -> bool:
    """Whether a test that should see a fault fails without it; says so."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    files = {test for test in tests if "::" not in test}
    tests = [t for t in tests if t in files or t.split("::")[0] not in files]
    code = run_tests(tree, tests, folder / "without.log", limit)
    if code != 0:
        print(_end_of(folder / "without.log"))
        print("without any fault these tests do not pass; nothing can be told.")
    return code != 0


def _end_of(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return "\n".join(f"    {line}" for line in lines[-15:])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these faults")
    parser.add_argument("--list", action="store_true", help="names and reasons, nothing is run")
    parser.add_argument("--allow", type=int, default=2, help="faults that may survive (default 2)")
    parser.add_argument("--seconds", type=float, default=900, help="limit of one run")
    parser.add_argument(
        "--trust", action="store_true", help="do not run the tests without a fault first"
    )
    return parser.parse_args()


def chosen(names: Sequence[str] | None) -> list[Mutant]:
    listed = json.loads((ROOT / "tests/mutants.json").read_text(encoding="utf-8"))
    known = {entry["name"]: Mutant(**entry) for entry in listed}
    if len(known) < len(listed):
        sys.exit("two faults of tests/mutants.json have one name.")
    unknown = [name for name in names or () if name not in known]
    if unknown:
        sys.exit(f"no such fault: {', '.join(unknown)}; --list names them.")
    return [known[name] for name in names] if names else list(known.values())


def main() -> int:
    arguments = parse_arguments()
    mutants = chosen(arguments.only)
    if arguments.list:
        for mutant in mutants:
            print(f"{mutant.name:28} {mutant.file}: {mutant.why}")
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages about each other
        for package in PACKAGES:
            importlib.import_module(package)
    found: dict[str, list[str]] = {KILLED: [], SURVIVED: [], OUTDATED: [], UNDECIDED: []}
    with tempfile.TemporaryDirectory(prefix="unilabel_mutants_") as temporary:
        folder = Path(temporary)
        tree = folder / "tree"
        copy_tree(tree)
        if not arguments.trust and failing_anyway(
            mutants, tree, folder, arguments.seconds * len(mutants)
        ):
            return 1
        for mutant in mutants:
            begun = time.monotonic()
            verdict = judge(mutant, tree, folder, arguments.seconds)
            found[verdict].append(mutant.name)
            print(f"{verdict:18} {mutant.name} ({time.monotonic() - begun:.0f} s)", flush=True)
            if verdict != KILLED:
                print(f"    {mutant.file}: {mutant.why}")
            if verdict == UNDECIDED:
                print(_end_of(folder / f"{mutant.name}.log"))
    print(", ".join(f"{len(names)} {verdict}" for verdict, names in found.items()))
    bad = len(found[SURVIVED]) > arguments.allow or found[OUTDATED] or found[UNDECIDED]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

"""Who may import whom, and how long files and functions may get; read from the syntax trees."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "unilabel"
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = [str(f.relative_to(ROOT)) for f in FILES]
OUTSIDE = [  # programs that import the package
    str(f.relative_to(ROOT))
    for f in [
        ROOT / "train_net.py",
        *(p for d in ("tools", "benchmarks", "demo") for p in sorted((ROOT / d).rglob("*.py"))),
    ]
]

# part of the package -> parts that it may import besides itself
LAYERS = {
    "core": set(),
    "text": {"core"},
    "visual": {"core"},
    "modeling": {"core", "text"},
    "data": {"core", "text", "importers"},
    # reads what annotation tools write; of data only what does not know the importers
    "importers": {
        "core",
        "data.images",
        "data.dataset_files",
        "data.label_files",
        "data.sources",
        "data.headers",
        "data.parallel",
    },
    "evaluation": {"core", "text"},
    "config": {"core", "config_keys", "config_contract", "config_validation"},
    "config_contract": {"core"},
    "config_keys": {"core"},
    "config_validation": {"core"},
    "doctor": {"core", "config", "data", "engine", "modeling"},
    "engine": {
        "core",
        "text",
        "modeling",
        "data",
        "evaluation",
        "config",
        "config_contract",
        "config_keys",
        "config_validation",
        "visual",
    },
    "predictor": {"core", "modeling", "data", "engine.loading"},
    "submission": {"core", "text", "modeling", "data", "predictor"},
    "adding": {
        "core",
        "text",
        "modeling",
        "data",
        "engine",
        "predictor",
        "harmonize",
        "visual",
    },
    "harmonize": {
        "core",
        "data",
        "modeling",
        "engine.loading",
        "predictor",
        "visual",
        "importers.links",
    },
    "editing": {"core", "data", "engine", "modeling", "predictor"},
    "demo_app": {
        "adding",
        "core",
        "text",
        "modeling",
        "data",
        "engine.loading",
        "harmonize",
        "predictor",
        "visual",
    },
    "__init__": set(),
}
OUTSIDE_OF_CORE = {"torch", "numpy", "scipy"}
INSIDE_FUNCTIONS = {("PIL", "unilabel/core/synthetic.py")}  # writes the toy images
ONLY_HERE = {  # packages that a single module of core may import
    "torch_geometric": "unilabel/core/label_graph.py",
    "ot": "unilabel/core/transport.py",
    "triton": "unilabel/core/triton_loss.py",
}
PROGRAMS = {"train_net", "tools", "demo", "tests", "benchmarks", "conftest"}

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
PRINTING = {"unilabel/demo_app/launch.py", "unilabel/doctor.py"}  # programs
LONG_FUNCTIONS = {
    "unilabel/config.py": {"add_unilabel_config"},  # one line per key
    "unilabel/core/triton_loss.py": {"_backward_kernel"},  # a kernel is one function
    "unilabel/demo_app/predict_tab.py": {"predict_tab"},  # layout, top to bottom
    "unilabel/demo_app/review_tab.py": {"review_tab"},
}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"), module)


def imported(module: str) -> Iterator[tuple[str, int]]:
    """Full names that a module imports anywhere, with their lines."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: write the import absolutely"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def part_of(module: str) -> str:
    return Path(module).parts[1].removesuffix(".py")


def test_every_part_has_a_rule() -> None:
    assert {part_of(m) for m in MODULES} <= set(LAYERS)
    assert len(MODULES) > 30


@pytest.mark.parametrize("module", MODULES)
def test_imports_within_the_package(module: str) -> None:
    part = part_of(module)
    for name, line in imported(module):
        if name.split(".")[0] != "unilabel":
            continue
        target = name.removeprefix("unilabel").lstrip(".")
        allowed = LAYERS[part] | {part, "__version__"}
        fits = any(target == a or target.startswith(f"{a}.") for a in allowed)
        bare = name == "unilabel" and part != "core"  # for its version
        assert fits or bare, f"{module}:{line}: {part} may not import {name}"


@pytest.mark.parametrize("module", [m for m in MODULES if part_of(m) == "core"])
def test_core_needs_few_packages(module: str) -> None:
    for name, line in imported(module):
        top = name.split(".")[0]
        if top in sys.stdlib_module_names or top in OUTSIDE_OF_CORE | {"unilabel"}:
            continue
        if (top, module) in INSIDE_FUNCTIONS:
            continue
        assert ONLY_HERE.get(top) == module, f"{module}:{line}: core may not import {name}"


@pytest.mark.parametrize("module", MODULES)
def test_packages_of_a_single_module(module: str) -> None:
    for name, line in imported(module):
        home = ONLY_HERE.get(name.split(".")[0], module)
        assert home == module, f"{module}:{line}: {name} belongs into {home}"


@pytest.mark.parametrize("module", MODULES)
def test_programs_are_not_imported(module: str) -> None:
    for name, line in imported(module):
        assert name.split(".")[0] not in PROGRAMS, f"{module}:{line}: imports {name}"


def module_of(path: str) -> str:
    """Name by which a file of the package is imported."""
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or by way of others (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(edges[module]):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            at = stack.index(module)
            group, stack[at:] = stack[at:], []
            if len(group) > 1 or module in edges[module]:
                found.append(sorted(group))

    for module in sorted(edges):
        if module not in index:
            visit(module)
    return found


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    """Imports for types only and inside functions count as well."""
    names = {module_of(m) for m in MODULES}
    edges: dict[str, set[str]] = {}
    for path in MODULES:
        targets = edges.setdefault(module_of(path), set())
        for name, _ in imported(path):
            inside = name if name in names else name.rpartition(".")[0]
            if inside in names:
                targets.add(inside)
    assert sum(map(len, edges.values())) > 200
    assert circles(edges) == []


def test_circles_are_found() -> None:
    chain = {"a": {"b"}, "b": {"c"}, "c": set(), "d": {"a", "c"}}
    assert circles(chain) == []
    assert circles({**chain, "c": {"a"}}) == [["a", "b", "c"]]
    assert circles({**chain, "c": {"c"}}) == [["c"]]
    assert circles({"a": {"b"}, "b": {"a"}, "c": {"d"}, "d": {"c"}}) == [["a", "b"], ["c", "d"]]


@pytest.mark.parametrize("module", MODULES + OUTSIDE)
def test_private_names_stay_in_their_module(module: str) -> None:
    for name, line in imported(module):
        if name.split(".")[0] == "unilabel":
            private = [part for part in name.split(".") if re.fullmatch(r"_[a-z].*", part)]
            assert not private, f"{module}:{line}: {name} belongs to its module"


def test_configuration_knows_only_the_configuration_of_detectron2() -> None:
    names = [n for n, _ in imported("unilabel/config.py") if n.startswith("detectron2")]
    assert names
    assert all(n.startswith("detectron2.config.") for n in names)


@pytest.mark.parametrize("module", MODULES)
def test_files_stay_short(module: str) -> None:
    lines = len((ROOT / module).read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_FILE_LINES, f"{module} has {lines} lines; split it"


@pytest.mark.parametrize("module", MODULES)
def test_functions_stay_short(module: str) -> None:
    for node in ast.walk(tree(module)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name in LONG_FUNCTIONS.get(module, ()):
            continue
        # The docstring does not count: it may well be longer than the code.
        first = node.body[0]
        start = first.end_lineno if ast.get_docstring(node) else node.lineno - 1
        lines = node.end_lineno - start
        assert lines <= MAX_FUNCTION_LINES, f"{module}: {node.name} has {lines} lines; split it"


@pytest.mark.parametrize("module", [m for m in MODULES if m not in PRINTING])
def test_nothing_is_printed(module: str) -> None:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "breakpoint", "eval", "exec"), (
                f"{module}:{node.lineno}: {node.func.id}()"
            )


BLOCKED_IMPORT = """
import importlib, pkgutil, sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"detectron2", "transformers", "gradio", "cv2", "timm"}:
            raise ImportError(f"{name} is blocked")
        return None

sys.meta_path.insert(0, Block())
import unilabel.core
names = [m.name for m in pkgutil.iter_modules(unilabel.core.__path__)]
for name in names:
    if name != "triton_loss":  # needs Triton, which only CUDA machines have
        importlib.import_module(f"unilabel.core.{name}")
print(len(names))
"""


def test_core_imports_without_the_other_packages() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BLOCKED_IMPORT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 15

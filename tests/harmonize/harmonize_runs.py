"""What tests of whole harmonised folders share."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

from unilabel.core.synthetic import TOY_DATASETS


def folders(world: Path, *names: str) -> list[str]:
    return ["--folders", *(str(world / name) for name in names or TOY_DATASETS)]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the links, which are compared by where they lead."""
    return {
        str(p.relative_to(folder)): os.readlink(p).encode() if p.is_symlink() else p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_symlink() or p.is_file()
    }


def check(tool: ModuleType, folder: Path, *more: str) -> int:
    return tool.main(["--check", str(folder), "--workers", "1", *more])

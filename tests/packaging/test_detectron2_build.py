"""The folder packaging/detectron2: what it fetches, unpacks and edits, and what results."""

from __future__ import annotations

import importlib
import io
import re
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.d2

FOLDER = Path(__file__).parents[2] / "packaging" / "detectron2"


@pytest.fixture
def load(monkeypatch):
    """Import a module of the packaging folder, which is on no path outside of a build."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = ("fixes", "hatch_build")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def fixes(load) -> ModuleType:
    return load("fixes")


@pytest.fixture
def hook(load) -> ModuleType:
    pytest.importorskip("hatchling", reason="the build hook needs hatchling (extra dev)")
    return load("hatch_build")


@pytest.fixture
def tree(tmp_path) -> Path:
    """A package of two files, small enough to say by hand what an edit makes of it."""
    package = tmp_path / "detectron2"
    (package / "layers").mkdir(parents=True)
    (package / "layers" / "a.py").write_text("old = 1\nold += 1\n", encoding="utf-8")
    (package / "b.py").write_text("old = 2\n", encoding="utf-8")
    return package


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def add(tar: tarfile.TarFile, name: str, content: bytes = b"x = 1\n") -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


# What is installed


def test_installed_detectron2_imports():
    import detectron2
    from detectron2.config import get_cfg
    from detectron2.engine import SimpleTrainer

    assert detectron2.__version__ in {"0.5", "0.6"}
    assert get_cfg().VERSION == 2
    assert hasattr(SimpleTrainer, "run_step")


def test_missing_operator_says_what_to_install(load):
    no_ops = pytest.importorskip("detectron2._no_ops", reason="official Detectron2")
    with pytest.raises(NotImplementedError, match=r"nms_rotated.*official Detectron2"):
        no_ops._C.nms_rotated(None)


def test_lr_scheduler_hook_saves_a_plain_torch_scheduler():
    import torch
    from detectron2.engine.hooks import LRScheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3)
    saved = LRScheduler(optimizer, scheduler).state_dict()
    assert saved["step_size"] == 3


# The edits


def test_edit_is_applied_marked_and_logged(fixes, tree):
    edit = fixes.Edit("tidier", re.compile(r"\bold\b"), "new", {"layers/a.py": 2}, "layers/")
    fixes.apply(tree, [edit])
    after = contents(tree)
    assert after["layers/a.py"] == fixes.NOTICE + "new = 1\nnew += 1\n"
    assert after["b.py"] == "old = 2\n"
    assert "layers/a.py\n  - tidier\n" in after["CHANGES.txt"]
    compile(after["_no_ops.py"], "_no_ops.py", "exec")


@pytest.mark.parametrize(
    ("pattern", "hits"),
    [
        ("absent", {"b.py": 1}),
        ("old", {"b.py": 1}),
        ("old", {"b.py": 1, "layers/a.py": 1}),
        ("old", {"b.py": 1, "layers/a.py": 2, "layers/c.py": 1}),
    ],
    ids=["missing", "another-file", "too-often", "no-such-file"],
)
def test_unexpected_hits_raise_and_write_nothing(fixes, tree, pattern, hits):
    before = contents(tree)
    good = fixes.Edit("good", re.compile("= 2"), "= 3", {"b.py": 1})
    bad = fixes.Edit("why", re.compile(pattern), "new", hits)
    with pytest.raises(fixes.FixError, match=f"{pattern}.*why"):
        fixes.apply(tree, [good, bad])
    assert contents(tree) == before


def test_table_refuses_a_source_without_its_search_strings(fixes, tree):
    with pytest.raises(fixes.FixError, match=r"layers/deform_conv\.py"):
        fixes.apply(tree)


def test_literal_takes_both_texts_as_they_are(fixes, tree):
    (tree / "b.py").write_text("f(a.b) + fxa-b\n", encoding="utf-8")
    fixes.apply(tree, [fixes.literal("why", "f(a.b)", r"g('\1\n')", "b.py")])
    assert contents(tree)["b.py"] == fixes.NOTICE + "g('\\1\\n') + fxa-b\n"


# The build hook


def test_unpack_keeps_regular_files_inside_the_package(hook, tmp_path):
    archive = tmp_path / "release.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        add(tar, "d2-0.5/LICENSE", b"licence\n")
        add(tar, "d2-0.5/setup.py")
        add(tar, "d2-0.5/detectron2/__init__.py")
        add(tar, "d2-0.5/projects/DeepLab/deeplab/config.py")
        add(tar, "d2-0.5/detectron2_other/module.py")
        add(tar, "d2-0.5/detectron2/../../../escaped.py")
        add(tar, "../detectron2/escaped.py")
        add(tar, "/detectron2/escaped.py")
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo(f"d2-0.5/detectron2/link{kind.decode()}.py")
            link.type, link.linkname = kind, "d2-0.5/detectron2/__init__.py"
            tar.addfile(link)

    target = tmp_path / "sandbox" / "deep" / "wheel"
    hook.unpack(archive, target)
    assert set(contents(tmp_path / "sandbox")) == {
        "deep/wheel/detectron2/LICENSE",
        "deep/wheel/detectron2/__init__.py",
        "deep/wheel/detectron2/projects/deeplab/config.py",
    }
    assert not list(tmp_path.rglob("escaped.py"))


def test_fetch_refuses_another_file(hook, tmp_path, monkeypatch):
    archive = tmp_path / "release.tar.gz"
    archive.write_bytes(b"something else")
    monkeypatch.setenv("DETECTRON2_SDIST", str(archive))
    with pytest.raises(RuntimeError, match=f"expected {hook.RELEASE_SHA256}"):
        hook.fetch(tmp_path)


def test_fetch_takes_a_local_file_with_the_right_hash(hook, tmp_path, monkeypatch):
    archive = tmp_path / "release.tar.gz"
    archive.write_bytes(b"abc")
    monkeypatch.setenv("DETECTRON2_SDIST", str(archive))
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    monkeypatch.setattr(hook, "RELEASE_SHA256", known)
    assert hook.fetch(tmp_path) == archive


def test_fetch_names_the_variable_of_a_missing_file(hook, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_SDIST", str(tmp_path / "absent.tar.gz"))
    with pytest.raises(RuntimeError, match=r"DETECTRON2_SDIST names .*absent\.tar\.gz"):
        hook.fetch(tmp_path)


def test_hook_refuses_editable_installation(hook, tmp_path):
    build_hook = hook.Detectron2Hook(str(tmp_path), {}, None, None, str(tmp_path), "wheel")
    build_data = {"force_include": {}}
    with pytest.raises(RuntimeError, match="without -e"):
        build_hook.initialize("editable", build_data)
    assert build_data == {"force_include": {}}


def test_hook_adds_the_package_and_removes_its_folder(hook, tmp_path, monkeypatch):
    def unpack(archive: Path, target: Path) -> None:
        (target / "detectron2").mkdir(parents=True)
        (target / "detectron2" / "m.py").write_text("old\n", encoding="utf-8")

    edits = [hook.fixes.literal("why", "old", "new", "m.py")]
    apply = hook.fixes.apply
    monkeypatch.setattr(hook, "fetch", lambda folder: folder / "unused")
    monkeypatch.setattr(hook, "unpack", unpack)
    monkeypatch.setattr(hook.fixes, "apply", lambda package: apply(package, edits))

    build_hook = hook.Detectron2Hook(str(tmp_path), {}, None, None, str(tmp_path), "wheel")
    build_data = {"force_include": {}}
    build_hook.initialize("standard", build_data)
    [(source, package)] = build_data["force_include"].items()
    assert package == "detectron2"
    assert (Path(source) / "m.py").read_text(encoding="utf-8").endswith("new\n")
    build_hook.finalize("standard", build_data, "wheel")
    assert not Path(source).exists()


@pytest.mark.parametrize(
    ("environment", "urls"),
    [
        ({}, []),
        ({"PIP_INDEX_URL": "a", "PIP_EXTRA_INDEX_URL": "b c"}, ["a", "b", "c"]),
        ({"UV_DEFAULT_INDEX": "u", "UV_INDEX": "v"}, ["u", "v"]),
        ({"PIP_INDEX_URL": "a", "UV_DEFAULT_INDEX": "u"}, ["a"]),
    ],
)
def test_index_urls_follow_the_installer(hook, environment, urls):
    assert hook.index_urls(environment) == urls

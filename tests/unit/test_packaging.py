"""The package as it ships: nothing forgotten, nothing private, and every import in its direction."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("schemas", "streams", "sinks")
# What the domain may import besides itself: see design in docs/.
DOMAIN_MAY_IMPORT = {"numpy", "pyarrow", "polars", "xxhash"}
DOMAIN_MAY_IMPORT_OF_OURS = ("nanotally.schemas", "nanotally.streams.domain", "nanotally.streams.errors")
# Standard library that reads a clock, draws lots, or reaches outside the process.
DOMAIN_MUST_NOT_IMPORT = {
    "time",
    "random",
    "secrets",
    "socket",
    "asyncio",
    "threading",
    "subprocess",
    "os",
    "pathlib",
}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def tracked_files() -> list[Path]:
    """Files under version control; outside a clone, all files but those of local runs."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    left_out = {".venv", ".nanotally", "__pycache__", ".git"}
    return [path for path in ROOT.rglob("*") if path.is_file() and not left_out & set(path.parts)]


def test_every_package_on_disk_is_listed(project: dict[str, Any]) -> None:
    on_disk = {
        "nanotally." + ".".join(path.parent.relative_to(ROOT).parts)
        for top in SHIPPED
        for path in (ROOT / top).rglob("*.py")
    }
    assert set(project["tool"]["setuptools"]["packages"]) == on_disk


def test_every_package_has_a_docstring() -> None:
    for top in SHIPPED:
        for path in (ROOT / top).rglob("__init__.py"):
            assert ast.get_docstring(ast.parse(path.read_text())), f"{path.relative_to(ROOT)} says nothing"


def test_every_data_file_is_shipped(project: dict[str, Any]) -> None:
    patterns = project["tool"]["setuptools"]["package-data"]
    for top in SHIPPED:
        shipped = {path for pattern in patterns.get(f"nanotally.{top}", []) for path in (ROOT / top).glob(pattern)}
        for path in (ROOT / top).rglob("*"):
            if path.is_file() and path.suffix not in (".py", ".pyc", ".md") and "__pycache__" not in path.parts:
                assert path in shipped, f"{path.relative_to(ROOT)} would be missing from the package"


def test_packages_import_under_their_names() -> None:
    import nanotally.schemas
    import nanotally.sinks
    import nanotally.streams

    for package, top in zip((nanotally.schemas, nanotally.streams, nanotally.sinks), SHIPPED, strict=True):
        assert Path(package.__path__[0]) == ROOT / top


def imported_modules(path: Path) -> set[str]:
    """Full names of the modules a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_the_domain_imports_only_values_and_columns() -> None:
    for path in (ROOT / "streams" / "domain").rglob("*.py"):
        for name in imported_modules(path):
            top = name.split(".")[0]
            allowed = (
                name.startswith(DOMAIN_MAY_IMPORT_OF_OURS)
                or top in DOMAIN_MAY_IMPORT
                or (top in sys.stdlib_module_names and top not in DOMAIN_MUST_NOT_IMPORT)
            )
            assert allowed, f"{path.relative_to(ROOT)} imports {name}; the domain has no I/O, no clock, no files"


def test_lock_and_files_name_no_registry_and_no_machine() -> None:
    # Written apart so that this file does not find itself.
    registries = [
        "pypi" + ".org",
        "files.python" + "hosted",
        "registry.npm" + "js",
        "repo1.maven" + ".org",
        "repo.maven" + ".apache",
    ]
    folders = ["/ro" + "ot/", "/ho" + "me/", "/Us" + "ers/", "/wo" + "rk/", "/opt/whe" + "els"]
    found = re.compile("|".join(re.escape(text) for text in registries + folders))
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        match = found.search(text)
        assert match is None or "tests/data" in str(path), f"{path.relative_to(ROOT)} names {match and match.group()}"


def test_the_lock_holds_every_dependency_with_a_hash(project: dict[str, Any]) -> None:
    lock = (ROOT / "requirements.lock").read_text()
    locked = {name.lower().replace("_", "-") for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE)}
    wanted = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["dev"]
    for requirement in wanted:
        name = re.split(r"[<>=~!\[;]", requirement)[0].lower().replace("_", "-")
        assert name in locked, f"{name} is not in requirements.lock: make lock"
    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=[A-Za-z0-9])", lock) if "==" in entry)


def test_make_help_shows_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    declared = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert declared is not None
    documented = set(re.findall(r"^([a-z]+):.*## \S", text, re.MULTILINE))
    assert set(declared.group(1).split()) == documented


def test_an_old_python_is_told_what_to_do(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    command = ["make", "setup", f"PYTHON={old}"]
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert f"nanotally needs Python 3.11 or later; {old} is Python 3.9.2." in refused.stdout
    assert "make PYTHON=/path/to/python3.11 setup" in refused.stdout
    assert not (tmp_path / ".venv").exists()

"""docs/reliability.md promises nothing without a test: each test that it names is there, and would run."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
FIRST, NEXT = "## What is promised", "## What is not promised"
NODE = re.compile(r"`([\w/]+\.py)::(\w+)`")
SELDOM = {"skip", "skipif", "xfail"}


def rows() -> list[list[str]]:
    """The cells of each promise: promise, with one broker, with three, tests."""
    section = PAGE.read_text(encoding="utf-8").split(FIRST)[1].split(NEXT)[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[2:]]
    return [row for row in cells if not row[0].startswith("**") or not row[0].endswith("**")]


def named() -> list[tuple[Path, str]]:
    """File and function of each test that the page names, also outside of the table."""
    found = NODE.findall(PAGE.read_text(encoding="utf-8"))
    return sorted({(ROOT / "tests" / path.removeprefix("tests/"), name) for path, name in found})


def test_each_promise_says_what_it_is_worth_with_one_broker_and_with_three_and_names_its_test() -> None:
    promises = rows()
    assert len(promises) >= 30
    for row in promises:
        assert len(row) == 4, row
        promise, one, three, tests = row
        assert promise and (one or three), promise
        assert NODE.search(tests) and not NODE.sub("", tests).strip(", "), f"{promise}: {tests}"


def test_the_page_says_what_is_not_promised() -> None:
    text = PAGE.read_text(encoding="utf-8").split(NEXT)[1].split("\n## ")[0]
    assert text.count("\n* **") >= 10


@pytest.mark.parametrize(("path", "name"), named(), ids=lambda part: part.stem if isinstance(part, Path) else part)
def test_a_named_test_is_written_and_never_left_out(path: Path, name: str) -> None:
    assert path.is_file(), f"{path.relative_to(ROOT)} is not there"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name == name]
    assert len(functions) == 1, f"{path.relative_to(ROOT)} has no test {name}"
    marks = {n.attr for one in functions[0].decorator_list for n in ast.walk(one) if isinstance(n, ast.Attribute)}
    assert not marks & SELDOM, f"{name} does not always run"


def test_the_named_tests_are_collected() -> None:
    nodes = [f"{path.relative_to(ROOT)}::{name}" for path, name in named()]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *nodes]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    collected = {line.split("[")[0] for line in done.stdout.splitlines() if "::" in line}
    assert collected == set(nodes)

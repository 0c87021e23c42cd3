"""Imports point one way: scripts, nano, helpers, experts, dataset, model, common."""

import ast
from pathlib import Path

import pytest

from common.files import ROOT

# From the ground floor up; scripts and benchmarks stand above all of them.
FLOORS = ("common", "model", "dataset", "experts", "helpers", "nano")


def imported(path: Path) -> set[str]:
    """The packages that a file imports, at its top or later."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
    return found


@pytest.mark.parametrize("floor", FLOORS)
def test_a_package_imports_only_those_below_it(floor):
    above = set(FLOORS[FLOORS.index(floor) + 1 :]) | {"benchmarks", "tests"} | {p.stem for p in ROOT.glob("*.py")}
    files = list((ROOT / floor).rglob("*.py"))
    assert files
    upward = {str(path.relative_to(ROOT)): imported(path) & above for path in files}
    assert {path: names for path, names in upward.items() if names} == {}


def test_helpers_has_folders_only():
    assert [path.name for path in (ROOT / "helpers").glob("*.py")] == ["__init__.py"]

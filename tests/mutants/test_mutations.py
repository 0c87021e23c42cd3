"""What faults are found in a source file."""

from pathlib import Path

import pytest

from tests.mutants.mutations import find_mutants


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a < b", ["x = (a <= b)", "x = (a > b)"]),
        ("x = a and not b", ["x = (a or not b)", "x = a and (b)"]),
        ("x = y[1:]", ["x = (y[:])", "x = y[(2):]"]),
        ("if ready():\n    go()", ["if (not ready()):\n    go()", "if ready():\n    pass"]),
        ("x += 1", ["pass", "x += (2)"]),
        ("def f(x: int = 3) -> int: ...", ["def f(x: int = (4)) -> int: ..."]),
        ('raise ValueError(f"{1 + 1}")', []),
        ('print(1)\nfolder / "name"', []),
        ("x = zip(a, b, strict=True)", []),
    ],
)
def test_faults_are_small_and_touch_no_texts(source, expected):
    found = find_mutants(Path("x.py"), source.encode())
    assert [mutant.apply(source.encode()).decode() for mutant in found] == expected


def test_a_fault_knows_its_function():
    source = b"class A:\n    @property\n    def f(self):\n        def g(): return -1\n        return g"
    found = find_mutants(Path("x.py"), source)
    assert {mutant.function for mutant in found} == {"A.f.<locals>.g"}

"""Names of classes."""

import pytest

from dataset.class_tables import class_names


@pytest.mark.parametrize(
    ("table", "count", "first", "last"), [("coco", 133, "person", "rug"), ("ade", 150, "wall", "flag")]
)
def test_tables_of_the_released_models(table, count, first, last):
    names = class_names(table)
    assert len(set(names)) == len(names) == count
    assert (names[0], names[-1]) == (first, last)

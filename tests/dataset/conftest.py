"""Fixtures of the data tests."""

from pathlib import Path

import pytest

from tests.dataset.disk import Disk


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)

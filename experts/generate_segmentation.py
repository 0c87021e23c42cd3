"""Writes segmentation labels; see generate.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.cli import run
from experts.generate import SEGMENTATIONS, main

if __name__ == "__main__":
    run(lambda: main(SEGMENTATIONS))

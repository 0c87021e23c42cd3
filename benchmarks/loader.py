"""The data loader: samples a second from one worker, and a sample's bytes on their way to the device."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, default_collate

from benchmarks.baseline import embedding_map
from benchmarks.measure import print_table, start, take_turns
from common.files import ROOT
from dataset.captions import CaptionDataset, caption_dataset
from dataset.loader import Loader, collate
from dataset.samples import ImageConfig
from helpers.checkpoints.load import prepare_inputs
from model.inputs import PrepareInputs
from model.modules.label_map import LabelMap
from nano.scenes.dataset_files import Options, write_data

EXPERTS = ("depth", "normal", "seg_scenes", "edge", "obj_detection", "ocr_detection")
SCENES = 8  # of each split
SAMPLES = 48  # read in a turn
BATCH = 4
TURNS = 3


class PlainSamples(Dataset):
    """Samples as the network reads them: float images, and label maps of 64 float channels."""

    def __init__(self, dataset: CaptionDataset, prepare: PrepareInputs) -> None:
        self.dataset, self.prepare = dataset, prepare

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: x[0] for name, x in plain_inputs(self.prepare, collate([self.dataset[index]])).items()}


def plain_inputs(prepare: PrepareInputs, batch: dict[str, Any]) -> dict[str, Tensor]:
    """All inputs of the encoder as float maps, from a collated batch."""
    inputs = prepare(batch)
    return {name: embedding_map(x) if isinstance(x, LabelMap) else x for name, x in inputs.items()}


def main() -> None:
    tiny = start("Data loader, 640 px images with six labels, to 480 and 224 px, one worker")
    long_side, image, label = (64, 96, 64) if tiny else (640, 480, 224)
    prepare = prepare_inputs(EXPERTS, ROOT / "nano" / "tables")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_data(Options(Path(folder), 0, long_side, True), SCENES, SCENES, 1)
        visual = ImageConfig(
            label_path=Path(folder) / "labels", experts=EXPERTS, image_resolution=image, label_resolution=label
        )
        for split in ("train", "test"):
            dataset = caption_dataset("coco", split, folder, visual)
            ways = {
                "baseline": reader(PlainSamples(dataset, prepare), default_collate),
                "ours": reader(dataset, collate),
            }
            timings = take_turns(ways, TURNS)
            check(timings["baseline"].result, timings["ours"].result, prepare)
            before = timings["baseline"].seconds
            for name, (seconds, batch) in ((name, (t.seconds, t.result)) for name, t in timings.items()):
                speed = [f"{SAMPLES / seconds:.1f}", f"{before / seconds:.1f}x"]
                rows.append([name, split, str(TURNS), *speed, f"{size(batch) / BATCH / 1e6:.2f}"])
    print_table(["", "split", "turns", "samples/s", "speed-up", "MB/sample"], rows)


def reader(dataset: Dataset, collate_fn: Callable) -> Callable[[], Any]:
    """What reads `SAMPLES` samples through one worker, and returns the last batch."""
    # As often around as it takes.
    indices = [index % len(dataset) for index in range(SAMPLES)]
    loader = Loader(Subset(dataset, indices), BATCH, num_workers=1, collate_fn=collate_fn, persistent_workers=True)

    def read() -> Any:
        for batch in loader:
            last = batch
        return last

    return read


def size(batch: Any) -> int:
    """Bytes of all tensors in a batch."""
    if isinstance(batch, Tensor):
        return batch.nbytes
    return sum(map(size, batch.values())) if isinstance(batch, dict) else 0


def check(expected: dict[str, Tensor], batch: dict[str, Any], prepare: PrepareInputs) -> None:
    """That the network would read the same."""
    for name, x in plain_inputs(prepare, batch).items():
        torch.testing.assert_close(x, expected[name])


if __name__ == "__main__":
    main()

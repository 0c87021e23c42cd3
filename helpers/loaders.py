"""Data loaders: which samples this process reads, in batches of bytes."""

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from dataset.captions import CaptionDataset, Split, caption_dataset
from dataset.collate import collate
from helpers.config import CaptionConfig
from helpers.sampler import EpochSampler


def caption_loader(config: CaptionConfig, split: Split, seed: int, accelerator: Accelerator) -> DataLoader:
    """Batches of a caption data set: shuffled and augmented for training, in order for a test.

    Args:
        config: names the data set and its paths.
        split: `train` or `test`.
        seed: of order and augmentation.
        accelerator: knows this process's share.

    Raises:
        UserError: a list, a folder or a row is missing or malformed.
    """
    dataset: CaptionDataset = caption_dataset(
        config.dataset,
        split,
        data_path=config.data_path,
        label_path=config.label_path,
        experts=config.experts,
        image_resolution=config.image_resolution,
        label_resolution=config.label_resolution,
        prefix=config.prefix,
        train_list=config.train_list,
        test_list=config.test_list,
        augment=config.augment,
        captions_per_image=config.captions_per_image if split == "train" else 1,
        seed=seed,
        compat=config.compat,
    )
    sampler = EpochSampler(
        len(dataset),
        shuffle=split == "train",
        seed=seed,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
    )
    return DataLoader(
        dataset,
        batch_size=config.batch_size_train if split == "train" else config.batch_size_test,
        sampler=sampler,
        num_workers=config.num_workers,
        # One thread a worker: more would fight with the network for the processor.
        worker_init_fn=_one_thread,
        collate_fn=collate,
        pin_memory=accelerator.device.type == "cuda",
        persistent_workers=config.num_workers > 0,
    )


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)

"""The four sources of pre-training, read as one data set."""

from collections.abc import Mapping
from pathlib import Path

from common.errors import UserError
from dataset.captions import caption_dataset
from dataset.concat import ConcatDataset
from dataset.image_list import check_data_path
from dataset.img2dataset import Img2Dataset
from dataset.location import Url
from dataset.samples import ImageConfig, ImageFolder, ImageLabelDataset

CRAWLED = ("cc12m", "cc3m_sgu")  # folders of images with a caption file each; the others have a list


def pretraining_dataset(
    data_paths: Mapping[str, Path | Url],
    visual: ImageConfig,
    *,
    prefix: str = "",
    captions_per_image: int = 1,
    weights: Mapping[str, float] | None = None,
    samples_per_epoch: int | None = None,
) -> ConcatDataset:
    """Opens the sources; samples of which anything is missing or damaged are skipped, and counted.

    Args:
        data_paths: by source (`cc12m`, `cc3m_sgu`, `coco`, `vg`), the folder that holds its images' folder
            and, if it has one, its list.
        visual: how images and labels are read.
        prefix: what captions begin with.
        captions_per_image: captions of a sample, see `caption_dataset`.
        weights: each source's share of an epoch, see `ConcatDataset`.
        samples_per_epoch: likewise.

    Raises:
        UserError: a folder or list is missing or malformed.
    """
    if weights is not None and weights.keys() != data_paths.keys():
        raise UserError(f"config key 'weights' must have those of 'dataset': {', '.join(data_paths)}")
    options = {"prefix": prefix, "captions_per_image": captions_per_image}

    def open_source(name: str, data_path: Path | Url) -> ImageLabelDataset:
        if name in CRAWLED:
            folder = ImageFolder(check_data_path(data_path) / name, name)
            return Img2Dataset(folder, visual, **options)
        return caption_dataset(name, "train", data_path, visual, tolerant=True, **options)

    sources = [open_source(name, path) for name, path in data_paths.items()]
    shares = None if weights is None else [weights[name] for name in data_paths]
    return ConcatDataset(sources, shares, samples_per_epoch)

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

_CRAWLED = ("cc12m", "cc3m_sgu")  # as img2dataset leaves them; the other sources have a list


def pretraining_dataset(
    data_paths: Mapping[str, Path | Url],
    visual: ImageConfig,
    *,
    prefix: str = "",
    captions_per_image: int = 1,
    weights: Mapping[str, float] | None = None,
    samples_per_epoch: int | None = None,
) -> ConcatDataset:
    """Opens the sources. Samples with anything missing or damaged are skipped and counted.

    Args:
        data_paths: by source (`cc12m`, `cc3m_sgu`, `coco`, `vg`), the folder that holds its images' folder
            and, if it has one, its list.
        visual, prefix, captions_per_image: see `caption_dataset`.
        weights, samples_per_epoch: each source's share of an epoch, and its length, see `ConcatDataset`.

    Raises:
        UserError: a folder or list is missing or malformed.
    """
    if weights is not None and weights.keys() != data_paths.keys():
        raise UserError(f"config key 'weights' must have those of 'dataset': {', '.join(data_paths)}")
    options = {"prefix": prefix, "captions_per_image": captions_per_image}
    sources: list[ImageLabelDataset] = []
    for name, data_path in data_paths.items():
        if name in _CRAWLED:
            sources.append(Img2Dataset(ImageFolder(check_data_path(data_path) / name, name), visual, **options))
        else:
            sources.append(caption_dataset(name, "train", data_path, visual, tolerant=True, **options))
    shares = None if weights is None else [weights[name] for name in data_paths]
    return ConcatDataset(sources, shares, samples_per_epoch)

"""A model as a self-contained folder, as the Hugging Face hub stores it.

It holds `config.json`, `model.safetensors`, the tokenizer's files, `class_tables/` of the model's experts, and a
model card, `README.md`.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from huggingface_hub import HfApi, ModelCardData, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

from common.errors import UserError, first_line
from common.files import ROOT, json_text, write_bytes
from common.hub import check_connection
from common.overwrite import NOTES, Outputs
from dataset.class_tables import BACKGROUND_TABLE, read_class_tables
from helpers.checkpoints.load import DESCRIPTION, HUB_DESCRIPTION, LoadedModel, describe
from helpers.checkpoints.weight_files import write_weights
from model.modalities import modality

TABLES = "class_tables"
FILES = (HUB_DESCRIPTION, "*.safetensors*", "vocab.json", "merges.txt", f"{TABLES}/*.npz")  # needed to load


@dataclass(frozen=True)
class Card:
    """The part of a model card that the network does not tell.

    Attributes:
        task: one of the hub's `pipeline_tag`s.
        example: a line of Python that uses `model`.
        license: of the weights, as the hub abbreviates it; None leaves it open.
        metrics: scores by name.
    """

    task: str
    example: str
    license: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


def find_folder(name: str | Path) -> Path:
    """A folder, absolute or relative to here or to the project; for a model on the hub, its copy in the cache.

    Raises:
        UserError: no such folder, and the hub has no such model or cannot be reached.
    """
    for folder in (Path(name), ROOT / name):
        if folder.is_dir():
            return folder
    reason = None
    try:
        check_connection()
    except UserError as error:
        reason = error
    try:
        return Path(snapshot_download(str(name), allow_patterns=list(FILES), local_files_only=reason is not None))
    except (OSError, HTTPError, HfHubHTTPError, HFValidationError) as error:
        reason = reason or (
            f"it cannot be fetched from the hub ({first_line(error)}); check the name, the connection, or for a "
            "private model the token (hf auth login)"
        )
        raise UserError(f"model '{name}': no such folder, and {reason}") from None


def write_folder(loaded: LoadedModel, folder: Path, class_name: str, card: Card, overwrite: bool = False) -> None:
    """Writes a model as a self-contained folder.

    Args:
        loaded: the model.
        folder: created if missing.
        class_name: the class of `helpers.inference.captioner` that loads it.
        card: for the model card.
        overwrite: replace files that this did not write.

    Raises:
        UserError: the folder holds such files.
    """
    model = loaded.model
    weights, description = folder / "model.safetensors", folder / DESCRIPTION
    files = {folder / name: content for name, content in _small_files(loaded, class_name, card)}
    outputs = Outputs("save_pretrained", overwrite, "name another folder", "overwrite=True")
    outputs.check([weights, description, *files])
    with outputs.writing(weights):
        write_weights(weights, model.state_dict())
    outputs.remove(description)  # it would be read instead of config.json
    for path, content in files.items():
        with outputs.writing(path):
            write_bytes(path, content)


def _small_files(loaded: LoadedModel, class_name: str, card: Card) -> Iterator[tuple[str, bytes]]:
    """Names and contents of all files but the weights."""
    model = loaded.model
    description = describe(model.config, ".", Path(TABLES), loaded.usage)
    yield HUB_DESCRIPTION, json_text(description | {"class_tables": TABLES}, indent=2).encode()
    with TemporaryDirectory() as folder:
        model.tokenizer.backend_tokenizer.model.save(folder)  # vocab.json and merges.txt, for us
        model.tokenizer.save_pretrained(folder)  # for other programs
        yield from ((path.name, path.read_bytes()) for path in Path(folder).iterdir())
    yield from _tables(loaded)
    yield "README.md", _card_text(loaded, class_name, card).encode()


def push_folder(folder: Path, repository: str, *, private: bool | None, token: str | None) -> str:
    """Creates a repository on the hub if needed, commits a folder to it, and returns its address.

    Raises:
        UserError: the hub cannot be reached, or refuses.
    """
    api = HfApi(token=token)
    check_connection()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="Prismer", ignore_patterns=f"*{NOTES}"
        )
    except (OSError, HTTPError, HfHubHTTPError, HFValidationError) as error:
        raise UserError(
            f"'{repository}': cannot be pushed to {api.endpoint} ({first_line(error)}); "
            "check the name, the connection and the token (hf auth login)"
        ) from None
    return f"{api.endpoint}/{repository}"


def _card_text(loaded: LoadedModel, class_name: str, card: Card) -> str:
    """The model card: front matter for the hub, description, example, scores."""
    network = loaded.model.config
    header = ModelCardData(
        license=card.license, pipeline_tag=card.task, tags=["prismer", "vision-language", "safetensors"]
    )
    parameters = sum(parameter.numel() for parameter in loaded.model.parameters())
    labels = f"the labels of its experts ({', '.join(network.experts)})" if network.experts else "no labels"
    text = f"""---
{header.to_yaml()}
---

# {"Prismer" if network.experts else "PrismerZ"}

A vision-language model ([arXiv 2303.02506](https://arxiv.org/abs/2303.02506)) of {parameters:,} parameters. \
Beside the image, {network.image_resolution} pixels wide, it reads {labels}.

```python
from helpers.inference.captioner import {class_name}

model = {class_name}.from_pretrained("<this repository>")
{card.example}
```
"""
    if card.metrics:
        text += "\n| score | |\n|---|---|\n"
        text += "".join(f"| {name} | {value:.4g} |\n" for name, value in card.metrics.items())
    return text


def _tables(loaded: LoadedModel) -> Iterator[tuple[str, bytes]]:
    """The class tables of the model's experts, and the embedding of the background."""
    used = [modality(name) for name in loaded.model.config.experts]
    if not any(entry.is_label_map for entry in used):
        return
    tables = read_class_tables(loaded.class_tables, [entry.classes for entry in used if entry.classes])
    arrays = {
        name: {"labels": np.array(tables.labels[name]), "features": features}
        for name, features in tables.features.items()
    }
    for name, content in (arrays | {BACKGROUND_TABLE: {"features": tables.background}}).items():
        file = io.BytesIO()
        np.savez(file, **content)
        yield f"{TABLES}/{name}.npz", file.getvalue()

"""Labels as files: a PNG per image and modality, and a JSON sidecar for instances and words.

`<save_path>/<expert>/<image path without suffix>.png`. A label without a map is a PNG of zero bytes,
which reads as "nothing here". The PNG comes last, so where there is one its label is finished.
"""

import io
import json
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from dataset.files import write_bytes
from experts.base import Label
from model.modalities import modality


def label_png(save_path: Path, expert: str, label: str) -> Path:
    """The PNG of an image's label; not `with_suffix`, since names may hold dots."""
    return save_path / expert / f"{label}.png"


def is_finished(save_path: Path, experts: Iterable[str], label: str) -> bool:
    """Whether an image has all these labels."""
    return all(label_png(save_path, expert, label).exists() for expert in experts)


def write_label(save_path: Path, expert: str, name: str, label: Label) -> None:
    """Writes one label, each of its files whole or not at all."""
    png = label_png(save_path, expert, name)
    content = _sidecar(label)
    for index, suffix in enumerate(modality(expert).sidecars):
        sidecar = png.with_name(f"{png.name.removesuffix('.png')}{suffix}")
        if index == 0 and content is not None:
            write_bytes(sidecar, json.dumps(content).encode())
        else:
            sidecar.unlink(missing_ok=True)  # of an earlier label that this one replaces
    buffer = io.BytesIO()
    if label.map is not None:
        Image.fromarray(label.map).save(buffer, format="PNG")
    write_bytes(png, buffer.getvalue())


def _sidecar(label: Label) -> dict | None:
    if label.instances is not None:
        return {str(key): value for key, value in label.instances.items()}
    if label.words:
        return {
            # str() is the shortest decimal that reads back as the same float32
            str(key): {"text": word.text, "features": [float(str(x)) for x in word.features]}
            for key, word in label.words.items()
        }
    return None

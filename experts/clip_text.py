"""The 64 numbers that the model sees of a text: CLIP's text embedding, reduced by a fixed PCA."""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from common.errors import UserError, one_line
from common.pickles import FETCH_PCA, read_pickle
from experts.batches import fixed_chunks
from experts.hub_networks import from_hub, load_checkpoint, local_files
from model.modalities import EMBEDDING_DIM

CHECKPOINT = "openai/clip-vit-large-patch14"
PCA, RELEASED_PCA = "clip_pca.npz", "clip_pca.pkl"
_TOKENIZER = ("vocab.json", "merges.txt", "tokenizer.json")
_CHUNK = 8  # texts per forward
_CACHED = 200_000  # texts, 0.1 GB


class ClipText:
    """Embeds texts, each once. May be called from several threads.

    Args:
        checkpoint: CLIP, as a name on the hub or a folder. It stays in float32.
        weights: the folder with the PCA.
        device: of CLIP.

    Raises:
        UserError: the checkpoint or the PCA is missing or damaged, or they do not fit together.
    """

    def __init__(self, checkpoint: str, weights: Path, device: torch.device) -> None:
        self.network = from_hub(CLIPTextModelWithProjection, checkpoint).to(device).eval()
        self.tokenizer = load_checkpoint(CLIPTokenizer.from_pretrained, checkpoint)
        config = self.network.config
        if len(self.tokenizer) != config.vocab_size:  # the library makes an empty one if files are missing
            raise UserError(
                f"{checkpoint}: its tokenizer has {len(self.tokenizer)} tokens, its network "
                f"{config.vocab_size}; name a folder that has {' and '.join(_TOKENIZER[:2])}, too"
            )
        self.mean, self.components = read_pca(clip_text_files(checkpoint, weights)[0], config.projection_dim)
        self.device = device
        self._cache: dict[str, np.ndarray] = {}
        self._lock = Lock()

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> float32 (texts, 64). The row of a text does not depend on the other texts."""
        with self._lock:
            new = sorted(set(texts) - self._cache.keys())
            if len(self._cache) + len(new) > _CACHED:
                self._cache.clear()
                new = sorted(set(texts))
            self._cache.update(zip(new, self._embed(new), strict=True))
            return np.stack([self._cache[text] for text in texts])

    @torch.inference_mode()
    def _embed(self, texts: list[str]) -> np.ndarray:
        limit = self.network.config.max_position_embeddings
        tokens = self.tokenizer(texts, truncation=True, max_length=limit)["input_ids"] if texts else []
        features = np.empty((len(texts), EMBEDDING_DIM), np.float32)
        # Texts of one length need no padding, and no attention mask.
        for length in {len(ids) for ids in tokens}:
            rows = [row for row, ids in enumerate(tokens) if len(ids) == length]
            chunks = fixed_chunks([torch.tensor(tokens[row]) for row in rows], _CHUNK)
            embedded = torch.cat(
                [self.network(ids.to(self.device)).text_embeds[:count].cpu() for ids, count in chunks]
            )
            features[rows] = (embedded.double().numpy() - self.mean) @ self.components.T
        return features


def clip_text_files(checkpoint: str, weights: Path) -> list[Path]:
    """The files that `ClipText` reads, but for those of the hub. The PCA comes first."""
    pca = weights / (PCA if (weights / PCA).exists() else RELEASED_PCA)
    tokenizer = [path for name in _TOKENIZER if (path := Path(checkpoint) / name).exists()]
    return [pca, *local_files(checkpoint), *tokenizer]


def read_pca(path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads the PCA's mean (d,) and components (64, d), float64; d must be `size`.

    `.npz` holds the arrays `mean` and `components`; of scikit-learn's pickle only data is read.

    Raises:
        UserError: the file is missing, damaged, or of another shape.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                mean, components = arrays["mean"], arrays["components"]
        else:
            pca = read_pickle(path, placeholders=("sklearn.decomposition._pca.PCA",))
            mean, components = pca.mean_, pca.components_
        mean, components = (np.asarray(values, dtype=np.float64) for values in (mean, components))
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: missing; fetch it with: {FETCH_PCA}") from None
    except Exception as error:  # numpy raises many types
        reason = one_line(error)[:100]
        raise UserError(f"{path}: damaged ({reason}); fetch it again: {FETCH_PCA}") from None
    if not np.isfinite(mean).all() or not np.isfinite(components).all():
        raise UserError(f"{path}: damaged (values that are not finite); fetch it again: {FETCH_PCA}")
    if mean.shape != (size,) or components.shape != (EMBEDDING_DIM, size):
        raise UserError(
            f"{path}: mean {mean.shape} and components {components.shape}, expected {(size,)} and "
            f"{(EMBEDDING_DIM, size)}, as CLIP's embedding has it; fetch it again: {FETCH_PCA}"
        )
    return mean, components

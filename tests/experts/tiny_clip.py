"""A CLIP with few numbers, as a folder like that of the real one on the hub."""

import json
from pathlib import Path

import numpy as np
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPConfig, CLIPModel

WIDTH = 32  # of its embeddings


def save_clip(folder: Path, seed: int = 0) -> Path:
    """Writes config.json, model.safetensors, vocab.json and merges.txt; letters are the tokens, and 'st'."""
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "st", "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\ns t\n")
    shared = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": len(tokens), "max_position_embeddings": 20, "projection_dim": WIDTH}
    text |= {
        "bos_token_id": len(tokens) - 2,
        "eos_token_id": len(tokens) - 1,
        "pad_token_id": len(tokens) - 1,
    }
    torch.manual_seed(seed)
    network = CLIPModel(
        CLIPConfig(
            text_config={**shared, **text},
            vision_config={**shared, "image_size": 32, "patch_size": 16, "projection_dim": WIDTH},
            projection_dim=WIDTH,
        )
    )
    for weights in network.parameters():  # its own initialisation leaves texts nearly alike
        torch.nn.init.normal_(weights, std=0.3)
    network.save_pretrained(folder)
    return folder


def save_pca(path: Path, width: int = WIDTH, seed: int = 0) -> Path:
    """Writes a PCA from `width` numbers to 64."""
    rng = np.random.default_rng(seed)
    np.savez(path, mean=rng.normal(size=width), components=rng.normal(size=(64, width)))
    return path

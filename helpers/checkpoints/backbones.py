"""Training from scratch: copies CLIP's vision tower and RoBERTa into a new model.

Adaptors, cross-attention, stems, resampler and the decoder's last layer keep their new weights.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from huggingface_hub.errors import HFValidationError
from torch import Tensor

from common.errors import UserError
from common.files import ROOT
from helpers.checkpoints.released import WEIGHTS, HubFile
from helpers.checkpoints.weight_files import differences, find_weights, fit_positions, read_weights
from model.freeze import LANGUAGE_LAYERS, VISION_LAYERS
from model.prismer import Prismer
from model.sizes import MODELS_FILE, Backbones

FETCH = "python download_checkpoints.py --download_backbones=True"

# The keys of a model's state dict that the backbones fill.
VISION = rf"expert_encoder\.(conv1\.rgb|positional_embedding|ln_pre|ln_post)\b|{VISION_LAYERS}"
TEXT = rf"text_decoder\.(roberta\.embeddings\.(?!position_ids)|lm_head\.)|{LANGUAGE_LAYERS}"

# Old and new name, tried in this order; None: not used. A key without a rule is an error.
OPENAI = (
    (r"(?!visual\.).*", None),  # the text tower
    (r"visual\.(class_embedding|proj)", None),
    (r"visual\.conv1\.(.*)", r"conv1.rgb.\1"),
    (r"visual\.transformer\.resblocks\.(\d+)\.(.*)", r"transformer.resblocks.\1.0.\2"),
    (r"visual\.(.*)", r"\1"),
)
_LAYER, _BLOCK = r"encoder\.layers\.(\d+)\.", r"transformer.resblocks.\1.0."
TRANSFORMERS = (
    (r"text_model\..*|(visual|text)_projection\..*|logit_scale", None),
    (r"embeddings\.(class_embedding|position_ids)", None),
    (r"embeddings\.patch_embedding\.(.*)", r"conv1.rgb.\1"),
    (r"embeddings\.position_embedding\.weight", r"positional_embedding"),
    (r"pre_layrnorm\.(.*)", r"ln_pre.\1"),  # their spelling
    (r"post_layernorm\.(.*)", r"ln_post.\1"),
    (_LAYER + r"self_attn\.([qkv])_proj\.(.*)", _BLOCK + r"attn.in_proj_\3.\2"),
    (_LAYER + r"self_attn\.out_proj\.(.*)", _BLOCK + r"attn.out_proj.\2"),
    (_LAYER + r"layer_norm([12])\.(.*)", _BLOCK + r"ln_\2.\3"),
    (_LAYER + r"mlp\.fc1\.(.*)", _BLOCK + r"mlp.c_fc.\2"),
    (_LAYER + r"mlp\.fc2\.(.*)", _BLOCK + r"mlp.c_proj.\2"),
)
ROBERTA = (
    (r"roberta\.pooler\..*|roberta\.embeddings\.position_ids", None),
    (r"roberta\.encoder\.layer\.(\d+)\.(.*)", r"roberta.encoder.layer.\1.0.\2"),
    (r"(roberta\.embeddings|lm_head)\.(.*)", r"\1.\2"),
)
Rules = Iterable[tuple[str, str | None]]


def find_backbones(backbones: Backbones | None) -> tuple[Path, Path] | None:
    """The weight files of a size's vision and text backbone; None for a size without backbones.

    Raises:
        UserError: one of them is missing.
    """
    return None if backbones is None else (_find(backbones.vision), _find(backbones.text))


def _find(source: str) -> Path:
    if (ROOT / source).exists():
        return find_weights(ROOT / source)
    try:
        cached = HubFile(source, ("model.safetensors", WEIGHTS)).find_cached()
    except HFValidationError:  # not a valid name on the hub
        cached = None
    if cached is None:
        raise UserError(f"backbone {source}: no such file or folder, nor in the hub's cache; fetch it with: {FETCH}")
    return cached


def load_backbones(model: Prismer, files: tuple[Path, Path]) -> None:
    """Copies the backbones' weights into a new model.

    Args:
        model: with new weights.
        files: vision and text, from `find_backbones`.

    Raises:
        UserError: a file is damaged or from another network.
    """
    vision, text = files
    _fill(model, clip_vision(read_weights(vision)), VISION, vision)
    _fill(model, roberta(read_weights(text)), TEXT, text)


def _fill(model: Prismer, state: dict[str, Tensor], part: str, source: Path) -> None:
    expected = {key: value for key, value in model.state_dict().items() if re.match(part, key)}
    fit_positions(state, expected)
    if problems := differences(state, expected):
        raise UserError(f"{source}: not the model's backbone: {problems}; check `backbones` in {MODELS_FILE}")
    model.load_state_dict(state, strict=False)


def clip_vision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """CLIP's vision tower under our names, from a state dict of OpenAI, OpenCLIP or transformers.

    The positions are those of CLIP's grid, without the class token.
    """
    if any(key.startswith("visual.") for key in state):
        tower = _renamed(state, OPENAI)
    else:  # a tower that was saved alone has no prefix
        tower = _renamed({key.removeprefix("vision_model."): state[key] for key in state}, TRANSFORMERS)
    for key in [key for key in tower if key.endswith(".q")]:
        name = key.removesuffix(".q")
        parts = [tower.pop(f"{name}.{part}", None) for part in "qkv"]
        tower[name] = torch.cat([part for part in parts if part is not None])
    if "positional_embedding" in tower:
        tower["positional_embedding"] = tower["positional_embedding"][1:]
    return {f"expert_encoder.{key}": value for key, value in tower.items()}


def roberta(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """RoBERTa with its masked-LM head under our names; tied weights of the head may be missing."""
    tower = {f"text_decoder.{key}": value for key, value in _renamed(state, ROBERTA).items()}
    head, words = "text_decoder.lm_head", "text_decoder.roberta.embeddings.word_embeddings.weight"
    for key, twin in ((f"{head}.decoder.weight", words), (f"{head}.decoder.bias", f"{head}.bias")):
        if key not in tower and twin in tower:
            tower[key] = tower[twin]
    return tower


def _renamed(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """The tensors under their new names; keys without a rule keep theirs."""
    renamed = {}
    for key, value in state.items():
        for pattern, name in rules:
            if match := re.fullmatch(pattern, key):
                if name is not None:
                    renamed[match.expand(name)] = value
                break
        else:
            renamed[key] = value
    return renamed

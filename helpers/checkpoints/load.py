"""Building a model from a config, or from a checkpoint's folder."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import numpy as np
import torch
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedTokenizerBase

from common.errors import UserError
from common.files import ROOT, here_or_in_project
from common.strict_json import parse_json
from common.validation import STRICT, validate
from common.yaml_config import PositiveInt, read_yaml
from dataset.class_tables import read_class_tables
from experts.registry import Backends
from helpers.checkpoints.released import CLASS_TABLES
from helpers.checkpoints.weight_files import POSITIONS, find_weights, load_weights, read_weights
from model.config import PrismerConfig
from model.inputs import PrepareInputs
from model.modalities import MODALITIES, modality
from model.prismer import Prismer
from model.sizes import MODELS_FILE, ModelSize, read_model_size
from model.tokenizer import load_tokenizer

M = TypeVar("M", bound=Prismer)
RELEASED_RESOLUTIONS = (224, 384, 480)  # pre-training, classification, captions and answers
DESCRIPTION = "model.json"  # beside the weights, see `describe`
HUB_DESCRIPTION = "config.json"  # the same in a self-contained folder, see `helpers.inference.publish`

# The keys whose shapes identify the network, and the meaning of their dimensions.
_TELLING = {
    POSITIONS: "(positions, width)",
    "expert_encoder.conv1.rgb.weight": "(width, 3, patch, patch)",
    "text_decoder.roberta.embeddings.word_embeddings.weight": "(tokens, width)",
}
_LAYER = re.compile(r"expert_encoder\.transformer\.resblocks\.(\d+)\.")


class _NothingDrawn(TorchFunctionMode):
    """Skips initialisation: on the device meta it only makes torch import its compiler."""

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(function, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"]
        return function(*args, **(kwargs or {}))


@contextmanager
def without_memory() -> Iterator[None]:
    """Networks built inside have shapes but no memory: they are on the device meta."""
    with torch.device("meta"), _NothingDrawn():
        yield


# The smallest value of each setting of the beam search.
_LEAST = {"num_beams": 1, "max_length": 1, "min_length": 0, "max_new": 1, "min_new": 0}


def check_decoding(settings: dict[str, int | float], known: Iterable[str] = tuple(_LEAST)) -> dict[str, int | float]:
    """Returns settings of the beam search; raises ValueError for an unknown one or a wrong value.

    Args:
        settings: by name.
        known: the valid names beside `length_penalty`.
    """
    for key, value in settings.items():
        if key == "length_penalty":
            continue
        if key not in known:
            raise ValueError(f"unknown key '{key}'; known: {', '.join([*known, 'length_penalty'])}")
        if not isinstance(value, int) or not _LEAST[key] <= value < 2**31:
            raise ValueError(f"{key} must be a whole number from {_LEAST[key]} on, got {value}")
    return settings


BeamSearch = Annotated[dict[str, int | float], AfterValidator(check_decoding)]


@dataclass(frozen=True)
class InferenceDefaults:
    """How a model's task used it; the defaults are those of the released checkpoints.

    Attributes:
        prefix: the beginning of each caption.
        decoding: settings of the beam search for captions.
        answering: settings of the beam search for written answers.
        answers: the answers to choose from; empty: answers are written freely.
        k: how many of them are scored in full.
        backends: by expert, the networks that made the training labels, as far as known.
    """

    __pydantic_config__ = STRICT
    prefix: str = "A picture of"
    decoding: BeamSearch = field(default_factory=lambda: {"num_beams": 3, "max_length": 20, "min_length": 8})
    answering: BeamSearch = field(default_factory=dict)
    answers: list[Annotated[str, Field(min_length=1)]] = field(default_factory=list)
    k: PositiveInt = 16
    backends: Backends = field(default_factory=dict)


@dataclass(frozen=True)
class LoadedModel(Generic[M]):
    """A model, its defaults and its class tables; `model.config` is its network."""

    model: M
    usage: InferenceDefaults
    class_tables: Path


def build_model(cls: type[M], config: PrismerConfig, tokenizer: str) -> M:
    """A model with new weights.

    Args:
        cls: `PrismerCaption` or `PrismerVQA`.
        config: the network.
        tokenizer: a folder, absolute or relative to the project, or a name on the hub.
    """
    return cls(config, fitting_tokenizer(config, tokenizer))


def fitting_tokenizer(config: PrismerConfig, tokenizer: str) -> PreTrainedTokenizerBase:
    """Loads the tokenizer; raises UserError if it has more tokens than the text tower."""
    folder = ROOT / tokenizer
    loaded = load_tokenizer(folder if folder.is_dir() else tokenizer)
    if len(loaded) > config.text.vocab_size:
        raise UserError(
            f"tokenizer {tokenizer} has {len(loaded)} tokens, the text tower has {config.text.vocab_size}; "
            "set text.vocab_size in configs/models.yaml"
        )
    return loaded


def restore_model(cls: type[M], config: PrismerConfig, tokenizer: str, state: dict[str, Tensor], source: str) -> M:
    """A model that takes over a checkpoint's tensors: nothing is initialised or copied.

    `state` comes from `read_weights`, `source` names its file in errors; the rest as for `build_model`.
    """
    with without_memory():
        model = build_model(cls, config, tokenizer)
    load_weights(model, state, source)
    return model


def prepare_inputs(experts: tuple[str, ...], class_tables: Path) -> PrepareInputs:
    """The part of data preparation on the device: scaling, normalisation, class embeddings of these experts."""
    used = [modality(name) for name in experts]
    if not any(entry.is_label_map for entry in used):
        return PrepareInputs({}, None)
    tables = read_class_tables(class_tables, [entry.classes for entry in used if entry.classes])
    features = {entry.name: torch.from_numpy(tables.features[entry.classes]) for entry in used if entry.classes}
    return PrepareInputs(features, torch.from_numpy(np.asarray(tables.background)))


@dataclass(frozen=True)
class Description:
    """The facts about a checkpoint that its weights do not state."""

    network: PrismerConfig
    tokenizer: str
    class_tables: Path
    usage: InferenceDefaults


def describe(network: PrismerConfig, tokenizer: str, class_tables: Path, usage: InferenceDefaults) -> dict[str, Any]:
    """The content of `model.json`, see `read_description`."""
    tables = class_tables.resolve()
    inside = tables.is_relative_to(ROOT)
    return {
        "config": asdict(network),
        "tokenizer": tokenizer,
        "class_tables": (tables.relative_to(ROOT) if inside else tables).as_posix(),
        "usage": asdict(usage),
    }


def read_description(weights: Path, state: dict[str, Tensor]) -> Description:
    """The description beside a weight file; for a released checkpoint without one, it is inferred from the shapes.

    Paths of tokenizer and class tables are relative to the weights' folder, or to the project.
    """
    path = next((file for name in (DESCRIPTION, HUB_DESCRIPTION) if (file := weights.with_name(name)).is_file()), None)
    if path is None:
        config, tokenizer = infer_config(state, str(weights))
        return Description(config, tokenizer, here_or_in_project(CLASS_TABLES), InferenceDefaults())
    try:
        content = parse_json(path.read_bytes())
        config = validate(content["config"], PrismerConfig, str(path))
        usage = validate(content["usage"], InferenceDefaults, str(path))
        tokenizer, class_tables = (path.parent / content[key] for key in ("tokenizer", "class_tables"))
        return Description(
            config,
            str(tokenizer.resolve()) if tokenizer.is_dir() else content["tokenizer"],
            class_tables if class_tables.is_dir() else ROOT / content["class_tables"],
            usage,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged, or not of a Prismer ({error!r}); write it anew or remove it") from None


def load_model(cls: type[M], folder: Path) -> LoadedModel[M]:
    """A trained model in eval mode from `logging/<task>_<name>` or a released checkpoint's folder."""
    path = find_weights(folder)
    state = read_weights(path)
    description = read_description(path, state)
    model = restore_model(cls, description.network, description.tokenizer, state, str(path))
    return LoadedModel(model.eval(), description.usage, description.class_tables)


def restore_network(state: dict[str, Tensor], path: Path) -> tuple[Prismer, Description]:
    """A checkpoint's network with its weights, but without a tokenizer.

    `state` comes from `read_weights(path)`.
    """
    description = read_description(path, state)
    with without_memory():
        network = Prismer(description.network, tokenizer=None)
    load_weights(network, state, str(path))
    return network, description


def size_name(network: PrismerConfig) -> str:
    """The name of a network's size in `configs/models.yaml`."""
    for name in read_yaml(MODELS_FILE):
        size = read_model_size(name)
        if (size.vision, size.text) == (network.vision, network.text):
            return name
    return f"none of {MODELS_FILE.name}"


def infer_config(state: dict[str, Tensor], source: str) -> tuple[PrismerConfig, str]:
    """Infers the network and the name of its tokenizer from the keys and shapes of a full state dict.

    The stem `seg` stands for the first segmentation expert of the registry (COCO's). Among resolutions with
    equally many patches, the paper's is taken.
    """
    shapes = {}
    for key, shape in _TELLING.items():
        if key not in state:
            raise UserError(f"{source}: not a Prismer checkpoint: it has no key '{key}'")
        shapes[key] = tuple(state[key].shape)
        if len(shapes[key]) != 1 + shape.count(",") or not all(shapes[key]):
            raise UserError(f"{source}: not a Prismer checkpoint: '{key}' is {list(shapes[key])}, not {shape}")
    (positions, width), (*_, patch), (vocab, _) = shapes.values()
    layers = len({match[1] for key in state if (match := _LAYER.match(key))})
    for name in read_yaml(MODELS_FILE):
        size: ModelSize = read_model_size(name)
        vision = size.vision
        found = (vision.width, vision.layers, vision.patch_size, size.text.vocab_size)
        if found == (width, layers, patch, vocab):
            break
    else:
        raise UserError(f"{source}: no size in {MODELS_FILE} has vision width {width}, {layers} layers, patch {patch}")
    stems = {key.split(".")[2] for key in state if key.startswith("expert_encoder.conv1.")}
    experts: dict[str, str] = {}  # first modality by stem
    for entry in MODALITIES.values():
        if entry.stem in stems:
            experts.setdefault(entry.stem, entry.name)
    grid = round(positions**0.5)
    # Patches need not fill the image: 480 and 476 pixels both give 34 patches of 14.
    resolution = next((side for side in RELEASED_RESOLUTIONS if side // patch == grid), grid * patch)
    return PrismerConfig(size.vision, size.text, tuple(experts.values()), resolution), size.tokenizer

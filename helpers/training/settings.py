"""The settings of each task: sections of `configs/{caption,vqa,pretrain,classification}.yaml`.

docs/training.md describes the keys.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field
from transformers import PreTrainedTokenizerBase

from common.errors import UserError
from common.validation import STRICT, validate
from common.yaml_config import Count, Name, NamedPath, PositiveInt, Rate, Workers
from dataset.location import Location, Url
from dataset.text import MAX_WORDS
from experts.registry import Backends
from helpers.training.distribution.activation_checkpointing import ActivationCheckpointing
from model.beam_search import check_beams
from model.captioning import MAX_CAPTION_TOKENS, check_prefix, start_ids
from model.config import FreezeMode, PrismerConfig
from model.modalities import modality
from model.sizes import ModelSize

Metric = Literal["bleu", "meteor", "rouge", "cider", "spice"]
Finite = Annotated[float, Field(allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0)]
Inference = Literal["rank", "generate"]
Decoding = dict[str, int | float]


def _expert_list(value: Any) -> Any:
    """`none` and an empty list both mean PrismerZ."""
    if value == "none":
        return []
    if isinstance(value, list):
        try:
            for name in value:
                modality(str(name))
        except UserError as error:
            raise ValueError(error) from None
    return value


def _prefix(text: str) -> str:
    """A caption's prefix without spaces around it; one space is put between it and the caption."""
    if len(text.split()) >= MAX_WORDS:
        raise ValueError(f"should have less than {MAX_WORDS} words")
    return text.strip()


def _distinct(names: list[str]) -> list[str]:
    if not names or len(set(names)) < len(names):
        raise ValueError(f"has a name twice: {', '.join(names)}" if names else "is empty; name at least one")
    return names


Distinct = AfterValidator(_distinct)
Prefix = Annotated[str, AfterValidator(_prefix)]
Experts = Annotated[list[str], BeforeValidator(_expert_list)]


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """The settings of every task: network, experts and their labels, training."""

    __pydantic_config__ = STRICT
    label_path: Location
    class_tables: NamedPath
    experts: Experts
    prismer_model: str
    image_resolution: PositiveInt
    label_resolution: PositiveInt = 224
    augment: bool = True
    freeze: FreezeMode
    from_scratch: bool = False
    batch_size_train: PositiveInt
    batch_size_test: PositiveInt = 8
    num_workers: Workers = 4
    init_lr: Rate
    min_lr: Rate = 0.0
    weight_decay: Rate = 0.05
    warmup_steps: Count = 0
    warmup_lr: Rate = 0.0
    max_epoch: PositiveInt
    accumulate_steps: PositiveInt = 1
    max_grad_norm: PositiveFloat | None = None
    max_skipped_steps: PositiveInt = 20
    activation_checkpointing: ActivationCheckpointing = "none"
    sync_batchnorm: bool = False
    save_every_steps: Count = 0
    keep_last: PositiveInt = 2
    compat: bool = False

    def __post_init__(self) -> None:
        if self.min_lr > self.init_lr:
            raise ValueError(f"min_lr {self.min_lr} is more than init_lr {self.init_lr}")


@dataclass(frozen=True, kw_only=True)
class DecodingConfig(TaskConfig):
    """A task whose model writes captions."""

    prefix: Prefix = ""
    captions_per_image: PositiveInt = 1
    max_caption_tokens: PositiveInt = MAX_CAPTION_TOKENS
    num_beams: PositiveInt = 3
    max_length: PositiveInt = 20
    min_length: Count = 8
    length_penalty: Finite = 1.0
    metrics: Annotated[list[Metric], Distinct] = field(default_factory=lambda: list(get_args(Metric)))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_length > self.max_length:
            raise ValueError(f"min_length {self.min_length} is more than max_length {self.max_length}")

    @property
    def decoding(self) -> Decoding:
        """The settings of the beam search."""
        return {key: getattr(self, key) for key in ("num_beams", "max_length", "min_length", "length_penalty")}


@dataclass(frozen=True, kw_only=True)
class CaptionConfig(DecodingConfig):
    """A data-set section of `configs/caption.yaml`."""

    dataset: Literal["coco", "nocaps", "custom"]
    data_path: Location
    train_list: Name | None = None
    test_list: Name | None = None


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(DecodingConfig):
    """`configs/pretrain.yaml`."""

    dataset: Annotated[list[Literal["cc12m", "cc3m_sgu", "coco", "vg"]], Distinct]
    weights: dict[str, Annotated[float, Field(gt=0)]] | None = None
    samples_per_epoch: PositiveInt | None = None
    test_dataset: Literal["coco", "nocaps"] | None = None
    cc12m_data_path: Location | None = None
    cc3m_data_path: Location | None = None
    coco_data_path: Location | None = None
    vg_data_path: Location | None = None

    def source_path(self, source: str) -> Path | Url:
        """The folder that holds a source's images and its list, or its address."""
        key = f"{'cc3m' if source == 'cc3m_sgu' else source}_data_path"
        path: Path | Url | None = getattr(self, key)
        if path is None:
            raise UserError(f"config key '{key}' is missing; the data set '{source}' needs it")
        return path


@dataclass(frozen=True, kw_only=True)
class VQAConfig(TaskConfig):
    """`configs/vqa.yaml`."""

    dataset: Annotated[list[Literal["vqav2", "vg", "custom"]], Distinct]
    data_path: Location
    train_list: Name | None = None
    test_list: Name | None = None
    answer_list: Name = "answer_list.json"
    questions_per_image: PositiveInt = 1
    inference: Inference = "rank"
    k_test: PositiveInt = 16
    num_beams: PositiveInt = 3
    max_new: PositiveInt = 10
    min_new: Count | None = None
    length_penalty: Finite = -1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_new is not None and self.min_new > self.max_new:
            raise ValueError(f"min_new {self.min_new} is more than max_new {self.max_new}")

    @property
    def decoding(self) -> Decoding:
        """The settings of the beam search."""
        settings = {key: getattr(self, key) for key in ("num_beams", "max_new", "min_new", "length_penalty")}
        return {key: value for key, value in settings.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class ClassificationConfig(TaskConfig):
    """`configs/classification.yaml`."""

    dataset: Literal["imagenet"]
    data_path: Location
    prefix: Prefix = "A photo of a"
    shots: PositiveInt = 1
    k_test: PositiveInt = 32
    eval_every: PositiveInt = 5


def prismer_config(config: TaskConfig, size: ModelSize) -> PrismerConfig:
    """The network that a task's config asks for.

    Raises:
        UserError: the text tower reads fewer tokens than the captions may have, or a setting does not fit
            the size.
    """
    most = size.text.max_positions - size.text.pad_id - 1
    if isinstance(config, DecodingConfig) and config.max_caption_tokens > most:
        raise UserError(
            f"max_caption_tokens {config.max_caption_tokens}: the text tower of {config.prismer_model} reads "
            f"{most} tokens at most; lower it"
        )
    if isinstance(config, DecodingConfig | VQAConfig):
        check_beams(config.num_beams, size.text.vocab_size)
    network = asdict(size) | {
        key: getattr(config, key) for key in ("experts", "image_resolution", "label_resolution", "compat")
    }
    del network["tokenizer"], network["backbones"]
    return validate(network, PrismerConfig, f"the config, with prismer_model {config.prismer_model}")


def check_caption_lengths(config: TaskConfig, tokenizer: PreTrainedTokenizerBase, *, training: bool) -> None:
    """Raises UserError if the prefix leaves no room for a caption."""
    if isinstance(config, DecodingConfig | ClassificationConfig):
        check_prefix(
            config.prefix,
            start_ids(tokenizer, config.prefix),
            max_length=getattr(config, "max_length", None),
            max_caption_tokens=getattr(config, "max_caption_tokens", MAX_CAPTION_TOKENS) if training else None,
        )


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """The section `demo` of `configs/caption.yaml`; the checkpoint says the rest.

    Attributes:
        backends: the networks that label new images, by expert, instead of those of the checkpoint, or else of
            `configs/experts.yaml`.
    """

    __pydantic_config__ = STRICT
    data_path: NamedPath
    label_path: NamedPath
    batch_size: PositiveInt
    backends: Backends = field(default_factory=dict)

"""The released files: where each comes from and where it belongs."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from common.errors import UserError

EXPERT_WEIGHTS = Path("experts/expert_weights")
CLASS_TABLES = Path("data/class_tables")

REPOSITORY = "shikunl/prismer"  # on the Hugging Face hub
SOURCE = "NVlabs/prismer/4f27ab37e8ff5436707c5badd0ec744980608edd"  # on GitHub: repository and commit
WEIGHTS = "pytorch_model.bin"
MODELS = tuple(
    f"{task}_{model}_{size}"
    for task, model, size in product(("pretrain", "caption", "vqa"), ("prismer", "prismerz"), ("base", "large"))
)
EXPERTS = (
    "10_model.pth",  # edge
    "Unified_learned_OCIM_RS200_6x+2x.pth",  # detection
    "dpt_hybrid-midas-501f0c75.pt",  # depth
    "icdar2015_hourglass88.pth",  # OCR
    "model_final_e0c58e.pkl",  # segmentation, ADE20K
    "model_final_f07440.pkl",  # segmentation, COCO
    "scannet.pt",  # normals
)
TOKENIZER = "roberta-base"  # of every size
TEXT_EMBEDDING = "openai/clip-vit-large-patch14"  # embeds the words that the OCR expert read
VISION_BACKBONES = (
    "openai/clip-vit-base-patch16",
    "openai/clip-vit-large-patch14-336",
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
)
TEXT_BACKBONES = ("roberta-base", "roberta-large")


@dataclass(frozen=True)
class HubFile:
    """A file on the Hugging Face hub, kept in the hub's cache.

    Attributes:
        repository: its name on the hub.
        names: alternative paths in it; the first that exists is taken.
        target: where the file is linked to; None: it stays in the cache.
        optional: whether a repository may lack it.
    """

    repository: str
    names: tuple[str, ...]
    target: Path | None = None
    optional: bool = False

    def find_cached(self) -> Path | None:
        """The file in the hub's cache, without a connection."""
        for name in self.names:
            path = try_to_load_from_cache(self.repository, name)
            if isinstance(path, str):
                return Path(path)
        return None


@dataclass(frozen=True)
class WebFile:
    """A small file of the original's code repository: its path there, where to put it, its size in bytes and hash."""

    path: str
    target: Path
    size: int
    sha256: str


def _web_file(path: str, folder: Path, size: int, sha256: str) -> WebFile:
    return WebFile(path, folder / Path(path).name, size, sha256)


# The embeddings of class names, for every model with experts.
TABLES = tuple(
    _web_file(f"dataset/{name}_features.pt", CLASS_TABLES, size, sha256)
    for name, size, sha256 in (
        ("coco", 36651, "ccf18221afe8dddef3ffb9daad31d5c7a92cdc2f2f434d77cbeb48031bc75756"),
        ("ade", 41899, "4cb5c802ef9eaf9c9213219bdc5f8f2d6579400275ab443c43905fdcdd805e5a"),
        ("detection", 198443, "c38ba9352b2a9f832b14fdc19ac407527ffeaa2903958a73f6eb649f78119c76"),
        ("background", 1003, "5f5bf8e158715633a9e0f307be1947ca74c294e522b705e1e61bd49361088092"),
    )
)
# The PCA of word embeddings and the lexicon, for the OCR expert.
PCA_PICKLE, PCA_ARRAYS = EXPERT_WEIGHTS / "clip_pca.pkl", EXPERT_WEIGHTS / "clip_pca.npz"
WORDS = (
    _web_file(
        "dataset/clip_pca.pkl",
        EXPERT_WEIGHTS,
        401612,
        "064950869bce7d622ff7e733dc64c8e1be18be926c3f64e66ae57164df3f8bc5",
    ),
    _web_file(
        "experts/ocr_detection/datasets/ICDAR2015/test/GenericVocabulary.txt",
        EXPERT_WEIGHTS,
        814293,
        "8a24c1f4b020c36b21c2c250d3e9b3904a218bc6df0d3cee561a8dd3a9fba3d1",
    ),
)


def experts() -> list[HubFile | WebFile]:
    """The files of the paper's experts, and the class tables of their labels."""
    return [
        *TABLES,
        *WORDS,
        *_network(TEXT_EMBEDDING),
        *_tokenizer(TEXT_EMBEDDING),
        *(HubFile(REPOSITORY, (f"expert_weights/{name}",), EXPERT_WEIGHTS / name) for name in EXPERTS),
    ]


def pca() -> list[HubFile | WebFile]:
    """The PCA alone, for RapidOCR: its package brings its own weights, transformers fetches CLIP."""
    return [file for file in WORDS if file.target == PCA_PICKLE]


def models(names: tuple[str, ...], output_dir: Path = Path("logging")) -> list[HubFile | WebFile]:
    """Released checkpoints, each in a folder of its name, with the tokenizer and class tables that they need.

    Raises:
        UserError: there is no such checkpoint; lists the released ones.
    """
    for name in names:
        if name not in MODELS:
            raise UserError(f"--download_models: no released model is called '{name}'; there are: {', '.join(MODELS)}")
    weights = [HubFile(REPOSITORY, (f"{name}/{WEIGHTS}",), output_dir / name / WEIGHTS) for name in names]
    with_experts = any("_prismer_" in name for name in names)
    return [*(TABLES if with_experts else ()), *_tokenizer(TOKENIZER), *weights]


def backbones() -> list[HubFile | WebFile]:
    """The networks from which training from scratch starts, and CLIP's text embedding."""
    return [
        *(file for name in VISION_BACKBONES for file in _network(name)),
        *(file for name in (*TEXT_BACKBONES, TEXT_EMBEDDING) for file in (*_network(name), *_tokenizer(name))),
    ]


def _network(repository: str) -> list[HubFile]:
    # In the order in which `from_pretrained` looks for them: not every repository has both.
    weights = HubFile(repository, ("model.safetensors", WEIGHTS))
    return [HubFile(repository, ("config.json",)), weights]


def _tokenizer(repository: str) -> list[HubFile]:
    extras = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
    return [
        HubFile(repository, ("vocab.json",)),
        HubFile(repository, ("merges.txt",)),
        *(HubFile(repository, (name,), optional=True) for name in extras),
    ]

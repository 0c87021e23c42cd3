"""The text tower's tokenizer: byte-level BPE with RoBERTa's special tokens."""

from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HFValidationError
from tokenizers import AddedToken
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerBase, RobertaTokenizer

from common.errors import UserError
from common.hub import check_connection

FILES = ("vocab.json", "merges.txt")
MASK = AddedToken("<mask>", lstrip=True, special=True)  # includes the space before it, as in roberta-base


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """Loads a tokenizer, from this machine if possible.

    The two files are read directly: `from_pretrained` returns an empty tokenizer if it cannot find them.

    Args:
        source: a folder with vocab.json and merges.txt, or a name on the Hugging Face hub.

    Raises:
        UserError: the tokenizer is neither here nor on the hub, or one of its files is missing or damaged.
    """
    folder = Path(source)
    if folder.is_dir():
        vocab, merges = (folder / name for name in FILES)
        for file in (vocab, merges):
            if not file.is_file():
                raise UserError(f"{file}: no such file; a tokenizer's folder has {' and '.join(FILES)}")
    else:
        vocab, merges = (_download(str(source), name) for name in FILES)
    try:
        words, pairs = BPE.read_file(str(vocab), str(merges))
        return RobertaTokenizer(vocab=words, merges=pairs, mask_token=MASK)
    except Exception as error:  # the Rust library has no other type
        raise UserError(f"{vocab}: damaged, or not the vocabulary of {merges.name} ({error})") from None


def _download(repository: str, name: str) -> Path:
    """The path of a file of the hub, downloaded if it is not in the cache."""
    try:
        return Path(hf_hub_download(repository, name, local_files_only=True))
    except (OSError, HFValidationError):
        pass
    try:
        check_connection()
        return Path(hf_hub_download(repository, name))
    except (OSError, HFValidationError, UserError):
        raise UserError(
            f"tokenizer '{repository}': no such folder, and the hub's {name} cannot be downloaded; "
            f"put its {' and '.join(FILES)} into a folder and name that as `tokenizer`"
        ) from None

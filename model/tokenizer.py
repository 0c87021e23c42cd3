"""The text tower's tokenizer: byte-level BPE with RoBERTa's special tokens."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase, RobertaTokenizerFast

from model.errors import UserError

FILES = ("vocab.json", "merges.txt")


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """Loads a tokenizer.

    Args:
        source: a folder with vocab.json and merges.txt, or a name on the Hugging Face hub.

    Raises:
        UserError: it is neither here nor on the hub, or one of its files is missing or broken.
    """
    folder = Path(source)
    if folder.is_dir():
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise UserError(f"tokenizer folder '{folder}' has no {' and no '.join(missing)}; it needs both")
    try:
        return RobertaTokenizerFast.from_pretrained(str(source))
    except Exception as error:  # transformers raises many kinds for a name it cannot find
        raise UserError(
            f"no tokenizer '{source}': not a folder, and it cannot be downloaded from the hub; "
            f"put its {' and '.join(FILES)} into a folder and name that ({_first_line(error)})"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__

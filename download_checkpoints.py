"""Downloads the released files: checkpoints, experts' weights, and the backbones for training from scratch.

    python download_checkpoints.py --download_experts=True
    python download_checkpoints.py --download_models="caption_prismer_base vqa_prismer_base"
    python download_checkpoints.py --download_models=True --download_backbones=True

Run it in the project's folder. Present files are verified and kept, interrupted downloads resume.
"""

import argparse
import re

from common.cli import add_output_dir, run
from common.errors import UserError
from common.overwrite import add_flag

_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def main() -> int:
    parser = _parser()
    args = parser.parse_args()
    # Imported here, so that --help and a mistyped flag are answered at once.
    from helpers.checkpoints import released
    from helpers.checkpoints.downloads import cache, download

    files = []
    if args.download_experts:
        files += released.experts()
    if args.download_pca:
        files += released.pca()
    if names := _model_names(args.download_models, released.MODELS):
        files += released.models(names, args.output_dir)
    if args.download_backbones:
        files += released.backbones()
    if not files:
        parser.print_help()
        return 0
    download(files, force=args.force_redownload, overwrite=args.overwrite, hide_bar=args.hide_tqdm)
    if args.download_experts or args.download_pca:
        from helpers.checkpoints.pca import convert_pca

        convert_pca(released.PCA_PICKLE, released.PCA_ARRAYS, args.force_redownload or args.overwrite)
    folders = sorted({str(file.target.parent) for file in files if file.target is not None})
    print("complete:", ", ".join([*folders, f"the hub's cache {cache()}"]))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, text in {
        "download_experts": "the files of the six experts, and the class tables",
        "download_pca": "the PCA of words alone, which RapidOCR needs",
        "download_backbones": "CLIP and RoBERTa, for training from scratch",
        "hide_tqdm": "no progress bar",
        "force_redownload": "fetch present files again, and replace other files in their places",
    }.items():
        parser.add_argument(
            f"--{name}", type=_truth, nargs="?", const=True, default=False, metavar="True|False", help=text
        )
    parser.add_argument(
        "--download_models",
        nargs="*",
        metavar="NAME",
        help="these checkpoints, such as vqa_prismer_base; True or no name: all twelve",
    )
    add_output_dir(parser)
    add_flag(parser)
    return parser


def _truth(text: str) -> bool:
    try:
        return _TRUTH[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"'{text}' is neither True nor False") from None


def _model_names(words: list[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """The names in the flag's words; a list such as "['a', 'b']" or a,b is one word."""
    if words is None:
        return ()
    if not words:  # the flag alone
        return known
    names = re.findall(r"""[^\s,'"\[\]()]+""", " ".join(words))
    if not names:
        raise UserError("--download_models: no name is given; leave the value out for all twelve")
    if len(names) == 1 and names[0].lower() in _TRUTH:
        return known if _TRUTH[names[0].lower()] else ()
    return tuple(names)


if __name__ == "__main__":
    run(main)

"""Caption metrics: pycocoevalcap's scorers, where a scorer that cannot run becomes a note beside the others.

pycocoevalcap's own `COCOEvalCap` starts SPICE first, so without SPICE's CoreNLP files it computes no score.
"""

import os
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pycocoevalcap
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.spice.spice import Spice

from common.errors import UserError, one_line
from helpers.evaluation.paired_results import match_results
from helpers.evaluation.ptb_tokenizer import tokenize_java, tokenize_python
from helpers.training.settings import Metric

ImageId = int | str
Captions = Mapping[ImageId, Sequence[str]]
Tokens = dict[ImageId, list[str]]
Scored = tuple[float | list[float], Sequence[Any]]

METRICS = get_args(Metric)
FAST_METRICS = ("bleu", "rouge", "cider")  # they need no Java program
JAVA_METRICS = {"meteor": "METEOR", "spice": "SPICE"}

SPICE_FOLDER = Path(pycocoevalcap.__path__[0]) / "spice" / "lib"
SPICE_JARS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
SPICE_SOURCE = "stanford-corenlp-full-2015-12-09.zip"
OPENED_PACKAGES = (
    *(f"java.base/java.{name}" for name in ("lang", "util", "math", "net", "text", "io", "util.concurrent")),
    "java.sql/java.sql",
)


@dataclass(frozen=True)
class CaptionScores:
    """Scores of captions.

    Attributes:
        metrics: mean score by name: Bleu_1 to Bleu_4, METEOR, ROUGE_L, CIDEr, SPICE, as far as computed; not
            scaled by 100.
        notes: one line for each metric that was skipped or is approximate, with the reason.
    """

    metrics: dict[str, float]
    notes: list[str]


def score_table(scores: Mapping[str, CaptionScores]) -> str:
    """Scores as lines, with a column for each group of images if there are several; then the notes."""
    lines = [f"{'':8s}" + "".join(f" {group:>11s}" for group in scores)] if len(scores) > 1 else []
    for name in dict.fromkeys(name for column in scores.values() for name in column.metrics):
        # A metric whose program failed on one group has no score there.
        cells = (f"{s.metrics[name]:.4f}" if name in s.metrics else "" for s in scores.values())
        lines.append(f"{name:8s}" + "".join(f" {cell:>11s}" for cell in cells))
    notes = dict.fromkeys(note for column in scores.values() for note in column.notes)
    return "\n".join(lines + [f"note: {note}" for note in notes])


def score_captions(
    results: Sequence[Mapping[str, Any]], references: Captions, metrics: Collection[str] = METRICS
) -> CaptionScores:
    """Scores one caption an image against its references, as `score_groups` does with one group."""
    return score_groups(results, references, {"all": references}, metrics)["all"]


def score_groups(
    results: Sequence[Mapping[str, Any]],
    references: Captions,
    groups: Mapping[str, Collection[ImageId]],
    metrics: Collection[str] = METRICS,
) -> dict[str, CaptionScores]:
    """Scores each group of images as a data set of its own: CIDEr weighs words by the group's references.

    Args:
        results: one {"image_id", "caption"} for each image of `references`.
        references: the reference captions of each image.
        groups: images of `references` by the group's name; an image may be in several.
        metrics: which of `METRICS` to compute. METEOR and SPICE take seconds to start.

    Raises:
        UserError: images without a result, twice in the results or without references; unknown metric.
    """
    if unknown := sorted(set(metrics) - set(METRICS)):
        raise UserError(f"unknown caption metric '{unknown[0]}'; known metrics: {', '.join(METRICS)}")
    captions = match_results(results, references, "image", "caption")
    flat = [text for texts in references.values() for text in texts] + list(captions.values())
    notes: list[str] = []
    try:
        tokens = iter(tokenize_java(flat))
    except OSError as error:
        tokens = iter(tokenize_python(flat))
        notes.append(f"scores are approximate: captions were split into words without Java ({error})")
        notes += [f"{name} skipped: it needs Java" for key, name in JAVA_METRICS.items() if key in metrics]
        metrics = set(metrics) - set(JAVA_METRICS)
    gts = {image: [next(tokens) for _ in texts] for image, texts in references.items()}
    res = {image: [next(tokens)] for image in captions}
    return {
        name: _score({i: gts[i] for i in images}, {i: res[i] for i in images}, metrics, notes)
        for name, images in groups.items()
    }


def _score(gts: Tokens, res: Tokens, metrics: Collection[str], notes: Sequence[str]) -> CaptionScores:
    """Scores tokenised captions."""
    notes = [*notes]
    scores: dict[str, float] = {}
    if "bleu" in metrics:
        bleu, _ = Bleu(4).compute_score(gts, res, verbose=0)
        scores |= {f"Bleu_{n}": float(score) for n, score in enumerate(bleu, 1)}
    if "meteor" in metrics:
        scores |= _attempt("METEOR", lambda: _meteor(gts, res), notes)
    if "rouge" in metrics:
        scores["ROUGE_L"] = float(Rouge().compute_score(gts, res)[0])
    if "cider" in metrics:
        score, _ = Cider().compute_score(gts, res)
        # Words that all images share have weight 0, so identical references make every CIDEr 0.
        if score or Cider().compute_score(gts, {image: texts[:1] for image, texts in gts.items()})[0]:
            scores["CIDEr"] = float(score)
        else:
            few = "one image" if len(gts) == 1 else "images with the same references"
            notes.append(f"CIDEr skipped: of {few} it is 0 for any caption")
    if "spice" in metrics:
        scores |= _attempt("SPICE", lambda: _spice(gts, res), notes)
    return CaptionScores(scores, notes)


def _attempt(name: str, compute: Callable[[], Scored], notes: list[str]) -> dict[str, float]:
    """The score, or none and a note: Java can fail in any way, and the other scores must survive."""
    try:
        score, _ = compute()
    except Exception as error:
        notes.append(f"{name} skipped: {one_line(error)}")
        return {}
    return {name: float(score)}


def _meteor(gts: Captions, res: Captions) -> Scored:
    with _java_options("-Dfile.encoding=UTF-8"):
        scorer = Meteor()
    process = scorer.meteor_p
    try:
        return scorer.compute_score(gts, res)
    except (OSError, ValueError) as error:  # it died: the pipe is broken or its answer empty
        process.kill()
        said = process.stderr.read().decode(errors="replace").strip().splitlines()
        raise RuntimeError(said[-1] if said else str(error)) from error
    finally:
        process.kill()
        process.wait()
        # After an error its lock is still held, on which its `__del__` would wait forever.
        if scorer.lock.locked():
            scorer.lock.release()
        with suppress(BrokenPipeError):
            process.stdin.close()


def _spice(gts: Captions, res: Captions) -> Scored:
    if missing := [jar for jar in SPICE_JARS if not (SPICE_FOLDER / jar).exists()]:
        raise FileNotFoundError(f"put {' and '.join(missing)} (from {SPICE_SOURCE}) into {SPICE_FOLDER}")
    # SPICE's cache reads private fields of the JDK, which Java 17 forbids unless told otherwise.
    with _java_options(*(f"--add-opens={package}=ALL-UNNAMED" for package in OPENED_PACKAGES)):
        try:
            return Spice().compute_score(gts, res)
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"its Java program ended with exit code {error.returncode}") from error


@contextmanager
def _java_options(*options: str) -> Iterator[None]:
    """Sets options for every Java started inside. Java 8, which has no `--add-opens`, ignores the variable."""
    before = os.environ.get("JDK_JAVA_OPTIONS")
    os.environ["JDK_JAVA_OPTIONS"] = " ".join([*([before] if before else []), *options])
    try:
        yield
    finally:
        if before is None:
            del os.environ["JDK_JAVA_OPTIONS"]
        else:
            os.environ["JDK_JAVA_OPTIONS"] = before

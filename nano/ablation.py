"""Measures the contribution of each expert: trains Prismer-Nano with some of them and scores its captions.

    python -m nano.ablation --only experts_0 only_obj_detection experts_6 --seeds 2
    python -m nano.ablation --parallel 8            # everything, eight trainings at once

It needs the Scenes and the nano experts' labels (`make nano-data nano-labels`), and for `exact_labels` the
renderer's: `python -m nano.scenes` with the numbers of `nano-data`, without `--no-labels`. Each run is a short
training by `nano.train`; the score of its captions of the test scenes is a JSON file below logging/ablation.
Runs that have a result are not repeated, and those with weights are only scored. A table (Markdown) and a
picture show all results with the same number of steps.
"""

import argparse
import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from common.cli import natural, run
from common.errors import UserError
from common.files import ROOT, write_json

LOGGING = Path("logging")  # of nano.train and train_caption.py
OUT = LOGGING / "ablation"
CONFIG = ROOT / "configs" / "caption_nano.yaml"
EXPERTS = ("depth", "normal", "seg_scenes", "edge", "obj_detection", "ocr_detection")  # the paper's order
NOISY = "depth"  # the expert whose labels the paper replaces by noise
COLUMNS = ("CIDEr", "object", "read")  # the score; percent of solids and of signs' words that are right


@dataclass(frozen=True)
class Variant:
    """What a model learns from.

    Attributes:
        experts: the model's experts.
        exact: whether the labels are the renderer's instead of the nano experts'.
        noise: share of the images whose `NOISY` label is noise.
    """

    experts: tuple[str, ...] = EXPERTS
    exact: bool = False
    noise: float = 0.0


VARIANTS = {
    **{f"experts_{number}": Variant(EXPERTS[:number]) for number in range(len(EXPERTS) + 1)},
    **{f"only_{name}": Variant((name,)) for name in EXPERTS[1:]},
    **{f"without_{name}": Variant(tuple(other for other in EXPERTS if other != name)) for name in EXPERTS},
    "exact_labels": Variant(exact=True),
    **{f"noise_{percent}": Variant(noise=percent / 100) for percent in (25, 50, 75, 100)},
}


@dataclass(frozen=True)
class Run:
    """One training of a variant."""

    variant: str
    seed: int
    steps: int

    def file(self, suffix: str) -> Path:
        """A file of the run: its result `.json`, its config `.yaml` or its `.log`."""
        return OUT / f"{self.variant}_seed{self.seed}_steps{self.steps}{suffix}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="VARIANT", default=list(VARIANTS), help=" ".join(VARIANTS))
    parser.add_argument("--seeds", type=natural, default=3, help="trainings of each (default: %(default)s)")
    parser.add_argument("--steps", type=natural, default=4000, help="of each (default: %(default)s)")
    parser.add_argument("--batch_size", type=natural, default=64, help="images (default: %(default)s)")
    parser.add_argument("--parallel", type=natural, default=1, help="trainings at once (default: %(default)s)")
    args = parser.parse_args()
    if unknown := [name for name in args.only if name not in VARIANTS]:
        raise UserError(f"unknown variant '{unknown[0]}'; known: {', '.join(VARIANTS)}")
    runs = [Run(name, seed, args.steps) for seed in range(args.seeds) for name in args.only]
    todo = [one for one in runs if not one.file(".json").exists()]
    print(f"{len(runs)} trainings, {len(runs) - len(todo)} of them done before")
    for one in todo:
        write_config(one)  # before the trainings, so that several of them do not make the same noise
    with ThreadPoolExecutor(args.parallel) as pool:
        codes = pool.map(lambda one: train(one, args.batch_size), todo)
        failed = [one.file("").name for one, code in zip(todo, codes, strict=True) if code]
    if results := read_results(args.steps):
        (OUT / "table.md").write_text(table(results) + "\n")
        draw(results, OUT / "ablation.png")
        print(f"{table(results)}\n{OUT / 'table.md'}, {OUT / 'ablation.png'}")
    if failed:
        raise UserError(f"{', '.join(failed)}: failed, see the .log files in {OUT}; run this again to continue")


def write_config(one: Run) -> None:
    """Writes the config of a run, and its noisy labels if it has some."""
    variant = VARIANTS[one.variant]
    config = yaml.safe_load(CONFIG.read_text())
    settings = config["coco"]
    if variant.exact:
        settings["label_path"] = str(Path(settings["data_path"]) / "labels")
    if variant.noise:
        noisy = OUT / f"labels_{one.variant}"
        write_noisy_labels(Path(settings["label_path"]), noisy, variant.noise)
        settings["label_path"] = str(noisy)
    settings["experts"] = list(variant.experts) or "none"
    OUT.mkdir(parents=True, exist_ok=True)
    one.file(".yaml").write_text(yaml.safe_dump(config))


def write_noisy_labels(source: Path, target: Path, share: float) -> None:
    """Links a label folder, but replaces a share of the `NOISY` labels by noise.

    The position of a label in the sorted list decides whether it is replaced, and its noise.
    """
    (target / NOISY).mkdir(parents=True, exist_ok=True)
    for folder in sorted(source.iterdir()):
        link = target / folder.name
        if folder.name != NOISY and not link.exists():
            link.symlink_to(folder.resolve())
    for number, path in enumerate(sorted((source / NOISY).rglob("*.png"))):
        place = target / NOISY / path.relative_to(source / NOISY)
        if place.exists():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(number)
        if random.random() < share:
            with Image.open(path) as label:
                noise = random.integers(0, 256, (label.height, label.width), dtype=np.uint8)
            Image.fromarray(noise).save(place)
        else:
            place.symlink_to(path.resolve())


def train(one: Run, batch_size: int) -> int:
    """Trains, unless there are weights, scores the captions, and writes the result; returns the exit code."""
    from nano.scenes.facts import read_captions, score

    experiment, config = f"ablation_{one.file('').name}", str(one.file(".yaml"))
    folder = LOGGING / f"caption_{experiment}"
    teach = ["-m", "nano.train", "--caption", config, "--vqa", str(ROOT / "configs" / "vqa_nano.yaml")]
    teach += ["--exp_name", experiment, "--steps", str(one.steps), "--batch_size", str(batch_size)]
    teach += ["--seed", str(one.seed)]
    judge = [str(ROOT / "train_caption.py"), "--evaluate", "--from_checkpoint"]
    judge += ["--exp_name", experiment, "--config", config]
    with one.file(".log").open("a") as log:
        for command in [judge] if (folder / "model.safetensors").exists() else [teach, judge]:
            code = subprocess.run([sys.executable, *command], stdout=log, stderr=subprocess.STDOUT).returncode
            if code:
                return code
    newest = max((folder / "results").glob("coco_test*_scores.json"), key=lambda path: path.stat().st_mtime)
    scores = json.loads(newest.read_text())["scores"]
    data = Path(yaml.safe_load(CONFIG.read_text())["coco"]["data_path"])
    facts = score(read_captions(newest.with_name(newest.name.replace("_scores", "")), data))
    percent = {kind: 100 * row["right"] / row["of"] for kind, row in facts.items()}
    write_json(one.file(".json"), {**vars(one), **scores, **percent})
    return 0


def read_results(steps: int) -> dict[str, list[dict]]:
    """All results with this number of steps by variant, in the order of `VARIANTS`."""
    files = {name: sorted(OUT.glob(f"{name}_seed*_steps{steps}.json")) for name in VARIANTS}
    return {name: [json.loads(path.read_text()) for path in paths] for name, paths in files.items() if paths}


def table(results: dict[str, list[dict]]) -> str:
    """The mean of each variant, and the range if there are several seeds, in Markdown."""
    lines = [f"| variant | seeds | {' | '.join(COLUMNS)} |", "|---|---|" + "---|" * len(COLUMNS)]
    for name, rows in results.items():
        cells = []
        for column in COLUMNS:
            values = [row[column] for row in rows if column in row]
            spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread}" if values else "")
        lines.append(f"| {name} | {len(rows)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(results: dict[str, list[dict]], path: Path) -> None:
    """Draws CIDEr: a bar for each variant's mean, a dot for each seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.9 + 0.3 * len(results)), layout="constrained")
    axes = figure.subplots()
    for row, rows in enumerate(results.values()):
        values = [result["CIDEr"] for result in rows]
        axes.barh(row, statistics.mean(values), color="#56b4e9")
        axes.plot(values, [row] * len(values), "o", color="#202124", markersize=4)
    axes.set_yticks(range(len(results)), list(results))
    axes.invert_yaxis()
    axes.set_xlabel("CIDEr on held-out Scenes; dots are seeds")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    run(main)

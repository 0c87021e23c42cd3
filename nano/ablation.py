"""Do experts help? Trains Prismer-Nano with some of them, and tells what its captions are worth.

    python -m nano.ablation --only experts_0 only_obj_detection experts_6 --seeds 2
    python -m nano.ablation --parallel 8            # everything, eight trainings at once

It needs the Scenes and the nano experts' labels (`make nano-data nano-labels`), and for `exact_labels`
those of the renderer: `python -m nano.scenes` with `nano-data`'s numbers, without `--no-labels`. Each
training is one of `nano.train`, with few steps; its captions of the test scenes are judged, and the result is
a JSON file below logging/ablation. What has a result, or weights, is not trained again. At the end come a
table (Markdown) and a picture of all results of so many steps.
"""

import argparse
import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from common.cli import natural, run
from common.errors import UserError
from common.files import ROOT, write_json
from helpers.checkpoints.experiments import LOGGING
from nano.scenes.facts import read_captions, score

OUT = LOGGING / "ablation"
CONFIG = ROOT / "configs" / "caption_nano.yaml"
QUESTIONS = ROOT / "configs" / "vqa_nano.yaml"
EXPERTS = ("depth", "normal", "seg_scenes", "edge", "obj_detection", "ocr_detection")  # the paper's order
NOISY = "depth"  # the paper spoils this one
COLUMNS = (
    "CIDEr",
    "object",
    "read",
)  # the score, and percent of solids and of signs' words that are told right


@dataclass(frozen=True)
class Variant:
    """What is changed.

    Attributes:
        experts: those that the model has.
        exact: the renderer's labels instead of the nano experts'.
        noise: share of the images whose `NOISY` label is noise.
    """

    experts: tuple[str, ...] = EXPERTS
    exact: bool = False
    noise: float = 0.0


VARIANTS = {
    **{f"experts_{number}": Variant(EXPERTS[:number]) for number in range(len(EXPERTS) + 1)},
    **{f"only_{name}": Variant((name,)) for name in EXPERTS[1:]},
    **{f"without_{name}": Variant(tuple(e for e in EXPERTS if e != name)) for name in EXPERTS},
    "exact_labels": Variant(exact=True),
    **{f"noise_{percent}": Variant(noise=percent / 100) for percent in (25, 50, 75, 100)},
}


@dataclass(frozen=True)
class Run:
    """One training."""

    variant: str
    seed: int
    steps: int

    @property
    def name(self) -> str:
        """Of its files and of its experiment."""
        return f"{self.variant}_seed{self.seed}_steps{self.steps}"

    @property
    def result(self) -> Path:
        """What it left."""
        return OUT / f"{self.name}.json"


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
    todo = [one for one in runs if not one.result.exists()]
    print(f"{len(runs)} trainings, {len(runs) - len(todo)} of them done before")
    for one in todo:
        write_config(one)  # labels of noise are made once, not by each of several trainings at once
    with ThreadPoolExecutor(args.parallel) as pool:
        codes = pool.map(partial(train, batch_size=args.batch_size), todo)
        failed = [one.name for one, code in zip(todo, codes, strict=True) if code]
    results = read_results(args.steps)
    if results:
        (OUT / "table.md").write_text(table(results) + "\n")
        draw(results, OUT / "ablation.png")
        print(f"{table(results)}\n{OUT / 'table.md'}, {OUT / 'ablation.png'}")
    if failed:
        raise UserError(f"{', '.join(failed)}: failed, see the .log files in {OUT}; run this again to go on")


def write_config(one: Run) -> Path:
    """Writes the config of a training, and its labels where they are spoilt."""
    variant = VARIANTS[one.variant]
    config = yaml.safe_load(CONFIG.read_text())
    settings = config["coco"]
    data = Path(settings["data_path"])
    if variant.exact:
        settings["label_path"] = str(data / "labels")
    if variant.noise:
        spoilt = OUT / f"labels_{one.variant}"
        spoil(Path(settings["label_path"]), spoilt, variant.noise)
        settings["label_path"] = str(spoilt)
    settings["experts"] = list(variant.experts) or "none"
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / f"{one.name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def spoil(source: Path, target: Path, share: float) -> None:
    """Links a label folder, with noise in place of a share of the labels of `NOISY`.

    Which ones, and the noise, depend on a label's place in the sorted list alone.
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
    """Trains, unless there are weights, judges, and writes the result; returns the exit code."""
    experiment, config = f"ablation_{one.name}", str(OUT / f"{one.name}.yaml")
    weights = LOGGING / f"caption_{experiment}" / "model.safetensors"
    teach = ["-m", "nano.train", "--caption", config, "--vqa", str(QUESTIONS), "--exp_name", experiment]
    teach += ["--steps", str(one.steps), "--batch_size", str(batch_size), "--seed", str(one.seed)]
    judge = [str(ROOT / "train_caption.py"), "--evaluate", "--from_checkpoint", "--exp_name", experiment]
    commands = [[*judge, "--config", config]] if weights.exists() else [teach, [*judge, "--config", config]]
    with (OUT / f"{one.name}.log").open("a") as log:
        for command in commands:
            code = subprocess.run([sys.executable, *command], stdout=log, stderr=subprocess.STDOUT).returncode
            if code:
                return code
    write_json(one.result, measure(one, weights.parent))
    return 0


def measure(one: Run, experiment: Path) -> dict:
    """What the captions of an experiment's newest evaluation are worth."""
    data = Path(yaml.safe_load(CONFIG.read_text())["coco"]["data_path"])
    found = max((experiment / "results").glob("coco_test*_scores.json"), key=lambda path: path.stat().st_mtime)
    scores = json.loads(found.read_text())["scores"]
    facts = score(read_captions(found.with_name(found.name.replace("_scores", "")), data))
    percent = {kind: 100 * row["right"] / row["of"] for kind, row in facts.items()}
    return {"variant": one.variant, "seed": one.seed, "steps": one.steps} | scores | percent


def read_results(steps: int) -> dict[str, list[dict]]:
    """All results of so many steps by variant, in the order of `VARIANTS`."""
    files = {name: sorted(OUT.glob(f"{name}_seed*_steps{steps}.json")) for name in VARIANTS}
    return {name: [json.loads(path.read_text()) for path in paths] for name, paths in files.items() if paths}


def table(results: dict[str, list[dict]]) -> str:
    """Means of each variant, with the spread from the least to the greatest where it has several seeds."""
    lines = [f"| variant | seeds | {' | '.join(COLUMNS)} |", "|---|---|" + "---|" * len(COLUMNS)]
    for name, rows in results.items():
        cells = [_cell([row[column] for row in rows if column in row]) for column in COLUMNS]
        lines.append(f"| {name} | {len(rows)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


def draw(results: dict[str, list[dict]], path: Path) -> None:
    """A picture of CIDEr: a bar for each variant's mean, a dot for each seed."""
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

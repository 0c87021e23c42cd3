"""How many small faults in the code do the tests notice?

    python -m tests.mutants --sample 200 --seed 0

Puts one fault at a time into a copy of the repository, and runs the tests that run the function with the
fault; a fault is killed when one of them fails. Which tests run which function is traced once, by running
the whole suite, and kept in `.mutants/` until `--trace` makes it anew. Tests that start a new Python are not
traced, so that no fault is killed by them alone: the share is a lower bound.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from tests.mutants.mutations import Mutant, find_mutants

ROOT = Path(__file__).resolve().parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent.txt")  # faults that change no behaviour, and why
KEPT = ROOT / ".mutants"
CODE = ("common", "model", "dataset", "experts", "helpers", "nano")
# Pictures, the web page, downloads, and of the miniature all but what labels images.
LEFT_OUT = ("helpers/figures", "helpers/web", "helpers/checkpoints/downloads", "helpers/checkpoints/fetch")
LEFT_OUT += (
    "helpers/checkpoints/hub_cache",
    "helpers/checkpoints/pca",
    "experts/build_class_tables",
    "experts/generate_",
)
LEFT_OUT += ("nano/scenes", "nano/train", "nano/ablation", "nano/expert/train", "nano/expert/training_data")
# Imported once, before processes are forked: all that takes long.
PRELOADED = (
    "torch",
    "torchvision",
    "transformers",
    "accelerate",
    "timm",
    "kornia",
    "pycocoevalcap",
    "PIL.Image",
)
PRELOADED += ("numpy", "scipy", "cv2", "shapely", "pydantic", "yaml", "tqdm", "pytest", "rapidfuzz", "psutil")
PRELOADED += ("safetensors.torch", "torch.distributed.tensor", "torch.distributed.fsdp", "matplotlib.pyplot")
PRELOADED += (
    "torch.distributed.checkpoint.state_dict",
    "transformers.models.mask2former.modeling_mask2former",
)
PRELOADED += ("transformers.models.dpt.modeling_dpt", "transformers.models.clip.modeling_clip", "onnxruntime")

_NO_VERDICT = (0, 4, 5)  # of pytest: all passed, a test that is gone, no test


@dataclass(frozen=True)
class Verdict:
    """What the tests said of a fault."""

    mutant: Mutant
    killed_by: str  # a test, "time" or nothing

    def as_json(self, source: bytes) -> dict[str, object]:
        return {"fault": self.mutant.describe(source), "killed_by": self.killed_by}


class Tests:
    """Which tests run a function, and how long they take."""

    def __init__(self, traces: Iterable[Path]) -> None:
        self.runs: dict[tuple[str, str], set[str]] = defaultdict(set)  # by file and function
        self.setup: dict[str, float] = defaultdict(float)  # seconds of a test file's slowest, often shared
        seconds: dict[str, dict[str, float]] = defaultdict(dict)
        shared: dict[tuple[str, str], set[str]] = defaultdict(set)  # test files whose fixtures run it
        for path in traces:
            for line in path.read_text().splitlines():
                test, phase, *rest = line.split("\t")
                case, test = test, test.split("[")[0]  # all cases of a test are run
                if rest[1] in ("passed", "failed", "skipped"):
                    if phase == "setup":
                        file = test.split("::")[0]
                        self.setup[file] = max(self.setup[file], float(rest[0]))
                    else:
                        seconds[test][case] = float(rest[0])
                    continue
                function = (rest[0], rest[1])
                self.runs[function].add(test)
                if phase == "setup":
                    shared[function].add(test.split("::")[0])
        self.seconds = {test: sum(cases.values()) for test, cases in seconds.items() if _is_there(test)}
        for function, files in shared.items():
            self.runs[function] |= {test for test in self.seconds if test.split("::")[0] in files}

    def of(self, mutant: Mutant, seconds: float) -> list[str]:
        """The tests that run its function, as many as take so long; one at least.

        Those of the file itself come first (`tests/model/test_vqa.py` for `model/vqa.py`), then the quickest.
        """
        tests = self.runs[(str(mutant.path), mutant.function)] & self.seconds.keys()
        if not tests:  # the file's own level, or a function that is new: whatever uses the file
            found = [tests for (name, _), tests in self.runs.items() if name == str(mutant.path)]
            tests = set().union(*found) & self.seconds.keys()
        own = f"{Path('tests', mutant.path).with_name(f'test_{mutant.path.name}')}::"
        picked: list[str] = []
        ready: set[str] = set()  # files whose shared setup is paid

        def cost(test: str) -> float:
            file = test.split("::")[0]
            return self.seconds[test] + (0 if file in ready else self.setup[file]) + 0.02

        while tests:
            test = min(tests, key=lambda each: (not each.startswith(own), cost(each), each))
            seconds -= cost(test)
            if seconds < 0 and picked:
                break
            picked.append(test)
            ready.add(test.split("::")[0])
            tests.remove(test)
        return picked


def _is_there(test: str) -> bool:
    """Whether a traced test has not been renamed or removed since."""
    path, name = test.split("::", 1)
    return (ROOT / path).is_file() and f"def {name}(" in (ROOT / path).read_text()


def trace(jobs: int, tests: list[str]) -> None:
    """Runs tests once to see what they run."""
    KEPT.mkdir(exist_ok=True)
    for path in KEPT.glob("trace_*"):
        if not tests:
            path.unlink()
    name = KEPT / f"trace_{len(list(KEPT.glob('trace_*')))}_"
    environment = os.environ | {"MUTANTS_TRACE": str(name), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "tests.mutants.trace", "-p", "no:cacheprovider"]
    subprocess.run(
        [*command, "-n", str(jobs), "--dist", "loadscope", *tests], cwd=ROOT, env=environment, check=False
    )


def copy_tree(folder: Path) -> Path:
    """A copy of all tracked files."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    return folder


def run_tests(tree: Path, tests: list[str], log: Path, limit: float) -> str:
    """Runs tests in a forked process; the first that fails, "time" where they do not end, or nothing."""
    result = log.with_suffix(".failed")
    result.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        os.setsid()
        _child(tree, tests, log, result)
    deadline = time.monotonic() + limit
    while not os.waitpid(child, os.WNOHANG)[0]:
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "time"
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it left running
    return result.read_text() if result.exists() else "a crash"


def _child(tree: Path, tests: list[str], log: Path, result: Path) -> None:
    with log.open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.chdir(tree)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["TMPDIR"] = str(tree.parent / f"{tree.name}_tmp")
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
    os.mkdir(os.environ["TMPDIR"])
    sys.path[:] = [str(tree), *(entry for entry in sys.path if entry not in ("", str(ROOT)))]
    for name in [
        name for name in sys.modules if name.split(".")[0] in (*CODE, "tests", "nano", "benchmarks")
    ]:
        del sys.modules[name]
    import pytest

    failed: list[str] = []

    class Watch:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                failed.append(report.nodeid)

        def pytest_collectreport(self, report: pytest.CollectReport) -> None:
            if report.failed:
                failed.append(f"{report.nodeid} (collecting)")

    code = pytest.main(["-x", "-p", "no:cacheprovider", "-p", "no:xdist", *tests], plugins=[Watch()])
    result.write_text(failed[0] if failed else "" if code in _NO_VERDICT else f"exit code {int(code)}")
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=200, help="how many faults")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--trace", nargs="*", metavar="TEST", help="see anew what tests run; all by default")
    parser.add_argument("--only", default="", help="faults in paths that begin so")
    parser.add_argument("--seconds", type=float, default=20, help="of tests for each fault")
    parser.add_argument("--again", type=Path, help="the survivors of an earlier report")
    args = parser.parse_args()
    if args.trace is not None or not list(KEPT.glob("trace_*")):
        trace(args.jobs, args.trace or [])
    tests = Tests(KEPT.glob("trace_*"))

    mutants = all_mutants(args.only)
    if args.again:
        wanted = {
            row["fault"] for row in json.loads(args.again.read_text())["faults"] if not row["killed_by"]
        }
        chosen = [m for m in mutants if m.describe((ROOT / m.path).read_bytes()) in wanted]
    else:
        chosen = random.Random(args.seed).sample(mutants, min(args.sample, len(mutants)))
    known = [line.split(" | ")[0] for line in EQUIVALENT.read_text().splitlines()]
    equivalent = [m for m in chosen if m.describe((ROOT / m.path).read_bytes(), line=False) in known]
    chosen = [m for m in chosen if m not in equivalent]
    print(f"{len(mutants)} possible faults, {len(chosen)} tried", flush=True)
    for name in PRELOADED:
        importlib.import_module(name)

    work = KEPT / "work"
    shutil.rmtree(work, ignore_errors=True)
    trees: Queue[Path] = Queue()
    for job in range(args.jobs):
        trees.put(copy_tree(work / f"tree_{job}"))

    limit = 60 + 5 * args.seconds

    def judge(number: int, mutant: Mutant) -> Verdict:
        tree = trees.get()
        source = (tree / mutant.path).read_bytes()
        (tree / mutant.path).write_bytes(mutant.apply(source))
        picked, log = tests.of(mutant, args.seconds), work / f"{number:04d}.log"
        killed_by = run_tests(tree, picked, log, limit) if picked else ""
        (tree / mutant.path).write_bytes(source)
        if killed_by == "time" and run_tests(tree, picked, log, limit) == "time":
            killed_by = ""  # these tests do not end without the fault either
        trees.put(tree)
        verdict = Verdict(mutant, killed_by)
        print(
            "killed  " if killed_by else "SURVIVED",
            mutant.describe(source),
            "|",
            killed_by or f"{len(picked)} tests",
            flush=True,
        )
        return verdict

    with ThreadPoolExecutor(args.jobs) as pool:
        verdicts = list(pool.map(judge, range(len(chosen)), chosen))

    # A test that fails without a fault kills nothing.
    killers = sorted({v.killed_by for v in verdicts if "::" in v.killed_by})
    tree = trees.get()
    broken = (
        {test for test in killers if run_tests(tree, [test], work / "control.log", 300)}
        if args.seconds
        else set()
    )
    killed = [v for v in verdicts if v.killed_by and v.killed_by not in broken]
    rows = [v.as_json((ROOT / v.mutant.path).read_bytes()) for v in verdicts]
    report = {
        "seed": args.seed,
        "tried": len(verdicts),
        "killed": len(killed),
        "equivalent": len(equivalent),
        "broken_tests": sorted(broken),
        "faults": rows,
    }
    (KEPT / "report.json").write_text(json.dumps(report, indent=1))
    print(
        f"{len(killed)} of {len(verdicts)} killed ({len(killed) / max(len(verdicts), 1):.1%}),",
        f"{len(equivalent)} more change nothing ({EQUIVALENT.name}):",
        KEPT / "report.json",
    )


def all_mutants(only: str) -> list[Mutant]:
    """Every fault that can be put into the code, in order."""
    found = []
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT)
            if not str(name).startswith(LEFT_OUT) and str(name).startswith(only):
                found += find_mutants(name, path.read_bytes())
    return found


if __name__ == "__main__":
    main()

"""What a run of the experts came to."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from accelerate.utils import gather_object

from common.pickles import FETCH
from experts.registry import ExpertJob


@dataclass
class Outcome:
    """What became of the images of a pass, in one process.

    Attributes:
        labelled: paths of the images that were labelled.
        unreadable: reason by image path.
        failed: reason by path of other images that got no label.
        not_finite: how many of these failed since the network's output was not finite.
    """

    labelled: set[str] = field(default_factory=set)
    unreadable: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    not_finite: int = 0


@dataclass
class Report:
    """What a run did, over all processes.

    Attributes:
        images: images found.
        labelled: images that were given all the labels they lacked.
        unreadable: reason by image path.
        failed: reason by path of images that can be read, but got no label of some expert.
        notes: what the user should know, a line each.
    """

    images: int = 0
    labelled: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def finished_before(self) -> int:
        """Images that had all their labels already."""
        return self.images - self.labelled - len(self.skipped)

    @property
    def skipped(self) -> dict[str, str]:
        """Reason by path of all images that lack a label now."""
        return self.failed | self.unreadable


def combine(outcomes: Sequence[Outcome], work: Sequence[ExpertJob], precision: str) -> Report:
    """The report of a run, but for the number of images; every process must call it.

    Args:
        outcomes: of the passes, in this process.
        work: the passes.
        precision: of the networks.
    """
    # An image may be one process's in this pass, and another's in the next.
    everyone: list[list[Outcome]] = gather_object([list(outcomes)])
    labelled: set[str] = set()
    report = Report()
    for number, each in enumerate(work):
        of_pass = [process[number] for process in everyone]
        for outcome in of_pass:
            labelled |= outcome.labelled
            report.unreadable |= outcome.unreadable
            for path, reason in outcome.failed.items():
                before = report.failed.get(path)
                report.failed[path] = f"{before}; {reason}" if before else reason
        lost = sum(outcome.not_finite for outcome in of_pass)
        if lost and not any(outcome.labelled for outcome in of_pass):
            report.notes.append(_hopeless(each, lost, precision))
    report.unreadable = dict(sorted(report.unreadable.items()))
    report.failed = dict(sorted(report.failed.items()))
    report.labelled = len(labelled - report.skipped.keys())
    return report


def _hopeless(work: ExpertJob, images: int, precision: str) -> str:
    network = f"{' and '.join(work.modalities)} ({work.backend})"
    if precision == "fp32":
        remedy = f"its weights may be damaged: fetch them again with {FETCH}"
    else:
        remedy = f"{precision} may be too small for its numbers on this device: set precision to fp32"
    return f"{network}: the network's output was not finite for any image ({images}); {remedy}"

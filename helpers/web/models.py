"""The models and experts of the web demo, loaded once and used by one visitor at a time."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TypeVar

from PIL import Image

from common.errors import UserError
from dataset.class_tables import read_class_tables
from experts.expert_pool import ExpertPool
from helpers.checkpoints.experiments import LOGGING, find_model, has_weights
from helpers.figures.label_pictures import Panel, label_panel
from helpers.inference.captioner import Answerer, Captioner, Prediction
from helpers.web.visitors import Visit
from model.modalities import modality

P = TypeVar("P", Captioner, Answerer)
PANEL = 320  # long side of a label's picture, pixels


class WebModels:
    """Prismer, PrismerZ beside it, and the experts.

    Args:
        exp_name: an experiment with captioning weights.
        vqa: one that answers questions; None: `exp_name`, if it has weights for it.
        exp_name_z: one without experts, for both tasks; None: `exp_name` with a z, as `prismerz_nano` is to
            `prismer_nano`, if it has weights.
        experts: the experts to run; None: all that the captioner knows.
        output_dir: the folder of experiments.

    Attributes:
        experts: their names, in the captioner's order.
        weights: the folders of the models.
    """

    def __init__(
        self,
        exp_name: str,
        vqa: str | None = None,
        exp_name_z: str | None = None,
        experts: Sequence[str] | None = None,
        output_dir: Path = LOGGING,
    ) -> None:
        self._output_dir = output_dir
        self.weights: list[Path] = []
        self.captioner = self._load(Captioner, "caption", exp_name)
        self.answerer = self._optional(Answerer, "vqa", vqa, exp_name)
        twin = exp_name.replace("prismer_", "prismerz_", 1) if exp_name.startswith("prismer_") else None
        self.captioner_z = self._optional(Captioner, "caption", exp_name_z, twin)
        self.answerer_z = self._optional(Answerer, "vqa", None, exp_name_z or twin)
        if self.captioner_z and self.captioner_z.experts():
            raise UserError(f"{exp_name_z or twin} has experts; name a PrismerZ with --exp_name_z")
        self.experts = self.captioner.experts(experts)
        known = self.answerer.experts() if self.answerer else ()  # labels are made for the captioner, and shared
        if missing := [name for name in known if name not in self.captioner.experts()]:
            raise UserError(f"{vqa or exp_name} answers with the expert '{missing[0]}', which the captioner lacks")
        self._networks = ExpertPool(self.captioner.backends(self.experts))
        classes = [table for name in self.experts if (table := modality(name).classes)]
        self._tables = read_class_tables(self.captioner.loaded.class_tables, classes) if classes else None
        self._lock = Lock()
        self._stopped = False

    def _load(self, cls: type[P], task: str, name: str) -> P:
        self.weights.append(find_model(task, name, self._output_dir))
        return cls.from_pretrained(self.weights[-1])

    def _optional(self, cls: type[P], task: str, named: str | None, usual: str | None) -> P | None:
        """A model that must exist if it is named, and may exist under its usual name."""
        if named or (usual and has_weights(task, usual, self._output_dir)):
            return self._load(cls, task, named or usual)
        return None

    def stop(self) -> None:
        """Waits for running work; from then on nothing runs and nothing is written."""
        with self._lock:
            self._stopped = True

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock:
            if self._stopped:
                raise UserError("The server is being stopped.")
            yield

    def panels(self, visit: Visit) -> Iterator[tuple[str, Panel]]:
        """Labels the image; yields each expert's name and picture when its label is ready."""
        view = visit.picture.copy()
        view.thumbnail((PANEL, PANEL), Image.Resampling.LANCZOS)
        names = self._networks.label(visit.picture, visit.key, visit.labels)
        while True:
            with self._alone():
                name = next(names, None)
            if name is None:
                return
            size = visit.picture.size
            yield name, label_panel(modality(name), visit.labels, visit.key, size, view, self._tables)

    def caption(
        self, visit: Visit, experts: Collection[str] = (), *, z: bool = False, attribution: bool = False
    ) -> Prediction | None:
        """Captions a labelled image with these experts alone, or with PrismerZ; None if there is no PrismerZ."""
        model = self.captioner_z if z else self.captioner
        if model is None:
            return None
        key = (z, frozenset(experts), attribution)
        with self._alone():
            if key not in visit.captions:
                dataset = visit.dataset(model.image_config(visit.labels, list(experts)))
                found = model.captions(dataset, 1, attribution=attribution)
                (visit.captions[key],) = model.require_all(dataset, found)
            return visit.captions[key]

    def answer(
        self, visit: Visit, question: str, experts: Collection[str] = (), *, z: bool = False
    ) -> Prediction | None:
        """Answers a question about a labelled image, as `caption` does."""
        model = self.answerer_z if z else self.answerer
        if model is None:
            return None
        seen = [name for name in model.experts() if name in experts]
        with self._alone():
            dataset = visit.dataset(model.image_config(visit.labels, seen))
            (answer,) = model.require_all(dataset, model.answers(dataset, [question], 1))
            return answer

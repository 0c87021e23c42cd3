"""All that the web demo runs, loaded once and used by one visitor at a time."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TypeVar

from PIL import Image

from common.errors import UserError
from dataset.class_tables import read_class_tables
from experts.expert_pool import KeptExperts
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
        experts: those to run; None: all that the captioner knows.
        output_dir: where experiments are.

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
        self._check_answerer(vqa or exp_name)
        self._networks = KeptExperts(self.captioner.backends(self.experts))
        classes = [table for name in self.experts if (table := modality(name).classes)]
        self._tables = read_class_tables(self.captioner.loaded.class_tables, classes) if classes else None
        self._lock = Lock()
        self._stopped = False

    def _load(self, cls: type[P], task: str, name: str) -> P:
        self.weights.append(find_model(task, name, self._output_dir))
        return cls.from_pretrained(self.weights[-1])

    def _optional(self, cls: type[P], task: str, named: str | None, usual: str | None) -> P | None:
        """A model that must be there if it is named, and may be there if it only would be usual."""
        if named or (usual and has_weights(task, usual, self._output_dir)):
            return self._load(cls, task, named or usual)
        return None

    def stop(self) -> None:
        """Waits for what is running; from then on nothing runs, and nothing is written."""
        with self._lock:
            self._stopped = True

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock:
            if self._stopped:
                raise UserError("The server is being stopped.")
            yield

    def _check_answerer(self, name: str) -> None:
        """Labels are made for the captioner, and shared."""
        known = self.answerer.experts() if self.answerer else ()
        if missing := [expert for expert in known if expert not in self.captioner.experts()]:
            raise UserError(f"{name} answers with the expert '{missing[0]}', which the captioner lacks")

    def panels(self, visit: Visit) -> Iterator[tuple[str, Panel]]:
        """Labels the image; yields each expert's name and picture when its label is there."""
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

    def caption(self, visit: Visit, experts: Collection[str], attribution: bool = False) -> Prediction:
        """Captions a labelled image as these experts, and no others, let see it."""
        return self._caption(self.captioner, visit, experts, attribution)

    def caption_z(self, visit: Visit) -> Prediction | None:
        """The caption without experts of the model that never had any."""
        return self._caption(self.captioner_z, visit, (), False) if self.captioner_z else None

    def answer(self, visit: Visit, question: str, experts: Collection[str]) -> Prediction:
        """Answers a question about a labelled image."""
        seen = [name for name in self.answerer.experts() if name in experts]
        return self._answer(self.answerer, visit, question, seen)

    def answer_z(self, visit: Visit, question: str) -> Prediction | None:
        """The answer of the model without experts."""
        return self._answer(self.answerer_z, visit, question, ()) if self.answerer_z else None

    def _caption(self, model: Captioner, visit: Visit, experts: Collection[str], attribution: bool) -> Prediction:
        key = (id(model), frozenset(experts), attribution)
        with self._alone():
            if key not in visit.captions:
                dataset = visit.dataset(model.image_config(visit.labels, list(experts)))
                (visit.captions[key],) = model.every(dataset, model.captions(dataset, 1, attribution=attribution))
            return visit.captions[key]

    def _answer(self, model: Answerer, visit: Visit, question: str, experts: Collection[str]) -> Prediction:
        with self._alone():
            dataset = visit.dataset(model.image_config(visit.labels, list(experts)))
            (answer,) = model.every(dataset, model.answers(dataset, [question], 1))
            return answer

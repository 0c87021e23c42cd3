"""The actions of a visitor of the web demo: each returns the changed parts of the page as HTML."""

from collections.abc import Collection, Iterator
from pathlib import Path

from common.errors import UserError
from helpers.figures.attribution_picture import draw_attribution
from helpers.web import page
from helpers.web.models import WebModels
from helpers.web.visitors import Visit, Visits, read_upload

Changes = dict[str, str]  # HTML by the part of the page; other parts stay as they are
START = page.note("Drop an image, or choose an example.")


def tile(expert: str) -> str:
    """The part of the page that shows an expert's label."""
    return f"tile-{expert}"


class Actions:
    """The actions of all visitors; `session` tells visitors apart.

    The parts are `captions`, `attribution`, `answers`, and a `tile` for each expert.

    Args:
        models: the models.
        max_pixels: of an image.
    """

    def __init__(self, models: WebModels, max_pixels: int) -> None:
        self._models = models
        self._max_pixels = max_pixels
        self._visits = Visits()

    def new_image(self, session: str, path: str | None, chosen: Collection[str], explain: bool) -> Iterator[Changes]:
        """Labels a new image expert by expert, then captions it; without an image it clears the page."""
        self.forget(session)
        empty = {tile(name): page.tile(name) for name in self._models.experts}
        yield {"captions": START, "attribution": "", "answers": ""} | empty
        if path is None:
            return
        try:
            visit = self._visits.open(session, read_upload(Path(path), self._max_pixels))
            yield from self._label(visit, chosen)
            yield {"captions": page.note("Writing the caption ...")}
            yield self._captions(visit, chosen, explain)
        except UserError as error:
            self.forget(session)  # it may lack labels
            yield empty | {"captions": page.message(str(error))}

    def new_caption(self, session: str, chosen: Collection[str], explain: bool) -> Changes:
        """Captions the image again, with the chosen experts alone."""
        visit = self._visits.find(session)
        if visit is None:
            return {"captions": START}
        try:
            return self._captions(visit, chosen, explain)
        except UserError as error:
            return {"captions": page.message(str(error))}

    def answer(self, session: str, question: str, chosen: Collection[str]) -> Changes:
        """Answers a question about the image."""
        visit = self._visits.find(session)
        try:
            if visit is None:
                raise UserError("Choose an image first, then ask about it.")
            if not question.strip():
                raise UserError("Type a question first.")
            found = self._models.answer(visit, question, chosen)
            other = self._models.answer(visit, question, z=True)
        except UserError as error:
            return {"answers": page.message(str(error))}
        shown = [page.card(f"Prismer{page.without(self._off(chosen))}", found, "pr-main")]
        if other:
            shown.append(page.card("PrismerZ", other))
        return {"answers": page.note(question) + page.cards(*shown)}

    def forget(self, session: str) -> None:
        """Forgets the visitor's image."""
        self._visits.close(session)

    def _off(self, chosen: Collection[str]) -> list[str]:
        return [name for name in self._models.experts if name not in chosen]

    def _label(self, visit: Visit, chosen: Collection[str]) -> Iterator[Changes]:
        experts = self._models.experts
        waiting = {tile(name): page.tile(name, waits=True) for name in experts}
        yield waiting | {"captions": page.note("The experts look at it ..." if experts else "...")}
        for name, panel in self._models.panels(visit):
            visit.seen[name] = page.label(name, panel)
            yield {tile(name): page.tile(name, visit.seen[name], off=name not in chosen)}

    def _captions(self, visit: Visit, chosen: Collection[str], explain: bool) -> Changes:
        off, experts = self._off(chosen), self._models.experts
        count = f", {len(experts)} expert{'s' * (len(experts) > 1)}" if experts else " without experts"
        full = self._models.caption(visit, experts)
        shown = [page.card(f"Prismer{count}", full, "pr-main")]
        if off:
            less = self._models.caption(visit, chosen)
            shown.append(page.card(f"Prismer{page.without(off)}", less, "pr-less", full))
        if z := self._models.caption(visit, z=True):
            shown.append(page.card("PrismerZ, the image alone", z))
        changes = {"captions": page.cards(*shown), "attribution": ""}
        for name, seen in visit.seen.items():
            changes[tile(name)] = page.tile(name, seen, off=name in off)
        if explain:
            found = self._models.caption(visit, chosen, attribution=True)
            changes["attribution"] = page.attribution(draw_attribution(found.attribution))
        return changes

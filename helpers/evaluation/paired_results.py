"""Results and references paired by id."""

from collections.abc import Mapping, Sequence
from typing import Any

from common.errors import UserError

Id = int | str


def match_results(
    results: Sequence[Mapping[str, Any]], references: Mapping[Id, Any], thing: str, text: str
) -> dict[Id, str]:
    """The text of each thing with references, in their order.

    Args:
        results: one {"<thing>_id", "<text>"} for each key of `references`.
        references: by id.
        thing: "image" or "question".
        text: "caption" or "answer".

    Raises:
        UserError: things without a result, with two of them or without references; no references.
    """
    if not references:
        raise UserError(f"no reference {text}s to score against; check the ground-truth file")
    texts = {result[f"{thing}_id"]: str(result[text]) for result in results}
    remedy = f"results and references must be of the same {thing}s"
    if missing := [known for known in references if known not in texts]:
        raise UserError(
            f"{len(missing)} of {len(references)} {thing}s have no {text} in the results "
            f"(first: {missing[0]}); {remedy}"
        )
    if unknown := [given for given in texts if given not in references]:
        raise UserError(f"{len(unknown)} results are of {thing}s without references (first: {unknown[0]}); {remedy}")
    if twice := len(results) - len(texts):
        raise UserError(f"{twice} results repeat the {thing}_id of another; give each {thing} one {text}")
    return {known: texts[known] for known in references}

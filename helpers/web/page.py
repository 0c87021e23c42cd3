"""The parts of the web demo as HTML: labels, captions, answers, messages. Pictures are data URLs, not files."""

from collections.abc import Sequence
from html import escape
from math import exp
from pathlib import Path

from PIL import Image

from helpers.figures.drawing import title
from helpers.figures.inline_html import inline, panel_key
from helpers.figures.label_pictures import Panel
from helpers.inference.captioner import Prediction

SHOWN_ANSWERS = 4
CSS = """
footer { display: none !important; }
.gradio-container { width: 100%; max-width: 1240px !important; margin: auto; }
.html-container { padding: 0 !important; }
#examples .gallery:has(.gallery-item) { display: grid; gap: 8px;
  grid-template-columns: repeat(6, minmax(0, 1fr)); }
#examples .container, #examples img { display: block; width: 100%; height: auto; max-height: none; }
#examples img { aspect-ratio: 1; object-fit: cover; }
.pr-head h1 { font-size: 1.7rem; font-weight: 700; margin: .4rem 0 .1rem; }
.pr-head p, .pr-note { opacity: .75; margin: 0; }
.pr-note { font-size: .85rem; overflow-wrap: anywhere; }
.pr-cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); gap: 12px; }
.pr-card { border: 1px solid var(--border-color-primary); border-radius: 10px; padding: 12px 14px;
  background: var(--block-background-fill); }
.pr-card.pr-main { border-left: 4px solid #0072b2; }
.pr-card.pr-less { border-left: 4px solid #d55e00; }
.pr-who span:last-child { white-space: nowrap; }
.pr-who { font-size: .8rem; opacity: .75; display: flex; gap: 8px;
  justify-content: space-between; margin-bottom: 4px; }
.pr-text { font-size: 1.12rem; line-height: 1.4; font-weight: 500; overflow-wrap: anywhere; }
.pr-text mark { background: rgba(230, 159, 0, .32); color: inherit; border-radius: 3px; padding: 0 2px; }
.pr-bar { display: grid; grid-template-columns: 6.5rem 1fr 3.2rem; gap: 8px; align-items: center;
  font-size: .82rem; margin-top: 5px; }
.pr-bar span:last-child { text-align: right; font-variant-numeric: tabular-nums; }
.pr-bar i { display: block; height: 8px; border-radius: 4px; background: #0072b2; min-width: 2px; }
.pr-message { border: 1px solid #d55e00; border-radius: 10px; padding: 12px 14px;
  background: rgba(213, 94, 0, .1); }
.pr-tiles { display: grid !important; grid-template-columns: repeat(auto-fill, minmax(140px, 1fr));
  gap: 12px; }
.pr-tiles > * { min-width: 0 !important; }
.pr-tile h3 { font-size: .88rem; font-weight: 600; margin: 0 0 4px; display: flex;
  justify-content: space-between; }
.pr-tile h3 em { font-style: normal; font-weight: 400; opacity: .75; }
.pr-tile img, .pr-empty { width: 100%; border-radius: 8px; border: 1px solid var(--border-color-primary);
  display: block; }
.pr-tile img { max-height: 320px; object-fit: contain; background: var(--background-fill-secondary); }
.pr-empty { aspect-ratio: 4 / 3; background: var(--background-fill-secondary); }
.pr-wait { animation: pr-pulse 1.1s ease-in-out infinite alternate; }
.pr-off img { opacity: .25; filter: grayscale(1); }
.pr-legend { font-size: .78rem; margin-top: 5px; display: flex; flex-wrap: wrap; gap: 2px 10px; }
.pr-legend i { display: inline-block; width: .75em; height: .75em; border-radius: 2px; margin-right: 4px; }
.pr-legend .scale { display: flex; align-items: center; gap: 6px; width: 100%; }
.pr-legend .scale b { flex: 1; height: .6em; border-radius: 2px; }
.pr-attribution { overflow-x: auto; contain: inline-size; }
.pr-attribution img { width: 100%; min-width: 900px; border-radius: 8px; }
@keyframes pr-pulse { from { opacity: .35 } to { opacity: 1 } }
@media (min-width: 900px) { .pr-tiles { grid-template-columns: repeat(6, 1fr); } }
"""


def heading(experts: Sequence[str], weights: Sequence[Path], limits: str) -> str:
    """The top of the page.

    Args:
        experts: all experts.
        weights: folders of the models; visitors see the last two parts of their paths.
        limits: `Predictor.limits`.
    """
    folders = ", ".join("/".join(folder.parts[-2:]) for folder in weights)
    count = f"{len(experts)} experts look at the picture, and the model reads what they saw." if experts else ""
    return (
        '<div class="pr-head"><h1>Prismer</h1>'
        f"<p>A vision-language model with an ensemble of experts. {count} {limits}</p>"
        f'<p class="pr-note">Weights: {escape(folders)}</p></div>'
    )


def label(name: str, panel: Panel) -> str:
    """The picture of a label and the meaning of its colours."""
    picture = f'<img alt="{escape(title(name))}" src="{inline(panel.picture)}">'
    return f'{picture}<div class="pr-legend">{panel_key(panel)}</div>'


def tile(name: str, seen: str | None = None, *, waits: bool = False, off: bool = False) -> str:
    """An expert's `label` under its name; without a label a grey field, which pulses while the label is made."""
    head = f"<h3><span>{escape(title(name))}</span>{'<em>off</em>' if off else ''}</h3>"
    body = seen or f'<div class="pr-empty{" pr-wait" if waits else ""}"></div>'
    return f'<div class="pr-tile{" pr-off" if off else ""}">{head}{body}</div>'


def card(who: str, found: Prediction, kind: str = "", full: Prediction | None = None) -> str:
    """A caption or an answer with its score, and the likeliest answers with bars.

    Args:
        who: the model.
        found: its text.
        kind: CSS class of the card.
        full: another text; words that it lacks are marked.
    """
    known = _words(full.text if full else found.text)
    words = [escape(word) if _words(word) <= known else f"<mark>{escape(word)}</mark>" for word in found.text.split()]
    bars = [
        f'<div class="pr-bar"><span>{escape(text)}</span><i style="width: {100 * exp(score):.0f}%"></i>'
        f"<span>{score:.2f}</span></div>"
        for text, score in found.ranked[:SHOWN_ANSWERS]
    ]
    score = f'<span title="mean log-probability of its tokens">score {found.score:.2f}</span>'
    return (
        f'<div class="pr-card {kind}"><div class="pr-who"><span>{escape(who)}</span>{score}</div>'
        f'<div class="pr-text">{" ".join(words)}{"".join(bars)}</div></div>'
    )


def cards(*shown: str) -> str:
    """Cards side by side."""
    return f'<div class="pr-cards">{"".join(shown)}</div>'


def without(off: Sequence[str]) -> str:
    """Names the experts that are switched off, as the end of a phrase; nothing if none is."""
    names = [title(name).lower() for name in off]
    return f" without {', '.join(names[:-1])}{' and ' if names[1:] else ''}{names[-1]}" if names else ""


def message(text: str) -> str:
    """An error message for the visitor."""
    return f'<div class="pr-message" role="alert">{escape(text)}</div>'


def note(text: str) -> str:
    """A remark in small print."""
    return f'<p class="pr-note">{escape(text)}</p>'


def attribution(picture: Image.Image) -> str:
    """The picture of an attribution; it scrolls where the page is narrow."""
    return f'<div class="pr-attribution"><img alt="Attribution by word" src="{inline(picture)}"></div>'


def _words(text: str) -> set[str]:
    return {"".join(filter(str.isalnum, word)).lower() for word in text.split()}

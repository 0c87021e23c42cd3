"""A report of many images as one HTML file, which contains its pictures and fetches nothing."""

import shutil
from collections.abc import Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryFile
from typing import Self

from PIL import Image

from common.files import write_atomically
from helpers.figures.attribution_picture import draw_attribution
from helpers.figures.inline_html import inline, panel_key
from helpers.figures.label_pictures import Panel
from model.attribution import Attribution

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 80rem; padding: 1rem 1.5rem 4rem; background: #fff; color: #202124;
  font: 1rem/1.45 system-ui, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; margin: .5rem 0; }
h2 { font-size: 1.25rem; margin: 0; overflow-wrap: anywhere; }
h3 { font-size: .9rem; margin: 0 0 .3rem; }
a { color: inherit; text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
.name { color: #5f6368; font-size: .85rem; margin: .15rem 0 1rem; overflow-wrap: anywhere; }
.grid { display: grid; gap: 1.1rem; align-items: start; padding: 0; list-style: none;
  grid-template-columns: repeat(auto-fill, minmax(max(min(15rem, 100%), COLUMN), 1fr)); }
.grid img { max-width: 100%; max-height: 75vh; border: 1px solid #d0d3d8; box-sizing: border-box;
  display: block; }
.sheet img { width: 100%; margin-bottom: .4rem; }
.sheet a { display: block; }
figure { margin: 0; }
.wide { grid-column: 1 / -1; }
figcaption { font-size: .8rem; margin-top: .35rem; }
figcaption span { display: inline-block; margin-right: .8rem; }
i { display: inline-block; width: .9em; height: .9em; border-radius: .2em; margin-right: .4em;
  vertical-align: -.1em; }
.scale { display: flex; align-items: center; gap: .5rem; margin: 0; }
.scale b { flex: 1; height: .7rem; border: 1px solid #80868b; }
section { border-top: 1px solid #d0d3d8; padding-top: 1.5rem; margin-top: 2.5rem; }
.bars { overflow-x: auto; margin-top: 1rem; }
.bars img { min-width: 50rem; width: 100%; max-width: 77.5rem; display: block; }
"""


class Report:
    """Collects images, in a temporary file; `write` makes the report."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        # A name that is not Unicode is shown with question marks.
        self._sections = TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115, closed on exit
        self._sheet: list[str] = []  # entries

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sections.close()

    def add(
        self, name: str, text: str | None, small: Image.Image, panels: Sequence[Panel], attribution: Attribution | None
    ) -> None:
        """Adds an image.

        Args:
            name: of the image.
            text: its caption; None if there is none yet.
            small: its thumbnail.
            panels: the image and its labels.
            attribution: of the text, if there is any.
        """
        number = len(self._sheet) + 1
        shown, label = escape(text or "no caption yet"), escape(name)
        self._sheet.append(
            f'<li><a href="#image-{number}"><img src="{inline(small)}" alt="{label}">{shown}</a>'
            f'<div class="name">{label}</div></li>\n'
        )
        self._sections.write(
            f'<section id="image-{number}">\n<h2>{shown}</h2>\n<div class="name">{label}</div>\n<div class="grid">\n'
        )
        self._sections.writelines(_figure(panel, number) for panel in panels)
        self._sections.write("</div>\n")
        if attribution is not None and attribution.words:
            words = escape(" ".join(attribution.words))
            picture = inline(draw_attribution(attribution))
            self._sections.write(
                f'<div class="bars"><img src="{picture}" alt="What the words attended to: {words}"></div>\n'
            )
        self._sections.write("</section>\n")

    def write(self, path: Path, title: str) -> None:
        """Writes the file."""
        gaps = f"{1.1 * (self._columns - 1):.1f}rem"
        style = STYLE.replace("COLUMN", f"(100% - {gaps}) / {self._columns}")
        title = escape(title)

        def save(temporary: Path) -> None:
            with temporary.open("w", encoding="utf-8", errors="replace") as file:
                file.write(
                    f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
                    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
                    f"<style>{style}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
                )
                if self._sheet:
                    file.write(f'<ul class="grid sheet">\n{"".join(self._sheet)}</ul>\n')
                self._sections.seek(0)
                shutil.copyfileobj(self._sections, file)
                file.write("</main>\n</body>\n</html>\n")

        write_atomically(path, save)


def _figure(panel: Panel, number: int) -> str:
    about = f"{escape(panel.title)} of image {number}"
    wide = ' class="wide"' if panel.picture.width > 2 * panel.picture.height else ""
    return (
        f"<figure{wide}><h3>{escape(panel.title)}</h3>\n"
        f'<img src="{inline(panel.picture)}" alt="{about}">\n'
        f"<figcaption>{panel_key(panel)}</figcaption></figure>\n"
    )

"""The architecture in one picture and one table, from the layers that tests/test_architecture.py holds.

``python docs/tools/architecture.py`` draws docs/architecture.svg and writes the table into CONTRIBUTING.md.
"""

import sys
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[2]
PICTURE, PAGE = ROOT / "docs" / "architecture.svg", ROOT / "CONTRIBUTING.md"

WHAT = {
    0: "arrays, units and the sky: no dataset is changed here",
    1: "datasets in, datasets out: quantities, parts, sums, responses, models",
    2: "predictions, fits, maps, plots and files",
    3: "the doorway: ds.onoff and the command",
}
FILL = ("#e7eef7", "#d5e3f2", "#c0d6ec", "#a9c7e4")
#: Sizes in pixels: of the picture, of a row of boxes, and of letters.
WIDTH, ROW, LETTER = 1000, 30, 6.7


def shown(module: str) -> str:
    """Name of a module; that of a subpackage ends in a slash."""
    return f"{module}/" if (ROOT / "xonoff" / module).is_dir() else module


def rows(names: Iterable[str]) -> list[list[tuple[str, float, float]]]:
    """Share boxes out to rows: name, left edge and width of each."""
    placed: list[list[tuple[str, float, float]]] = [[]]
    left = 16.0
    for name in names:
        width = LETTER * len(shown(name)) + 16
        if left + width > WIDTH - 16:
            placed.append([])
            left = 16.0
        placed[-1].append((name, left, width))
        left += width + 8
    return placed


def picture(layers: Mapping[int, Iterable[str]]) -> str:
    """SVG of the layers, the highest on top."""
    parts, top = [], 8.0
    for level in sorted(layers, reverse=True):
        lines = rows(layers[level])
        height = 34 + ROW * len(lines)
        parts.append(f'<rect x="4" y="{top:g}" width="{WIDTH - 8}" height="{height}" rx="8" fill="{FILL[level]}"/>')
        title = f"{level}  {WHAT[level]}"
        parts.append(f'<text x="16" y="{top + 20:g}" font-weight="bold">{escape(title)}</text>')
        for number, line in enumerate(lines):
            y = top + 30 + ROW * number
            for name, left, width in line:
                box = (
                    f'<rect x="{left:g}" y="{y:g}" width="{width:g}" height="22" rx="4" fill="#fff" stroke="#5a7ea6"/>'
                )
                text = f'<text x="{left + width / 2:g}" y="{y + 15:g}" text-anchor="middle">{shown(name)}</text>'
                parts += [box, text]
        top += height
        if level:
            arrow = f"M{WIDTH / 2 - 9:g} {top + 4:g}h18l-9 10z"
            words = f'<text x="{WIDTH / 2 + 16:g}" y="{top + 14:g}" fill="#5a7ea6">imports</text>'
            parts.append(f'<path d="{arrow}" fill="#5a7ea6"/>{words}')
        top += 18
    size = f'viewBox="0 0 {WIDTH} {top - 10:g}" width="{WIDTH}" height="{top - 10:g}"'
    font = 'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="11" fill="#1c2b3a"'
    back = '<rect width="100%" height="100%" rx="8" fill="#fff"/>'
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>\n{back}\n{body}\n</svg>\n'


def table(layers: Mapping[int, Iterable[str]]) -> str:
    """Markdown of the same."""
    lines = ["| layer | what | modules |", "|---|---|---|"]
    for level, names in layers.items():
        lines.append(f"| {level} | {WHAT[level]} | {', '.join(f'`{shown(name)}`' for name in names)} |")
    return "\n".join(lines)


def page(text: str, layers: Mapping[int, Iterable[str]]) -> str:
    """Put the table into the text of the page, between its markers."""
    before, rest = text.split("<!-- layers -->")
    return f"{before}<!-- layers -->\n\n{table(layers)}\n\n<!-- /layers -->{rest.split('<!-- /layers -->')[1]}"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))
    from test_architecture import LAYERS

    PICTURE.write_text(picture(LAYERS))
    PAGE.write_text(page(PAGE.read_text(), LAYERS))

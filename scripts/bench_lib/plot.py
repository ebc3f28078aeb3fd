"""The table as a picture: a bar for each program and figure, on a logarithmic scale of its own for each unit."""

import math
from xml.sax.saxutils import escape

from .table import lines, show, values

COLOURS = ("#0072b2", "#e69f00", "#999999")
LABEL_WIDTH, BAR_WIDTH, VALUE_WIDTH = 330, 420, 110
BAR_HEIGHT, GAP, TOP = 14, 12, 60


def render(results, sizes):
    """SVG text."""
    shown = [(line, values(results, line)) for line in lines(sizes)]
    shown = [(line, found) for line, found in shown if found]
    scales = {unit: scale([value for line, found in shown if line.unit == unit
                           for value in [*found.values(), line.target] if value])
              for unit in {line.unit for line, _ in shown}}
    parts, top = legend(results), TOP
    for line, found in shown:
        parts += group(line, found, list(results), scales[line.unit], top)
        top += BAR_HEIGHT * len(results) + GAP
    width = LABEL_WIDTH + BAR_WIDTH + VALUE_WIDTH
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top + 10}" '
            f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
            + "\n".join(parts) + "\n</svg>\n")


def scale(figures):
    """Maps a figure to the length of its bar; each decade has the same length."""
    if not figures:
        return lambda value: 0
    low = math.floor(math.log10(min(figures)) - 0.1)
    high = max(math.log10(max(figures)), low + 1)
    return lambda value: 0 if value <= 0 else max(1, BAR_WIDTH * (math.log10(value) - low) / (high - low))


def legend(results):
    parts = ['<text x="10" y="22" font-size="15">Shorter is better; each unit has a logarithmic scale; '
             'the red line is the target</text>']
    for at, (program, colour) in enumerate(zip(results, COLOURS)):
        x = 10 + 130 * at
        parts.append(f'<rect x="{x}" y="34" width="12" height="12" fill="{colour}"/>'
                     f'<text x="{x + 18}" y="45">{escape(program)}</text>')
    return parts


def group(line, found, programs, length, top):
    height = BAR_HEIGHT * len(programs)
    parts = [f'<text x="{LABEL_WIDTH - 10}" y="{top + height / 2 + 4}" text-anchor="end">'
             f'{escape(line.label.strip())}</text>']
    if line.target:
        x = LABEL_WIDTH + length(line.target)
        parts.append(f'<line x1="{x:.1f}" y1="{top - 2}" x2="{x:.1f}" y2="{top + height}" stroke="#d00"/>')
    for at, (program, colour) in enumerate(zip(programs, COLOURS)):
        y, value = top + BAR_HEIGHT * at, found.get(program)
        bar = length(value) if value else 0
        parts.append(f'<rect x="{LABEL_WIDTH}" y="{y}" width="{bar:.1f}" height="{BAR_HEIGHT - 2}" '
                     f'fill="{colour}"/><text x="{LABEL_WIDTH + bar + 5:.1f}" y="{y + BAR_HEIGHT - 4}" '
                     f'font-size="10" paint-order="stroke" stroke="white" stroke-width="3">'
                     f'{escape(show(value, line.unit))}</text>')
    return parts

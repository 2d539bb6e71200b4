"""Charts of an evaluation: digits beside their nearest training digits, the confusion matrix, variety per class."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.config import IMAGE_SIZE
from models.evaluation.evaluation_records import Evaluation
from models.evaluation.evaluator import Neighbours
from models.sampling.grid import sheet

MARGIN, TITLE = 24, 56
PANEL = 22 * IMAGE_SIZE // 2  # height and width of each panel, up to 14 classes
LEAST_CELL = 22  # pixels; a count has up to four digits
PAIRS = 5  # per class, of a digit and its nearest training digit
LONGEST = 2  # characters of a class's name; if one is longer, the classes are numbered
INK, GREY, ACCENT = (32, 33, 36), (150, 150, 155), (38, 99, 235)


class Chart(NamedTuple):
    """Sizes in pixels, and the names of the classes."""

    panel: int
    cell: int
    names: list[str]

    @classmethod
    def of(cls, names: list[str]) -> "Chart":
        cell = max(PANEL // len(names), LEAST_CELL)
        shown = names if max(map(len, names)) <= LONGEST else [str(label) for label in range(len(names))]
        return cls(max(PANEL, cell * len(names)), cell, shown)


def draw_evaluation(evaluation: Evaluation, neighbours: Neighbours) -> bytes:
    """Return the charts as a PNG."""
    figures = evaluation.generator
    chart = Chart.of(evaluation.classes)
    width, height = 2 * chart.panel + PANEL + 4 * MARGIN + chart.cell, chart.panel + TITLE + 2 * MARGIN
    canvas = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(canvas)
    lefts = [MARGIN, 2 * MARGIN + PANEL, 3 * MARGIN + PANEL + chart.panel + chart.cell]
    titles = (
        "digits closest to a training digit (at right)",
        f"label (rows), recognised as (columns): {figures.label_accuracy:.2%}",
        f"variety / that of real digits; GAN-train {figures.gan_train:.2%}",
    )
    for left, title in zip(lefts, titles, strict=True):
        pen.text((left, MARGIN), title, fill=INK, font=font(11))
    canvas.paste(pairs(neighbours, chart), (lefts[0], TITLE))
    draw_confusion(pen, np.array(figures.confusion), chart, lefts[1] + chart.cell, TITLE)
    draw_variety(pen, figures.variety, chart, lefts[2], TITLE)
    file = io.BytesIO()
    canvas.save(file, "PNG", optimize=True)
    return file.getvalue()


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def pairs(neighbours: Neighbours, chart: Chart) -> Image.Image:
    """Return one row per class: the digits closest to a training digit, each followed by that training digit.

    At most as wide and high as its panel.
    """
    labels, digits, nearest = (tensor.cpu().numpy() for tensor in neighbours)
    classes = len(chart.names)
    first = np.concatenate([np.flatnonzero(labels == label)[:PAIRS] for label in range(classes)])
    both = np.stack((digits[first], nearest[first]), 1).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    picture = Image.fromarray(sheet(both, columns=2 * PAIRS, invert=True))
    scale = min(PANEL / (2 * PAIRS), chart.panel / classes)  # pixels of an image
    return picture.resize((round(2 * PAIRS * scale), round(classes * scale)))


def draw_confusion(pen: ImageDraw.ImageDraw, counts: np.ndarray, chart: Chart, left: int, top: int) -> None:
    """Draw a table of counts. Off the diagonal, a cell is darker the larger its count."""
    worst, cell = max(1, int((counts - np.diag(np.diag(counts))).max())), chart.cell
    for row, name in enumerate(chart.names):
        pen.text((left - 14, top + cell * (row + 0.5)), name, fill=GREY, font=font(11), anchor="mm")
        pen.text((left + cell * (row + 0.5), top + chart.panel + 8), name, fill=GREY, font=font(11), anchor="mm")
        for column in range(len(chart.names)):
            count, x, y = int(counts[row, column]), left + cell * column, top + cell * row
            shade = 0.0 if row == column else count / worst
            pen.rectangle((x, y, x + cell - 1, y + cell - 1), fill=tint(shade), outline=(230, 230, 233))
            if count:
                pen.text((x + cell / 2, y + cell / 2), str(count), fill=INK, font=font(10), anchor="mm")


def tint(shade: float) -> tuple[int, int, int]:
    return (255, round(255 - 130 * shade), round(255 - 150 * shade))


def draw_variety(pen: ImageDraw.ImageDraw, variety: list[float], chart: Chart, left: int, top: int) -> None:
    """Draw one bar per class; the line is the variety of real digits."""
    scale = 0.9 * chart.panel / max(1.2, *variety)
    bottom = top + chart.panel
    for (label, ratio), name in zip(enumerate(variety), chart.names, strict=True):
        x = left + chart.cell * label
        pen.rectangle((x + 4, bottom - ratio * scale, x + chart.cell - 4, bottom), fill=ACCENT)
        pen.text((x + chart.cell / 2, bottom - ratio * scale - 8), f"{ratio:.2f}", fill=INK, font=font(10), anchor="mm")
        pen.text((x + chart.cell / 2, bottom + 8), name, fill=GREY, font=font(11), anchor="mm")
    pen.line((left, bottom - scale, left + chart.panel, bottom - scale), fill=GREY, width=1)

"""Charts of an evaluation: digits beside their nearest training digits, the confusion matrix, variety per class."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.config import IMAGE_SIZE, NUM_CLASSES
from models.evaluation.evaluator import Evaluation, Neighbours
from models.sampling.grid import sheet

MARGIN, TITLE = 24, 56
PANEL = 22 * IMAGE_SIZE // 2  # height and width of each panel
CELL = PANEL // NUM_CLASSES
PAIRS = 5  # per class, of a digit and its nearest training digit
INK, GREY, ACCENT = (32, 33, 36), (150, 150, 155), (38, 99, 235)


def draw_evaluation(evaluation: Evaluation, neighbours: Neighbours) -> bytes:
    """Return the charts as a PNG."""
    width, height = 3 * PANEL + 4 * MARGIN + CELL, PANEL + TITLE + 2 * MARGIN
    canvas = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(canvas)
    lefts = [MARGIN, 2 * MARGIN + PANEL, 3 * MARGIN + 2 * PANEL + CELL]
    figures = evaluation.generator
    titles = (
        "digits closest to a training digit (at right)",
        f"label (rows), recognised as (columns): {figures.label_accuracy:.2%}",
        f"variety / that of real digits; GAN-train {figures.gan_train:.2%}",
    )
    for left, title in zip(lefts, titles, strict=True):
        pen.text((left, MARGIN), title, fill=INK, font=font(11))
    canvas.paste(pairs(neighbours), (lefts[0], TITLE))
    draw_confusion(pen, np.array(figures.confusion), lefts[1] + CELL, TITLE)
    draw_variety(pen, figures.variety, lefts[2], TITLE)
    file = io.BytesIO()
    canvas.save(file, "PNG", optimize=True)
    return file.getvalue()


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def pairs(neighbours: Neighbours) -> Image.Image:
    """Return one row per class: the digits closest to a training digit, each followed by that training digit."""
    labels, digits, nearest = (tensor.cpu().numpy() for tensor in neighbours)
    first = np.concatenate([np.flatnonzero(labels == label)[:PAIRS] for label in range(NUM_CLASSES)])
    both = np.stack((digits[first], nearest[first]), 1).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    return Image.fromarray(sheet(both, columns=2 * PAIRS, invert=True)).resize((PANEL, PANEL))


def draw_confusion(pen: ImageDraw.ImageDraw, counts: np.ndarray, left: int, top: int) -> None:
    """Draw a table of counts. Off the diagonal, a cell is darker the larger its count."""
    worst = max(1, int((counts - np.diag(np.diag(counts))).max()))
    for row in range(NUM_CLASSES):
        pen.text((left - 14, top + CELL * (row + 0.5)), str(row), fill=GREY, font=font(11), anchor="mm")
        pen.text((left + CELL * (row + 0.5), top + PANEL + 8), str(row), fill=GREY, font=font(11), anchor="mm")
        for column in range(NUM_CLASSES):
            count, x, y = int(counts[row, column]), left + CELL * column, top + CELL * row
            shade = 0.0 if row == column else count / worst
            pen.rectangle((x, y, x + CELL - 1, y + CELL - 1), fill=tint(shade), outline=(230, 230, 233))
            if count:
                pen.text((x + CELL / 2, y + CELL / 2), str(count), fill=INK, font=font(10), anchor="mm")


def tint(shade: float) -> tuple[int, int, int]:
    return (255, round(255 - 130 * shade), round(255 - 150 * shade))


def draw_variety(pen: ImageDraw.ImageDraw, variety: list[float], left: int, top: int) -> None:
    """Draw one bar per class; the line is the variety of real digits."""
    scale = 0.9 * PANEL / max(1.2, *variety)
    bottom = top + PANEL
    for label, ratio in enumerate(variety):
        x = left + CELL * label
        pen.rectangle((x + 4, bottom - ratio * scale, x + CELL - 4, bottom), fill=ACCENT)
        pen.text((x + CELL / 2, bottom - ratio * scale - 8), f"{ratio:.2f}", fill=INK, font=font(10), anchor="mm")
        pen.text((x + CELL / 2, bottom + 8), str(label), fill=GREY, font=font(11), anchor="mm")
    pen.line((left, bottom - scale, left + PANEL, bottom - scale), fill=GREY, width=1)

"""Tables as text: on a terminal, columns that fit its width; in a pipe, complete values, separated by tabs."""

from dataclasses import dataclass, field

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from app.cli.display.output import SafeConsole, can_encode, cell, console, print_sentence, write_line
from models.bounded_reading import printable

GAP = "  "


@dataclass
class Column:
    """A column. For a narrow terminal, columns are shortened or left out in steps, in the order of their numbers."""

    heading: str
    right: bool = False
    drop: int | None = None  # number of the step that leaves it out; None to keep it
    shortest: int | None = None  # characters to which its cells may be shortened
    rank: int = 0  # number of the step that shortens it
    note: str = ""  # a sentence for the caption, which is printed only with the column
    ellipsis: bool = True  # at the end of shortened cells; not for ids, whose beginnings are arguments of commands
    cells: list[Text] = field(default_factory=list)

    @property
    def width(self) -> int:
        return max(cell_len(text.plain) for text in (Text(self.heading), *self.cells))


class Table:
    """Rows of single lines. `caption` is a sentence below."""

    def __init__(self, *columns: Column) -> None:
        self.columns = columns
        self.caption = ""

    def add(self, *values: str | tuple[str, str]) -> None:
        """Add a row. Each value is a text, or a text and its style."""
        for column, value in zip(self.columns, values, strict=True):
            column.cells.append(cell(*value) if isinstance(value, tuple) else cell(value))

    def fitted(self, width: int) -> list[tuple[Column, int]]:
        """Return the columns that fit into a terminal of `width` characters, with their widths."""
        widths = {id(column): column.width for column in self.columns}
        steps = [(column.rank, column, "shorten") for column in self.columns if column.shortest is not None]
        steps += [(column.drop, column, "drop") for column in self.columns if column.drop is not None]
        for _, column, action in sorted(steps, key=lambda step: step[0]):
            excess = sum(widths.values()) + len(GAP) * (len(widths) - 1) - width
            if excess <= 0:
                break
            if action == "drop":
                widths.pop(id(column))
            elif id(column) in widths:
                least = max(column.shortest or 0, cell_len(column.heading))
                widths[id(column)] = min(widths[id(column)], max(least, widths[id(column)] - excess))
        return [(column, widths[id(column)]) for column in self.columns if id(column) in widths]

    def lines(self, width: int, mark: str = "…") -> list[Text]:
        """Return the lines for a terminal of `width` characters, none longer. `mark` ends shortened cells."""
        columns = self.fitted(width)
        lines = [Text(GAP).join(padded(Text(column.heading, "bold"), size, column, mark) for column, size in columns)]
        for row in range(len(self.columns[0].cells)):
            lines.append(Text(GAP).join(padded(column.cells[row], size, column, mark) for column, size in columns))
        for line in lines:
            line.rstrip()
            line.truncate(width)
        return lines

    def rows(self) -> list[list[str]]:
        """Return all values, below the headings."""
        headings = [column.heading for column in self.columns]
        return [headings, *([text.plain for text in row] for row in zip(*(c.cells for c in self.columns), strict=True))]


def padded(text: Text, size: int, column: Column, mark: str) -> Text:
    """Return a copy with this width."""
    width = cell_len(text.plain)
    if width > size:
        kept = size - cell_len(mark) if column.ellipsis else size
        return Text(set_cell_size(text.plain, kept) + (mark if column.ellipsis else ""), text.style)
    space = Text(" " * (size - width))
    return space + text if column.right else text + space


def print_table(table: Table, to: SafeConsole = console) -> None:
    """Print a table: on a terminal in lines that are never wrapped, in a pipe as values separated by tabs."""
    if to.is_terminal:
        mark = "…" if can_encode("…", to.encoding) else "."
        for line in table.lines(to.width, mark):
            to.print(line, no_wrap=True, overflow="ignore", crop=False, highlight=False)
    else:
        for row in table.rows():
            write_line("\t".join(printable(value) for value in row))
    shown = [column for column, _ in table.fitted(to.width)] if to.is_terminal else table.columns
    if caption := " ".join(filter(None, (table.caption, *(column.note for column in shown)))):
        print_sentence(caption)

"""The commands in README and docs/: lines indented by four, and commands in the first column of tables."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    *(
        f"docs/{name}.md"
        for name in ("guide", "from-keras", "api", "commands", "operations", "quality", "your-own-images")
    ),
)
PROGRAMS = ("curl", "make", "docker", "acgan", ".venv/bin/acgan", ".venv/bin/python", ".venv/bin/pip")


class Command(NamedTuple):
    page: str
    line: int
    text: str


def commands() -> Iterator[Command]:
    for page in PAGES:
        lines = (ROOT / page).read_text().splitlines()
        for number, line in enumerate(lines):
            if line.startswith("| `acgan "):
                yield from (Command(page, number + 1, text) for text in in_table(line))
            elif line.startswith("    ") and line.split()[0] in PROGRAMS and "──>" not in line:
                text = line.strip()
                while text.endswith("\\"):
                    number += 1
                    text = f"{text[:-1]}{lines[number].strip()}"
                yield Command(page, number + 1, re.sub(r"\s+#\s.*", "", text))


def in_table(line: str) -> Iterator[str]:
    """Read "`acgan cancel`, `resume`, `front JOB`" as three commands, each with the argument of the last one."""
    first, *others = re.findall(r"`([^`]+)`", line.split("|")[1])
    texts = [first]
    for other in others:
        same = other if other.startswith("acgan ") else f"acgan serving {other}"
        texts.append(
            same if same.startswith("acgan serving") == first.startswith("acgan serving") else f"acgan {other}"
        )
    job = " JOB" if texts[-1].endswith(" JOB") else ""
    yield from (text if text.endswith(job) else text + job for text in texts)


def python_blocks(page: str) -> Iterator[str]:
    """The code blocks of a page that begin with an import."""
    block: list[str] = []
    for line in [*(ROOT / page).read_text().splitlines(), "end"]:
        if line.startswith("    ") or (block and not line):
            block.append(line[4:])
        elif block:
            if block[0].startswith(("from ", "import ")):
                yield "\n".join(block)
            block = []

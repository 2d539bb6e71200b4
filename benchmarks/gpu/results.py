"""The file of results: one JSON object per line, written immediately. Free of torch."""

import json
import sys
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class ResultLog:
    """Appends lines about one part to a file. Each line is written before the next measurement begins."""

    def __init__(self, path: Path, part: str) -> None:
        self.path = path
        self.part = part

    def write(self, name: str, **fields: object) -> None:
        """Append one line and print it. Values without a JSON type are written as text."""
        line = json.dumps({"part": self.part, "name": name, **fields}, default=str)
        with self.path.open("a") as file:
            file.write(line + "\n")
        sys.stdout.write(line[:1000] + "\n")
        sys.stdout.flush()


def read_results(path: Path) -> list[Line]:
    """Read all complete lines. A killed process may have written an incomplete last line, which is skipped."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines

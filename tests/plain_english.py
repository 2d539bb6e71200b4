"""Finds phrases that plain technical English does not use: `python -m tests.plain_english`, part of `make lint`.

Reads docstrings, comments and messages in Python, comments in Lua, and the paragraphs of the documents.
tests/plain_english.txt lists the phrases that are accepted: `file | phrase`.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
ALLOWED = Path(__file__).with_suffix(".txt")
SHORT = 3  # spaces: a string with fewer words is not checked, because it is a name or a key
TURNS = re.compile(
    r"\b("
    r"wh(?:o|om|at|ich|ere)ever|"  # whoever, whatever
    r"told|tell(?:s|ing)?|hears?|heard|knock(?:s|ed|ing)?|"  # name what the program does: returns, reports, receives
    r"lies|lay|lain|anew|thereby|whereby|"
    r"goes on|go on|going on|went on|comes? again|"  # continues, retries
    r"(?:some|any|no|every)body|"  # name the actor
    r"so (?:many|much|long|few)|"
    r"where (?:it|they|there|nothing|none|no|one|any|some)|"  # if, when
    r"(?:is|are|was) to (?:be|do|go|have|run|draw|say|come|know|end)"  # must, will
    r")\b",
    re.IGNORECASE,
)


class Text(NamedTuple):
    file: str
    line: int
    text: str


def in_python(file: str, source: str) -> Iterator[Text]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.count(" ") > SHORT:
            yield Text(file, node.lineno, node.value)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Text(file, token.start[0], token.string)


def in_lua(file: str, source: str) -> Iterator[Text]:
    for number, line in enumerate(source.splitlines(), 1):
        if "--" in line:
            yield Text(file, number, line.partition("--")[2])


def in_document(file: str, source: str) -> Iterator[Text]:
    """Paragraphs, without indented code."""
    line = 1
    for block in re.split(r"(\n\s*\n)", source):
        if block.strip() and not block.startswith("    "):
            yield Text(file, line, block)
        line += block.count("\n")


READERS = {".py": in_python, ".lua": in_lua, ".md": in_document}


def allowed() -> list[tuple[str, str]]:
    lines = [line for line in ALLOWED.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return [(file.strip(), phrase.strip()) for file, _, phrase in (line.partition(" | ") for line in lines)]


def findings() -> Iterator[str]:
    exceptions = allowed()
    command = ["git", "ls-files", *(f"*{suffix}" for suffix in READERS)]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for file in listed.stdout.split():
        if file == str(Path(__file__).relative_to(ROOT)):
            continue
        source = (ROOT / file).read_text(encoding="utf-8")
        for text in READERS[Path(file).suffix](file, source):
            for match in TURNS.finditer(text.text):
                if not any(fnmatchcase(file, where) and phrase in text.text for where, phrase in exceptions):
                    line = text.line + text.text.count("\n", 0, match.start())
                    yield f"{file}:{line}: {match[0]!r}"


def main() -> int:
    found = sorted(set(findings()))
    sys.stdout.write("".join(f"{each}\n" for each in found))
    sys.stdout.write(f"Plain English: {len(found)} phrases to reword\n" if found else "Plain English: nothing found\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""The tree of errors: each class of the product has a unique code and a family, and names no requests or options."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.problems.codes import PROBLEMS
from app.problems.problem import code_of
from models import errors
from models.bounded_reading import FileFault
from models.errors import AcganError, Conflict, InvalidInput, NotFound, TrainingFailed, Unavailable

ROOT = Path(__file__).parents[1]
LAYERS = {layer: sorted((ROOT / layer).rglob("*.py")) for layer in ("app", "worker", "models")}
SOURCES = {path: ast.parse(path.read_text()) for paths in LAYERS.values() for path in paths}
FAMILY_CLASSES = (NotFound, Conflict, Unavailable, InvalidInput, TrainingFailed)

BASES = {AcganError, FileFault}  # of classes in different families; never raised themselves

# Only direct the program, and are always caught: by the worker, a command, the parser, or the module that raises them.
INTERNAL = {
    "LeaseLost",
    "FenceRejected",
    "Cancelled",
    "Interrupted",
    "Stopped",
    "NothingFollows",
    "Refused",  # of app/server/protocol.py
    "_Refused",
    "Changed",
    "InvalidFigure",
    "AddressRefused",
    "ReceiverRests",
    "AttemptFailed",
    "NoAnswer",
    "ImportStillRuns",
}

EXCEPTIONS = {  # codes with another status than that of their family
    "webhook-not-allowed": 403,
    "extra-missing": 501,
    "file-invalid": 503,
    "invalid-weights": 503,
    "checkpoint-not-understood": 409,
    "idempotency-conflict": 422,
    "not-acceptable": 406,
    "not-allowed": 403,
    "precondition-failed": 412,
    "queue-full": 429,
    "queue-share-used": 429,
    "range-not-satisfiable": 416,
    "rate-limited": 429,
    "unsupported-file-type": 415,
    "unsupported-media-type": 415,
    "upload-timeout": 408,
    "upload-too-large": 413,
}


def exceptions() -> Iterator[tuple[Path, ast.ClassDef]]:
    """Every exception class that the product defines, in its files."""
    names = {"Exception", "ValueError", "OSError", "RuntimeError", "TimeoutError", "AcganError"}
    nodes = [(path, node) for path, tree in SOURCES.items() for node in ast.walk(tree)]
    classes = [(path, node) for path, node in nodes if isinstance(node, ast.ClassDef)]
    found: set[tuple[Path, ast.ClassDef]] = set()
    while (
        more := {
            (path, node)
            for path, node in classes
            if any(ast.unparse(base).rpartition(".")[2] in names for base in node.bases)
        }
        - found
    ):
        found |= more
        names |= {node.name for _, node in more}
    yield from found


def load(path: Path, node: ast.ClassDef) -> type[Exception]:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    kind: type[Exception] = getattr(importlib.import_module(name), node.name)
    return kind


KINDS = sorted({load(path, node) for path, node in exceptions()}, key=lambda kind: (kind.__module__, kind.__name__))
TREE = [kind for kind in KINDS if issubclass(kind, AcganError)]


def test_all_subclasses_are_found() -> None:
    assert {"JobNotFound", "FileTorn", "NonFiniteLoss", "CannotStart", "FolderTaken"} <= {
        kind.__name__ for kind in TREE
    }
    assert set(AcganError.__subclasses__()) <= set(TREE)


def test_exceptions_outside_of_the_tree_are_internal() -> None:
    assert {kind.__name__ for kind in KINDS if not issubclass(kind, AcganError)} == INTERNAL


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_each_error_has_a_code_and_a_family(kind: type[AcganError]) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", vars(kind)["code"])
    if kind not in BASES:
        assert sum(issubclass(kind, family) for family in FAMILY_CLASSES) == 1


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in TREE]
    assert len(set(codes)) == len(codes)


def test_each_error_of_a_request_has_the_status_of_its_family() -> None:
    different = {}
    for kind in TREE:
        code = code_of(kind)
        family = next((base for base in FAMILY_CLASSES if issubclass(kind, base)), AcganError)
        if code == kind.code and PROBLEMS[code].status != PROBLEMS[family.code].status:
            different[code] = PROBLEMS[code].status
    assert different == EXCEPTIONS


def test_a_failed_training_is_no_answer_to_a_request() -> None:
    assert code_of(TrainingFailed) is None


def test_the_tree_is_documented() -> None:
    listed = set(re.findall(r"^ {4,}([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE))
    assert listed == {name for name, _ in inspect.getmembers(errors, inspect.isclass)}


def test_the_documentation_lists_each_code() -> None:
    rows = re.findall(
        r"^\| `([a-z-]+)` \| ([45]\d\d) \| (.+) \|$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE
    )
    assert sorted(rows) == sorted((code, str(kind.status), kind.meaning) for code, kind in PROBLEMS.items())


EDGE = re.compile(r"(GET|POST|PUT|PATCH|DELETE) /|/jobs/|(?<![\w-])--[a-z]|Idempotency-Key|Retry-After|`acgan [a-z]")
DESCRIBED = ROOT / "worker" / "settings.py"  # descriptions of settings, which users read in the documentation
LOWER = [path for path in LAYERS["worker"] + LAYERS["models"] if path != DESCRIBED]


def messages(tree: ast.Module) -> Iterator[str]:
    """The texts in a file, without docstrings."""
    nodes = list(ast.walk(tree))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.mark.parametrize("path", LOWER, ids=lambda path: str(path.relative_to(ROOT)))
def test_messages_of_the_lower_layers_name_no_requests_headers_commands_or_options(path: Path) -> None:
    assert [text for text in messages(SOURCES[path]) if EDGE.search(text)] == []

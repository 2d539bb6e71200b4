"""The page's files: media types, caching, and the security policy for browsers."""

import gzip
import re
import tomllib
from pathlib import Path

import pytest
from starlette.testclient import TestClient

FOLDER = Path(__file__).parents[3] / "app" / "page"
FILES = sorted(path for folder in (FOLDER, FOLDER / "views") for path in folder.iterdir() if path.is_file())
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
DOCS = ["/docs", "/docs/docs.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"]


@pytest.fixture(scope="module")
def client(shared_client: TestClient) -> TestClient:
    return shared_client


@pytest.mark.parametrize("encoding", ["", "gzip, deflate, br"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_has_its_media_type(client: TestClient, path: Path, encoding: str) -> None:
    address = "/" if path.name == "index.html" else f"/page/{path.relative_to(FOLDER).as_posix()}"
    answer = client.get(address, headers={"Accept-Encoding": encoding})
    assert answer.status_code == 200
    assert answer.content == path.read_bytes()
    assert answer.headers["Content-Type"].partition(";")[0] == KINDS[path.suffix]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("encoding", ["", "gzip"])
@pytest.mark.parametrize("address", ["/", "/page/main.js", *DOCS])
def test_an_unchanged_file_is_not_sent_again(client: TestClient, address: str, encoding: str) -> None:
    accept = {"Accept-Encoding": encoding}
    first = client.get(address, headers=accept)
    again = client.get(address, headers={**accept, "If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["ETag"] == first.headers["ETag"]
    assert client.get(address, headers={**accept, "If-None-Match": '"other"'}).content == first.content
    on_the_wire = len(gzip.compress(first.content, 9, mtime=0)) if encoding else len(first.content)
    assert client.head(address, headers=accept).headers["Content-Length"] == str(on_the_wire)


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("", False),
        ("br", False),
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip;q=0.00,br", False),
        ("gzipped", False),
        ("gzip;q=0.01, br", True),
        ("deflate,gzip", True),
    ],
)
def test_compressed_files_have_their_own_etag(client: TestClient, encoding: str, packed: bool) -> None:
    plain = client.get("/page/style.css", headers={"Accept-Encoding": ""})
    answer = client.get("/page/style.css", headers={"Accept-Encoding": encoding})
    assert answer.headers.get("Content-Encoding") == ("gzip" if packed else None)
    assert (answer.headers["ETag"] != plain.headers["ETag"]) == packed
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert answer.content == plain.content
    assert (int(answer.headers["Content-Length"]) < len(plain.content) / 2) == packed


@pytest.mark.parametrize("address", ["/", *DOCS])
def test_browsers_may_contact_no_other_host_and_run_only_files(client: TestClient, address: str) -> None:
    policy = dict(
        part.strip().split(" ", 1) for part in client.get(address).headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "http" not in str(policy)
    if address == "/":
        assert policy["style-src"] == "'self'"


@pytest.mark.parametrize(
    "address", ["/page/", "/page/nothing.js", "/page/index.py", "/page/..%2Fmain.py", "/docs/none.js"]
)
def test_no_other_file_is_served(client: TestClient, address: str) -> None:
    assert client.get(address).status_code == 404


def imports_of(name: str) -> set[str]:
    """The modules that a module imports, by path from the page's folder."""
    path = FOLDER / f"{name}.js"
    found = re.findall(r'^import .* from "([./\w]+)[.]js";$', path.read_text(), re.MULTILINE)
    return {(path.parent / each).resolve().relative_to(FOLDER).as_posix() for each in found}


def test_all_modules_of_a_view_are_requested_at_once() -> None:
    page, main = (FOLDER / name for name in ("index.html", "main.js"))
    anyway = {"main", *re.findall(r'modulepreload" href="page/([\w/]+)[.]js"', page.read_text())}
    views = set(re.findall(r': "(\w+)"', re.findall(r"^const VIEWS = .*$", main.read_text(), re.MULTILINE)[0]))
    result = re.findall(r"^const PARTS = \{(.*?)^\};$", main.read_text(), re.MULTILINE | re.DOTALL)[0]
    parts = {view: set(re.findall(r'"([\w/]+)"', names)) for view, names in re.findall(r"(\w+): \[(.*?)\]", result)}
    assert views >= {"runs", "run", "new_run", *parts}
    for view in views:
        needed, found = {f"views/{view}"}, set[str]()
        while found != needed:
            found = set(needed)
            needed |= {name for each in found for name in imports_of(each)}
        assert parts.get(view, set()) == needed - {f"views/{view}"} - anyway, view


def test_the_page_loads_only_the_schemas_of_a_form(client: TestClient) -> None:
    options = client.get("/page/schemas/training-data").raise_for_status().json()["parameters"]
    assert {"file", "fit", "invert", "test_share", "seed"} <= {option["name"] for option in options}
    assert {option["in"] for option in options} == {"query"}


def test_a_wheel_has_every_file() -> None:
    project = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text())
    globs = project["tool"]["setuptools"]["package-data"]["app"]
    packed = {path for glob in globs for path in FOLDER.parent.glob(glob)}
    assert packed == {path for path in FOLDER.rglob("*") if path.is_file()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_reference_no_other_host_and_stay_small(path: Path) -> None:
    text = path.read_text()
    named = set(re.findall(r"https?://[^\s\"'<>)]+", text)) - {"http://www.w3.org/2000/svg"}
    assert named == set()
    assert text.count("\n") <= 350
    for name in re.findall(r"\bpage/([\w.-]+\.\w+)", text):
        assert (FOLDER / name).is_file(), name

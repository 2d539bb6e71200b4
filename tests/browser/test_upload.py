"""Images are brought on the page: a file, a folder, a dropped file; and what the page says if they cannot be used."""

import base64
import io
import re
import zipfile
from pathlib import Path

import httpx2
import numpy as np
import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect

from models.sampling.png import encode_png
from tests.browser.conftest import SLOW, visiting
from tests.support.running_service import Service

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW)

CLASSES = ("Bär", "apple", "t-shirt")  # as the service sorts them
EACH = 24  # pictures of each class


def pictures() -> dict[str, bytes]:
    """PNG files in one folder for each class, by path: stripes of other directions, all pictures different."""
    rows, columns = np.mgrid[:20, :20]
    random = np.random.default_rng(0)
    found = {}
    for label, name in enumerate(CLASSES):
        stripes = (label * rows + (2 - label) * columns) // 4 % 2
        for place in range(EACH):
            ink = random.integers(100, 255, (20, 20), dtype=np.uint8) * stripes.astype(np.uint8)
            found[f"{name}/{place:03d}.png"] = encode_png(np.pad(ink, 4))
    return found


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def file(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def bring(page: Page, name: str) -> None:
    """Send what was chosen under this name, and wait until the job has succeeded."""
    page.get_by_label("Name of the training data").fill(name)
    page.get_by_role("button", name="Add training data").click()
    expect(page.locator(".imports article").first).to_contain_text(re.compile(rf"{name}@1 succeeded"))


@pytest.mark.timeout(600)
def test_a_zip_becomes_training_data_a_run_and_drawings_by_name(browser: Browser, service: Service) -> None:
    absent = "/digits/7"  # no digits are published, and Draw asks for some until other training data is chosen
    with visiting(browser, str(service.client.base_url), refused=absent) as page:
        page.get_by_role("link", name="Data", exact=True).click()
        page.get_by_label("File", exact=True).set_input_files([file("Three things.zip", zipped(pictures()))])
        expect(page.get_by_label("Name of the training data")).to_have_value("three-things")
        bring(page, "things")
        job = page.locator(".imports article")
        expect(job).to_contain_text(re.compile(r"\d+ training images and \d+ test images of 3 classes\."))
        entry = page.locator("[data-name='things']")
        expect(entry.get_by_role("img", name="Images of things: the classes Bär, apple, t-shirt")).to_be_visible()

        job.get_by_role("link", name="Start a run on it").click()
        expect(page.get_by_label("Dataset")).to_have_value("things@1")
        expect(page.get_by_role("img", name="Images of things")).to_be_visible()
        page.get_by_label("Epochs").fill("1")
        page.get_by_text("More options").click()
        page.get_by_label("Batch size").fill("6")
        page.get_by_role("button", name="Start the run").click()
        page.wait_for_url("**/#/runs/**")
        expect(page.locator("h1 + .badge")).to_have_text("succeeded")
        expect(page.get_by_role("img", name="Images of epoch 1: the classes Bär, apple, t-shirt")).to_be_visible()
        expect(page.locator(".names li")).to_have_text(list(CLASSES))

        page.get_by_role("navigation", name="Pages").get_by_role("link", name="Draw").click()
        page.get_by_label("Training data").select_option("things")
        page.get_by_text("Bär", exact=True).click()
        expect(page.get_by_role("img", name="40 times the class Bär")).to_be_visible()
        address = page.get_by_label("Permanent link").input_value()
        assert "/images/things/B%C3%A4r?" in address
        assert httpx2.get(address).headers["content-type"] == "image/png"


def test_a_folder_is_packed_and_gives_the_same_images_as_its_archive(
    browser: Browser, service: Service, tmp_path: Path
) -> None:
    folder = tmp_path / "my things"
    for name, content in pictures().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / ".DS_Store").write_bytes(b"hidden")
    long = folder / "apple" / f"{'x' * 120}.png"  # longer than a name in a plain tar header
    (folder / "apple" / "000.png").rename(long)
    with visiting(browser, str(service.client.base_url)) as page:
        page.goto("/#/training-data")
        page.get_by_label("Folder", exact=True).set_input_files(folder)
        expect(page.locator(".drop")).to_contain_text(re.compile(r"my things: 73 files, \d+ kB\."))
        bring(page, "folder")
        page.get_by_label("File", exact=True).set_input_files([file("same.zip", zipped(pictures()))])
        bring(page, "archive")
    checksums = [service.client.get(f"/training-data/{name}").json() for name in ("folder", "archive")]
    assert checksums[0]["classes"] == checksums[1]["classes"] == list(CLASSES)
    assert checksums[0]["train_counts"] == checksums[1]["train_counts"]


def test_a_dropped_file_is_sent_by_keyboard(browser: Browser, service: Service) -> None:
    drop = """([zone, content]) => {
        const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], "dropped.zip"));
        zone.dispatchEvent(new DragEvent("dragover", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        zone.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
    }"""
    with visiting(browser, str(service.client.base_url)) as page:
        page.goto("/#/training-data")
        zone = page.locator(".drop").element_handle()
        page.evaluate(drop, [zone, base64.b64encode(zipped(pictures())).decode()])
        name = page.get_by_label("Name of the training data")
        expect(name).to_have_value("dropped")
        name.focus()
        page.keyboard.press("Enter")
        expect(page.locator(".imports article").first).to_contain_text("dropped@1 succeeded")
        page.locator(".imports article").first.get_by_role("button", name="Dismiss").click()
        expect(page.locator(".imports article").filter(has_text="dropped")).to_have_count(0)


def drop(page: Page, folder: Path) -> None:
    """Drop a folder of this machine, as a user does with the mouse."""
    box = page.locator(".drop").bounding_box()
    assert box
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    event = {"x": box["x"] + 20, "y": box["y"] + 20, "data": data}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, **event})


def test_empty_folders_of_a_dropped_folder_are_reported(browser: Browser, service: Service, tmp_path: Path) -> None:
    folder = tmp_path / "with one empty"
    for name, content in pictures().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "pear").mkdir()
    (tmp_path / "nothing" / "in it").mkdir(parents=True)
    with visiting(browser, str(service.client.base_url)) as page:
        page.goto("/#/training-data")
        drop(page, tmp_path / "nothing")
        expect(page.get_by_role("alert")).to_contain_text("There is no file in it.")
        drop(page, folder)
        expect(page.locator(".drop")).to_contain_text("with one empty: 72 files")
        page.get_by_label("Name of the training data").fill("dropped_folder")
        page.get_by_role("button", name="Add training data").click()
        expect(page.locator(".imports article").first).to_contain_text("Class pear has no images")


def test_refusals_are_shown_as_sentences(browser: Browser, service: Service) -> None:
    page = browser.new_page(base_url=str(service.client.base_url))
    page.set_default_timeout(SLOW)
    page.goto("/#/training-data")
    send = page.get_by_role("button", name="Add training data")
    wrong = page.locator(".bring .notice")
    send.click()
    expect(wrong).to_contain_text("Choose a file or a folder first.")
    page.get_by_label("File", exact=True).set_input_files([file("x.zip", zipped({"a/1.png": b"no picture"}))])
    name = page.get_by_label("Name of the training data")
    name.fill("Not A Name")
    send.click()
    expect(wrong).to_contain_text("1 to 40 of the characters")
    expect(name).to_be_focused()
    name.fill("mnist")
    send.click()
    expect(wrong).to_contain_text(re.compile("mnist is the name of built-in training data", re.IGNORECASE))
    name.fill("one_class")
    send.click()
    job = page.locator(".imports article").first
    expect(job).to_contain_text("one_class failed")
    reason = service.client.get(f"/jobs/{job.get_attribute('data-id')}").json()["error"]
    expect(job.locator(".notice")).to_contain_text(reason[1:])
    page.reload()  # a job that failed stays in the view until it is dismissed
    expect(job).to_contain_text("one_class failed")
    job.get_by_role("button", name="Dismiss").click()
    expect(page.locator(".imports article").filter(has_text="one_class")).to_have_count(0)
    page.close()

"""The web demo as a visitor meets it: the real server, and a real browser without a window."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.end_to_end.conftest import ROOT, script
from tests.helpers.web.test_uploads import claiming

IMAGES = ROOT / "helpers" / "images"
CONE, CUBES = IMAGES / "blue_cone_bread_sign.jpeg", IMAGES / "green_cubes_blue_cylinder.png"
EXPERTS = ("depth", "normal", "seg_scenes", "edge", "obj_detection", "ocr_detection")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
PATIENCE = 60_000  # milliseconds that something may take to appear


@dataclass
class Server:
    """A running `demo_web.py`; `files` is where its temporary files are."""

    process: subprocess.Popen
    port: int
    files: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def labels(self) -> int:
        """How many images' label folders there are."""
        return sum("labels" in folders for _, folders, _ in os.walk(self.files))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    files = tmp_path_factory.mktemp("files")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TMPDIR": str(files)}
    command = [sys.executable, "demo_web.py", "--port", str(port), "--max_upload_mb", "1"]
    log = files.with_name("log")
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        end = time.monotonic() + 240
        while "http://" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, "the server does not start"
            time.sleep(0.1)
        yield Server(process, port, files)
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        assert "CI" not in os.environ, "there is no chromium; .ci/run installs it"
        pytest.skip("there is no chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()


def visit(browser: Browser, server: Server, **options: object) -> Page:
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(server.address)
    expect(page.locator("#captions")).to_contain_text("Drop an image", timeout=PATIENCE)
    return page


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """An open page; what it fetches is from its own server, nothing goes wrong in its scripts."""
    fetched, mistakes = [], []
    opened = visit(browser, server)
    opened.on("request", lambda request: fetched.append(request.url))
    opened.on("pageerror", lambda error: mistakes.append(error))
    opened.reload()
    yield opened
    opened.context.close()
    assert fetched
    assert [url for url in fetched if not url.startswith((server.address, "data:", "blob:"))] == []
    assert mistakes == []


def send(page: Page, *files: object) -> None:
    page.locator("input[type=file]").set_input_files(*files)


def captions(page: Page) -> list[str]:
    """The cards' texts, when they are there."""
    expect(page.locator("#captions .pr-card").first).to_be_visible(timeout=PATIENCE)
    return page.locator("#captions .pr-text").all_inner_texts()


def ask(page: Page, question: str) -> None:
    page.get_by_label("Ask about the image").fill(question)
    page.get_by_role("button", name="Ask").click()


def width(page: Page) -> float:
    return page.locator(".gradio-container").evaluate("page => page.getBoundingClientRect().width")


def test_an_image_gets_labels_captions_and_answers(page):
    expect(page.locator("#examples button").first).to_be_visible(timeout=PATIENCE)
    empty = width(page)
    send(page, CONE)
    prismer, prismerz = captions(page)
    assert width(page) == empty  # it does not jump when something comes
    assert prismer.startswith("A blue cone")
    assert prismerz != prismer
    expect(page.locator("#captions .pr-card").first).to_contain_text("score -")
    for name in EXPERTS:
        picture = page.locator(f"#tile-{name} img")
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.naturalWidth") > 100
    ask(page, "what color is the cone")
    expect(page.locator("#answers .pr-text").first).to_contain_text("blue", timeout=PATIENCE)
    expect(page.locator("#answers .pr-card")).to_have_count(2)


def test_an_expert_switched_off_changes_the_caption(page):
    page.locator("#examples button").first.click()  # the same image, without an upload
    full = captions(page)[0]
    assert "sign" in full
    page.get_by_label("Text", exact=True).uncheck()
    less = page.locator("#captions .pr-less")
    expect(less).to_contain_text("Prismer without text", timeout=PATIENCE)
    assert "sign" not in less.locator(".pr-text").inner_text()
    expect(page.locator("#tile-ocr_detection .pr-off")).to_be_visible()
    page.get_by_label("Show what each word was read from").check()
    expect(page.locator("#attribution img")).to_be_visible(timeout=PATIENCE)
    page.get_by_label("Text", exact=True).check()
    expect(less).to_have_count(0, timeout=PATIENCE)
    assert captions(page)[0] == full


def test_a_refused_upload_is_a_message(page, server):
    send(page, CONE)
    captions(page)
    message = page.locator("#captions [role=alert]")
    for content, expected in (
        (b"<svg onload=alert(1)>", "not an image that can be read here"),
        (claiming(60_000, 60_000), "too large: the limit is 40 megapixels"),
        (CONE.read_bytes()[:3000], "This image is damaged"),
    ):
        page.get_by_label("Remove").or_(page.get_by_label("Clear")).first.click()
        expect(page.locator("#captions")).to_contain_text("Drop an image", timeout=PATIENCE)
        send(page, {"name": "photo.png", "mimeType": "image/png", "buffer": content})
        expect(message).to_contain_text(expected, timeout=PATIENCE)
        expect(page.locator("#tile-depth img")).to_have_count(0)
    ask(page, "what is it")
    expect(page.locator("#answers [role=alert]")).to_contain_text("Choose an image first", timeout=PATIENCE)


def test_large_uploads_and_files_of_the_server_are_refused(page, server):
    send(page, {"name": "photo.bmp", "mimeType": "image/bmp", "buffer": bytes(1_500_000)})
    expect(page.locator(".toast-body")).to_contain_text("maximum allowed size", timeout=PATIENCE)
    large = {"files": {"name": "a.png", "mimeType": "image/png", "buffer": bytes(1_500_000)}}
    assert page.request.post(f"{server.address}/gradio_api/upload", multipart=large).status == 413
    for path in (ROOT / "README.md", ROOT / "demo_web.py", "/etc/passwd"):
        assert page.request.get(f"{server.address}/gradio_api/file={path}").status in (403, 404)


def test_two_visitors_at_once_keep_their_images(browser, server):
    pages = [visit(browser, server), visit(browser, server)]
    for page, image in zip(pages, (CONE, CUBES), strict=True):
        send(page, image)
    for page in pages:
        ask(page, "what color is the cone")
    found = [captions(page) for page in pages]
    assert found[0][0].startswith("A blue cone")
    assert "green cubes" in found[1][0]
    widths = [
        page.locator("#tile-depth img").evaluate("image => image.naturalWidth / image.naturalHeight") for page in pages
    ]
    assert widths[0] < 1 <= widths[1]
    for page in pages:
        page.get_by_label("Segmentation").uncheck()
    for page, told in zip(pages, found, strict=True):
        expect(page.locator("#captions .pr-less")).to_be_visible(timeout=PATIENCE)
        assert captions(page)[0] == told[0]
    assert server.labels() == 2
    for page in pages:
        page.context.close()
    end = time.monotonic() + 60
    while server.labels():
        assert time.monotonic() < end, "files of visitors who have left are still there"
        time.sleep(0.1)


def test_a_phone_needs_no_scrolling_sideways(browser, server):
    page = visit(browser, server, viewport={"width": 390, "height": 844}, color_scheme="dark")
    send(page, CONE)
    captions(page)
    page.get_by_label("Show what each word was read from").check()
    expect(page.locator("#attribution img")).to_be_visible(timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.context.close()


def test_a_port_that_is_taken_is_one_line(server, tmp_path):
    done = script("demo_web.py", "--port", server.port, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"error: cannot listen on 127.0.0.1:{server.port}" in line


def test_the_server_listens_to_this_machine_alone(server):
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    port = f":{server.port:04X}"
    addresses = {columns[1] for columns in listening if columns[1].endswith(port) and columns[3] == "0A"}
    assert addresses == {f"0100007F{port}"}  # 127.0.0.1


def test_no_file_stays_when_the_server_is_stopped(browser, server):
    """The last test: nobody is served after it."""
    page = visit(browser, server)
    send(page, CUBES)
    captions(page)
    assert server.labels() == 1
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=60) == 0
    assert list(server.files.iterdir()) == []
    page.context.close()

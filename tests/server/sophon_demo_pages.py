"""The three Streamlit pages of SOPHON's BLIP sample, unmodified, in Chromium, with `blip serve` as
their backend: a result, several pictures, an error, the history.

Needs the sample's folder (BLIP_SOPHON_DEMO: sample/BLIP of github.com/sophgo/sophon-demo), the
packages of requirements-sophon-demo.txt and a Chromium (BROWSER, default Playwright's own);
scripts/test-clients.sh sees to them. Usage: BLIP_PROGRAM=... BLIP_SOURCE=... BLIP_SOPHON_DEMO=...
python3 sophon_demo_pages.py [folder for screenshots]
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from harness import SCENES, Server, cli, png_file, wait_until

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
PICTURES = [str(SCENES / name) for name in ("clock.png", "balloons.png")]
DEFAULT = SCENES / "cat-bus.png"
TEXTS = {
    "cap": [],
    "itm": ["a cat and a bus", "a clock"],
    "vqa": ["is there a bus?", "what animal is this?"],
}
TASKS = {"cap": "caption", "itm": "match", "vqa": "ask"}
MOST_PIXELS = 384 * 288  # of the scenes
PATIENCE = 60_000  # milliseconds


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Page:
    """One of the sample's pages with its backend, as the sample's README starts the two."""

    def __init__(self, name, folder, browser, shots):
        self.name, self.shots = name, shots
        self.server = Server("--sophon-demo", TASKS[name], "--max-pixels", MOST_PIXELS)
        self.port = free_port()
        self.streamlit = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "streamlit",
                "run",
                str(folder / "web_ui" / f"server-front_{name}.py"),
                f"http://localhost:{self.server.port}",
                "--server.address=127.0.0.1",
                f"--server.port={self.port}",
                "--server.headless=true",
                "--server.fileWatcherType=none",
                "--browser.gatherUsageStats=false",
            ],
            stdout=subprocess.DEVNULL,
            cwd=folder,
        )
        assert wait_until(self.listens, 60), "streamlit did not start"
        self.page = browser.new_page(viewport={"width": 1200, "height": 1600})
        self.page.set_default_timeout(PATIENCE)
        self.page.goto(f"http://127.0.0.1:{self.port}/")

    def listens(self):
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        self.streamlit.terminate()
        self.streamlit.wait()
        self.server.stop()

    def fill(self, texts):
        for i, text in enumerate(texts):
            self.page.get_by_label(f"输入文本 {i + 1}").fill(text)

    def upload(self, *pictures):
        if pictures:
            self.page.locator("input[type=file]").set_input_files(pictures)
            for picture in pictures:
                name = self.page.locator("section[data-testid=stSidebar]").get_by_text(
                    os.path.basename(picture)
                )
                expect(name.first).to_be_visible(timeout=PATIENCE)
        self.page.get_by_role("button", name="UPLOAD!").click()

    def tables(self, count):
        """The result tables of the tab that is shown, as rows without their numbers."""
        tables = self.page.locator("[role=tabpanel] table:visible")
        expect(tables).to_have_count(count, timeout=PATIENCE)
        return [
            [row.locator("td").all_inner_texts() for row in tables.nth(i).locator("tbody tr").all()]
            for i in range(count)
        ]

    def shot(self, what):
        self.page.screenshot(path=f"{self.shots}/sophon-demo-{self.name}-{what}.png")


def expected(name, picture):
    """The rows that the page is to show, from the program's own answers."""
    words = TEXTS[name]
    if name == "cap":
        return [[cli("caption", picture)[0]["caption"]]]
    if name == "vqa":
        found = cli("ask", picture, *(w for text in words for w in ("--question", text)))
        return [[one["question"], one["answer"]] for one in found]
    found = cli("match", picture, "--head", "itm", *(w for t in words for w in ("--text", t)))
    return [[one["text"], one["match_probability"]] for one in found]


def check(rows, wanted):
    """Similarities are text in full; they are the same number, not to the letter one."""
    shown = [[*row[:-1], float(row[-1]) if isinstance(w[-1], float) else row[-1]]
             for row, w in zip(rows, wanted)]  # fmt: skip
    assert len(rows) == len(wanted) and shown == wanted, (rows, wanted)


def drive(page, too_large):
    # The default picture.
    page.fill(TEXTS[page.name])
    page.upload()
    (rows,) = page.tables(1)
    check(rows, expected(page.name, DEFAULT))
    page.shot("result")
    # Several pictures.
    page.fill(TEXTS[page.name])
    page.upload(*PICTURES)
    for rows, picture in zip(page.tables(2), PICTURES):
        check(rows, expected(page.name, picture))
    page.shot("several")
    # The history has all three; the page shows one when another than the shown is chosen.
    page.page.get_by_role("tab", name="历史记录").click()
    box = page.page.locator("[data-testid=stSelectbox]")
    box.locator("[data-baseweb=select]").click()
    options = page.page.get_by_role("option")
    expect(options).to_have_count(3, timeout=PATIENCE)
    options.nth(1).click()
    (rows,) = page.tables(1)
    check(rows, expected(page.name, PICTURES[0]))
    page.shot("history")
    page.page.get_by_role("tab", name="当前上传").click()
    # An error: no text, and a picture that the page can open and the backend is told to refuse.
    if TEXTS[page.name]:
        page.upload()
        alert = page.page.get_by_text('错误: field "texts" is missing')
        expect(alert).to_be_visible(timeout=PATIENCE)
    page.fill(TEXTS[page.name])
    page.upload(too_large)
    refused = page.page.get_by_text(re.compile("错误: picture 0: .*600"))
    expect(refused).to_be_visible(timeout=PATIENCE)
    page.shot("error")


def main():
    shots = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()
    sample = Path(os.environ["BLIP_SOPHON_DEMO"])
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        (folder / "web_ui").mkdir()
        (folder / "datasets" / "test").mkdir(parents=True)
        shutil.copy(DEFAULT, folder / "datasets" / "test" / "demo.jpg")
        too_large = str(folder / "large.png")
        Path(too_large).write_bytes(png_file(600, 600, zlib.compress(bytes(600 * 1801))))
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("BROWSER") or None, args=FLAGS
        )
        for task in TASKS:
            shutil.copy(sample / "web_ui" / f"server-front_{task}.py", folder / "web_ui")
            page = Page(task, folder, browser, shots)
            try:
                drive(page, too_large)
            finally:
                page.shot("last")
                page.stop()
        browser.close()
    print("the sample's pages work; screenshots in", shots)


if __name__ == "__main__":
    main()

"""Drives the web page with Chromium: upload, caption, match, ask, downloads, history, reload,
language, theme, phone width, axe.

Needs the packages of requirements.txt and a Chromium (BROWSER, default Playwright's own);
scripts/test-clients.sh sees to both. Usage: BLIP_PROGRAM=... BLIP_SOURCE=... python3 page.py
[folder for screenshots]
"""

import csv
import io
import json
import os
import re
import sqlite3
import sys
import tempfile

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from harness import SCENES, Server, data_url, scene

FILES = [str(SCENES / name) for name in ("cat-bus.png", "clock.png")]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


def check_axe(page, where):
    violations = Axe().run(page).response["violations"]
    assert not violations, (
        where
        + ": "
        + json.dumps([(v["id"], [n["html"] for n in v["nodes"]]) for v in violations], indent=1)
    )


def check_width(page):
    assert page.evaluate(
        "document.documentElement.scrollWidth <= window.innerWidth"
    ), "the page scrolls sideways"


def heat(page, card):
    """The overlay's colours by patch, or None where it is hidden."""
    return page.evaluate(
        """(canvas) => canvas.hidden ? null :
        [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]""",
        card.locator("canvas.heat").element_handle(),
    )


def check_heat_maps(page, server):
    """Hovering, focusing and tapping a word shows its map over the picture, where the API says it
    is.
    """
    card = page.locator("#cards .card").first
    words = card.locator(".text .word")
    attention = server.post_json(
        "/v1/caption", {"image": data_url(scene()), "beams": 1, "attention": True}
    ).json["results"][0]["attention"]
    assert words.all_inner_texts() == [word["word"] for word in attention["words"]]
    assert heat(page, card) is None
    seen = []
    for name in ("cat", "bus"):
        words.get_by_text(name, exact=True).hover()
        colours = heat(page, card)
        weights = sum(
            next(word for word in attention["words"] if word["word"] == name)["weights"], []
        )
        alphas = colours[3::4]
        assert len(alphas) == len(weights) and alphas.index(max(alphas)) == weights.index(
            max(weights)
        ), name
        assert max(alphas) == 191, max(alphas)
        seen.append(colours)
    assert seen[0] != seen[1]
    # The canvas lies on the picture: scenes are wider than high, the box is not.
    boxes = [card.locator(kind).bounding_box() for kind in ("img", "canvas.heat")]
    assert boxes[0]["x"] <= boxes[1]["x"] + 1 and boxes[0]["y"] <= boxes[1]["y"] + 1, boxes
    assert abs(boxes[1]["width"] / boxes[1]["height"] - 384 / 288) < 0.02, boxes
    page.mouse.move(0, 0)
    assert heat(page, card) is None
    words.first.focus()
    page.keyboard.press("ArrowRight")
    expect(words.nth(1)).to_be_focused()
    assert heat(page, card) == seen[0]
    page.keyboard.press("Enter")  # stays
    words.nth(1).blur()
    assert heat(page, card) == seen[0]
    expect(words.nth(1)).to_have_attribute("aria-pressed", "true")
    assert words.nth(1).get_attribute("title") == "most at the left", words.nth(1).get_attribute(
        "title"
    )


def captions(page):
    return page.locator("#cards .text").all_inner_texts()


def drive(page, server, shots):
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console", lambda message: errors.append(message.text) if message.type == "error" else None
    )
    page.goto(f"http://127.0.0.1:{server.port}/")
    check_axe(page, "empty page")

    page.locator("#files").set_input_files(FILES)
    expect(page.locator("#cards .card")).to_have_count(2)
    page.locator("#run").click()
    expect(page.locator("#table-body tr")).to_have_count(2)
    expected = [
        server.post_json(
            "/v1/caption", {"image": data_url(scene(os.path.basename(path))), "beams": 1}
        ).json["results"][0]["caption"]
        for path in FILES
    ]
    assert captions(page) == expected, (captions(page), expected)
    expect(page.locator("#entries .card")).to_have_count(2)
    check_heat_maps(page, server)
    check_axe(page, "captions")
    page.screenshot(path=shots + "/caption.png", full_page=True)

    page.get_by_label("Match", exact=True).check()
    page.locator("#texts").fill("a clock\na cat and a bus\n\n")
    page.locator("#run").click()
    expect(page.locator(".bars")).to_have_count(2)
    values = [
        float(text) for text in page.locator(".bars").first.locator("strong").all_inner_texts()
    ]
    assert values == sorted(values, reverse=True) and len(values) == 2, values
    check_axe(page, "match")
    page.screenshot(path=shots + "/match.png", full_page=True)

    page.get_by_label("Ask", exact=True).check()
    # The first question's entry is still on its way when the second one is answered.
    posts = []

    def hold_first(route):
        if route.request.method == "POST":
            posts.append(route)
        if posts != [route]:
            route.continue_()

    page.route("**/v1/history", hold_first)
    for question in ("what animal is this?", "is there a bus?"):
        box = page.locator("#cards .card").first.locator("form input")
        box.fill(question)
        box.press("Enter")
        expect(page.locator("#cards .card").first.locator("dd").last).not_to_have_text("Working…")
    assert len(posts) == 1, [route.request.url for route in posts]
    posts[0].continue_()
    talk = page.locator("#cards .card").first
    assert talk.locator("dt").last.locator(".word").all_inner_texts() == [
        "is",
        "there",
        "a",
        "bus?",
    ]
    talk.locator("dt").last.get_by_text("bus?").hover()
    assert heat(page, talk) is not None
    answer = server.post_json(
        "/v1/ask", {"image": data_url(scene()), "question": "is there a bus?", "beams": 1}
    ).json["results"][0]["answer"]
    assert page.locator("#cards .card").first.locator("dd").all_inner_texts()[-1] == answer
    check_axe(page, "ask")
    page.screenshot(path=shots + "/ask.png", full_page=True)

    with page.expect_download() as download:
        page.locator("#csv").click()
    rows = list(
        csv.DictReader(
            io.StringIO(open(download.value.path(), encoding="utf-8", newline="").read())
        )
    )
    assert [row["task"] for row in rows] == ["caption"] * 2 + ["match"] * 4 + ["ask"] * 2, rows
    with page.expect_download() as download:
        page.locator("#json").click()
    assert len(json.load(open(download.value.path(), encoding="utf-8"))) == 8

    page.locator("#camera").click()
    page.locator("#shoot").click()
    expect(page.locator("#cards .card")).to_have_count(3)
    page.locator("#camera-off").click()
    page.locator("#url").fill(f"http://127.0.0.1:{server.port}/icon.svg")
    page.locator("#url").press("Enter")
    expect(page.locator("#cards .card")).to_have_count(4)
    page.locator("#url").fill(data_url(scene("clock.png")))
    page.locator("#url").press("Enter")
    expect(page.locator("#cards .card")).to_have_count(5)
    page.evaluate(
        """async (url) => {
        const data = new DataTransfer();
        const blob = await (await fetch(url)).blob();
        data.items.add(new File([blob], 'pasted.png', { type: 'image/png' }));
        document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true }));
    }""",
        data_url(scene("balloons.png")),
    )
    expect(page.locator("#cards .card")).to_have_count(6)
    expect(page.locator("#cards h3").last).to_have_text("pasted.png")

    expect(page.locator("#entries .card")).to_have_count(5)  # 2 captions, 2 matches, 1 conversation
    page.reload()
    expect(page.locator("#entries .card")).to_have_count(5)
    page.locator("#search").fill("is there a bus")
    expect(page.locator("#entries .card")).to_have_count(1)
    page.get_by_role("button", name="Open again").click()
    expect(page.locator("#cards .card")).to_have_count(1)
    page.get_by_role("button", name="Delete: cat-bus.png").click()
    page.locator("#search").fill("")
    expect(page.locator("#entries .card")).to_have_count(4)
    page.screenshot(path=shots + "/history.png", full_page=True)

    page.locator("#open-settings").click()
    check_axe(page, "settings")
    page.screenshot(path=shots + "/settings.png")
    fields = server.get("/openapi.json").json["paths"]["/v1/caption"]["post"]["requestBody"][
        "content"
    ]["application/json"]["schema"]["properties"]
    for name in ("beams", "min_length", "max_length", "seed"):
        expect(page.locator("#" + name)).to_have_attribute("min", str(fields[name]["minimum"]))
    for name in ("min_length", "max_length", "temperature", "top_p", "seed"):
        expect(page.locator("#" + name)).to_have_attribute(
            "placeholder", str(fields[name]["default"])
        )
    page.locator("#beams").fill("3")
    page.locator("#settings button").click()
    page.locator("#run").click()
    expect(page.locator("#table-body tr")).to_have_count(1)
    (result,) = server.post("/v1/caption", scene()).json["results"]
    assert (
        captions(page) == [result["caption"]]
        or page.locator("#cards .text").first.inner_text() == result["caption"]
    )

    page.locator("#language").click()
    expect(page.locator("#pictures-title")).to_have_text("图片")
    expect(page.locator("#status")).to_contain_text("线程")
    expect(page.locator("#model option").first).to_have_text("按任务")
    page.locator("#theme").click()
    page.set_viewport_size({"width": 360, "height": 740})
    check_width(page)
    check_axe(page, "phone, the other theme, Chinese")
    page.screenshot(path=shots + "/phone.png", full_page=True)
    assert not errors, errors


HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\u202e\"'`"


def watched(page):
    """What must not happen on a page: script errors, and dialogs of somebody's script."""
    events = []
    page.on("pageerror", lambda error: events.append(str(error)))
    page.on("dialog", lambda dialog: (events.append("dialog: " + dialog.message), dialog.dismiss()))
    return events


def check_hostile_history(browser, shots):
    """Names, results and pictures that somebody stored are text, whatever they hold; what cannot be
    shown is said.
    """
    server = Server()
    try:
        fields = {
            "task": "caption",
            "name": HOSTILE,
            "summary": HOSTILE,
            "result": json.dumps({HOSTILE: HOSTILE}),
            "image": data_url(scene()),
        }
        assert server.post_json("/v1/history", fields).status == 201
        database = sqlite3.connect(server.history)
        database.execute(
            "INSERT INTO entries (created, task, name, summary, result, picture_type, picture) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                HOSTILE,
                "constructor",
                b"caf\xe9\0",
                HOSTILE,
                "[" * 60_000 + "]" * 60_000,
                "image/svg+xml",
                b"<svg xmlns='http://www.w3.org/2000/svg' "
                b"onload='alert(3)'><script>alert(4)</script></svg>",
            ),
        )
        database.commit()
        database.close()
        page = browser.new_page(viewport={"width": 1200, "height": 900}, locale="en-US")
        events = watched(page)
        page.goto(f"http://127.0.0.1:{server.port}/")
        entries = page.locator("#entries .card")
        expect(entries).to_have_count(2)
        expect(entries.nth(1).locator(".text")).to_have_text(HOSTILE)
        expect(entries.nth(0).locator(".problem")).to_have_text(
            "This entry cannot be shown whole: the stored result cannot be shown: nested deeper "
            "than 64 levels"
        )
        expect(entries.nth(0).locator(".meta span")).to_have_text("constructor")
        expect(page.locator("#history-note")).to_contain_text(
            f"Kept on the server 127.0.0.1:{server.port}. Everybody who can reach it sees"
        )
        assert page.locator("#entries script, #entries svg, #entries img[src=x]").count() == 0
        entries.nth(0).get_by_role("button", name="Open again").click()
        expect(page.locator("#history-problem")).to_have_text(
            re.compile("the stored picture is none of JPEG, PNG, WebP")
        )
        check_axe(page, "hostile history")
        page.screenshot(path=shots + "/hostile.png", full_page=True)
        entries.nth(0).get_by_role("button", name="Delete:").click()
        expect(entries).to_have_count(1)
        entries.nth(0).get_by_role("button", name="Open again").click()
        expect(page.locator("#cards h3")).to_have_text(HOSTILE)
        page.locator("#run").click()
        expect(entries).to_have_count(2)
        expect(page.locator("#history-note")).to_contain_text("2 of 1000 entries")
        assert not events, events
        page.close()
    finally:
        server.stop()


def check_history_off_and_keys(browser, shots):
    server = Server("--no-history", keep_history=False)
    try:
        page = browser.new_page(locale="en-US")
        events = watched(page)
        page.goto(f"http://127.0.0.1:{server.port}/")
        expect(page.locator("#history-note")).to_have_text("This server keeps no history.")
        expect(page.locator("#search-form")).to_be_hidden()
        page.locator("#files").set_input_files(FILES[0])
        page.locator("#run").click()
        expect(page.locator("#table-body tr")).to_have_count(1)
        expect(page.locator("#history-problem")).to_have_text("")
        page.locator("#language").click()
        expect(page.locator("#history-note")).to_have_text("此服务器不保存历史。")
        check_axe(page, "without history")
        assert not events, events
        page.close()
    finally:
        server.stop()
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("key-of-ann\nkey-of-bob\n")
        file.flush()
        server = Server("--api-key-file", file.name)
    try:
        page = browser.new_page(locale="en-US")
        events = watched(page)
        page.goto(f"http://127.0.0.1:{server.port}/")
        expect(page.locator("#history-note")).to_have_text(
            "Your history needs an API key: write it into the settings."
        )
        for key, before in (("key-of-ann", 0), ("key-of-bob", 0), ("key-of-ann", 1)):
            page.locator("#open-settings").click()
            page.locator("#key").fill(key)
            page.locator("#settings button").click()
            expect(page.locator("#history-note")).to_contain_text("for your API key alone")
            expect(page.locator("#entries .card")).to_have_count(before)
            if key == "key-of-ann" and not before:
                page.locator("#files").set_input_files(FILES[0])
                page.locator("#run").click()
                expect(page.locator("#entries .card")).to_have_count(1)
        page.screenshot(path=shots + "/keys.png", full_page=True)
        assert not events, events
        page.close()
    finally:
        server.stop()


def check_delete_all(browser):
    server = Server()
    try:
        for name in ("a.png", "b.png"):
            server.post_json(
                "/v1/history", {"task": "ask", "name": name, "image": data_url(scene())}
            )
        page = browser.new_page(locale="en-US")
        answers = []
        page.on(
            "dialog",
            lambda dialog: (
                answers.append(dialog.message),
                dialog.accept() if len(answers) > 1 else dialog.dismiss(),
            ),
        )
        page.goto(f"http://127.0.0.1:{server.port}/")
        expect(page.locator("#entries .card")).to_have_count(2)
        page.locator("#clear-history").click()
        expect(page.locator("#entries .card")).to_have_count(2)
        page.locator("#clear-history").click()
        expect(page.locator("#entries .card")).to_have_count(0)
        assert answers == ["Delete the whole history?"] * 2, answers
        expect(page.locator("#history-note")).to_contain_text("0 of 1000 entries")
        page.close()
    finally:
        server.stop()


def main():
    shots = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()
    server = Server()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=os.environ.get("BROWSER") or None, args=FLAGS
            )
            drive(
                browser.new_page(
                    viewport={"width": 1200, "height": 900}, locale="en-US", color_scheme="light"
                ),
                server,
                shots,
            )
            check_hostile_history(browser, shots)
            check_history_off_and_keys(browser, shots)
            check_delete_all(browser)
            browser.close()
    finally:
        server.stop()
    print("the page works; screenshots in", shots)


if __name__ == "__main__":
    main()

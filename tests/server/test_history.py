"""The page's history: kept, searched, deleted, and whole after a crash."""
import json
import sqlite3
import threading
import unittest
from pathlib import Path

from harness import SOURCE, Server, ServerTest, picture, scene, wait_until


def add(server, name, summary="a cat", image=None, result=None, task="caption"):
    return server.post_form("/v1/history", [("task", task), ("name", name), ("summary", summary), ("result", json.dumps(result or {"caption": summary})),
                                            ("image", image or scene())])


class History(ServerTest):
    def setUp(self):
        self.assertEqual(self.server.request("DELETE", "/v1/history").status, 204)

    def entries(self, query=""):
        return self.ok(self.server.get("/v1/history" + query))["entries"]

    def test_add_read_change_delete(self):
        reply = add(self.server, "cat-bus.png", "a cat left of a bus", result={"caption": "a cat left of a bus", "score": -1.5})
        entry = self.ok(reply, 201)
        self.assertEqual(reply.headers["Location"], f"/v1/history/{entry['id']}")
        self.assertEqual((entry["task"], entry["name"], entry["result"]), ("caption", "cat-bus.png", {"caption": "a cat left of a bus", "score": -1.5}))
        self.assertEqual(self.ok(self.server.get(f"/v1/history/{entry['id']}")), entry)
        image = self.server.get(f"/v1/history/{entry['id']}/image")
        self.assertEqual((image.status, image.headers["Content-Type"], image.body == scene()), (200, "image/png", True))
        changed = self.ok(self.server.request("PUT", f"/v1/history/{entry['id']}", json.dumps({"summary": "new", "result": "[1]"}), {"Content-Type": "application/json"}))
        self.assertEqual((changed["summary"], changed["result"], changed["name"]), ("new", [1], "cat-bus.png"))
        self.assertEqual(self.server.request("DELETE", f"/v1/history/{entry['id']}").status, 204)
        for path in ("", "/image"):
            self.problem(self.server.get(f"/v1/history/{entry['id']}{path}"), 404, "not_found")
        self.problem(self.server.request("DELETE", f"/v1/history/{entry['id']}"), 404, "not_found")

    def test_search_and_pages(self):
        ids = [self.ok(add(self.server, f"{i}.png", summary, picture(i)), 201)["id"] for i, summary in enumerate(["a red fox", "two Pizzas", "a fox's crown", "100% _"])]
        self.assertEqual([e["id"] for e in self.entries()], ids[::-1])
        self.assertEqual([e["id"] for e in self.entries("?query=FOX")], [ids[2], ids[0]])
        self.assertEqual([e["id"] for e in self.entries("?query=1.png")], [ids[1]])
        self.assertEqual([e["id"] for e in self.entries("?query=%25")], [ids[3]])
        self.assertEqual([e["id"] for e in self.entries("?limit=2")], ids[:1:-1])
        self.assertEqual([e["id"] for e in self.entries(f"?limit=2&before={ids[2]}")], [ids[1], ids[0]])

    def test_mistakes(self):
        self.problem(add(self.server, "x", task="dance"), 400, "invalid_request", '"task"')
        self.problem(add(self.server, "x", image=b"<svg onload=alert(1)>"), 422, "invalid_image")
        self.problem(self.server.post_form("/v1/history", [("task", "ask"), ("result", "{"), ("image", scene())]), 400, "invalid_request", '"result"')
        self.problem(self.server.post_form("/v1/history", [("task", "ask")]), 400, "invalid_request", '"image"')
        for path in ("/v1/history/0", "/v1/history/x", "/v1/history/99999999999999999999", "/v1/history/1/2"):
            self.problem(self.server.get(path), 404, "not_found")
        self.problem(self.server.get("/v1/history?limit=0"), 400, "invalid_request", '"limit"')


class Restart(unittest.TestCase):
    def test_history_survives_a_restart(self):
        first = Server()
        entry = add(first, "kept.png").json
        first.signal()
        first.wait()
        self.addCleanup(first.stop)
        second = Server(history=first.history)
        self.addCleanup(second.stop)
        self.assertEqual(second.get("/v1/history").json["entries"], [entry])
        self.assertEqual(second.get(f"/v1/history/{entry['id']}/image").body, scene())

    def test_kill_9_in_the_middle_of_writes_loses_nothing_that_was_confirmed(self):
        history = None
        folders = []
        confirmed = []
        for round_number in range(3):
            server = Server(history=history)
            folders.append(server)
            history = server.history
            stop = threading.Event()

            def write():
                while not stop.is_set():
                    try:
                        reply = add(server, f"{len(confirmed)}.png", image=picture(len(confirmed)))
                    except OSError:
                        return
                    if reply.status == 201:
                        confirmed.append(reply.json["id"])
            writers = [threading.Thread(target=write) for _ in range(3)]
            for writer in writers:
                writer.start()
            wanted = len(confirmed) + 15
            self.assertTrue(wait_until(lambda: len(confirmed) >= wanted))
            server.process.kill()
            stop.set()
            for writer in writers:
                writer.join()
            server.process.wait()
        database = sqlite3.connect(history)
        self.assertEqual(database.execute("PRAGMA integrity_check").fetchone(), ("ok",))
        stored = {row[0] for row in database.execute("SELECT id FROM entries WHERE length(picture) > 0")}
        database.close()
        self.assertLessEqual(set(confirmed), stored)
        server = Server(history=history)
        self.addCleanup(server.stop)
        self.assertEqual(len(server.get("/v1/history?limit=200").json["entries"]), len(stored))
        for folder in folders:
            folder.stop()

    def test_no_history(self):
        server = Server("--no-history")
        self.addCleanup(server.stop)
        self.assertEqual(server.get("/v1/history").status, 404)
        self.assertFalse(Path(server.history).exists())


class Page(ServerTest):
    def test_the_page_and_its_files_are_inside_the_program(self):
        for name in sorted(path.name for path in (SOURCE / "apps" / "server" / "web").iterdir()):
            reply = self.server.get("/" if name == "index.html" else "/" + name)
            self.assertEqual((reply.status, reply.body), (200, (SOURCE / "apps" / "server" / "web" / name).read_bytes()), name)
            self.assertIn("default-src 'self'", reply.headers["Content-Security-Policy"])
        self.assertTrue(self.server.get("/").headers["Content-Type"].startswith("text/html"))

    def test_nothing_comes_from_elsewhere(self):
        for path in (SOURCE / "apps" / "server" / "web").iterdir():
            text = path.read_text(encoding="utf-8")
            for words in ('src="http', "src='http", 'href="http', "@import", "url(http", "import("):
                self.assertNotIn(words, text, path.name)


if __name__ == "__main__":
    unittest.main()

"""The page's history: kept, searched, deleted, and whole after a crash."""

import json
import os
import re
import sqlite3
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

from harness import SOURCE, Server, ServerTest, b64, picture, scene, wait_until


def add(server, name, summary="a cat", image=None, result=None, task="caption"):
    return server.post_form(
        "/v1/history",
        [
            ("task", task),
            ("name", name),
            ("summary", summary),
            ("result", json.dumps(result or {"caption": summary})),
            ("image", image or scene()),
        ],
    )


class History(ServerTest):
    def setUp(self):
        self.assertEqual(self.server.request("DELETE", "/v1/history").status, 204)

    def entries(self, query=""):
        return self.ok(self.server.get("/v1/history" + query))["entries"]

    def test_add_read_change_delete(self):
        reply = add(
            self.server,
            "cat-bus.png",
            "a cat left of a bus",
            result={"caption": "a cat left of a bus", "score": -1.5},
        )
        entry = self.ok(reply, 201)
        self.assertEqual(reply.headers["Location"], f"/v1/history/{entry['id']}")
        self.assertEqual(
            (entry["task"], entry["name"], entry["result"]),
            ("caption", "cat-bus.png", {"caption": "a cat left of a bus", "score": -1.5}),
        )
        self.assertEqual(self.ok(self.server.get(f"/v1/history/{entry['id']}")), entry)
        image = self.server.get(f"/v1/history/{entry['id']}/image")
        self.assertEqual(
            (image.status, image.headers["Content-Type"], image.body == scene()),
            (200, "image/png", True),
        )
        self.assertEqual(image.headers["Content-Security-Policy"], "default-src 'none'; sandbox")
        self.assertEqual(image.headers["X-Content-Type-Options"], "nosniff")
        self.assertEqual(
            image.headers["Content-Disposition"],
            f'attachment; filename="picture-{entry["id"]}.png"',
        )
        self.assertEqual(image.headers["Cache-Control"], "no-store")
        changed = self.ok(
            self.server.request(
                "PUT",
                f"/v1/history/{entry['id']}",
                json.dumps({"summary": "new", "result": "[1]"}),
                {"Content-Type": "application/json"},
            )
        )
        self.assertEqual(
            (changed["summary"], changed["result"], changed["name"]), ("new", [1], "cat-bus.png")
        )
        self.assertEqual(self.server.request("DELETE", f"/v1/history/{entry['id']}").status, 204)
        for path in ("", "/image"):
            self.problem(self.server.get(f"/v1/history/{entry['id']}{path}"), 404, "not_found")
        self.problem(self.server.request("DELETE", f"/v1/history/{entry['id']}"), 404, "not_found")

    def test_search_and_pages(self):
        ids = [
            self.ok(add(self.server, f"{i}.png", summary, picture(i)), 201)["id"]
            for i, summary in enumerate(["a red fox", "two Pizzas", "a fox's crown", "100% _"])
        ]
        self.assertEqual([e["id"] for e in self.entries()], ids[::-1])
        self.assertEqual([e["id"] for e in self.entries("?query=FOX")], [ids[2], ids[0]])
        self.assertEqual([e["id"] for e in self.entries("?query=1.png")], [ids[1]])
        self.assertEqual([e["id"] for e in self.entries("?query=%25")], [ids[3]])
        self.assertEqual([e["id"] for e in self.entries("?limit=2")], ids[:1:-1])
        self.assertEqual(
            [e["id"] for e in self.entries(f"?limit=2&before={ids[2]}")], [ids[1], ids[0]]
        )
        self.assertEqual(
            [self.server.get(f"/v1/history?limit={limit}").json["next"] for limit in (1, 3, 4)],
            [ids[3], ids[1], None],
        )

    def test_mistakes(self):
        self.problem(add(self.server, "x", task="dance"), 400, "invalid_request", '"task"')
        self.problem(add(self.server, "x", image=b"<svg onload=alert(1)>"), 422, "invalid_image")
        self.problem(
            self.server.post_form(
                "/v1/history", [("task", "ask"), ("result", "{"), ("image", scene())]
            ),
            400,
            "invalid_request",
            '"result"',
        )
        self.problem(
            self.server.post_form("/v1/history", [("task", "ask")]),
            400,
            "invalid_request",
            '"image"',
        )
        for path in (
            "/v1/history/0",
            "/v1/history/x",
            "/v1/history/99999999999999999999",
            "/v1/history/1/2",
        ):
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
        stored = {
            row[0] for row in database.execute("SELECT id FROM entries WHERE length(picture) > 0")
        }
        database.close()
        self.assertLessEqual(set(confirmed), stored)
        server = Server(history=history)
        self.addCleanup(server.stop)
        self.assertEqual(len(server.get("/v1/history?limit=200").json["entries"]), len(stored))
        for folder in folders:
            folder.stop()


class Off(unittest.TestCase):
    def start(self, *arguments, **options):
        server = Server(*arguments, **options)
        self.addCleanup(server.stop)
        return server

    def test_no_history(self):
        server = self.start("--no-history", keep_history=False)
        for method, path in (
            ("GET", ""),
            ("POST", ""),
            ("DELETE", ""),
            ("GET", "/1"),
            ("GET", "/1/image"),
        ):
            reply = server.request(method, "/v1/history" + path)
            self.assertEqual((reply.status, reply.json["code"]), (404, "not_found"))
            self.assertIn("keeps no history", reply.json["detail"])
        self.assertEqual(
            os.listdir(os.path.join(server.folder.name)), [os.path.basename(server.log_path)]
        )

    def test_it_is_off_where_others_reach_the_server_unless_asked_for(self):
        for host, kept in (("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)):
            server = self.start("--host", host, keep_history=False)
            self.assertEqual(server.get("/v1/history").status, 200 if kept else 404, host)
            self.assertEqual(
                (Path(server.folder.name) / "blip" / "history.db").exists(), kept, host
            )
            self.assertEqual("the page's history is off" in server.log(), not kept, host)
        self.assertEqual(self.start("--host", "0.0.0.0").get("/v1/history").status, 200)

    def test_both_options_are_a_mistake(self):
        with self.assertRaisesRegex(RuntimeError, "--no-history"):
            Server("--no-history")


class Strangers(unittest.TestCase):
    """Files and rows that another program wrote."""

    def start(self, *arguments, **options):
        server = Server(*arguments, **options)
        self.addCleanup(server.stop)
        return server

    def test_a_file_that_is_no_history_is_said_at_the_start_and_left_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.db")
            database = sqlite3.connect(path)
            database.execute("CREATE TABLE mail (text)")
            database.commit()
            database.close()
            before = Path(path).read_bytes()
            with self.assertRaisesRegex(RuntimeError, "x.db is a database of another program"):
                Server(history=path)
            self.assertEqual(Path(path).read_bytes(), before)
            Path(path).write_bytes(b"no database" * 1000)
            with self.assertRaisesRegex(
                RuntimeError,
                "file is not a database; choose another file with --history, or keep none with "
                "--no-history",
            ):
                Server(history=path)

    def test_a_deep_result_stored_earlier_does_not_end_the_server(self):
        server = self.start()
        entry = add(server, "whole.png").json
        deep = "[" * 60_000 + "]" * 60_000
        reply = server.post_form(
            "/v1/history", [("task", "ask"), ("result", "[" * 500 + "]" * 500), ("image", scene())]
        )
        self.assertEqual(reply.status, 400)
        self.assertIn("nested deeper than 64 levels", reply.json["detail"])
        database = sqlite3.connect(server.history)
        database.execute(
            "INSERT INTO entries (created, task, name, summary, result, picture_type, picture) "
            "VALUES ('', 'dance', ?, ?, ?, ?, ?)",
            (b"caf\xe9\0", "<b>x</b>", deep, "text/html", b"<script>alert(1)</script>"),
        )
        database.commit()
        database.close()
        for _ in range(2):
            entries = server.get("/v1/history").json["entries"]
            self.assertEqual(entries[1], entry)
            self.assertEqual(
                (entries[0]["task"], entries[0]["name"], entries[0]["result"]),
                ("dance", "caf\ufffd\0", None),
            )
            self.assertEqual(
                entries[0]["error"],
                "the stored result cannot be shown: nested deeper than 64 levels",
            )
            reply = server.get(f"/v1/history/{entries[0]['id']}/image")
            self.assertEqual(
                (reply.status, reply.headers["Content-Type"]), (422, "application/problem+json")
            )
            server = self.start(history=server.history)
        self.assertEqual(server.request("DELETE", f"/v1/history/{entries[0]['id']}").status, 204)
        self.assertEqual(server.get("/v1/history").json["entries"], [entry])

    def test_a_broken_table_is_no_secret_path(self):
        server = self.start()
        database = sqlite3.connect(server.history)
        database.execute("ALTER TABLE entries RENAME TO moved")
        database.commit()
        database.close()
        for method, path in (
            ("GET", ""),
            ("GET", "/1"),
            ("GET", "/1/image"),
            ("DELETE", "/1"),
            ("DELETE", ""),
        ):
            reply = server.request(method, "/v1/history" + path)
            self.assertEqual((reply.status, reply.json["code"]), (500, "internal_error"))
            self.assertEqual(
                reply.json["detail"],
                "an unexpected failure; the server's log has more under this request's id",
            )
        self.assertIn(server.history, server.log_lines("failure")[0]["message"])
        self.assertEqual(server.post("/v1/caption", picture(1)).status, 200)


class Keys(unittest.TestCase):
    def test_each_key_sees_its_own(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("key-of-ann\nkey-of-bob\n")
            file.flush()
            server = Server("--api-key-file", file.name, "--history-max", 2)
        self.addCleanup(server.stop)
        ann, bob = ({"Authorization": "Bearer key-of-" + name} for name in ("ann", "bob"))
        fields = {"task": "caption", "name": "a.png", "summary": "a cat", "image": b64(picture(1))}
        entry = server.post_json("/v1/history", fields, ann).json
        path = f"/v1/history/{entry['id']}"
        listing = server.get("/v1/history", ann).json
        self.assertEqual(
            (listing["entries"], listing["shared"], listing["usage"]["entries"]),
            ([entry], False, 1),
        )
        self.assertEqual(server.get("/v1/history", bob).json["entries"], [])
        for method, where in (("GET", path), ("GET", path + "/image"), ("DELETE", path)):
            self.assertEqual(server.request(method, where, headers=bob).status, 404)
            self.assertEqual(server.request(method, where).status, 401)
        json_type = {"Content-Type": "application/json"}
        self.assertEqual(server.request("PUT", path, "{}", {**bob, **json_type}).status, 404)
        self.assertEqual(server.request("DELETE", "/v1/history", headers=bob).status, 204)
        self.assertEqual(server.get(path, ann).json, entry)
        # Nor does a full history of one touch the other's.
        dropped = [
            server.post_json("/v1/history", fields, bob).json.get("dropped", 0) for _ in range(4)
        ]
        self.assertEqual(dropped, [0, 0, 1, 1])
        self.assertEqual(server.get(path, ann).json, entry)
        self.assertNotIn(
            b"key-of-",
            Path(server.history).read_bytes() + Path(server.history + "-wal").read_bytes(),
        )

    def test_pushed_results_are_of_the_key_that_pushed(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("key-of-ann\nkey-of-bob\n")
            file.flush()
            server = Server("--api-key-file", file.name)
        self.addCleanup(server.stop)
        ann, bob = ({"Authorization": "Bearer key-of-" + name} for name in ("ann", "bob"))
        self.assertEqual(
            server.post_json("/caption/push_data", {"id": "7", "image": b64(scene())}, ann).status,
            200,
        )
        self.assertEqual(server.get("/caption/get_result?id=7", bob).status, 400)
        self.assertEqual(server.get("/caption/get_result", bob).status, 400)
        self.assertEqual(
            server.get("/caption/get_result?id=7", ann).json["texts"],
            ["a cat to the left of a bus on a pink background"],
        )


class Limits(unittest.TestCase):
    def test_the_oldest_make_room_and_the_answer_says_so(self):
        limit = 5 * len(scene())
        server = Server("--history-max-bytes", limit)
        self.addCleanup(server.stop)
        count = limit // (len(scene()) + 1024 + 100)
        replies = [add(server, f"{i}.png") for i in range(count + 1)]
        self.assertEqual([reply.json.get("dropped", 0) for reply in replies], [0] * count + [1])
        usage = server.get("/v1/history").json["usage"]
        self.assertEqual((usage["entries"], usage["max_bytes"]), (count, limit))
        self.assertLessEqual(usage["bytes"], limit)
        self.assertEqual(server.get(f"/v1/history/{replies[0].json['id']}").status, 404)
        large = add(server, "large.png", image=scene() + bytes(limit))
        self.assertEqual((large.status, large.json["code"]), (413, "payload_too_large"))
        self.assertIn("--history-max-bytes", large.json["detail"])

    def test_many_at_once_on_the_same_entries(self):
        server = Server()
        self.addCleanup(server.stop)
        ids = []
        stop = threading.Event()
        seen = set()

        def change(i):
            tries = 0
            while not stop.is_set():
                tries += 1
                target = f"/v1/history/{ids[-1] if ids else 1}"
                if i % 4 == 0:
                    reply = add(server, "n.png", image=picture(i))
                    if reply.status == 201:
                        ids.append(reply.json["id"])
                elif i % 4 == 1:
                    reply = server.request("DELETE", target)
                elif i % 4 == 2:
                    reply = server.request(
                        "PUT",
                        target,
                        json.dumps({"summary": f"try {tries}"}),
                        {"Content-Type": "application/json"},
                    )
                else:
                    reply = server.get(("/v1/history", target, target + "/image")[tries % 3])
                seen.add(reply.status)

        threads = [threading.Thread(target=change, args=(i,)) for i in range(12)]
        for thread in threads:
            thread.start()
        time.sleep(4)
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(seen, {200, 201, 204, 404})
        self.assertEqual(server.log_lines("failure"), [])

    def test_a_full_disk_takes_deletions(self):
        mount = 'mount -t tmpfs -o size=6m none "$1" && shift && exec "$@"'
        with tempfile.TemporaryDirectory() as folder:
            launcher = ("unshare", "-Urm", "sh", "-c", mount, "sh", folder)
            if (
                subprocess.run([*launcher, "true"], capture_output=True, check=False).returncode
                != 0
            ):
                self.skipTest("no file system of our own to fill")
            server = Server(history=os.path.join(folder, "history.db"), launcher=launcher)
            self.addCleanup(server.stop)
            inside = Path(f"/proc/{server.process.pid}/root") / folder.lstrip("/")
            ids = []
            while (reply := add(server, "n.png", image=scene() + bytes(400_000))).status == 201:
                ids.append(reply.json["id"])
            self.assertEqual((reply.status, reply.json["code"]), (507, "storage_full"))
            self.assertGreater(len(ids), 3)
            self.assertNotIn(folder, reply.body.decode())
            with open(inside / "filler", "wb", buffering=0) as filler:  # to the last byte
                try:
                    while filler.write(bytes(4096)) == 4096:
                        pass
                except OSError:
                    pass
            self.assertEqual(os.statvfs(inside).f_bavail, 0)
            self.assertEqual(server.request("DELETE", f"/v1/history/{ids[0]}").status, 204)
            self.assertGreater(os.statvfs(inside).f_bavail * os.statvfs(inside).f_frsize, 350_000)
            self.assertEqual(
                [e["id"] for e in server.get("/v1/history").json["entries"]], ids[:0:-1]
            )
            self.assertEqual(server.get(f"/v1/history/{ids[-1]}/image").status, 200)
            self.assertEqual(server.request("DELETE", "/v1/history").status, 204)
            self.assertEqual(server.get("/v1/history").json["entries"], [])
            self.assertLess((inside / "history.db").stat().st_size, 200_000)
            self.assertEqual(add(server, "again.png").status, 201)

    def test_a_file_at_the_limit_of_ulimit_does_not_end_the_server(self):
        # Blocks of 512 bytes.
        server = Server(launcher=("sh", "-c", 'ulimit -f 2048; exec "$@"', "sh"))
        self.addCleanup(server.stop)
        ids = []
        while (reply := add(server, "n.png", image=scene() + bytes(200_000))).status == 201:
            ids.append(reply.json["id"])
        self.assertEqual((reply.status, reply.json["code"]), (507, "storage_full"))
        self.assertEqual(server.request("DELETE", f"/v1/history/{ids[0]}").status, 204)
        self.assertEqual(server.request("DELETE", "/v1/history").status, 204)
        self.assertEqual(add(server, "again.png").status, 201)


class Page(ServerTest):
    def test_the_page_and_its_files_are_inside_the_program(self):
        for name in sorted(path.name for path in (SOURCE / "apps" / "server" / "web").iterdir()):
            reply = self.server.get("/" if name == "index.html" else "/" + name)
            # The kinds of pictures come from the program's table.
            body = re.sub(rb'accept="image/[^"]*"', b'accept="@PICTURES@"', reply.body)
            self.assertEqual(
                (reply.status, body),
                (200, (SOURCE / "apps" / "server" / "web" / name).read_bytes()),
                name,
            )
            self.assertIn("default-src 'self'", reply.headers["Content-Security-Policy"])
        self.assertTrue(self.server.get("/").headers["Content-Type"].startswith("text/html"))

    def test_nothing_comes_from_elsewhere(self):
        for path in (SOURCE / "apps" / "server" / "web").iterdir():
            text = path.read_text(encoding="utf-8")
            for words in ('src="http', "src='http", 'href="http', "@import", "url(http", "import("):
                self.assertNotIn(words, text, path.name)


if __name__ == "__main__":
    unittest.main()

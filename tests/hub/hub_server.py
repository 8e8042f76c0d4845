"""A hub on loopback: the part of the Hugging Face hub's protocol that downloads need, with faults
on demand.

Large files are stored elsewhere, as at the hub: a request for them is answered with a redirect to a
second server, the store, on another port. Both keep a log of what they were asked.
"""

import hashlib
import json
import socket
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LARGE = 10_000  # bytes; from here on files are in the store


class Asked:
    def __init__(self, server, method, path, headers):
        self.server, self.method, self.path = server, method, path
        self.token = headers.get("Authorization")
        self.range = headers.get("Range")
        self.agent = headers.get("User-Agent", "")


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    """files: {"ORG/NAME": {"revision": {file: bytes}}}. faults: functions(handler, method, path) ->
    True where they answered; each is tried in order, and removed once it says "done"."""

    def __init__(self, repositories):
        self.repositories = repositories
        self.asked = []
        self.faults = []
        self.token = None  # needed where set
        self.gated = set()
        self.wrong_checksums = False
        self.pace = 0.0  # seconds between blocks of the store
        self.hub = _serve(self, _HubHandler)
        self.store = _serve(self, _StoreHandler)
        self.endpoint = "http://127.0.0.1:%d" % self.hub.server_port
        self.store_address = "http://localhost:%d" % self.store.server_port  # another host by name

    def close(self):
        for server in (self.hub, self.store):
            server.shutdown()
            server.server_close()

    def commit(self, repository, revision):
        names = self.repositories[repository]
        if revision not in names:
            for other, files in names.items():
                if self._hash(files) == revision:
                    return revision, files
            return None, None
        return self._hash(names[revision]), names[revision]

    @staticmethod
    def _hash(files):
        return hashlib.sha1(
            json.dumps(sorted((n, git_sha1(d)) for n, d in files.items())).encode()
        ).hexdigest()

    def count(self, method, part):
        return sum(a.method == method and part in a.path for a in self.asked)


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_):
        pass  # clients that hang up are part of the tests


def _serve(hub, handler):
    server = _Server(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.hub_of_test = hub
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def state(self):
        return self.server.hub_of_test

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", headers=(), length=None):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def drop(self):
        """Ends the connection without a word."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def handle_request(self):
        self.state.asked.append(Asked(self.kind, self.command, self.path, self.headers))
        for fault in list(self.state.faults):
            answered = fault(self, self.command, self.path)
            if answered == "done":
                self.state.faults.remove(fault)
            if answered:
                return
        self.answer()

    do_GET = do_HEAD = handle_request


class _HubHandler(_Handler):
    kind = "hub"

    def answer(self):
        state = self.state
        path = urllib.parse.unquote(self.path)
        api = path.startswith("/api/models/")
        parts = (path[len("/api/models") :] if api else path).split("/")
        repository = "/".join(parts[1:3])
        if state.token and self.headers.get("Authorization") != "Bearer " + state.token:
            return self.reply(401, b"", [("X-Error-Code", "RepoNotFound")])
        if repository not in state.repositories:
            return self.reply(
                401 if not self.headers.get("Authorization") else 404,
                b"",
                [("X-Error-Code", "RepoNotFound")],
            )
        if repository in state.gated and not api:
            return self.reply(
                403,
                b"",
                [("X-Error-Code", "GatedRepo"), ("X-Error-Message", "Access to it is restricted.")],
            )
        if api:
            commit, files = state.commit(repository, "/".join(parts[4:]) or "main")
            if files is None:
                return self.reply(404, b"", [("X-Error-Code", "RevisionNotFound")])
            listing = {
                "id": repository,
                "sha": commit,
                "siblings": [{"rfilename": name} for name in sorted(files)],
            }
            return self.reply(
                200, json.dumps(listing).encode(), [("Content-Type", "application/json")]
            )
        commit, files = state.commit(repository, parts[4])
        name = "/".join(parts[5:])
        if files is None or name not in files:
            return self.reply(
                404, b"", [("X-Error-Code", "EntryNotFound"), ("X-Repo-Commit", commit or "")]
            )
        data = files[name]
        if len(data) < LARGE:
            return self.reply(
                200, data, [("ETag", '"%s"' % git_sha1(data)), ("X-Repo-Commit", commit)]
            )
        digest = hashlib.sha256(data + (b"!" if state.wrong_checksums else b"")).hexdigest()
        where = (
            state.store_address + "/" + urllib.parse.quote(repository + "/" + commit + "/" + name)
        )
        return self.reply(
            302,
            b"",
            [
                ("Location", where),
                ("ETag", '"store-%d"' % len(data)),
                ("X-Linked-Etag", '"%s"' % digest),
                ("X-Linked-Size", str(len(data))),
                ("X-Repo-Commit", commit),
            ],
        )


class _StoreHandler(_Handler):
    kind = "store"

    def answer(self):
        parts = urllib.parse.unquote(self.path).split("/")
        _, files = self.state.commit("/".join(parts[1:3]), parts[3])
        data = files["/".join(parts[4:])]
        start = 0
        asked = self.headers.get("Range")
        if asked:
            start = int(asked[len("bytes=") :].split("-")[0])
            if start >= len(data):
                return self.reply(416, b"", [("Content-Range", "bytes */%d" % len(data))])
        headers = (
            [("Content-Range", "bytes %d-%d/%d" % (start, len(data) - 1, len(data)))]
            if asked
            else []
        )
        body = data[start:]
        if not self.state.pace:
            return self.reply(206 if asked else 200, body, headers)
        self.reply(206 if asked else 200, b"", headers, length=len(body))
        for at in range(0, len(body), 65536):
            self.wfile.write(body[at : at + 65536])
            time.sleep(self.state.pace)
        return None


def times(count, where, act):
    """A fault that acts on the first `count` requests whose "METHOD path" has `where` in it."""
    left = [count]

    def fault(handler, method, path):
        if where not in method + " " + handler.kind + " " + path or left[0] == 0:
            return False
        left[0] -= 1
        act(handler)
        return True

    return fault


def status(code, headers=()):
    return lambda handler: handler.reply(code, b"", headers)


def drop_after(count):
    """Sends the beginning of the store's file from where it was asked for, then breaks off."""

    def act(handler):
        parts = urllib.parse.unquote(handler.path).split("/")
        _, files = handler.state.commit("/".join(parts[1:3]), parts[3])
        data = files["/".join(parts[4:])]
        asked = handler.headers.get("Range")
        start = int(asked[len("bytes=") :].split("-")[0]) if asked else 0
        handler.send_response(206 if asked else 200)
        if asked:
            handler.send_header(
                "Content-Range", "bytes %d-%d/%d" % (start, len(data) - 1, len(data))
            )
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        handler.wfile.write(data[start : start + count])
        handler.drop()

    return act

"""blip serve behind nginx and Caddy, with the settings that docs/SERVER.md gives. Skipped where
they are not installed.
"""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from harness import SOURCE, TIMEOUT, Server, picture, wait_until
from test_http import read_all, statuses

DOCUMENT = (SOURCE / "docs" / "SERVER.md").read_text(encoding="utf-8")
PUBLIC = "blip.example.org"


def example(language):
    """The document's block of that language."""
    return re.search(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)[1]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Behind:
    """What both proxies must do."""

    def setUp(self):
        self.server = Server("--allowed-host", PUBLIC)
        self.addCleanup(self.server.stop)
        self.folder = tempfile.TemporaryDirectory(prefix="blip-proxy-")
        self.addCleanup(self.folder.cleanup)
        self.port = free_port()
        command = self.prepare(Path(self.folder.name))
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder.name,
            env={"HOME": self.folder.name, "PATH": "/usr/sbin:/usr/bin:/bin"},
        )
        self.addCleanup(self.end)
        self.assertTrue(wait_until(self.answers, 30))

    def end(self):
        self.process.terminate()
        self.process.wait(TIMEOUT)

    def answers(self):
        try:
            return statuses(self.send("GET", "/healthz")) == [200]
        except OSError:
            return False

    def send(self, method, path, body=b"", **headers):
        head = f"{method} {path} HTTP/1.1\r\nHost: {PUBLIC}\r\nConnection: close\r\n"
        head += f"Content-Length: {len(body)}\r\n"
        head += "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        with socket.create_connection(("127.0.0.1", self.port), 60) as client:
            client.sendall(head.encode() + b"\r\n" + body)
            return read_all(client)

    def test_the_page_and_its_requests(self):
        self.assertEqual(statuses(self.send("GET", "/")), [200])
        answer = self.send(
            "POST", "/v1/caption", picture(1), Content_Type="image/png", Origin=f"https://{PUBLIC}"
        )
        self.assertEqual(statuses(answer), [200], answer[:500])
        self.assertIn(b'"caption":', answer)
        self.assertEqual(
            statuses(
                self.send(
                    "POST",
                    "/v1/caption",
                    picture(1),
                    Content_Type="image/png",
                    Origin="https://evil.example",
                )
            ),
            [403],
        )

    def test_large_bodies_reach_the_server(self):
        answer = self.send(
            "POST",
            "/v1/caption",
            b"x" * (3 << 20),
            Content_Type="image/png",
            Origin=f"https://{PUBLIC}",
        )
        self.assertEqual(statuses(answer), [422], answer[:500])

    def test_streams_are_not_held_back(self):
        body = picture(2)
        head = (
            "POST /v1/caption?stream=true&min_length=40&max_length=60 HTTP/1.1\r\nHost: "
            f"{PUBLIC}\r\nConnection: close\r\n"
            f"Content-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        pieces = []
        with socket.create_connection(("127.0.0.1", self.port), 60) as client:
            client.sendall(head.encode() + body)
            while piece := client.recv(65536):
                pieces.append((time.monotonic(), piece.count(b"event: ")))
        with_events = [one for one in pieces if one[1] > 0]
        # A proxy that holds answers back gives all events at once; on a busy machine several that
        # were sent one by one may be read together.
        self.assertGreater(len(with_events), 1, pieces)


@unittest.skipUnless(shutil.which("nginx", path="/usr/sbin:/usr/bin"), "nginx is not installed")
class Nginx(Behind, unittest.TestCase):
    def prepare(self, folder):
        site = example("nginx").replace("127.0.0.1:8080", f"127.0.0.1:{self.server.port}")
        # TLS ends before what is tested here.
        site = re.sub(r"listen .*;", f"listen 127.0.0.1:{self.port};", site, count=1)
        site = re.sub(r"\n *(listen \[|ssl_).*", "", site)
        paths = "".join(
            f"{name}_temp_path {folder}/{name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"{'user root; ' if os.geteuid() == 0 else ''}daemon off; pid {folder}/pid; error_log "
            f"{folder}/error.log; events {{}}\n"
            f"http {{ access_log off; {paths}\n{site}\n}}\n",
            encoding="utf-8",
        )
        return [
            "nginx",
            "-e",
            str(folder / "error.log"),
            "-p",
            str(folder),
            "-c",
            str(folder / "nginx.conf"),
        ]


@unittest.skipUnless(shutil.which("caddy"), "caddy is not installed")
class Caddy(Behind, unittest.TestCase):
    def prepare(self, folder):
        site = example("caddy").replace("127.0.0.1:8080", f"127.0.0.1:{self.server.port}")
        site = site.replace(PUBLIC + " {", f"http://{PUBLIC}:{self.port} {{", 1)
        (folder / "Caddyfile").write_text("{\n  admin off\n}\n" + site, encoding="utf-8")
        return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


if __name__ == "__main__":
    unittest.main()

"""A server on this machine for huggingface_hub's own client: it keeps what is uploaded, and gives it again."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_of_the_tests"


class HubServer(ThreadingHTTPServer):
    """Repositories of models, with the last commit of each; uploads need the token."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.created: list[dict[str, Any]] = []
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        self.server.requests.append(f"{self.command} {self.path}")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._json({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            values = json.loads(body)
            self.server.created.append(values)
            self._json({"url": f"{self.server.url}/{values['organization']}/{values['name']}"})
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            self._json({"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", self.path):
            lines = [json.loads(line) for line in body.splitlines()]
            files = [line["value"] for line in lines if line["key"] == "file"]
            self.server.files[found[1]] = {file["path"]: base64.b64decode(file["content"]) for file in files}
            address = f"{self.server.url}/{found[1]}/commit/{self._sha(found[1])}"
            self._json({"success": True, "commitUrl": address, "commitOid": self._sha(found[1])})
        else:
            self._json({"error": f"no {self.path}"}, 404)

    def do_GET(self) -> None:
        found = re.match(r"(?:/api/models)?/([^/]+/[^/?]+)/?(revision|tree|resolve)?(?:/\w+/?)?([^?]*)", self.path)
        files = {} if found is None else self.server.files.get(found[1], {})
        if found is None or not files or (found[2] == "resolve" and found[3] not in files):
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif found[2] == "tree":
            self._json([{"type": "file", "path": name, "size": len(f), "oid": _hash(f)} for name, f in files.items()])
        elif found[2] == "resolve":
            headers = {"ETag": f'"{_hash(files[found[3]])}"', "X-Repo-Commit": self._sha(found[1])}
            self._reply(files[found[3]], 200, headers)
        else:
            self._json({"id": found[1], "sha": self._sha(found[1]), "siblings": []})

    do_HEAD = do_GET

    def _sha(self, repo: str) -> str:
        return _hash(b"".join(self.server.files[repo].values()))

    def _json(self, values: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._reply(json.dumps(values).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _reply(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _hash(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@contextmanager
def hub_server() -> Iterator[HubServer]:
    with HubServer() as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

"""The part of the hub's interface by which repositories are made, filled and listed."""

import base64
import json
from http.server import BaseHTTPRequestHandler
from typing import Any

TOKEN = "hf_of_the_test"


class HubApi(BaseHTTPRequestHandler):
    """Answers requests below `/api/`; `served` is the `Hub`. Writing needs the token."""

    def do_POST(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        self.served.requests.append((self.command, path, None))
        content = self.rfile.read(int(self.headers["Content-Length"]))
        rows = [json.loads(line) for line in content.splitlines()]
        if path == "api/validate-yaml":
            self.answer_json({})
        elif self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.answer_json({"error": "Invalid username or password."}, 401)
        elif path == "api/repos/create":
            name = f"{rows[0]['organization']}/{rows[0]['name']}"
            self.served.repositories[name] = rows[0]
            self.answer_json({"url": f"{self.served.url}/{name}"})
        else:
            repository, _, action = path.removeprefix("api/models/").rpartition("/main")[0].rpartition("/")
            if repository not in self.served.repositories:
                self.answer_json({"error": "Repository not found"}, 404)
            elif action == "preupload":
                files = [{"path": file["path"], "uploadMode": "regular"} for file in rows[0]["files"]]
                self.answer_json({"files": [{**file, "shouldIgnore": False} for file in files]})
            else:
                self.commit(repository, [row["value"] for row in rows if row["key"] == "file"])

    def commit(self, repository: str, files: list[dict[str, str]]) -> None:
        for file in files:
            self.served.small[f"{repository}/{file['path']}"] = base64.b64decode(file["content"])
        self.answer_json({"commitUrl": f"{self.served.url}/{repository}/commit/1", "commitOid": self.served.commit})

    def list_files(self, path: str) -> None:
        """Answers `api/models/<repository>/<revision or tree>/<name>`: a revision or its files."""
        repository = path.removeprefix("api/models/").rsplit("/", 2)[0]
        contents = {
            name.removeprefix(f"{repository}/"): content
            for name, content in self.served.small.items()
            if name.startswith(f"{repository}/")
        }
        if not contents:
            self.answer_json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif "/tree/" in path:
            entries = [{"path": name, "size": len(content)} for name, content in contents.items()]
            self.answer_json([{"type": "file", "oid": "0" * 40, **entry} for entry in entries])
        else:
            self.answer_json({"id": repository, "sha": self.served.commit, "siblings": []})

    def answer_json(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

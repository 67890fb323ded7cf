"""A small hub for tests: Hugging Face's API and a registry of Ollama's kind on one loopback port, with faults on demand.

hub.repos[ORG/REPO] = {path: bytes}; hub.models[SPACE/MODEL:TAG] = bytes; hub.files[/path.gguf] = bytes
hub.faults[path of a file] = {...}; see Handler.send_file
"""
import hashlib
import http.server
import json
import re
import socket
import threading
import time
import urllib.parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        hub = self.server.hub
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        with hub.lock:
            hub.requests.append((path, dict(self.headers)))
            fault = hub.faults.get(path, {})
            count = hub.counts[path] = hub.counts.get(path, 0) + 1
        if "status" in fault and count <= fault.get("times", 10**9):
            return self.answer(fault["status"], b"{}", **fault.get("headers", {}))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/([^/]+)", path):
            return self.model_info(hub, *match.groups())
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            files = hub.repos.get(match.group(1), {})
            return self.send_file(files.get(match.group(2)), fault, count)
        if match := re.fullmatch(r"/v2/([^/]+/[^/]+)/manifests/(.+)", path):
            return self.manifest(hub, *match.groups())
        if match := re.fullmatch(r"/v2/([^/]+/[^/]+)/blobs/sha256:([0-9a-f]+)", path):
            blobs = {sha256(data): data for data in hub.models.values()}
            return self.send_file(blobs.get(match.group(2)), fault, count)
        if path == "/token":
            return self.answer(200, b'{"token": "registry-token"}')
        return self.send_file(hub.files.get(path), fault, count)

    def model_info(self, hub, repo, revision):
        if repo not in hub.repos:
            return self.answer(401, b"{}", X_Error_Code="RepoNotFound")
        if revision not in ("main", COMMIT):
            return self.answer(404, b"{}", X_Error_Code="RevisionNotFound")
        rows = []
        for name, data in hub.repos[repo].items():
            size = hub.claimed.get(name, len(data))
            row = {"rfilename": name, "size": size, "blobId": "0" * 40}
            if name.endswith((".gguf", ".safetensors")):
                row["lfs"] = {"sha256": hub.hashes.get(name, sha256(data)), "size": size, "pointerSize": 134}
            rows.append(row)
        self.answer(200, json.dumps({"id": repo, "sha": COMMIT, "siblings": rows}).encode())

    def manifest(self, hub, model, tag):
        if hub.registry_login and self.headers.get("Authorization") != "Bearer registry-token":
            realm = hub.registry_login
            return self.answer(401, b"{}", WWW_Authenticate=f'Bearer realm="{realm}",service="r",scope="repository:{model}:pull"')
        data = hub.models.get(f"{model}:{tag}")
        if data is None:
            return self.answer(404, b"{}")
        layers = hub.layers or [
            {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + sha256(data), "size": len(data)},
            {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "1" * 64, "size": 3}]
        self.answer(200, json.dumps({"schemaVersion": 2, "layers": layers}).encode())

    def send_file(self, data, fault, count):
        """cut: bytes after which the connection ends, once per attempt number up to `times`; redirect: elsewhere;
        drip: (bytes, seconds) between pieces; stall: seconds of silence after `cut` bytes; etags: one per request;
        lie: a Content-Length; whole: ranges are not understood; blind: If-Range is not"""
        if data is None:
            return self.answer(404, b"{}")
        if "redirect" in fault:
            return self.answer(302, b"", Location=fault["redirect"])
        etags = fault.get("etags")
        etag = etags[min(count, len(etags)) - 1] if etags else '"' + sha256(data)[:16] + '"'
        if fault.get("changed") and count > fault["times"]:
            data = fault["changed"]
        if self.headers.get("If-None-Match") == etag:
            return self.answer(304)
        first, last, status = 0, len(data) - 1, 200
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if match and not fault.get("whole") and (fault.get("blind") or self.headers.get("If-Range", etag) == etag):
            first = int(match.group(1))
            last = min(last, int(match.group(2) or last))
            if first >= len(data):
                return self.answer(416, b"", Content_Range=f"bytes */{len(data)}")
            status = 206
        body = data[first:last + 1]
        faulty = count <= fault.get("times", 10**9)
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        if fault.get("etag", True):
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(fault["lie"] if faulty and "lie" in fault else len(body)))
        self.end_headers()
        if faulty and "cut" in fault:
            self.wfile.write(body[:fault["cut"]])
            self.wfile.flush()
            time.sleep(fault.get("stall", 0))
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif "drip" in fault:
            size, pause = fault["drip"]
            for at in range(0, len(body), size):
                self.wfile.write(body[at:at + size])
                time.sleep(pause)
        else:
            self.wfile.write(body)
            if "lie" in fault:
                self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # a client that was killed


class Hub:
    def __init__(self):
        self.lock = threading.Lock()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.hub = self
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.reset()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def reset(self):
        self.repos, self.models, self.files = {}, {}, {}
        self.faults, self.counts, self.requests = {}, {}, []
        self.claimed, self.hashes, self.layers, self.registry_login = {}, {}, None, None

    def forget(self):
        self.faults, self.counts, self.requests = {}, {}, []

#!/usr/bin/env python3
"""gguf-serve under faults and load: what clients and networks do to it in a day. At the end it still answers, holds no request, no
page of the cache and no descriptor, and its memory has not grown. Needs no package.
usage: check_serve_load.py BUILD DATA [--rounds N] [--connections N] [--requests N] [--growth MIB]"""
import argparse
import collections
import contextlib
import json
import os
import pathlib
import random
import re
import resource
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

TIMEOUT_S = 120  # of one answer: nothing hangs
N_CLIENTS = 8


def same(got, wanted, what=""):
    assert got == wanted, f"{what}: got {got!r}, wanted {wanted!r}"


def raw(method, path, body=None, *headers):
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"{method} {path} HTTP/1.1", *(headers or ["Host: localhost"]), f"Content-Length: {len(data)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


def chat(text="Speak", **more):
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 200, "ignore_eos": True, "stream": True, **more}


class Client:
    """A connection that is kept; opened again when the server closed it."""

    def __init__(self, port):
        self.port, self.socket = port, None

    def open(self):
        if not self.socket:
            self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S)
        return self.socket

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket = None

    def ask(self, request):
        """(status, body); status 0 where the connection was closed without an answer."""
        self.open().sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.more()
        head, body = data.split(b"\r\n\r\n", 1)
        length = re.search(rb"content-length: (\d+)", head, re.I)
        while len(body) < int(length.group(1)) if length else not body.endswith(b"0\r\n\r\n"):
            body += self.more()
        if b"connection: close" in head.lower():
            self.close()
        return int(head.split()[1]), body

    def more(self):
        part = self.socket.recv(65536)
        if not part:
            raise ConnectionError("closed in an answer")
        return part


class Server:
    """With little of everything, so that limits are reached."""

    def __init__(self, build, model):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([build / "gguf-serve", model, "--port", "0", "-t", "1", "--ctx", "256", "--kv-tokens", "1024",
                                         "--parallel", "8", "--queue", "16"], stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("listening on "), line
        self.port = int(line.rsplit(":", 1)[1])

    def ask(self, method, path, body=None, *headers):
        client = Client(self.port)
        with contextlib.closing(client):
            return client.ask(raw(method, path, body, *headers))

    def metric(self, name):
        return float(re.search(rf"^ggufkit_{name} (.*)$", self.ask("GET", "/metrics")[1].decode(), re.M).group(1))

    def send(self, data, room=None):
        sock = socket.socket()
        if room:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        sock.settimeout(TIMEOUT_S)
        sock.connect(("127.0.0.1", self.port))
        sock.sendall(data)
        return sock

    def n_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def memory_mib(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024

    def settle(self, n_files=None):
        """Nothing runs, waits, or is held; only the cache of ended requests stays."""
        def calm():
            return (json.loads(self.ask("GET", "/slots")[1]) == [] and self.metric("requests_running") == 0 and
                    self.metric("requests_waiting") == 0 and self.metric("kv_pages_used") == self.metric("prefix_cache_pages"))
        wait_until(calm, "no request and no page is held")
        if n_files is not None:
            wait_until(lambda: self.n_files() <= n_files, f"{n_files} descriptors are open, not {self.n_files()}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(TIMEOUT_S)
        self.log.seek(0)
        assert status == 0, f"exit status {status}: {self.log.read().decode(errors='replace')[-3000:]}"


def wait_until(condition, what):
    end = time.time() + TIMEOUT_S
    while not condition():
        assert time.time() < end, f"not within {TIMEOUT_S} s: {what}"
        time.sleep(0.02)


def at_once(n, function):
    """function(i) in n threads; their results."""
    results = [None] * n

    def one(i):
        try:
            results[i] = function(i)
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


# ---- faults -----------------------------------------------------------------------------------


def slow_readers(s, rng):
    """Who does not read holds up nobody."""
    body = chat(logprobs=True, top_logprobs=20, n=4)
    slow = [s.send(raw("POST", "/v1/chat/completions", body), 4096) for _ in range(3)]
    for _ in range(3):
        same(s.ask("POST", "/v1/completions", {"prompt": "The king", "max_tokens": 2})[0], 200)
    for sock in slow:
        with contextlib.suppress(OSError):
            sock.recv(rng.randrange(1, 2000))
        sock.close()


def half_closed(s, rng):
    """A client that ends its half, with a whole request or a part of one, is gone: its connection is closed."""
    request = raw("POST", "/v1/chat/completions", chat(stream=rng.random() < 0.5))
    sockets = [s.send(request[:n]) for n in [len(request)] * 4 + [rng.randrange(1, len(request)) for _ in range(8)]]
    [sock.shutdown(socket.SHUT_WR) for sock in sockets]
    for sock in sockets:
        with sock, contextlib.suppress(ConnectionResetError):
            while sock.recv(65536):
                pass


def resets(s, rng):
    """Reset before, in, and behind the header of a stream."""
    for n in [0, 1, 300] + [rng.randrange(1, 5000) for _ in range(9)]:
        with s.send(raw("POST", "/v1/chat/completions", chat())) as sock:
            while n > 0:
                part = sock.recv(min(n, 500))
                n = n - len(part) if part else 0
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


MALFORMED = [b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"\r\n" * 100, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
             b"GET / HTTP/1.1\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
             b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", b"GET " + b"/a" * 40000 + b" HTTP/1.1\r\n\r\n",
             b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
             b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nxx\r\n",
             b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
             b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n"]


def malformed_http(s, rng):
    """Refused or closed, never a fault of the server."""
    valid = raw("POST", "/tokenize", {"content": "x"})
    for data in MALFORMED + [bytes(b if rng.random() > 0.05 else rng.randrange(256) for b in valid) for _ in range(20)]:
        with s.send(data) as sock:
            sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                answer = sock.recv(1000)
                assert not re.match(rb"HTTP/1.. 5(?!05)", answer), (data, answer)


def malformed_json(s, rng):
    """Bodies with some bytes changed, cut, or repeated: 200 or 400."""
    valid = json.dumps(chat("x", max_tokens=1, stream=False, stop=["a"], logit_bias={"5": 1}, seed=1)).encode()
    client = Client(s.port)
    for _ in range(60):
        data = bytearray(valid)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data))
            data[at:at + rng.randrange(3)] = rng.choice([b"", bytes([rng.randrange(256)]), b"{", b"[" * 600, b'"', b"\\u", b"1e999"])
        status, body = client.ask(raw("POST", rng.choice(["/v1/chat/completions", "/v1/messages", "/api/chat"]), bytes(data)))
        assert status in (200, 400, 404), (status, body, bytes(data))
    client.close()


def foreign(s, rng):
    for headers in (["Host: example.org"], ["Host: localhost", "Origin: http://example.org"], ["Host: localhost", "Origin: null"]):
        same(s.ask("POST", "/v1/completions", {"prompt": "x"}, *headers)[0], 403, headers)


def little_memory(s, rng):
    """Three pages for each, more than the cache and the queue hold: each is answered in full, or refused with 503."""
    def one(i):
        body = {"prompt": f"{i} and the king said", "max_tokens": 130, "ignore_eos": True}
        status, text = s.ask("POST", "/v1/completions", body)
        assert status in (200, 503), (status, text)
        if status == 200:
            same(json.loads(text)["usage"]["completion_tokens"], 130)
        return status
    statuses = collections.Counter(at_once(40, one))
    assert statuses[200] >= 8, statuses


FAULTS = [slow_readers, half_closed, resets, malformed_http, malformed_json, foreign, little_memory]


def connections(s, n):
    """n connections, opened in turn and kept: each is answered, or closed without delay; then there is room again."""
    kept, n_refused = [], 0
    for _ in range(n):
        sock = socket.create_connection(("127.0.0.1", s.port), timeout=TIMEOUT_S)
        try:
            sock.sendall(raw("GET", "/health"))
            answered = sock.recv(1000).startswith(b"HTTP/1.1 200")
        except ConnectionError:
            answered = False
        if answered:
            kept.append(sock)
        else:
            n_refused += 1
            sock.close()
    assert len(kept) >= min(n, 1000), len(kept)
    kept[0].sendall(raw("GET", "/health"))
    assert kept[0].recv(1000).startswith(b"HTTP/1.1 200")
    [sock.close() for sock in kept]

    def answers():
        with contextlib.suppress(ConnectionError):
            return s.ask("GET", "/health")[0] == 200
    wait_until(answers, "it answers again")
    print(f"{n} connections: {len(kept)} answered, {n_refused} refused")


# ---- requests ---------------------------------------------------------------------------------


def some_request(rng):
    """A short request of one of the interfaces, with the status that it gets."""
    text = f"{rng.randrange(1000)} king"
    few = {"max_tokens": rng.randrange(1, 4), "temperature": rng.choice([0, 1]), "seed": rng.randrange(9)}
    messages = {"messages": [{"role": "user", "content": text}]}
    schema = {"type": "object", "properties": {f"k{rng.randrange(99)}": {"enum": [1, 2]}}, "required": []}
    call = {"type": "function", "function": {"name": f"f{rng.randrange(99)}", "parameters": schema}}
    return rng.choice([
        ("POST", "/v1/completions", {"prompt": text, **few}, 200), ("POST", "/v1/completions", {"prompt": text, "logprobs": 3, **few}, 200),
        ("POST", "/v1/completions", {"prompt": text, "stream": True, **few}, 200),
        ("POST", "/v1/completions", {"prompt": text, "structured_outputs": {"choice": [text, "no"]}, **few}, 200),
        ("POST", "/v1/chat/completions", {**messages, **few}, 200),
        ("POST", "/v1/chat/completions", {**messages, **few, "n": 2, "stream": True}, 200),
        ("POST", "/v1/chat/completions", {**messages, **few, "json_schema": schema}, 200),
        ("POST", "/v1/chat/completions", {**messages, **few, "tools": [call]}, 200),
        ("POST", "/v1/messages", {**messages, "max_tokens": 2, "stream": rng.random() < 0.5}, 200),
        ("POST", "/v1/responses", {"input": text, "max_output_tokens": 2, "stream": rng.random() < 0.5}, 200),
        ("POST", "/api/chat", {**messages, "options": {"num_predict": 2}}, 200),
        ("POST", "/api/generate", {"prompt": text, "options": {"num_predict": 1}}, 200),
        ("POST", "/tokenize", {"content": text}, 200), ("POST", "/apply-template", messages, 200),
        ("POST", "/v1/chat/completions", {**messages, "temperature": -1}, 400), ("POST", "/v1/completions", b"{", 400),
        ("POST", "/v1/completions", {"prompt": "word " * 400}, 400), ("POST", "/v1/embeddings", {"input": text}, 400),
        ("GET", "/v1/models", None, 200), ("GET", "/metrics", None, 200), ("GET", "/nothing", None, 404), ("GET", "/", None, 200)])


def requests(s, n, marks):
    """n requests from some clients at once; the memory after each of the marks."""
    lock, left, memory = threading.Lock(), iter(range(n)), {}

    def client(number):
        rng, own, n_asked = random.Random(number), Client(s.port), 0
        while True:
            with lock:
                i = next(left, None)
            if i is None:
                own.close()
                return n_asked
            if i + 1 in marks:
                memory[i + 1] = s.memory_mib()
            method, path, body, wanted = some_request(rng)
            status, text = own.ask(raw(method, path, body))
            same(status, wanted, f"{path} {body}: {text[:300]}")
            n_asked += 1
            if rng.random() < 0.01:
                own.close()

    same(sum(at_once(N_CLIENTS, client)), n)
    return memory


def check(s, o):
    rng = random.Random(o.seed)
    requests(s, 200, ())
    s.settle()
    n_files, first = s.n_files(), s.memory_mib()
    for i in range(o.rounds):
        for fault in FAULTS:
            start = time.time()
            fault(s, rng)
            s.settle(n_files)
            if i == 0:
                first = s.memory_mib()
                print(f"ok {fault.__name__} ({time.time() - start:.1f} s)", flush=True)
    if o.connections:
        connections(s, o.connections)
        s.settle(n_files)
    start = time.time()
    marks = requests(s, o.requests, {o.requests // 10, o.requests // 2, o.requests})
    s.settle(n_files)
    after = s.memory_mib()
    print(f"{o.rounds} rounds of faults; {o.requests} requests in {time.time() - start:.0f} s; memory {first:.1f} MiB behind the first round, "
          + ", ".join(f"{m:.1f} at {n}" for n, m in sorted(marks.items())) + f", {after:.1f} at the end", flush=True)
    assert not o.growth or after - first <= o.growth, "the memory has grown"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=1, help="of all faults (1)")
    parser.add_argument("--connections", type=int, default=300, help="kept at once (300)")
    parser.add_argument("--requests", type=int, default=1500, help="from 8 clients at once (1500)")
    parser.add_argument("--growth", type=float, default=8, help="MiB by which its memory may grow behind the first round (8); 0: not looked at")
    parser.add_argument("--seed", type=int, default=1)
    o = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder) / "demo.gguf"
        subprocess.run([o.build / "gguf-convert", o.data / "demo-model", "-o", model, "--outtype", "q8_0", "-q"], check=True)
        s = Server(o.build, model)
        try:
            check(s, o)
            s.stop()
        finally:
            s.process.kill()
    print("gguf-serve under load: all checks passed")


if __name__ == "__main__":
    main()

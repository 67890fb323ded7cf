#!/usr/bin/env python3
"""gguf-serve under requests that ask for too much: schemas, grammars, expressions, tools and lists that explode, nest or never end.
Each is answered within a second, most of them with 400, while eight streams go on; the server still answers and its memory does not
grow. Needs no package.
usage: check_serve_bombs.py BUILD DATA [--rounds N] [--growth MIB]"""
import argparse
import http.client
import json
import os
import pathlib
import re
import subprocess
import tempfile
import threading
import time

ANSWER_S = 1.0  # of each request; no stream is silent for longer either
N_STREAMS = 8
HERMES = ("{% if tools %}<tools>{% for t in tools %}{{ t | tojson }}\n{% endfor %}{% endif %}{% for m in messages %}"
          "<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>\n{\"name\": \"{{ c.function.name }}\", "
          "\"arguments\": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}\n{% endfor %}")


def chat(**more):
    return {"messages": [{"role": "user", "content": "x"}], "max_tokens": 4, **more}


def schema(value):
    return chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": value}})


def grammar(text):
    return chat(grammar=text)


def regex(text):
    return chat(structured_outputs={"regex": text})


def nested(n, of, inner):
    for _ in range(n):
        inner = of(inner)
    return inner


def doubling(n, word):
    """Each definition names the next one twice."""
    defs = {f"d{i}": {word: [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(n)}
    return {"$defs": {**defs, f"d{n}": {"type": "object", "properties": {"a": {"type": "string"}}}}, "$ref": "#/$defs/d0"}


def tool(i, schema):
    return {"type": "function", "function": {"name": f"tool_{i}", "parameters": schema}}


def properties(n):
    return {"type": "object", "properties": {f"property_{i}": {"type": ["string", "integer"]} for i in range(n)}}


def chats():
    """(name, body, statuses that will do)"""
    bad, fine, either = (400,), (200,), (200, 400)
    # Schemas.
    yield "arrays, 100 deep", schema(nested(100, lambda s: {"type": "array", "items": s}, {})), bad
    yield "a constant, 300 deep", schema({"const": nested(300, lambda s: [s], 0)}), either
    yield "2,000 optional properties", schema(properties(2000)), fine
    yield "properties beyond the limit", schema(properties(10000)), bad
    yield "20,000 texts to choose from", schema({"enum": [f"text {i}" for i in range(20000)]}), either
    yield "100,000 numbers to choose from", schema({"enum": list(range(100000))}), bad
    for word in ("anyOf", "oneOf", "allOf"):
        yield f"{word} of itself, twice and again", schema(doubling(40, word)), either
        yield f"{word} within {word}", schema(nested(12, lambda s, w=word: {w: [s, s]}, {"type": "integer"})), either
    yield "a product of choices", schema({"allOf": [{"anyOf": [{"properties": {f"a{i}": {}}}, {"properties": {f"b{i}": {}}}]}
                                                    for i in range(30)]}), either
    yield "a reference to itself", schema({"$ref": "#"}), bad
    yield "references in a ring", schema({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}), bad
    yield "a document without end", schema({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}), bad
    yield "a billion items", schema({"type": "array", "minItems": 10**9}), bad
    yield "a million characters", schema({"type": "string", "minLength": 10**6, "maxLength": 10**9}), bad
    yield "items of items of items", schema(nested(4, lambda s: {"type": "array", "items": s, "minItems": 99, "maxItems": 99}, {})), either
    yield "numbers between far bounds", schema({"type": "number", "minimum": -1.7e308, "maximum": 1.7e308}), either
    yield "an unknown keyword", schema({"patternProperties": {"(a+)+$": {}}}), bad
    # Expressions, as they are and in schemas.
    for text in ("(a{1,999}){1,999}", "((((((a{9}){9}){9}){9}){9}){9}){9}", "(" * 20000, "(" * 20000 + ")" * 20000, "(?=a)b", "(a)\\1",
                 "[" + "a-z" * 20000, "a{1,99999999999}", "(?:a|b" * 60 + ")" * 60 + "{1,999}{1,999}"):
        yield f"the expression {text[:30]}", regex(text), either if text.startswith("(?:a") else bad
        yield f"the pattern {text[:30]}", schema({"type": "string", "pattern": text}), either if text.startswith("(?:a") else bad
    for text in ("((((((a*)*)*)*)*)*)*", "(a|a)*(a|a)*(a|a)*b", "(a+)+(a+)+$", "(a?){60}a{60}", "(.*.*.*.*.*.*.*)x", "(|a|)*", ".{0,2000}"):
        yield f"the expression {text[:30]}", regex(text), either
        yield f"the pattern {text[:30]}", schema({"type": "string", "pattern": text}), either
    # Grammars.
    for text in ("root ::= " + "(" * 20000, "root ::= " + "(" * 20000 + '"a"' + ")" * 20000, 'root ::= ("a"{1,999}){1,999}',
                 'root ::= "a"{1,999}{1,999}', 'root ::= root "a" | "a"', 'root ::= b "a"\nb ::= root', 'root ::= "a"? root "b" | ""',
                 'root ::= "a" root', "root ::= missing", 'other ::= "a"', "root ::= <[1000]>", "root ::= [" + "a-z" * 30000,
                 'root ::= "' + "a" * 70000 + '"'):
        yield f"the grammar {text[:30]}", grammar(text), bad
    for text in ('root ::= ("" | "")* "a"', 'root ::= (("a"?)*)*', 'root ::= ("a"* "b"*)* "c"', 'root ::= "a" root root | ""',
                 'root ::= x*\nx ::= "a" | "aa" | "aaa" | "aaaa"', "root ::= .{0,5000}",
                 "\n".join(f"r{i} ::= r{i + 1} r{i + 1}" for i in range(40)) + '\nr40 ::= "a"?\nroot ::= r0',
                 "\n".join(f"r{i} ::= [a-z]" for i in range(3000)) + "\nroot ::= " + " | ".join(f"r{i}" for i in range(3000))):
        yield f"the grammar {text[:30]}", grammar(text), either
    yield "20,000 choices", chat(structured_outputs={"choice": [f"choice {i}" for i in range(20000)]}), either
    # Tools.
    yield "512 tools", chat(tools=[tool(i, properties(2)) for i in range(512)]), either
    yield "600 tools", chat(tools=[tool(i, {}) for i in range(600)]), bad
    yield "tools with 1,000 properties", chat(tools=[tool(i, properties(1000)) for i in range(6)], tool_choice="required"), either
    yield "a strict tool that explodes", chat(tools=[{"type": "function", "function": {
        "name": "f", "strict": True, "parameters": {"properties": {"a": {"pattern": "(a{1,999}){1,999}"}}}}}]), bad
    # Lists and sizes.
    yield "100,000 stop texts", chat(stop=["x"] * 100000), bad
    yield "long stop texts", chat(stop=["never " * 20000] * 16), fine
    yield "stop texts that never come", chat(stop=[f"\1{i}" for i in range(16)]), fine
    yield "a bias of every token", chat(logit_bias={str(i): i % 200 - 100 for i in range(4096)}), either
    yield "a ban of every token", chat(logit_bias={str(i): -100 for i in range(4096)}), bad
    yield "100,000 biases", chat(logit_bias={str(i): 1 for i in range(10**5)}), bad
    yield "a long word", chat(messages=[{"role": "user", "content": "a" * 5 * 10**5}]), bad
    yield "many messages", chat(messages=[{"role": "user", "content": "x"}] * 20000), bad


def bodies():
    for name, body, statuses in chats():
        yield name, json.dumps(body).encode(), statuses
    yield "brackets in JSON", b"[" * 10**6, (400,)
    yield "objects in JSON", b'{"a":' * 10**5, (400,)
    yield "a number of 100,000 digits", b'{"max_tokens": ' + b"9" * 10**5 + b"}", (400,)


class Server:
    """With a cache that is soon full, and memory that does not lie about in several heaps: what grows then is lost."""

    def __init__(self, build, model, template):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([build / "gguf-serve", model, "--port", "0", "-t", "2", "--kv-tokens", "4096",
                                         "--template", template], stdout=subprocess.PIPE, stderr=self.log, text=True,
                                        env={**os.environ, "MALLOC_ARENA_MAX": "1"})
        line = self.process.stdout.readline()
        assert line.startswith("listening on "), line
        self.port = int(line.rsplit(":", 1)[1])
        while self.ask("GET", "/health")[0] != 200:
            time.sleep(0.02)

    def ask(self, method, path, body=None, timeout=60):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        connection.request(method, path, body)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, text

    def resident(self):
        pages = int(pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * 4096

    def stop(self):
        self.process.terminate()
        status = self.process.wait(60)
        self.log.seek(0)
        assert status == 0, f"exit status {status}: {self.log.read()[-2000:]}"


class Streams:
    """Answers that go on and on; the longest time in which one of them said nothing."""

    def __init__(self, server):
        self.server, self.ends, self.longest, self.n_events, self.faults = server, False, 0.0, 0, []
        self.threads = [threading.Thread(target=self.run) for _ in range(N_STREAMS)]
        for thread in self.threads:
            thread.start()

    def run(self):
        body = json.dumps(chat(max_tokens=400, ignore_eos=True, stream=True, temperature=1))
        while not self.ends and not self.faults:
            connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
            connection.request("POST", "/v1/chat/completions", body)
            answer = connection.getresponse()
            last, line = time.monotonic(), b""
            while (line := answer.readline()) and not line.startswith(b"data: [DONE]"):
                now = time.monotonic()
                if line.startswith(b"data: "):
                    self.longest, last = max(self.longest, now - last), now
                    self.n_events += 1
            if answer.status != 200 or not line:
                self.faults.append(f"a stream ended with {answer.status} {line!r}")
            connection.close()

    def stop(self):
        self.ends = True
        for thread in self.threads:
            thread.join()
        assert not self.faults, self.faults


def throw_all(server, slowest):
    for name, body, statuses in bodies():
        start = time.monotonic()
        status, text = server.ask("POST", "/v1/chat/completions", body)
        took = time.monotonic() - start
        slowest.append((took, name))
        assert status in statuses, f"{name}: {status} {text[:300]}"
        assert took < ANSWER_S, f"{name}: took {took:.2f} s"
        if status == 400:
            assert json.loads(text)["error"]["message"], name


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=2, help="the first one fills caches")
    parser.add_argument("--growth", type=float, default=16, help="MiB that memory may grow in the others")
    args = parser.parse_args()
    build = args.build.resolve()
    slowest = []
    with tempfile.TemporaryDirectory() as folder:
        model, template = pathlib.Path(folder, "demo.gguf"), pathlib.Path(folder, "t.jinja")
        template.write_text(HERMES)
        subprocess.run([build / "gguf-convert", args.data / "demo-model", "-o", model, "--outtype", "q8_0", "-q"], check=True)
        server = Server(build, model, template)
        try:
            streams = Streams(server)
            throw_all(server, slowest)
            before = server.resident()
            for _ in range(args.rounds - 1):
                throw_all(server, slowest)
            grown = (server.resident() - before) / 2**20
            streams.stop()
            assert streams.longest < ANSWER_S, f"a stream said nothing for {streams.longest:.2f} s"
            assert grown < args.growth, f"memory has grown by {grown:.1f} MiB"
            status, text = server.ask("POST", "/v1/chat/completions", json.dumps(chat()).encode())
            assert status == 200, text
            metrics = server.ask("GET", "/metrics")[1].decode()
            assert re.search(r"^ggufkit_requests_running 0$", metrics, re.M), "a request still runs"
        finally:
            server.stop()
    took, name = max(slowest)
    print(f"bombs: {len(slowest)} requests, the slowest {took * 1000:.0f} ms ({name}); {streams.n_events} events of {N_STREAMS} streams, "
          f"the longest silence {streams.longest * 1000:.0f} ms; memory grew by {grown:.1f} MiB")


if __name__ == "__main__":
    main()

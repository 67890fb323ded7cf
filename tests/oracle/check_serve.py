#!/usr/bin/env python3
"""gguf-serve as its clients see it: the packages openai, anthropic and ollama, and raw HTTP.
usage: check_serve.py BUILD DATA [NAME...]     NAME: only the checks whose name begins so"""
import base64
import concurrent.futures
import contextlib
import json
import math
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import warnings

import anthropic
import ollama
import openai

BUILD, DATA = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
ONLY = sys.argv[3:]
THINKING = ("{% for m in messages %}<{{ m.role }}>{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>"
            "{% endif %}{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% if enable_thinking is "
            "defined and enable_thinking %}<think>\n{% endif %}{% endif %}")
CALLS = ("{% for m in messages %}{% for c in m.tool_calls or [] %}[{{ c.id }} {{ c.function.name }} "
         "{{ c.function.arguments | tojson }}]{% endfor %}{% if m.role == 'tool' %}({{ m.tool_call_id }}){% endif %}"
         "{{ m.content }}{% endfor %}")
HERMES = ("{% if tools %}<tools>{% for t in tools %}{{ t | tojson }}\n{% endfor %}{% endif %}{% for m in messages %}"
          "<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>\n{\"name\": \"{{ c.function.name }}\", "
          "\"arguments\": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}\n{% endfor %}"
          "{% if add_generation_prompt %}<assistant>{% endif %}")
HARMONY = ("{% if tools %}<|start|>developer<|message|>{{ tools | tojson }}<|end|>{% endif %}{% for m in messages %}"
           "{% if m.role != 'assistant' %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% else %}"
           "{% if m.thinking %}<|start|>assistant<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif %}"
           "{% if m.content %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|return|>{% endif %}"
           "{% for c in m.tool_calls or [] %}<|start|>assistant<|channel|>commentary to=functions.{{ c.function.name }} <|constrain|>json"
           "<|message|>{{ c.function.arguments | tojson }}<|call|>{% endfor %}{% endif %}{% endfor %}"
           "{% if add_generation_prompt %}<|start|>assistant{% endif %}")
PLAIN = ("{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('system comes first') }}"
         "{% endif %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}")
checks = []


def check(function):
    checks.append(function)
    return function


def same(got, wanted, what=""):
    assert got == wanted, f"{what}: got {got!r}, wanted {wanted!r}"


class Server:
    """A running gguf-serve; its address is in .url."""
    context = None  # with TLS: of the client

    def __init__(self, model, *options, environment=None, context=None):
        self.context = context
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([BUILD / "gguf-serve", model, "--port", "0", "-t", "2", *options],
                                        stdout=subprocess.PIPE, stderr=self.log, text=True,
                                        env={**os.environ, **(environment or {})})
        line = self.process.stdout.readline()
        assert line.startswith("listening on "), self.output()
        self.url = line.split()[-1]
        self.port = int(self.url.rsplit(":", 1)[1]) if "http" in self.url else None
        for _ in range(400):
            with contextlib.suppress(Exception):
                if self.get("/health")[0] == 200:
                    break
            time.sleep(0.05)

    def output(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        assert status == 0, f"exit status {status}: {self.output()[-2000:]}"

    def request(self, method, path, body=None, headers=None, raw=None):
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=300, context=self.context) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read(), error.headers

    def get(self, path, headers=None):
        status, text, _ = self.request("GET", path, headers=headers)
        return status, text

    def post(self, path, body, headers=None, raw=None):
        status, text, _ = self.request("POST", path, body, headers, raw)
        return status, json.loads(text) if text else None

    def stream(self, path, body):
        """The lines of an answer, as they come."""
        request = urllib.request.Request(self.url + path, data=json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=300, context=self.context) as answer:
            for line in answer:
                yield line.decode().rstrip("\n")

    def metric(self, name):
        text = self.get("/metrics")[1].decode()
        return float(re.search(rf"^ggufkit_{name} (.*)$", text, re.M).group(1))

    def tcp(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def socket(self):
        return self.context.wrap_socket(self.tcp(), server_hostname="localhost") if self.context else self.tcp()

    def n_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def user(text, **more):
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 12, **more}


# ---- chats ----------------------------------------------------------------------------------


@check
def chat_shape(s):
    status, a = s.post("/v1/chat/completions", user("Who art thou?"))
    same(status, 200)
    same(a["object"], "chat.completion")
    assert a["id"].startswith("chatcmpl-") and a["system_fingerprint"].startswith("ggufkit-")
    choice = a["choices"][0]
    same(choice["message"]["role"], "assistant")
    same(choice["finish_reason"], "length")
    same(choice["message"]["refusal"], None)
    same(a["usage"]["completion_tokens"], 12)
    same(a["usage"]["total_tokens"], a["usage"]["prompt_tokens"] + 12)
    assert choice["message"]["content"]


@check
def chat_same_streamed(s):
    body = user("Speak of the king", max_tokens=30)
    whole = s.post("/v1/chat/completions", body)[1]["choices"][0]["message"]["content"]
    events = [line[6:] for line in
              s.stream("/v1/chat/completions", {**body, "stream": True, "stream_options": {"include_usage": True}})
              if line.startswith("data: ")]
    same(events[-1], "[DONE]")
    chunks = [json.loads(e) for e in events[:-1]]
    same(chunks[0]["choices"][0]["delta"], {"role": "assistant", "content": None})
    same("".join(c["choices"][0]["delta"].get("content") or "" for c in chunks[:-1]), whole)
    same(chunks[-2]["choices"][0]["delta"], {})
    same(chunks[-2]["choices"][0]["finish_reason"], "length")
    assert all(c["choices"][0]["finish_reason"] is None for c in chunks[:-2])
    same(chunks[-1]["choices"], [])
    same(chunks[-1]["usage"]["completion_tokens"], 30)


@check
def chat_structured(s):
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}, "n": {"type": "integer", "maximum": 9, "minimum": 0}},
              "required": ["a", "n"]}
    forms = [{"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}}, {"json_schema": schema},
             {"structured_outputs": {"json": schema}}]
    for form in forms:
        a = s.post("/v1/chat/completions", user("Who?", max_tokens=60, temperature=1, seed=3, **form))[1]
        value = json.loads(a["choices"][0]["message"]["content"])
        assert value["a"] in "xy" and 0 <= value["n"] <= 9, value
        same(a["choices"][0]["finish_reason"], "stop")
    a = s.post("/v1/completions", {"prompt": "King", "structured_outputs": {"choice": ["yes", "no"]}})[1]
    assert a["choices"][0]["text"] in ("yes", "no"), a
    a = s.post("/v1/completions", {"prompt": "King", "structured_outputs": {"regex": "[0-9]{3}"}, "logprobs": 2})[1]
    assert len(a["choices"][0]["text"]) == 3 and a["choices"][0]["text"].isdigit(), a
    a = s.post("/api/chat", {"messages": [{"role": "user", "content": "Who?"}], "stream": False, "format": schema})[1]
    assert json.loads(a["message"]["content"])["a"] in "xy", a
    both = user("x", json_schema=schema, grammar="root ::= [a-z]")
    same(s.post("/v1/chat/completions", both)[0], 400)


@check
def chat_seed_and_crowd(s):
    """Greedy and seeded requests have the same answer alone and among 63 others."""
    bodies = [user("Tell me of love", temperature=t, seed=7, max_tokens=20) for t in (0, 1)]
    alone = [s.post("/v1/chat/completions", body)[1]["choices"][0]["message"]["content"] for body in bodies]
    others = [user(f"Question {i}", max_tokens=30, seed=i, temperature=i % 2) for i in range(64)]
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda i: s.post("/v1/chat/completions", bodies[i // 4 % 2] if i % 4 == 0 else others[i]), range(64)))
    same([a[0] for a in answers], [200] * 64)
    for i in range(0, 64, 4):
        same(answers[i][1]["choices"][0]["message"]["content"], alone[i // 4 % 2], f"answer {i}")


@check
def chat_choices(s):
    body = user("Tell me of war", temperature=1, seed=3, n=3, max_tokens=10)
    three = s.post("/v1/chat/completions", body)[1]["choices"]
    same([c["index"] for c in three], [0, 1, 2])
    for i in range(3):
        one = s.post("/v1/chat/completions", {**body, "n": 1, "seed": 3 + i})[1]["choices"][0]
        same(one["message"]["content"], three[i]["message"]["content"])


@check
def chat_logprobs(s):
    a = s.post("/v1/chat/completions", user("Speak", logprobs=True, top_logprobs=3))[1]["choices"][0]
    entries = a["logprobs"]["content"]
    same(len(entries), 12)
    for e in entries:
        same(len(e["top_logprobs"]), 3)
        same(e["logprob"], e["top_logprobs"][0]["logprob"])  # greedy
        assert all(x["logprob"] >= y["logprob"] for x, y in zip(e["top_logprobs"], e["top_logprobs"][1:]))
        assert -50 < e["logprob"] <= 0
    same(b"".join(bytes(e["bytes"]) for e in entries).decode(errors="replace").lstrip(" "), a["message"]["content"])


@check
def logprobs_are_bounded(s):
    body = user("Speak", logprobs=True, top_logprobs=20, n=64, max_tokens=900, ignore_eos=True)
    status, a = s.post("/v1/chat/completions", body)
    same((status, a["error"]["param"]), (400, "logprobs"))


@check
def chat_bias_and_penalties(s):
    first = s.post("/v1/chat/completions", user("Speak", logprobs=True, max_tokens=4))[1]["choices"][0]
    token = first["logprobs"]["content"][0]["id"]
    other = s.post("/v1/chat/completions",
                   user("Speak", logprobs=True, max_tokens=4, logit_bias={str(token): -100}))[1]["choices"][0]
    assert all(e["id"] != token for e in other["logprobs"]["content"])
    calm = s.post("/v1/chat/completions", user("Speak", logprobs=True, max_tokens=40, presence_penalty=2,
                                               frequency_penalty=2))[1]["choices"][0]["logprobs"]["content"]
    plain = s.post("/v1/chat/completions", user("Speak", logprobs=True, max_tokens=40))[1]["choices"][0]["logprobs"]["content"]
    assert len({e["id"] for e in calm}) >= len({e["id"] for e in plain})


@check
def chat_stop(s):
    text = s.post("/v1/chat/completions", user("Speak", max_tokens=30))[1]["choices"][0]["message"]["content"]
    stop = text[8:11]
    a = s.post("/v1/chat/completions", user("Speak", max_tokens=30, stop=["@@never@@", stop]))[1]["choices"][0]
    same(a["message"]["content"], text[:text.index(stop)])
    same(a["finish_reason"], "stop")


@check
def chat_continues(s):
    messages = [{"role": "user", "content": "Speak"}, {"role": "assistant", "content": "The king is"}]
    prompt = s.post("/apply-template", {"messages": messages})[1]["prompt"]
    assert prompt.endswith("The king is"), prompt
    same(s.post("/v1/chat/completions", {"messages": messages, "max_tokens": 3})[0], 200)
    prompt = s.post("/apply-template", {"messages": messages, "add_generation_prompt": True})[1]["prompt"]
    assert prompt.endswith("<assistant>"), prompt


@check
def chat_cache(s):
    long = {"role": "user", "content": "word " * 150}
    first = s.post("/v1/chat/completions", {"messages": [long], "max_tokens": 4, "temperature": 0})[1]
    again = s.post("/v1/chat/completions", {"messages": [long], "max_tokens": 4, "temperature": 0})[1]
    same(again["usage"]["prompt_tokens_details"]["cached_tokens"], first["usage"]["prompt_tokens"] - 1)
    same(again["choices"][0]["message"]["content"], first["choices"][0]["message"]["content"])


@check
def chat_progress(s):
    body = user("word " * 700 + "2", max_tokens=3, stream=True, return_progress=True, timings_per_token=True)
    events = [json.loads(l[6:]) for l in s.stream("/v1/chat/completions", body) if l.startswith("data: {")]
    progress = [e["prompt_progress"] for e in events if "prompt_progress" in e]
    assert progress and progress[0]["total"] > 700 and progress[0]["processed"] < progress[0]["total"]
    same(events[0]["choices"][0]["delta"]["role"], "assistant")
    assert all(e["timings"]["predicted_n"] > 0 for e in events if e["choices"] and e["choices"][0]["delta"].get("content"))


@check
def chat_ignores_and_says_so(s):
    status, _, headers = s.request("POST", "/v1/chat/completions", user("Hi", user="me", store=True, nonsense=1))
    same(status, 200)
    same(sorted(headers["x-ggufkit-ignored"].split(", ")), ["nonsense", "store", "user"])


MISTAKES = [
    ("messages", {"messages": []}), ("messages", {}), ("messages", {"messages": [{"role": "king", "content": "x"}]}),
    ("temperature", user("x", temperature=-1)), ("top_p", user("x", top_p=2)), ("stop", user("x", stop=5)),
    ("stop", user("x", stop=[""])), ("top_k", user("x", top_k=-2)), ("n", user("x", n=0)), ("n", user("x", n=65)),
    ("top_logprobs", user("x", logprobs=True, top_logprobs=21)), ("top_logprobs", user("x", top_logprobs=2)),
    ("logit_bias", user("x", logit_bias=3)), ("logit_bias", user("x", logit_bias={"99999999": 1})),
    ("max_tokens", user("x", max_tokens=0)), ("max_tokens", user("x", max_tokens="many")),
    ("stream", user("x", stream="yes")), ("presence_penalty", user("x", presence_penalty=3)),
    ("tools", user("x", tools=[{"type": "function", "function": {"name": "f g"}}])),
    ("tools", user("x", tools=[{"type": "function", "function": {"name": "f"}}] * 2)),
    ("tools", user("x", tools=[{"type": "web_search"}])), ("tools", user("x", tools=3)),
    ("tools", user("x", tools=[{"type": "function", "function": {"name": "f", "strict": True, "parameters": {"not": {}}}}])),
    ("tools", user("x", tools=[{"type": "function", "function": {"name": "f"}}], response_format={"type": "json_object"})),
    ("tool_choice", user("x", tools=[{"type": "function", "function": {"name": "f"}}],
                         tool_choice={"type": "function", "function": {"name": "g"}})),
    ("tool_choice", user("x", tool_choice="required")),
    ("tool_choice", user("x", tools=[{"type": "function", "function": {"name": "f"}}], tool_choice="often")),
    ("response_format", user("x", response_format={"type": "json_schema", "json_schema": {"schema": {"not": {}}}})),
    ("grammar", user("x", grammar="root ::= root")), ("grammar", user("x", grammar="root ::= " + "(" * 20000)),
    ("reasoning_effort", user("x", reasoning_effort="lots")), ("modalities", user("x", modalities=["audio"])),
    ("messages[0].content", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}),
    ("continue_final_message", user("x", continue_final_message=True, add_generation_prompt=True)),
    ("messages", {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]}),
]


@check
def chat_mistakes(s):
    for param, body in MISTAKES:
        status, a = s.post("/v1/chat/completions", body)
        same(status, 400, f"{body}: {a}")
        same(sorted(a["error"]), ["code", "message", "param", "type"])
        same(a["error"]["param"], param, str(body))
        same(a["error"]["type"], "invalid_request_error")


MESSAGES = [{"role": "user", "content": "x"}]
SAMPLING = "temperature:n top_p:n min_p:n top_k:i repeat_penalty:n repeat_last_n:i presence_penalty:n frequency_penalty:n seed:i "
ANSWERS = SAMPLING + ("model:s max_tokens:i n:i stop:sl stream:b stream_options:o logit_bias:ol ignore_eos:b min_tokens:i cache_prompt:b "
                      "grammar:s structured_outputs:o ")
TOOLS = "tools:l tool_choice:os "
# Every field of a body, with the types that it takes: boolean, integer, number, string, list, object.
TYPES = {
    "/v1/chat/completions": ({"messages": MESSAGES}, ANSWERS + TOOLS + "messages:l max_completion_tokens:i logprobs:b top_logprobs:i stop_token_ids:l "
                             "response_format:o parallel_tool_calls:b reasoning_effort:s reasoning_format:s chat_template_kwargs:o "
                             "add_generation_prompt:b continue_final_message:b timings_per_token:b return_progress:b prediction:o modalities:l"),
    "/v1/completions": ({"prompt": "x"}, ANSWERS + "prompt:sl logprobs:i suffix:s echo:b best_of:i"),
    "/v1/responses": ({"input": "x", "max_output_tokens": 1}, TOOLS + "model:s input:sl instructions:s max_output_tokens:i temperature:n "
                      "top_p:n top_logprobs:i parallel_tool_calls:b text:o reasoning:o stream:b truncation:s background:b include:l"),
    "/v1/messages": ({"messages": MESSAGES, "max_tokens": 1}, "model:s max_tokens:i messages:l system:sl stop_sequences:l temperature:n "
                     "top_p:n top_k:i stream:b tools:l tool_choice:o thinking:o output_config:o"),
    "/api/chat": ({"messages": MESSAGES, "stream": False}, "model:s messages:l tools:l format:so options:o think:bs stream:b keep_alive:ins "
                  "logprobs:b top_logprobs:i truncate:b shift:b"),
    "/api/generate": ({"prompt": "x", "stream": False}, "model:s prompt:s suffix:s system:s template:s raw:b context:l images:l format:so "
                      "options:o think:bs stream:b keep_alive:ins"),
    "/api/chat options": ({"num_predict": 1}, SAMPLING + "num_predict:i num_ctx:i num_keep:i num_thread:i use_mmap:b stop:ls"),
    "/api/show": ({}, "model:s name:s verbose:b"), "/detokenize": ({}, "tokens:l"),
    "/tokenize": ({"content": "x"}, "content:s add_special:b parse_special:b with_pieces:b"),
    "/v1/chat/completions messages": ({"role": "assistant", "content": "x"}, "role:s content:sl name:s tool_call_id:s tool_calls:l reasoning_content:s"),
    "/v1/chat/completions tools": ({"name": "f"}, "name:s description:s parameters:o strict:b"),
    "/v1/messages tools": ({"name": "f", "input_schema": {}}, "name:s description:s input_schema:o strict:b"),
    "/v1/messages messages": ({"role": "user", "content": "x"}, "role:s content:sl"),
    "/v1/messages thinking": ({"type": "enabled"}, "type:s budget_tokens:i"),
    "/v1/responses input": ({"role": "user", "content": "x"}, "type:s role:s content:sl"), "/v1/responses reasoning": ({}, "effort:s"),
}
VALUES = {"b": True, "i": 3, "n": 0.5, "s": "x", "l": [1], "o": {"a": 1}}


@check
def wrong_types(s):
    for place, (base, fields) in TYPES.items():
        path, _, within = place.partition(" ")
        for name, kinds in (field.split(":") for field in fields.split()):
            for kind in set(VALUES) - set(kinds) - ({"i"} if "n" in kinds else set()):
                own = {**base, name: VALUES[kind]}
                if within == "tools":
                    own = own if path == "/v1/messages" else {"type": "function", "function": own}
                outer = TYPES[path][0]
                body = {**outer, within: [own] if within in ("messages", "tools", "input") else own} if within else own
                status, a = s.post(path, body)
                text = a["error"] if isinstance(a["error"], str) else a["error"]["message"] + str(a["error"].get("param"))
                assert status == 400, f"{place} {name}={VALUES[kind]}: {status} {a}"
                assert within or name in text, f"{place} {name}={VALUES[kind]}: {a}"


@check
def chat_seeds(s):
    for seed in (-2**63, 2**63 - 1, 2**63, 2**64 - 1):
        same(s.post("/v1/chat/completions", user("x", seed=seed))[0], 200, str(seed))
    for seed in (1.5, "1", 2**65, 10**40):
        status, a = s.post("/v1/chat/completions", user("x", seed=seed))
        same((status, a["error"]["param"]), (400, "seed"), str(seed))
    same(s.post("/v1/chat/completions", user("x", max_tokens=10**25))[1]["error"]["param"], "max_tokens")
    same(s.post("/v1/chat/completions", user("x", stop=[str(i) for i in range(16)]))[0], 200)
    same(s.post("/v1/chat/completions", user("x", stop=[str(i) for i in range(17)]))[0], 400)


@check
def chat_template_raises(s):
    body = {"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]}
    status, a = s.post("/v1/chat/completions", body)
    same(status, 400)
    same(a["error"]["code"], "template_error")
    assert "system comes first" in a["error"]["message"]


@check
def chat_too_long(s):
    status, a = s.post("/v1/chat/completions", user("word " * 3000))
    same(status, 400)
    same((a["error"]["type"], a["error"]["code"]), ("exceed_context_size_error", "context_length_exceeded"))
    n, ctx = a["error"]["n_prompt_tokens"], a["error"]["n_ctx"]
    assert f"the prompt has {n} tokens and exceeds the available context size: this model's maximum context length is " \
           f"{ctx} tokens" == a["error"]["message"]
    status, a = s.post("/v1/messages", user("word " * 3000))
    same(a["error"]["message"], f"prompt is too long: {n} tokens > {ctx} maximum")


# ---- completions, tokens ----------------------------------------------------------------------


@check
def completions(s):
    ids = s.post("/tokenize", {"content": "The king", "add_special": True})[1]["tokens"]
    same(s.post("/detokenize", {"tokens": ids[-2:]})[1]["content"].strip(), "The king"[-len("The king"):].strip())
    body = {"prompt": ["The king", ids, "Of love"], "max_tokens": 6, "temperature": 0, "n": 2, "seed": 1}
    status, a = s.post("/v1/completions", body)
    same(status, 200)
    same([c["index"] for c in a["choices"]], list(range(6)))
    texts = [c["text"] for c in a["choices"]]
    assert texts[0] == texts[1] == texts[2] == texts[3] != texts[4]
    a = s.post("/v1/completions", {"prompt": "The king", "max_tokens": 5, "temperature": 0, "logprobs": 2})[1]["choices"][0]
    lp = a["logprobs"]
    same(sorted(lp), ["text_offset", "token_logprobs", "tokens", "top_logprobs"])
    same("".join(lp["tokens"]), a["text"])
    assert all(len(t) == 2 for t in lp["top_logprobs"])
    same(lp["text_offset"][0], 0)
    for param, more in (("echo", {"echo": True}), ("suffix", {"suffix": "x"}), ("best_of", {"best_of": 3}),
                        ("n", {"prompt": ["x"] * 64, "n": 64}), ("prompt", {"prompt": []}), ("prompt", {"prompt": [10**9]}), ("prompt", {"prompt": {}})):
        status, a = s.post("/v1/completions", {"prompt": "x", **more})
        same((status, a["error"]["param"]), (400, param))


@check
def ignore_eos(s):
    a = s.post("/v1/completions", {"prompt": "x", "ignore_eos": True, "max_tokens": 200, "temperature": 0})[1]
    same(a["usage"]["completion_tokens"], 200)


@check
def tokenizer(s):
    text = "Thou art — \U0001F600 naïve"
    a = s.post("/tokenize", {"content": text, "with_pieces": True})[1]["tokens"]
    raw = b"".join(bytes(t["piece"]) if isinstance(t["piece"], list) else t["piece"].encode() for t in a)
    same(raw.decode().strip(), text)
    same(s.post("/tokenize", {"content": 5})[0], 400)
    same(s.post("/detokenize", {"tokens": [-1]})[0], 400)


# ---- HTTP -------------------------------------------------------------------------------------


@check
def http_errors(s):
    same(s.post("/v1/chat/completions", None, raw=b"{")[0], 400)
    same(s.post("/v1/chat/completions", None, raw=b"{")[1]["error"]["code"], "invalid_json")
    for raw in (b"", b"[]", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":"\xff"}', b'{"a":"\\ud800"}', b"[" * 600 + b"]" * 600,
                b'{"a":' * 600 + b"1" + b"}" * 600):
        same(s.post("/v1/chat/completions", None, raw=raw)[0], 400, repr(raw[:40]))
    same(s.get("/nothing")[0], 404)
    same(s.request("DELETE", "/health")[2]["Allow"], "GET, HEAD")
    same(s.request("OPTIONS", "/nothing")[0], 204)
    status, _, headers = s.request("GET", "/v1/chat/completions")
    same((status, headers["Allow"]), (405, "POST"))
    status, a = s.post("/v1/chat/completions", user("x", model="other"))
    same((status, a["error"]["code"]), (404, "model_not_found"))
    same(s.post("/v1/chat/completions", user("x", model="demo:latest", max_tokens=1))[0], 200)
    status, a = s.post("/api/chat", {"model": "other", "messages": []})
    same((status, a), (404, {"error": "model 'other' not found"}))
    status, a = s.post("/v1/messages", {"messages": [{"role": "user", "content": "x"}]})
    same((status, a["type"], a["error"]["type"]), (400, "error", "invalid_request_error"))
    assert "max_tokens" in a["error"]["message"] and a["request_id"]


@check
def http_headers(s):
    _, _, headers = s.request("GET", "/health", headers={"x-request-id": "mine-1"})
    same(headers["x-request-id"], "mine-1")
    status, _, headers = s.request("HEAD", "/")
    same(status, 200)
    status, page, headers = s.request("GET", "/", headers={"Accept": "text/html"})
    assert status == 200 and b"<html" in page and "script-src 'sha256-" in headers["Content-Security-Policy"]
    same(s.request("GET", "/", headers={"Accept": "text/html", "If-None-Match": headers["ETag"]})[0], 304)
    same(s.get("/")[1], b"gguf-serve is running\n")


@check
def http_origins(s):
    for origin, wanted in (("http://localhost:3000", 200), ("http://127.0.0.1", 200), ("http://evil.example", 403),
                           ("null", 403), ("http://localhost.evil.example", 403)):
        status, _, headers = s.request("GET", "/v1/models", headers={"Origin": origin})
        same(status, wanted, origin)
        same(headers["Access-Control-Allow-Origin"], origin if wanted == 200 else None)
    for host, wanted in (("localhost:1", 200), ("[::1]:80", 200), ("evil.example", 403), ("127.0.0.1.evil.example", 403)):
        same(s.request("GET", "/health", headers={"Host": host})[0], wanted, host)
    status, _, headers = s.request("OPTIONS", "/v1/chat/completions", headers={
        "Origin": "http://localhost:5", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-own", "Access-Control-Request-Private-Network": "true"})
    same(status, 204)
    assert "authorization" in headers["Access-Control-Allow-Headers"] and "x-own" in headers["Access-Control-Allow-Headers"]
    same(headers["Access-Control-Allow-Private-Network"], "true")


def read_answers(sock, n):
    """n answers with Content-Length from a socket: [(status, body)]."""
    data, answers = b"", []
    while len(answers) < n:
        end = data.find(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", data[:end], re.I).group(1)) if end >= 0 else 0
        if end < 0 or len(data) < end + 4 + length:
            more = sock.recv(65536)
            assert more, f"closed after {len(answers)} answers: {data[:200]}"
            data += more
            continue
        answers.append((int(data.split()[1]), data[end + 4:end + 4 + length]))
        data = data[end + 4 + length:]
    return answers


def raw_post(path, body, *headers):
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", *headers]
    return "\r\n".join(lines).encode() + f"\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@check
def http_pipelining_and_chunks(s):
    body = json.dumps({"content": "a b"}).encode()
    with s.socket() as sock:
        sock.sendall(raw_post("/tokenize", body) + b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" +
                     raw_post("/tokenize", b"{"))
        same([a[0] for a in read_answers(sock, 3)], [200, 200, 400])
        sock.sendall(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" +
                     b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:5], body[5:])) + b"0\r\n\r\n")
        same(read_answers(sock, 1)[0][0], 200)
        sock.sendall(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
                     % len(body))
        assert sock.recv(1000).startswith(b"HTTP/1.1 100")
        sock.sendall(body)
        same(read_answers(sock, 1)[0][0], 200)


@check
def http_too_large(s):
    with s.socket() as sock:
        sock.sendall(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
        same(read_answers(sock, 1)[0][0], 413)
    with s.socket() as sock:  # a header without end
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        with contextlib.suppress(OSError):
            sock.sendall(b"x: y\r\n" * 40000)
        with contextlib.suppress(ConnectionResetError):
            assert b" 431 " in sock.recv(100)
    body = b'{"content": "x"}'
    for lines, sent in ((b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"10\r\n" + body + b"\r\n0\r\n\r\n"),
                        (b"Content-Length: 16\r\nContent-Length: 16\r\n", body), (b"Content-Length: 16\r\nContent-Length: 17\r\n", body)):
        with s.socket() as sock:  # refused, and closed: a proxy might see another end of the body
            sock.sendall(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n" + sent)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while part := sock.recv(1000):
                    answer += part
            assert answer == b"" or answer.split()[1] == b"400", answer
    for garbage in (b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"\r\n" * 100, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        with s.socket() as sock:
            sock.sendall(garbage)
            sock.settimeout(0.3)
            with contextlib.suppress(OSError):
                sock.recv(1000)
    same(s.get("/health")[0], 200)


def wait_until(condition, what, seconds=20):
    end = time.time() + seconds
    while time.time() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


@check
def http_disconnects(s):
    """A client that goes away frees its place, whether it reads a stream or waits."""
    for stream in (True, False):
        before = s.metric("cancelled_total")
        body = json.dumps(user("Speak", max_tokens=900, ignore_eos=True, stream=stream)).encode()
        sock = s.socket()
        sock.sendall(raw_post("/v1/chat/completions", body))
        wait_until(lambda: s.metric("requests_running") == 1, "it runs")
        sock.close()
        wait_until(lambda: s.metric("cancelled_total") == before + 1, "it is cancelled")
        wait_until(lambda: s.metric("requests_running") == 0, "nothing runs")


@check
def http_kept_alive_after_streams(s):
    body = json.dumps(user("Speak", max_tokens=2, stream=True)).encode()
    with s.socket() as sock:
        for _ in range(20):
            sock.sendall(raw_post("/v1/chat/completions", body))
            data = b""
            while not data.endswith(b"0\r\n\r\n"):
                more = sock.recv(65536)
                assert more, "closed after a stream"
                data += more
            assert b"[DONE]" in data


@check
def http_slow_reader(s):
    """Somebody who does not read holds up nobody."""
    body = json.dumps(user("Speak", max_tokens=900, ignore_eos=True, stream=True, logprobs=True, top_logprobs=20,
                           n=8)).encode()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", s.port))
        sock.sendall(raw_post("/v1/chat/completions", body))
        wait_until(lambda: s.metric("requests_running") == 8, "it runs")
        for _ in range(5):
            same(s.post("/v1/chat/completions", user("Hi", max_tokens=2))[0], 200)
    wait_until(lambda: s.metric("requests_running") == 0, "it is cancelled")


@check
def http_metrics(s):
    text = s.get("/metrics")[1].decode()
    for name in ("requests_running", "requests_waiting", "kv_pages_used", "kv_pages_total", "kv_bytes",
                 "prefix_cache_pages", "prompt_tokens_total", "prompt_tokens_cached_total", "generation_tokens_total",
                 "preemptions_total", "cancelled_total", "spec_drafted_total", "spec_accepted_total", "steps_total", "step_seconds_total",
                 "mask_seconds_total",
                 "time_to_first_token_seconds_count", "inter_token_seconds_sum", "queue_seconds_count",
                 "request_seconds_count", "step_tokens_count"):
        assert re.search(rf"^ggufkit_{name} [0-9.e+-]+$", text, re.M), name
    for line in text.splitlines():
        assert line.startswith("#") or re.fullmatch(r'[a-z_:]+(\{[^}]*\})? [-+0-9.e]+', line), line
    for name in ("prompt_tokens_total", "tokens_predicted_seconds_total", "predicted_tokens_seconds", "requests_processing"):
        assert re.search(rf"^llamacpp:{name} [0-9.e+-]+$", text, re.M), name
    same(json.loads(s.get("/slots")[1]), [])
    props = json.loads(s.get("/props")[1])
    same(props["default_generation_settings"]["n_ctx"], 1024)
    assert props["chat_template"]
    same(props["speculation"], {"lookup": True, "draft_model": None, "n_max": 16})


@check
def predictions(s):
    """An answer with its own text as prediction, with another one, and without."""
    body = user("Tell of the king", max_tokens=60)
    plain = s.post("/v1/chat/completions", body)[1]
    assert "accepted_prediction_tokens" not in plain["usage"]["completion_tokens_details"]
    text = plain["choices"][0]["message"]["content"]
    for content in (text, [{"type": "text", "text": text[:20]}, {"type": "text", "text": text[20:]}], "x y z " * 40):
        status, a = s.post("/v1/chat/completions", {**body, "prediction": {"type": "content", "content": content}})
        same(status, 200)
        same(a["choices"][0]["message"]["content"], text)
        details = a["usage"]["completion_tokens_details"]
        assert 0 <= details["accepted_prediction_tokens"] < 60, details
        assert details["rejected_prediction_tokens"] >= 0, details
    same(s.post("/v1/chat/completions", {**body, "prediction": None})[0], 200)
    for wrong in ("x", {"type": "text", "content": "x"}, {"type": "content"}, {"type": "content", "content": 5}):
        same(s.post("/v1/chat/completions", {**body, "prediction": wrong})[0], 400, str(wrong))


# ---- packages ---------------------------------------------------------------------------------


@check
def package_openai(s):
    client = openai.OpenAI(base_url=s.url + "/v1", api_key="none", max_retries=0)
    same([m.id for m in client.models.list()], ["demo"])
    same(client.models.retrieve("demo").id, "demo")
    messages = [{"role": "user", "content": "Who art thou?"}]
    whole = client.chat.completions.create(model="demo", messages=messages, max_tokens=10, temperature=0)
    text = whole.choices[0].message.content
    parts = client.chat.completions.create(model="demo", messages=messages, max_tokens=10, temperature=0, stream=True)
    same("".join(c.choices[0].delta.content or "" for c in parts), text)
    with client.chat.completions.stream(model="demo", messages=messages, max_tokens=10, temperature=0,
                                        stop=text[6:9]) as stream:
        for _ in stream:
            pass
        same(stream.get_final_completion().choices[0].message.content, text[:text.index(text[6:9])])
    same(client.completions.create(model="demo", prompt="The king", max_tokens=3).object, "text_completion")
    for status, body in ((openai.BadRequestError, {"messages": []}), (openai.NotFoundError, {"model": "x", "messages": messages})):
        try:
            client.chat.completions.create(**{"model": "demo", **body})
            raise AssertionError("no error")
        except status:
            pass
    r = client.responses.create(model="demo", input="Who art thou?", instructions="Be brief", max_output_tokens=10,
                                temperature=0)
    same((r.status, r.incomplete_details.reason), ("incomplete", "max_output_tokens"))
    types = []
    with client.responses.stream(model="demo", input=[{"role": "user", "content": [{"type": "input_text", "text":
                                 "Who art thou?"}]}], instructions="Be brief", max_output_tokens=10, temperature=0) as stream:
        events = list(stream)
    same([e.sequence_number for e in events if hasattr(e, "sequence_number")], sorted(
        e.sequence_number for e in events if hasattr(e, "sequence_number")))
    types = [e.type for e in events]
    same(types[:2], ["response.created", "response.in_progress"])
    same(types[-1], "response.incomplete")
    same(events[-1].response.output_text, r.output_text)


@check
def responses(s):
    lines = [l for l in s.stream("/v1/responses", {"input": "Hi", "max_output_tokens": 4, "stream": True})]
    events = [json.loads(l[6:]) for l in lines if l.startswith("data: ")]
    names = [l[7:] for l in lines if l.startswith("event: ")]
    same(names, [e["type"] for e in events])
    same([e["sequence_number"] for e in events], list(range(len(events))))
    same(names[2:4], ["response.output_item.added", "response.content_part.added"])
    same(names[-4:], ["response.output_text.done", "response.content_part.done", "response.output_item.done",
                      "response.incomplete"])
    for param, more in (("previous_response_id", {"previous_response_id": "x"}), ("background", {"background": True}),
                        ("text.format", {"text": {"format": {"type": "xml"}}}), ("input", {"input": []})):
        status, a = s.post("/v1/responses", {"input": "x", **more})
        same((status, a["error"]["param"]), (400, param))
    same(s.get("/v1/responses/resp_1")[0], 404)
    body = {"input": "Hi", "max_output_tokens": 4, "temperature": 0, "top_logprobs": 2, "metadata": {"a": "b"}}
    whole = s.post("/v1/responses", body)[1]
    same((whole["metadata"], whole["max_output_tokens"]), ({"a": "b"}, 4))
    entries = whole["output"][0]["content"][0]["logprobs"]
    same([len(e["top_logprobs"]) for e in entries], [2] * 4)
    events = [json.loads(l[6:]) for l in s.stream("/v1/responses", {**body, "stream": True}) if l.startswith("data: ")]
    parts = [e for event in events if event["type"] == "response.output_text.delta" for e in event["logprobs"]]
    done = [event["logprobs"] for event in events if event["type"] == "response.output_text.done"]
    same((done, parts), ([entries], entries[:len(parts)]))
    assert len(parts) >= 3


@check
def counts_of_tokens(s):
    n = s.post("/v1/chat/completions", user("Hi", max_tokens=1))[1]["usage"]["prompt_tokens"]
    for path, body in (("/v1/chat/completions/input_tokens", user("Hi")), ("/v1/responses/input_tokens", {"input": "Hi"})):
        same(s.post(path, body), (200, {"object": "response.input_tokens", "input_tokens": n}))
    same(s.post("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": "Hi"}]}), (200, {"input_tokens": n}))
    same(s.post("/v1/responses/input_tokens", {"input": 5})[0], 400)


@check
def stop_tokens(s):
    entries = s.post("/v1/chat/completions", user("Speak", logprobs=True))[1]["choices"][0]["logprobs"]["content"]
    ids = [e["id"] for e in entries]
    for more in ({}, {"ignore_eos": True}):
        a = s.post("/v1/chat/completions", user("Speak", stop_token_ids=[ids[3]], logprobs=True, **more))[1]["choices"][0]
        same((a["finish_reason"], [e["id"] for e in a["logprobs"]["content"]]), ("stop", ids[:ids.index(ids[3])] + [ids[3]]))
    for wrong in ([-1], [10**6], ["x"], list(range(17))):
        status, a = s.post("/v1/chat/completions", user("x", stop_token_ids=wrong))
        same((status, a["error"]["param"]), (400, "stop_token_ids"))


@check
def nothing_there(s):
    """Errors have the shape of who asks, also where there is nothing."""
    same(sorted(s.post("/v1/nothing", {})[1]["error"]), ["code", "message", "param", "type"])
    same(s.post("/v1/messages/batches", {})[1]["type"], "error")
    status, a = s.post("/api/pull", {"model": "x"})
    same((status, type(a["error"])), (404, str))


@check
def package_anthropic(s):
    client = anthropic.Anthropic(base_url=s.url, api_key="none", max_retries=0)
    ask = {"model": "demo", "max_tokens": 10, "system": "Be brief", "messages": [{"role": "user", "content": "Who art thou?"}],
           "extra_body": {"temperature": 0}}
    m = client.messages.create(**ask)
    same((m.type, m.role, m.stop_reason, m.usage.output_tokens), ("message", "assistant", "max_tokens", 10))
    with client.messages.stream(**ask) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    same(text, m.content[0].text)
    same((final.stop_reason, final.usage.output_tokens), ("max_tokens", 10))
    n = client.messages.count_tokens(**{k: v for k, v in ask.items() if k not in ("max_tokens", "extra_body")}).input_tokens
    same(final.usage.input_tokens + final.usage.cache_read_input_tokens, n)
    stop = text[4:7]
    m = client.messages.create(**{**ask, "stop_sequences": [stop]})
    same((m.stop_reason, m.stop_sequence), ("stop_sequence", stop))
    blocks = [{"role": "user", "content": [{"type": "text", "text": "a"}]},
              {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
              {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "b"}]}]
    client.messages.create(**{**ask, "messages": blocks})
    try:
        client.messages.create(**{**ask, "messages": [{"role": "user", "content": [{"type": "image"}]}]})
        raise AssertionError("no error")
    except anthropic.BadRequestError:
        pass


@check
def messages_billing_header(s):
    """What changes with every request of some clients does not empty the cache."""
    def ask(mark):
        system = [{"type": "text", "text": f"x-anthropic-billing-header: cc_version=1; cch={mark};"},
                  {"type": "text", "text": "long " * 100}]
        return s.post("/v1/messages", {"max_tokens": 1, "system": system, "messages": [{"role": "user", "content": "x"}]})[1]
    first, again = ask("abc12"), ask("zzz99")
    same(again["usage"]["cache_read_input_tokens"],
         first["usage"]["input_tokens"] + first["usage"]["cache_read_input_tokens"] - 1)


@check
def package_ollama(s):
    client = ollama.Client(host=s.url)
    same([m.model for m in client.list().models], ["demo:latest"])
    shown = client.show("demo")
    assert "completion" in shown.capabilities and any(k.endswith(".context_length") for k in shown.modelinfo)
    same(client.ps().models[0].context_length, 1024)
    options = {"temperature": 0, "num_predict": 8}
    messages = [{"role": "user", "content": "Who art thou?"}]
    whole = client.chat("demo", messages, options=options)
    same((whole.done, whole.done_reason, whole.eval_count), (True, "length", 8))
    same("".join(p.message.content for p in client.chat("demo", messages, options=options, stream=True)),
         whole.message.content)
    g = client.generate("demo", "Who art thou?", options=options)
    same(g.response, whole.message.content)
    assert len(g.context) >= g.prompt_eval_count + 7
    raw = client.generate("demo", "The king", raw=True, options=options)
    same(raw.response, s.post("/v1/completions", {"prompt": "The king", "max_tokens": 8, "temperature": 0})[1]["choices"][0]["text"])
    same(client.generate("demo", "").done_reason, "load")
    same(s.post("/api/chat", {"messages": [], "keep_alive": 0})[1]["done_reason"], "unload")
    status, a = s.post("/api/chat", {"messages": messages, "options": {"temperature": "hot"}})
    same((status, a["error"]), (400, 'option "temperature" must be of type float32'))
    same(s.post("/api/chat", {"messages": messages, "options": {"num_ctx": 99999}})[0], 400)
    turns = [{"role": "user", "content": "word " * 300}] * 5
    same(s.post("/api/chat", {"messages": turns, "options": options})[0], 400)
    a = s.post("/api/chat", {"messages": turns, "options": options, "truncate": True, "stream": False})[1]
    assert a["truncated_messages"] > 0
    turns = [{"role": "user", "content": "word " * 600}, {"role": "assistant", "content": "Aye"}] * 2 + turns[:1]
    a = s.post("/api/chat", {"messages": turns, "options": options, "truncate": True, "stream": False})[1]
    same(a["truncated_messages"], 2)  # a question and its answer


# ---- servers of their own -----------------------------------------------------------------------


def own_reasoning(models):
    template = models / "thinking.jinja"
    template.write_text(THINKING)
    s = Server(models / "demo.gguf", "--template", template)
    try:
        ask = user("Speak", chat_template_kwargs={"enable_thinking": True}, max_tokens=16)
        a = s.post("/v1/chat/completions", ask)[1]
        same(a["choices"][0]["message"]["content"], None)
        assert a["choices"][0]["message"]["reasoning_content"]
        same(a["usage"]["completion_tokens_details"]["reasoning_tokens"], 16)
        m = s.post("/v1/messages", {**user("Speak"), "thinking": {"type": "enabled", "budget_tokens": 1024}})[1]
        same(m["content"][0]["type"], "thinking")
        kinds = [json.loads(l[6:])["type"] for l in s.stream("/v1/messages", {**user("Speak"), "stream": True,
                 "thinking": {"type": "enabled", "budget_tokens": 1024}}) if l.startswith("data: ")]
        same([kinds[0], kinds[1], kinds[-3], kinds[-2], kinds[-1]],
             ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"])
        r = s.post("/v1/responses", {"input": "x", "max_output_tokens": 5, "reasoning": {"effort": "none"}})[1]
        same([i["type"] for i in r["output"]], ["message"])
        o = s.post("/api/chat", {"messages": [{"role": "user", "content": "x"}], "think": True, "stream": False,
                                 "options": {"num_predict": 5}})[1]
        assert o["message"]["thinking"]
        assert "content" in s.post("/v1/chat/completions", user("Speak"))[1]["choices"][0]["message"]
        cut = a["choices"][0]["message"]  # comes back as it is
        same(s.post("/v1/chat/completions", {"messages": [*ask["messages"], cut, *ask["messages"]], "max_tokens": 2})[0], 200)
        whole = s.post("/v1/chat/completions", {**ask, "reasoning_format": "none"})[1]["choices"][0]["message"]
        same((whole["content"].strip(), "reasoning_content" in whole), (cut["reasoning_content"].strip(), False))
        items = [{"role": "user", "content": "x"}, {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "THOUGHT"}]},
                 {"role": "assistant", "content": "y"}, {"role": "user", "content": "z"}]
        same(s.post("/v1/responses", {"input": items, "max_output_tokens": 1})[0], 200)
        n = [s.post("/v1/responses/input_tokens", {"input": some})[1]["input_tokens"] for some in (items, items[:1] + items[2:])]
        assert n[0] > n[1], n
    finally:
        s.stop()


def own_calls(models):
    """Ids of tool calls in a history reach the template as 9 letters and digits, the same for call and result."""
    template = models / "calls.jinja"
    template.write_text(CALLS)
    s = Server(models / "demo.gguf", "--template", template)
    try:
        for call, kept in (("call_abcdefghijklmnop", False), ("abcDEF123", True)):
            messages = [{"role": "user", "content": "u"},
                        {"role": "assistant", "tool_calls": [{"id": call, "function": {"name": "f", "arguments": '{"a": 1}'}}]},
                        {"role": "tool", "tool_call_id": call, "content": "r"}]
            prompt = s.post("/apply-template", {"messages": messages})[1]["prompt"]
            found = re.fullmatch(r'u\[([A-Za-z0-9]{9}) f \{"a": 1\}\]\(([A-Za-z0-9]{9})\)r', prompt)
            assert found and found[1] == found[2] and (found[1] == call) == kept, prompt
    finally:
        s.stop()


WEATHER = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}, "days": {"enum": [1, 2]}},
           "required": ["city", "days"], "additionalProperties": False}
FUNCTION = {"name": "get_weather", "description": "The weather of a city", "parameters": WEATHER}


def check_arguments(arguments):
    same(sorted(arguments), ["city", "days"])
    assert len(arguments["city"]) <= 8 and arguments["days"] in (1, 2), arguments


def calls_of_openai(s):
    client = openai.OpenAI(base_url=s.url + "/v1", api_key="none", max_retries=0)
    asked = {"model": "demo", "messages": [{"role": "user", "content": "Weather?"}], "temperature": 0, "max_tokens": 200,
             "tools": [{"type": "function", "function": FUNCTION}], "parallel_tool_calls": False}
    forced = {**asked, "tool_choice": {"type": "function", "function": {"name": "get_weather"}}}
    choice = client.chat.completions.create(**forced).choices[0]
    same((choice.finish_reason, choice.message.content, len(choice.message.tool_calls)), ("tool_calls", None, 1))
    call = choice.message.tool_calls[0]
    assert call.type == "function" and call.function.name == "get_weather" and re.fullmatch("call_[A-Za-z0-9]{24}", call.id)
    check_arguments(json.loads(call.function.arguments))
    heads, parts, reason = [], [], None
    for chunk in client.chat.completions.create(**{**forced, "stream": True}):
        for delta in chunk.choices[0].delta.tool_calls or []:
            same(delta.index, 0)
            (heads if delta.id else parts).append(delta)
        reason = chunk.choices[0].finish_reason or reason
    same((reason, len(heads), heads[0].function.name, heads[0].function.arguments), ("tool_calls", 1, "get_weather", ""))
    same("".join(d.function.arguments for d in parts), call.function.arguments, "deltas joined")
    several = client.chat.completions.create(**{**asked, "parallel_tool_calls": True, "tool_choice": "required"}).choices[0]
    for own in several.message.tool_calls:
        check_arguments(json.loads(own.function.arguments))
    free = client.chat.completions.create(**{**asked, "max_tokens": 12}).choices[0]
    assert not free.message.tool_calls and free.finish_reason == "length", free
    tokens = client.chat.completions.create(**{**asked, "max_tokens": 1, "tool_choice": "none"}).usage.prompt_tokens
    assert tokens < client.chat.completions.create(**{**asked, "max_tokens": 1}).usage.prompt_tokens - 20
    messages = asked["messages"] + [choice.message.model_dump(exclude_none=True),
                                    {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    prompt = s.post("/apply-template", {"messages": messages, "tools": asked["tools"]})[1]["prompt"]
    assert '<tool_call>\n{"name": "get_weather", "arguments": {"city"' in prompt and "<tool>sunny" in prompt, prompt
    status, _, headers = s.request("POST", "/v1/chat/completions", {**asked, "max_tokens": 1, "tools": [
        {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"uniqueItems": True}}}}}]})
    same((status, headers["x-ggufkit-ignored"]), (200, "tools.f.parameters.properties.a.uniqueItems"))


def calls_of_responses(s):
    client = openai.OpenAI(base_url=s.url + "/v1", api_key="none", max_retries=0)
    asked = {"model": "demo", "input": "Weather?", "temperature": 0, "max_output_tokens": 200, "parallel_tool_calls": False,
             "tools": [{"type": "function", "strict": True, **FUNCTION}, {"type": "web_search"}],
             "tool_choice": {"type": "function", "name": "get_weather"}}
    answer = client.responses.create(**asked)
    same((answer.status, [i.type for i in answer.output]), ("completed", ["function_call"]))
    call = answer.output[0]
    check_arguments(json.loads(call.arguments))
    same((answer.tool_choice.name, answer.parallel_tool_calls), ("get_weather", False))
    events = list(client.responses.create(**{**asked, "stream": True}))
    same([e.sequence_number for e in events], list(range(len(events))))
    same("".join(e.delta for e in events if e.type == "response.function_call_arguments.delta"), call.arguments)
    done = [e for e in events if e.type == "response.function_call_arguments.done"]
    same([e.arguments for e in done], [call.arguments])
    last = events[-1].response.output[0]
    same((last.type, last.name, last.arguments), ("function_call", "get_weather", call.arguments))
    with client.responses.stream(**asked) as stream:
        same(stream.get_final_response().output[0].arguments, call.arguments)
    again = client.responses.create(model="demo", max_output_tokens=1, input=[
        {"role": "user", "content": "Weather?"}, call.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}])
    assert again.usage.input_tokens > 10


def calls_of_anthropic(s):
    client = anthropic.Anthropic(base_url=s.url, api_key="none", max_retries=0)
    tools = [{"name": "get_weather", "description": "d", "input_schema": WEATHER}]
    asked = {"model": "demo", "max_tokens": 200, "messages": [{"role": "user", "content": "Weather?"}], "tools": tools,
             "tool_choice": {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True},
             "extra_body": {"temperature": 0}}
    answer = client.messages.create(**asked)
    same((answer.stop_reason, [b.type for b in answer.content]), ("tool_use", ["tool_use"]))
    use = answer.content[0]
    check_arguments(use.input)
    assert use.name == "get_weather" and use.id.startswith("toolu_")
    with client.messages.stream(**asked) as stream:
        events = [e.type for e in stream]
        final = stream.get_final_message()
    same((final.stop_reason, final.content[0].input), ("tool_use", use.input))
    assert "input_json" in events, events
    messages = asked["messages"] + [{"role": "assistant", "content": [use.model_dump()]},
                                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "sun"}]}]
    counted = client.messages.count_tokens(model="demo", messages=messages, tools=tools).input_tokens
    again = client.messages.create(model="demo", max_tokens=1, messages=messages, tools=tools)
    same(counted, again.usage.input_tokens + (again.usage.cache_read_input_tokens or 0), "count_tokens with tools")
    assert counted > client.messages.count_tokens(model="demo", messages=messages).input_tokens + 20
    for choice, param in (({"type": "tool", "name": "x"}, "tool_choice"), ({"type": "some"}, "tool_choice")):
        status, a = s.post("/v1/messages", {**{k: v for k, v in asked.items() if k != "extra_body"}, "tool_choice": choice})
        same((status, a["error"]["type"]), (400, "invalid_request_error"), str(choice))
        assert param in a["error"]["message"], a


def calls_of_ollama(s):
    client = ollama.Client(host=s.url)
    asked = {"model": "demo", "messages": [{"role": "user", "content": "Weather?"}],
             "tools": [{"type": "function", "function": FUNCTION}], "options": {"temperature": 0, "num_predict": 24}}
    assert client.chat(**asked).message.content
    body = {**asked, "stream": False, "tool_choice": "required", "parallel_tool_calls": False,
            "options": {"temperature": 0, "num_predict": 200}}
    message = s.post("/api/chat", body)[1]["message"]
    same((message["content"], [c["function"]["name"] for c in message["tool_calls"]]), ("", ["get_weather"]))
    check_arguments(message["tool_calls"][0]["function"]["arguments"])
    lines = [json.loads(line) for line in s.stream("/api/chat", {**body, "stream": True})]
    called = [c for line in lines for c in line["message"].get("tool_calls", [])]
    same(called, message["tool_calls"], "streamed")
    same(lines[-1]["done_reason"], "stop")
    history = asked["messages"] + [message, {"role": "tool", "tool_name": "get_weather", "content": "sunny"}]
    assert client.chat(**{**asked, "messages": history}).prompt_eval_count > 20


def own_tools(models):
    """Calls of tools by the clients: names and arguments are those of the tool, streamed or not."""
    template = models / "hermes.jinja"
    template.write_text(HERMES)
    s = Server(models / "demo.gguf", "--template", template)
    try:
        props = json.loads(s.get("/props")[1])
        same((props["tool_style"], props["chat_template_caps"]["supports_tools"]), ("hermes", True))
        for group in (calls_of_openai, calls_of_responses, calls_of_anthropic, calls_of_ollama):
            group(s)
    finally:
        s.stop()


def harmony_model(models):
    """The fixture of gpt-oss, whose last tokens become the special ones of channels."""
    folder = models / "harmony"
    shutil.copytree(DATA / "models/gpt_oss", folder)
    names = ["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|call|>"]
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocab, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
    first = len(vocab) - len(names)
    for key in [key for key, i in vocab.items() if i >= first]:
        del vocab[key]
    del merges[-len(names):]  # each has made one of them
    for i, name in enumerate(names, first):
        vocab[name] = i
        tokenizer["added_tokens"].append({"id": i, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
                                          "normalized": False, "special": True})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    subprocess.run([BUILD / "gguf-convert", folder, "-o", models / "harmony.gguf", "--outtype", "q8_0", "-q"], check=True)
    return models / "harmony.gguf"


def own_channels(models):
    """A message may go on within its reasoning, or within its final text."""
    template = models / "harmony.jinja"
    template.write_text(HARMONY)
    s = Server(harmony_model(models), "--template", template)
    tools = {"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "required"}

    def ask(message, **more):
        messages = [{"role": "user", "content": "the king"}, {"role": "assistant", **message}]
        prompt = s.post("/apply-template", {"messages": messages})[1]["prompt"]
        status, a = s.post("/v1/chat/completions", {"messages": messages, "temperature": 1, "seed": 2, "max_tokens": 200, **more})
        return prompt, status, a["choices"][0]["message"] if status == 200 else a["error"]
    try:
        same(json.loads(s.get("/props")[1])["tool_style"], "gpt-oss")
        thought, final = {"content": None, "reasoning_content": "so it"}, {"content": "It is"}
        prompt, status, message = ask(thought, max_tokens=8)
        assert prompt.endswith("<|channel|>analysis<|message|>so it"), prompt
        same((status, message["content"]), (200, None))
        assert message["reasoning_content"]
        prompt, status, message = ask(final, max_tokens=8, logit_bias={str(i): -100 for i in range(631, 637)})
        assert prompt.endswith("<|channel|>final<|message|>It is"), prompt
        assert status == 200 and message["content"] and "reasoning_content" not in message, message
        prompt, status, message = ask(thought, **tools)
        same(status, 200, str(message))
        check_arguments(json.loads(message["tool_calls"][0]["function"]["arguments"]))
        same(ask(final, **tools)[1], 400)
        nothing = {"role": "assistant", "content": None, "reasoning_content": ""}
        same(s.post("/v1/chat/completions", {"messages": [nothing]})[0], 400)
    finally:
        s.stop()


def own_generic_tools(models):
    """A template that knows no tools: a text tells of them, and the answer is held all the same."""
    s = Server(models / "demo.gguf", "--template", models / "plain.jinja")
    try:
        same(json.loads(s.get("/props")[1])["tool_style"], "generic")
        tools = [{"type": "function", "function": FUNCTION}]
        messages = [{"role": "user", "content": "Weather?"},
                    {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "get_weather", "arguments": "{}"}}]},
                    {"role": "tool", "tool_call_id": "a", "content": "sunny"}]
        prompt = s.post("/apply-template", {"messages": messages, "tools": tools})[1]["prompt"]
        assert prompt.startswith("<system>") and '"name": "get_weather"' in prompt and "sunny" in prompt, prompt
        assert '<assistant>{"tool_calls": [{"name": "get_weather", "arguments": {}}]}' in prompt, prompt
        choice = s.post("/v1/chat/completions", user("Weather?", max_tokens=200, tools=tools, tool_choice="required",
                                                     parallel_tool_calls=False))[1]["choices"][0]
        same((choice["finish_reason"], choice["message"]["content"]), ("tool_calls", None))
        check_arguments(json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]))
    finally:
        s.stop()


def own_log_text(models):
    """Prompts and answers are in the log where that was asked for, whatever bytes they are."""
    for options, wanted in (((), None), (("--log-text",), "text"), (("--log-text", "--log", "json"), "json")):
        s = Server(models / "demo.gguf", *options)
        try:
            body = json.dumps({"prompt": "the king\nof men", "max_tokens": 3, "stream": True})
            same(s.request("POST", "/v1/completions", raw=body.encode())[0], 200)
            same(s.request("POST", "/v1/completions", raw=b'{"prompt": "\xff"}')[0], 400)
            same(s.get("/v1/models")[0], 200)
        finally:
            s.stop()
        log = s.output()
        if wanted == "json":
            lines = [line for line in map(json.loads, filter(lambda line: line[0] == "{", log.splitlines())) if line.get("path") == "/v1/completions"]
            same([line["body"] for line in lines], [body, '{"prompt": "\\xff"}'])
            assert lines[0]["answer"].startswith("data: {") and lines[0]["answer"].endswith("data: [DONE]\n\n"), lines
            assert json.loads(lines[1]["answer"])["error"], lines
        else:
            said = [line for line in log.splitlines() if line[:2] in ("> ", "< ")]
            same(len(said), 4 if wanted else 0, log)
            same(("king" in log, "data: [DONE]" in log), (bool(wanted), bool(wanted)))
    done = subprocess.run([BUILD / "gguf-serve", models / "demo.gguf", "-q", "--log-text"], capture_output=True, text=True)
    same((done.returncode, done.stderr), (2, "gguf-serve: --log-text has no effect with --quiet\n"))


def own_keys(models):
    s = Server(models / "demo.gguf", "--api-key", "secret", environment={"GGUFKIT_SERVE_ALIAS": "bard"})
    try:
        same(s.get("/health")[0], 200)
        same(s.get("/v1/models")[0], 401)
        same(s.get("/v1/models", {"Authorization": "Bearer wrong"})[0], 401)
        for headers in ({"Authorization": "Bearer secret"}, {"x-api-key": "secret"}):
            status, text = s.get("/v1/models", headers)
            same((status, json.loads(text)["data"][0]["id"]), (200, "bard"))
        status, a = s.post("/v1/messages", {}, {"x-api-key": "no"})
        same((status, a["error"]["type"]), (401, "authentication_error"))
    finally:
        s.stop()


def own_shares(models):
    """Of several keys, one alone cannot fill the queue: 429, while another key is served."""
    s = Server(models / "demo.gguf", "--parallel", "1", "--queue", "4", "--api-key", "one", "--api-key", "two")
    try:
        statuses = []

        def ask():
            statuses.append(s.post("/v1/chat/completions", user("Speak", max_tokens=400, ignore_eos=True),
                                   {"x-api-key": "one"})[0])

        threads = [threading.Thread(target=ask) for _ in range(8)]
        [t.start() for t in threads]
        wait_until(lambda: 429 in statuses, "429")
        same(s.post("/v1/chat/completions", user("Hi", max_tokens=1), {"x-api-key": "two"})[0], 200)
        [t.join() for t in threads]
        assert set(statuses) == {200, 429}, statuses
    finally:
        s.stop()


def own_limits(models):
    """A full queue is refused with 503, and everything accepted is answered."""
    s = Server(models / "demo.gguf", "--parallel", "2", "--queue", "2", "--ctx", "512", "--kv-tokens", "1024")
    try:
        statuses = []

        def ask(i):
            statuses.append(s.post("/v1/chat/completions", user(f"Speak {i}", max_tokens=300, ignore_eos=True))[0])

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert set(statuses) == {200, 503} and statuses.count(200) >= 4, statuses
        status, a = s.post("/v1/messages", user("x", max_tokens=1))
        same(status, 200)
    finally:
        s.stop()


def own_drain(models):
    """SIGTERM: what runs is finished, the exit status is 0."""
    s = Server(models / "demo.gguf")
    got = {}

    def ask():
        got["a"] = s.post("/v1/chat/completions", user("Speak", max_tokens=400, ignore_eos=True))

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: s.metric("requests_running") == 1, "it runs")
    s.stop()
    thread.join()
    same((got["a"][0], got["a"][1]["usage"]["completion_tokens"]), (200, 400))
    s = Server(models / "demo.gguf", "--drain", "0")
    lines = []

    def read():
        with contextlib.suppress(Exception):
            lines.extend(s.stream("/v1/chat/completions", user("Speak", max_tokens=900, ignore_eos=True, stream=True)))

    thread = threading.Thread(target=read)
    thread.start()
    wait_until(lambda: s.metric("requests_running") == 1, "it runs")
    s.stop()
    thread.join()
    assert lines and "[DONE]" not in lines[-1]


def own_loading(models):
    """A template that comes by a pipe holds the loading up: until then the address answers with its state."""
    pipe = models / "pipe.jinja"
    os.mkfifo(pipe)

    def start(port=0):
        process = subprocess.Popen([BUILD / "gguf-serve", models / "demo.gguf", "-t", "2", "--port", str(port), "--template", pipe],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = process.stderr.readline()
        s = Server.__new__(Server)
        s.process, s.url = process, (re.findall(r"http://[^ ]+", line) or [""])[0]
        return s, line

    def end(s, wanted, text=""):
        out, error = s.process.communicate(timeout=60)
        same((s.process.returncode, "listening" in out), wanted, error)
        assert text in error, error

    s, _ = start()
    same(s.get("/health")[0], 503)
    same(json.loads(s.get("/health")[1]), {"status": "loading", "progress": 0.0})
    status, text, headers = s.request("POST", "/v1/chat/completions", user("x"))
    same((status, json.loads(text)["error"]["code"], headers["Retry-After"]), (503, "loading", "1"))
    status, text, headers = s.request("POST", "/v1/messages", user("x"))
    same((status, json.loads(text)["error"]["type"], headers["Retry-After"]), (529, "overloaded_error", "1"))
    status, answer = s.post("/api/chat", user("x"))
    same((status, list(answer)), (503, ["error"]))
    for path in ("/v1/models", "/metrics", "/slots", "/props"):
        same(s.get(path)[0], 503, path)
    same(s.get("/nothing")[0], 404)
    assert b"<html" in s.request("GET", "/", headers={"Accept": "text/html"})[1]
    same(s.get("/health", {"Host": "example.org"})[0], 403)
    second, line = start(s.url.rsplit(":", 1)[1])
    assert "cannot listen" in line, line
    end(second, (3, False))
    s.process.send_signal(signal.SIGTERM)
    end(s, (0, False))
    s, _ = start()
    pipe.write_text("{{ x")
    end(s, (4, False), "ends inside a tag")
    s, _ = start()
    pipe.write_text(PLAIN)
    assert s.process.stdout.readline().startswith("listening on " + s.url)
    same(s.post("/v1/chat/completions", user("x"))[0], 200)
    same(json.loads(s.get("/health")[1]), {"status": "ok"})
    s.process.send_signal(signal.SIGTERM)
    end(s, (0, False))


def own_embeddings(models):
    s = Server(models / "bert.gguf", "--ctx", "64")
    try:
        client = openai.OpenAI(base_url=s.url + "/v1", api_key="none", max_retries=0)
        texts = ["a b c", "d", "e f g h i j"]
        listed = client.embeddings.create(model="bert", input=texts, encoding_format="float").data
        coded = client.embeddings.create(model="bert", input=texts).data  # base64 on the wire
        for i, text in enumerate(texts):
            alone = s.post("/v1/embeddings", {"input": text})[1]["data"][0]["embedding"]
            as_floats = [struct.unpack("f", struct.pack("f", x))[0] for x in listed[i].embedding]
            same(as_floats, [struct.unpack("f", struct.pack("f", x))[0] for x in alone])
            same(as_floats, list(coded[i].embedding))
            assert abs(math.sqrt(sum(x * x for x in alone)) - 1) < 1e-5
        raw = s.post("/v1/embeddings", {"input": "d", "encoding_format": "base64"})[1]["data"][0]["embedding"]
        same(len(base64.b64decode(raw)), 4 * len(listed[0].embedding))
        short = s.post("/v1/embeddings", {"input": "d", "dimensions": 4})[1]["data"][0]["embedding"]
        same(len(short), 4)
        assert abs(math.sqrt(sum(x * x for x in short)) - 1) < 1e-5
        same(s.post("/v1/embeddings", {"input": ""})[0], 200)
        old = s.post("/api/embeddings", {"prompt": "a b c"})[1]
        assert list(old) == ["embedding"] and all(abs(a - b) < 1e-6 for a, b in zip(old["embedding"], listed[0].embedding))
        same(s.post("/api/embeddings", {"prompt": ["a"]})[0], 400)
        for body in ({"input": []}, {"input": "x", "dimensions": 10**6}, {"input": [[10**7]]}, {"input": "word " * 200}, {}):
            same(s.post("/v1/embeddings", body)[0], 400, str(body)[:60])
        same(s.post("/v1/chat/completions", user("x"))[0], 400)
        vectors = ollama.Client(host=s.url).embed("bert", texts).embeddings
        assert all(abs(a - b) < 1e-6 for a, b in zip(vectors[0], listed[0].embedding))
        a = s.post("/api/embed", {"input": ["x", "word " * 200]})[1]
        same(a["truncated"], [1])
        same(s.post("/v1/rerank", {"query": "x", "documents": ["y"]})[0], 400)
    finally:
        s.stop()


def make_reranker(models):
    """The fixture of an encoder, with a head that scores pairs of texts."""
    folder, out = models / "reranker", models / "reranker.gguf"
    shutil.copytree(DATA / "models/bert", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertForSequenceClassification"]}))
    data = (folder / "model.safetensors").read_bytes()
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    head, row = json.loads(data[8:begin]), struct.pack("<128f", *map(math.sin, range(128)))
    end = len(data) - begin
    head["classifier.weight"] = {"dtype": "F32", "shape": [1, 128], "data_offsets": [end, end + len(row)]}
    text = json.dumps(head).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data[begin:] + row)
    subprocess.run([BUILD / "gguf-convert", folder, "-o", out, "--outtype", "f32", "-q"], check=True)
    return out


def own_rerank(models):
    """The scores and the order of gguf-run --rank."""
    model, question = make_reranker(models), "who is the king"
    texts = ["the king", "a horse", "the son of the king", "water", "who is it"]
    (models / "texts.txt").write_text("\n".join(texts))
    ran = subprocess.run([BUILD / "gguf-run", model, "--rank", question, "-f", models / "texts.txt", "--json"], check=True,
                         capture_output=True).stdout
    wanted = [(r["index"], r["score"]) for r in json.loads(ran)["results"]]
    assert len({score for _, score in wanted}) == len(texts), wanted
    s = Server(model)
    try:
        body = {"query": question, "documents": texts, "return_documents": True}
        for path in ("/v1/rerank", "/rerank", "/v1/reranking"):
            status, a = s.post(path, body)
            same((status, a["object"], a["model"]), (200, "list", "reranker"))
            same([r["index"] for r in a["results"]], [i for i, _ in wanted])
            assert all(abs(r["relevance_score"] - score) < 1e-5 for r, (_, score) in zip(a["results"], wanted)), (a, wanted)
            same([r["document"]["text"] for r in a["results"]], [texts[i] for i, _ in wanted])
            assert a["usage"]["total_tokens"] == a["usage"]["prompt_tokens"] > 0
        few = s.post("/rerank", {"query": question, "documents": [{"text": t} for t in texts], "top_n": 2})[1]["results"]
        same([r["index"] for r in few], [i for i, _ in wanted[:2]])
        assert all(set(r) == {"index", "relevance_score"} for r in few)
        short = s.post("/rerank", {"query": question, "texts": texts, "return_text": True})[1]
        same([(r["index"], r["text"]) for r in short], [(i, texts[i]) for i, _ in wanted])
        alone = s.post("/rerank", {"query": question, "texts": [texts[wanted[0][0]]]})[1]
        same(alone[0]["score"], short[0]["score"])
        for param, more in (("query", {"query": None}), ("query", {"query": 5}), ("documents", {"documents": []}), ("documents", {"documents": "x"}),
                            ("documents", {"documents": [5]}), ("top_n", {"top_n": 0}), ("return_documents", {"return_documents": 1})):
            status, a = s.post("/v1/rerank", {**body, **more})
            same((status, a["error"]["param"]), (400, param), str(more))
        for path in ("/v1/embeddings", "/v1/chat/completions", "/api/embed"):
            same(s.post(path, {"input": "x", **user("x")})[0], 400, path)
    finally:
        s.stop()


def own_drafts(models):
    """Answers do not depend on what drafts them, nor on whether anything does, also where layers keep a state."""
    bodies = [{"prompt": "And the king said unto them", "max_tokens": 80, "temperature": t, "seed": 3, "logprobs": 2,
               "frequency_penalty": t / 4, "n": 2} for t in (0, 0.9)]
    answers = {"demo": [], "mamba2": []}
    for name, *options in (("demo", "--lookup", "off"), ("demo", "--lookup", "on", "--draft-max", "5"),
                           ("demo", "--draft", models / "demo.gguf"), ("mamba2",), ("mamba2", "--lookup", "on")):
        server = Server(models / f"{name}.gguf", *options)
        looks_up = options[1:2] == ["on"] or "--draft" in options
        try:
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                results = list(pool.map(lambda b: server.post("/v1/completions", b), bodies * 2))
            same([status for status, _ in results], [200] * 4)
            answers[name].append([a["choices"] for _, a in results])
            props = json.loads(server.get("/props")[1])["speculation"]
            same(props["lookup"], looks_up)
            same(props["draft_model"] is not None, "--draft" in options)
            status, a = server.post("/v1/chat/completions", user("x", prediction={"type": "content", "content": "y"}))
            same(status, 200 if looks_up else 400)
        finally:
            server.stop()
    for of_model in answers.values():
        for other in of_model[1:]:
            same(other, of_model[0])


def own_vectors(models):
    """--pooling changes what becomes of the rows; --embed serves an encoder that has a decoder."""
    def vector(name, *options):
        server = Server(models / name, *options)
        try:
            status, a = server.post("/v1/embeddings", {"input": "the king"})
            same(status, 200, str(a))
            return a["data"][0]["embedding"]
        finally:
            server.stop()
    mean, cls, last = (vector("bert.gguf", "--pooling", how) for how in ("mean", "cls", "last"))
    assert mean != cls and cls != last and mean != last
    own = vector("bert.gguf")
    assert own in (mean, cls, last)
    embedded = vector("t5.gguf", "--embed", "--pooling", "mean")
    run_vector = subprocess.run([BUILD / "gguf-run", models / "t5.gguf", "--embed", "--pooling", "mean", "-p", "the king", "--json"],
                                check=True, capture_output=True).stdout
    wanted = json.loads(run_vector)["texts"][0]["embedding"]
    assert all(abs(a - b) < 1e-5 for a, b in zip(embedded, wanted)), (embedded[:3], wanted[:3])


# ---- TLS --------------------------------------------------------------------------------------


def make_certificate(folder, name, *more):
    """NAME.pem and NAME.key, for the host NAME.example and this machine."""
    pem, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}.example,DNS:localhost,IP:127.0.0.1",
                    "-keyout", key, "-out", pem, *more], check=True, capture_output=True)
    return pem, key


def start_tls(models):
    """A server with TLS, and a client of it that never says a word."""
    pem, key = make_certificate(models, "bard")
    s = Server(models / "demo.gguf", "--tls-cert", pem, "--tls-key", key, "--api-key", "secret",
               context=ssl.create_default_context(cafile=pem))
    s.files = s.n_files()
    return s, s.tcp()


def tls_answers(s):
    own, key = f"bard.example:{s.port}", {"Authorization": "Bearer secret"}
    assert s.url.startswith("https://127.0.0.1:"), s.url
    same(s.get("/health"), (200, b'{"status":"ok"}'))
    same(s.get("/v1/models")[0], 401)
    body = user("Speak", stream=True)
    client = openai.OpenAI(base_url=s.url + "/v1", api_key="secret", max_retries=0,
                           http_client=openai.DefaultHttpxClient(verify=s.context))
    whole = client.chat.completions.create(model="demo", **user("Speak")).choices[0].message.content
    parts = client.chat.completions.create(model="demo", **body)
    same("".join(p.choices[0].delta.content or "" for p in parts), whole)
    status, page, _ = s.request("GET", "/", headers={"Accept": "text/html"})
    assert status == 200 and b"<html" in page
    for host, origin, wanted in ((own, None, 200), ("other.example", None, 403), (own, "https://" + own, 200), (own, "http://" + own, 403),
                                 (own, "https://other.example", 403), (own, "http://localhost:3000", 200)):
        headers = {**key, "Host": host, **({"Origin": origin} if origin else {})}
        same(s.get("/v1/models", headers)[0], wanted, f"{host} {origin}")
    large = json.dumps({"content": "x " * 300000}).encode()
    with s.socket() as sock:  # kept alive, in turn, and a body of many records
        sock.sendall(raw_post("/tokenize", b'{"content": "a"}', "x-api-key: secret") * 3)
        same([status for status, _ in read_answers(sock, 3)], [200] * 3)
        sock.sendall(raw_post("/tokenize", large, "x-api-key: secret"))
        same(read_answers(sock, 1)[0][0], 200)
        assert sock.version() in ("TLSv1.2", "TLSv1.3")


def tls_faults(s):
    """Clients that speak no TLS, an old one, a part of it, or go away: closed, and nothing is left of them."""
    with s.tcp() as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP" not in sock.recv(1000)
    hello = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        s.context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost").do_handshake()
    hello = hello.read()
    for n, reset in ((1, False), (5, True), (len(hello) // 2, False), (len(hello), True), (len(hello), False)):
        with s.tcp() as sock:
            sock.sendall(hello[:n])
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    old = ssl.create_default_context()
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    try:
        with s.tcp() as sock, old.wrap_socket(sock):
            raise AssertionError("TLS 1.1 is spoken")
    except (ssl.SSLError, ConnectionResetError):
        pass
    metric = {"x-api-key": "secret"}

    def n_running():
        return int(re.search(r"^ggufkit_requests_running (\d+)$", s.get("/metrics", metric)[1].decode(), re.M).group(1))

    with s.socket() as sock:
        sock.sendall(raw_post("/v1/chat/completions", json.dumps(user("x", max_tokens=900, ignore_eos=True, stream=True)).encode(),
                              "x-api-key: secret"))
        assert sock.recv(100).startswith(b"HTTP/1.1 200")
        wait_until(lambda: n_running() == 1, "it runs")
    wait_until(lambda: n_running() == 0, "it is cancelled")
    wait_until(lambda: s.n_files() <= s.files + 2, f"descriptors: {s.files}, now {s.n_files()}")  # of who never says a word


def tls_refusals(models):
    other, other_key = make_certificate(models, "other")
    pem, key = models / "bard.pem", models / "bard.key"
    empty, text, locked = models / "empty.pem", models / "text.pem", models / "locked.key"
    empty.write_text("")
    text.write_text("no certificate\n")
    subprocess.run(["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:x", "-out", locked], check=True, capture_output=True)
    library = models / "without_tls.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", library], check=True,
                   input=b"int MHD_is_feature_supported(int feature) { return feature == 0; }")
    for cert_file, key_file, more, wanted in (
            (pem, None, {}, "--tls-key FILE is missing beside --tls-cert"), (None, key, {}, "--tls-cert FILE is missing beside --tls-key"),
            (models / "no.pem", key, {}, "no.pem: cannot open"), (pem, models / "no.key", {}, "no.key: cannot open"),
            (empty, key, {}, "empty.pem: the file is empty"), (pem, empty, {}, "empty.pem: the file is empty"),
            (text, key, {}, "text.pem: there is no certificate"), (key, pem, {}, "bard.key: there is no certificate"),
            (pem, text, {}, "text.pem: there is no private key"), (pem, locked, {}, "locked.key: the private key has a pass phrase"),
            (pem, other_key, {}, f"other.key: this is not the private key of the certificate in {pem}"),
            (pem, key, {"GGUFKIT_SERVE_HOST": "unix:" + str(models / "x")}, "has no TLS"),
            (pem, key, {"LD_PRELOAD": str(library)}, "was built without TLS")):
        options = [o for name, file in (("--tls-cert", cert_file), ("--tls-key", key_file)) if file for o in (name, file)]
        done = subprocess.run([BUILD / "gguf-serve", models / "demo.gguf", "--port", "0", *options], text=True, timeout=60,
                              capture_output=True, env={**os.environ, **more})
        assert done.returncode in (2, 3, 4, 5) and done.stdout == "" and wanted in done.stderr and done.stderr.count("\n") == 1, done
    late = models / "late.pem"
    subprocess.run(["openssl", "x509", "-in", other, "-signkey", other_key, "-days", "0", "-out", late], check=True, capture_output=True)
    other_key.chmod(0o644)
    time.sleep(1.1)
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    s = Server(models / "demo.gguf", "--tls-cert", late, "--tls-key", other_key, context=unchecked)
    try:
        assert f"warning: {other_key}: everybody on this machine can read this private key" in s.output(), s.output()
        assert f"warning: {late}: the certificate has expired" in s.output(), s.output()
        same(s.get("/health")[0], 200)
    finally:
        s.stop()


def own_tls(models, s, silent):
    try:
        tls_answers(s)
        tls_faults(s)
        silent.settimeout(60)  # its time for a handshake is 30 s from its beginning
        while silent.recv(100):
            pass
        wait_until(lambda: s.n_files() <= s.files, f"descriptors: {s.files}, now {s.n_files()}")
    finally:
        silent.close()
        s.stop()
    tls_refusals(models)


def run(name, function, *arguments):
    if ONLY and name != "stop" and not any(name.startswith(o) for o in ONLY):
        return True
    start = time.time()
    try:
        function(*arguments)
    except Exception as error:  # every check is run
        import traceback
        print(f"FAILED {name}: {error}")
        if not isinstance(error, AssertionError):
            traceback.print_exc()
        return False
    print(f"ok {name} ({time.time() - start:.1f} s)")
    return True


def main():
    good = True
    with tempfile.TemporaryDirectory() as folder:
        models = pathlib.Path(folder)
        for source, name, kind in ((DATA / "demo-model", "demo", "q8_0"), (DATA / "models/bert_sentence", "bert", "f32"),
                                   (DATA / "models/t5", "t5", "f32"), (DATA / "models/mamba2", "mamba2", "q8_0")):
            subprocess.run([BUILD / "gguf-convert", source, "-o", models / f"{name}.gguf", "--outtype", kind], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        (models / "plain.jinja").write_text(PLAIN)
        with_tls = not ONLY or any("own_tls".startswith(o) for o in ONLY)
        tls = start_tls(models) if with_tls else ()
        if not ONLY or any(f.__name__.startswith(o) for f in checks for o in ONLY):
            server = Server(models / "demo.gguf", "--template", models / "plain.jinja")
            for function in checks:
                good &= run(function.__name__, function, server)
            good &= run("stop", server.stop)
        for function in (own_reasoning, own_calls, own_tools, own_channels, own_generic_tools, own_keys, own_log_text, own_shares, own_limits, own_loading, own_drain, own_drafts, own_embeddings, own_rerank, own_vectors):
            good &= run(function.__name__, function, models)
        good &= run("own_tls", own_tls, models, *tls)
    print("gguf-serve: all checks passed" if good else "gguf-serve: checks failed")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

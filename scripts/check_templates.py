#!/usr/bin/env python3
"""Render chat templates with gguf-run and with Python's jinja2 as transformers configures it, and compare.

usage: check_templates.py GGUF_RUN FOLDER_OR_FILE... [-v]
Every *.jinja is rendered on a set of conversations. Equal: the same text, or an error on both sides. Exit 1 on a difference.
"""
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("text"), [], [], body).set_lineno(line)

    def text(self, caller):
        return caller()


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = to_json
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return env


TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "The weather at a place.\nNow.",
        "parameters": {"type": "object", "required": ["place"], "properties": {
            "place": {"type": "string", "description": "city, \"quoted\" <b> & é"},
            "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
            "days": {"type": "array", "items": {"type": "integer"}, "description": "which"},
            "more": {"type": "object", "properties": {"x": {"type": ["number", "null"]}}, "required": []}}}}},
    {"type": "function", "function": {
        "name": "stop", "description": "Stops.", "parameters": {"type": "object", "properties": {}}}},
]


def user(text="Hello!  "):
    return {"role": "user", "content": text}


def answer(text="Hi there.", **more):
    return {"role": "assistant", "content": text, **more}


def call(content, arguments, number="abcdef123"):
    return {"role": "assistant", "content": content, "tool_calls": [
        {"id": number, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}]}


ARGUMENTS = {"place": "Zürich", "days": [1, 2], "deep": {"a": None, "b": True, "c": 1.5}}
RESULT = {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": "{\"t\": 21.5}"}
SYSTEM = {"role": "system", "content": " You are terse. "}
IMAGE = [{"type": "image"}, {"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "x"}}]
CONVERSATIONS = {
    "one": [user()],
    "system": [SYSTEM, user()],
    "turns": [SYSTEM, user(), answer(), user("äöü 😀\n\n and more\t"), answer("<think>\nhm\n</think>\n\nYes."), user("Why?")],
    "ends_with_answer": [user(), answer()],
    "tools": [SYSTEM, user("Weather?")],
    "call": [user("Weather?"), call("", ARGUMENTS), RESULT, answer("It is warm."), user("Thanks")],
    "call_as_text": [SYSTEM, user("Weather?"), call("Let me look.", json.dumps(ARGUMENTS)), RESULT],
    "call_null": [user("Weather?"), call(None, ARGUMENTS), RESULT, dict(RESULT, content="second"), answer("ok")],
    "reasoning": [user(), answer("Hi.", reasoning_content="I think."), user("And?"), answer("So.", thinking="hm", reasoning_content="x")],
    "reasoning_call": [user(), dict(call("", ARGUMENTS), reasoning_content="I need a tool.", thinking="t"), RESULT],
    "image": [user(IMAGE)],
    "parts": [{"role": "system", "content": [{"type": "text", "text": "Sys."}]}, user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), answer([{"type": "text", "text": "c"}]), user("d")],
    "developer": [{"role": "developer", "content": "Be kind."}, user()],
    "wrong_order": [answer(), user(), user()],
    "unknown_role": [{"role": "critic", "content": "no"}],
    "empty": [],
}


def cases():
    for name, messages in CONVERSATIONS.items():
        for tools in ([TOOLS] if name in ("tools", "call", "call_as_text", "call_null", "reasoning_call") else [None, TOOLS]):
            for prompt in (True, False):
                more = {"messages": messages, "add_generation_prompt": prompt, "bos_token": "<s>", "eos_token": "</s>"}
                if tools:
                    more["tools"] = tools
                yield f"{name}{'+tools' if tools else ''}{'+prompt' if prompt else ''}", more
    turns = {"messages": CONVERSATIONS["turns"], "add_generation_prompt": True, "bos_token": "", "eos_token": "</s>"}
    for more in ({"enable_thinking": False}, {"enable_thinking": True}, {"reasoning_effort": "high"}, {"date_string": "26 Jul 2024"},
                 {"thinking": True}, {"tools": None, "documents": None}, {"tools": []}, {"builtin_tools": ["code_interpreter"]},
                 {"documents": [{"title": "T", "text": "words", "content": "words"}]}):
        yield f"turns {json.dumps(more)}", {**turns, **more}


def expected(env, source, variables):
    try:
        return 0, env.from_string(source).render(**variables)
    except Exception as error:  # whatever Python raises is an error of the template
        raised = isinstance(error, jinja2.exceptions.TemplateError) and type(error) is jinja2.exceptions.TemplateError
        return 1 if raised else 4, f"{type(error).__name__}: {error}"


def rendered(run, template, variables, scratch):
    path = pathlib.Path(scratch) / "case.json"
    path.write_text(json.dumps(variables))
    done = subprocess.run([run, "--template", template, "--render", path], capture_output=True,
                          env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    return done.returncode, (done.stderr if done.returncode else done.stdout).decode(errors="replace")


def main():
    verbose = "-v" in sys.argv
    run, *folders = [arg for arg in sys.argv[1:] if arg != "-v"]
    env, wrong, total, errors = environment(), 0, 0, 0
    templates = [p for f in map(pathlib.Path, folders) for p in (sorted(f.glob("*.jinja")) if f.is_dir() else [f])]
    with tempfile.TemporaryDirectory() as scratch:
        for template in templates:
            source, bad = template.read_text(), []
            for name, variables in cases():
                total += 1
                want, got = expected(env, source, variables), rendered(run, template, variables, scratch)
                errors += want[0] != 0
                if want[0] != got[0] or (want[0] == 0 and want[1] != got[1]):
                    bad.append((name, want, got))
            wrong += len(bad)
            for name, want, got in bad if verbose else bad[:2]:
                print(f"{template.name}: {name}\n  jinja2   {want[0]} {want[1][-300:]!r}\n  gguf-run {got[0]} {got[1][-300:]!r}")
            if bad:
                print(f"{template.name}: {len(bad)} differ")
    print(f"{len(templates)} templates, {total} renderings ({errors} of them errors on the Python side), {wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

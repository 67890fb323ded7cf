#!/usr/bin/env python3
"""Every JSON document of gguf-inspect, gguf-edit, gguf-quantize --report, gguf-bench, gguf-run and gguf-pull against its schema in docs/schemas. usage: check_schemas.py BUILD DATA"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import jsonschema

BUILD, DATA = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
SCHEMAS = pathlib.Path(__file__).resolve().parent.parent.parent / "docs" / "schemas"


def validate(schema, text):
    jsonschema.Draft202012Validator(json.loads((SCHEMAS / f"{schema}.json").read_text())).validate(json.loads(text))


def check(folder, schema, status, *args, tool="gguf-inspect"):
    command = [BUILD / tool, *args, "--json"]
    result = subprocess.run(command, capture_output=True, cwd=folder)
    if result.returncode != status:
        sys.exit(f"{args}: exit {result.returncode}: {result.stderr.decode()}")
    validate(schema, result.stdout.decode("utf-8"))
    print(f"{schema}: {' '.join(args)}")


with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(temporary)
    subprocess.run([BUILD / "gguf-convert", DATA / "models" / "llama", "-o", folder / "a.gguf", "-q"], check=True)
    subprocess.run([BUILD / "gguf-quantize", folder / "a.gguf", folder / "b.gguf", "Q4_0", "-q"], check=True)
    whole = (folder / "a.gguf").read_bytes()
    (folder / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    (folder / "bytes.gguf").write_bytes(whole.replace(b"general.name", b"general.na\xffe"))
    (folder / "manifest").write_bytes(subprocess.check_output([BUILD / "gguf-inspect", "hash", "a.gguf"], cwd=folder))
    for name in ("a.gguf", "b.gguf", "bytes.gguf"):
        check(folder, "inspect", 0, name)
        for verb in ("summary", "meta", "tensors", "tokens", "stats", "hash"):
            check(folder, f"inspect-{verb}", 0, verb, name)
    for key in ("general.architecture", "tokenizer.ggml.tokens"):
        check(folder, "inspect-get", 0, "get", "a.gguf", key)
    check(folder, "inspect-verify", 0, "verify", "a.gguf")
    check(folder, "inspect-verify", 1, "verify", "cut.gguf")
    check(folder, "inspect-verify", 1, "verify", "bytes.gguf")
    check(folder, "inspect-hash-check", 0, "hash", "a.gguf", "--check", "manifest")
    check(folder, "inspect-hash-check", 1, "hash", "b.gguf", "--check", "manifest")
    check(folder, "inspect-diff", 0, "diff", "a.gguf", "a.gguf")
    check(folder, "inspect-diff", 1, "diff", "a.gguf", "b.gguf", "--values")
    check(folder, "inspect-report", 0, "report", "a.gguf", "-o", "r.html")
    checkpoints = [str(DATA.absolute() / "models" / name) for name in ("llama3", "llama")]
    check(folder, "inspect-checkpoint", 0, checkpoints[1])
    check(folder, "inspect-tensors", 0, "tensors", checkpoints[0])
    check(folder, "inspect-diff", 1, "diff", *checkpoints)
    check(folder, "error", 4, "cut.gguf")
    check(folder, "quantize-report", 0, "a.gguf", "Q4_0", "Q8_0", "--report", "q.html", "--text",
          str(DATA / "demo-model" / "test.txt"), "--chunks", "1", tool="gguf-quantize")
    edit = {"tool": "gguf-edit"}
    check(folder, "edit", 0, "set", "a.gguf", "general.name=x", "-o", "named.gguf", **edit)
    check(folder, "edit", 0, "unset", "named.gguf", "general.name", "--dry-run", **edit)
    check(folder, "edit-split", 0, "split", "a.gguf", "part", "--max-tensors", "20", **edit)
    check(folder, "edit-copy", 0, "merge", "part-00001-of-00002.gguf", "-o", "merged.gguf", **edit)
    check(folder, "edit-copy", 0, "swap-endian", "a.gguf", "-o", "swapped.gguf", "--dry-run", **edit)
    check(folder, "error", 2, "split", "a.gguf", "part", **edit)
    (folder / "text.txt").write_text("And God said, Let there be light: and there was light. " * 40)
    (folder / "c.jsonl").write_text('{"context": "And", "choices": ["God said", "said God"], "label": 0}\n' * 2)
    bench = {"tool": "gguf-bench"}
    check(folder, "bench", 0, "a.gguf", "-p", "4", "-n", "3", "--pg", "2,2", "-d", "0,5", "-r", "2", **bench)
    check(folder, "bench", 0, "a.gguf", "-p", "4", "-n", "0", "-r", "1", **bench)
    for name, repetitions in (("s.json", 3), ("t.json", 1)):
        command = [BUILD / "gguf-bench", "a.gguf", "-p", "4", "-n", "2", "-r", str(repetitions), "-o", "json", "-q"]
        (folder / name).write_bytes(subprocess.check_output(command, cwd=folder))
    check(folder, "bench-compare", 0, "compare", "s.json", "s.json", **bench)
    check(folder, "bench-compare", 0, "compare", "s.json", "t.json", **bench)
    quality = ("quality", "b.gguf", "-f", "text.txt", "--ctx", "32")
    check(folder, "bench-quality", 0, *quality, **bench)
    check(folder, "bench-quality", 0, *quality, "--base", "a.gguf", "--choices", "c.jsonl", **bench)
    check(folder, "bench-quality", 0, "quality", "b.gguf", "--choices", "c.jsonl", **bench)
    check(folder, "error", 4, "cut.gguf", **bench)
    (folder / "f.json").write_text('[{"type": "function", "function": {"name": "f"}}]')
    for args in (["-p", "x"], ["-p", "x", "--chat"], ["-p", "x", "--chat", "-n", "9", "--tools", "f.json"], ["-p", "x", "-n", "0"], ["-p", "x", "--seed", "random", "-n", "40"]):
        check(folder, "run", 0, "a.gguf", *args, tool="gguf-run")
    check(folder, "run-tokenize", 0, "a.gguf", "--tokenize", "-p", "some words", tool="gguf-run")
    check(folder, "run-logits", 0, "a.gguf", "--tokens", "1,2", "--logits", "l.safetensors", tool="gguf-run")
    chat = subprocess.run([BUILD / "gguf-run", "a.gguf", "-n", "3"], input=b"Hello\n/save m.json\n", capture_output=True, cwd=folder)
    validate("run-messages", (folder / "m.json").read_text())
    (folder / "t.jinja").write_text("{{ messages[0].content }}")
    check(folder, "run-render", 0, "--template", "t.jinja", "--render", "m.json", tool="gguf-run")
    check(folder, "error", 2, "a.gguf", "-p", "x", "--top-p", "2", tool="gguf-run")
    check(folder, "bench-fit", 0, "fit", "b.gguf", "--vram", "1G", tool="gguf-bench")
    check(folder, "bench-fit", 0, "fit", "b.gguf", tool="gguf-bench")
    check(folder, "bench-fit", 1, "fit", "b.gguf", "--vram", "100M", tool="gguf-bench")
    for status, *args in ((0, "--vram", "12G"), (1, "--vram", "10M"), (0, "--device", "rtx 4090"), (0, "--ram", "64G", "--type", "Q4_K_M")):
        check(folder, "bench-fit-models", status, "fit", *args, tool="gguf-bench")
    check(folder, "bench-fit", 0, "fit", str(DATA / "models" / "deepseek_v3"), "--device", "9950X", tool="gguf-bench")
    subprocess.run([BUILD / "gguf-convert", DATA / "models" / "bert_sentence", "-o", folder / "e.gguf", "-q"], check=True)
    (folder / "texts.txt").write_text("one\ntwo\n")
    check(folder, "run-embed", 0, "e.gguf", "--embed", "-f", "texts.txt", tool="gguf-run")
    check(folder, "run-logits", 0, "e.gguf", "--embed", "-f", "texts.txt", "-o", "v.safetensors", tool="gguf-run")
    check(folder, "bench-serve", 0, "serve", "a.gguf", "--users", "1,2", "--requests", "3", "--tokens", "4", "--prompt-tokens", "4", tool="gguf-bench")
    for name in ("llama_linear", "llama_lora"):
        subprocess.run([BUILD / "gguf-convert", DATA / "models" / name, "-o", folder / f"{name}.gguf", "-q"], check=True)
    check(folder, "edit-merge-lora", 0, "merge-lora", "llama_linear.gguf", "llama_lora.gguf:0.5", "-o", "m.gguf", tool="gguf-edit")
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cli"))
    import hub_server
    for args in (["gguf-inspect", "cut.gguf"], ["gguf-inspect", "none.gguf"], ["gguf-quantize", "a.gguf", "log.gguf", "Q8_0", "--progress", "always"],
                 ["gguf-bench", "quality", "b.gguf", "-f", "text.txt", "--ctx", "32", "--max-ppl", "1", "--progress", "always"]):
        log = subprocess.run([BUILD / args[0], *args[1:], "--log-json"], capture_output=True, cwd=folder).stderr.decode()
        assert log
        for line in log.splitlines():
            validate("log", line)
        print(f"log: {' '.join(args)}")
    hub = hub_server.Hub()
    os.environ.update(HF_ENDPOINT=hub.url, GGUFKIT_MODELS=str(folder / "store"))
    hub.repos["org/repo"] = {"m-Q4_0.gguf": (folder / "b.gguf").read_bytes()}
    check(folder, "pull", 0, "org/repo", "--dry-run", tool="gguf-pull")
    check(folder, "pull", 0, "org/repo", tool="gguf-pull")
    check(folder, "pull-list", 0, "--list", tool="gguf-pull")
    check(folder, "pull-show", 0, "--show", "org/repo", tool="gguf-pull")
    check(folder, "pull-rm", 0, "--rm", "org/repo", tool="gguf-pull")
    check(folder, "error", 3, "org/none", tool="gguf-pull")

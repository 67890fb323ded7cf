#!/usr/bin/env python3
"""No line of help, of tables and lists is wider than a terminal of 80 columns.
usage: check_width.py BUILD DATA"""
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios

COLUMNS = 80


def on_terminal(args, env=None):
    """What a command writes to a terminal of 80 columns."""
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # notes and warnings are one line each, however long
        os.environ.update({"PAGER": "cat", **(env or {})})
        os.execvp(args[0], args)
    text = b""
    while True:
        try:
            got = os.read(terminal, 65536)
        except OSError:
            break
        if not got:
            break
        text += got
    os.waitpid(pid, 0)
    return re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", text.decode()).replace("\r\n", "\n")


def check(args, holds, env=None):
    text = on_terminal(args, env)
    if holds not in text:
        sys.exit(f"{args}: {holds!r} is not in {text!r}")
    for line in text.split("\n"):
        if len(line) > COLUMNS:
            sys.exit(f"{args}: {len(line)} characters: {line!r}")


def check_errors():
    """Errors are broken between words on a terminal."""
    shown = on_terminal(["bash", "-c", "exec gguf-imatrix 2>&1"])
    if "\n  " not in shown or max(len(line) for line in shown.split("\n")) > COLUMNS:
        sys.exit(f"gguf-imatrix: {shown!r}")


def main():
    build, data = (os.path.realpath(path) for path in sys.argv[1:])
    os.environ["PATH"] = build + ":" + os.environ["PATH"]
    os.environ["LC_ALL"] = "C.UTF-8"
    os.environ["TERM"] = "xterm"
    for tool in ["convert", "imatrix", "quantize", "inspect", "edit", "bench", "run"]:
        check([f"gguf-{tool}", "--help"], "Exit status")
    for tool, verb, holds in (("bench", "fit", "--vram"), ("bench", "serve", "--users"), ("bench", "quality", "--base"), ("inspect", "stats", "--plot"),
                              ("edit", "merge-lora", "--type")):
        check([f"gguf-{tool}", verb, "--help"], holds)
    check_errors()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        long_name = "a-model-with-a-rather-long-name-instruct-v0.1.gguf"
        subprocess.run(["gguf-convert", data + "/models/llama", "-o", long_name, "-q"], check=True)
        subprocess.run(["gguf-quantize", long_name, "b.gguf", "Q8_0", "-q"], check=True)
        check(["gguf-inspect", "diff", long_name, "b.gguf", "--values"], "SNR")
        check(["gguf-inspect", "diff", long_name, "b.gguf", "--values"], "SNR", {"PAGER": "cat -u"})
        check(["gguf-bench", long_name, "-p", "0", "-n", "0", "--pg", "8,2", "-d", "16", "-r", "2", "-q"], "TTFT s")
        check(["gguf-bench", "fit", long_name], "best")
        check(["gguf-bench", "fit", long_name, "--vram", "1G", "--explain"], "room")
        check(["gguf-inspect", long_name], "by part")
        check(["gguf-inspect", "tensors", long_name], "F32")
        check(["gguf-quantize", long_name, "x.gguf", "Q4_0", "--dry-run"], "bits per weight")
        record = {"model_filename": long_name, "n_prompt": 512, "samples_ts": [101.5, 99.25, 100]}
        for name in ("a.json", "b.json"):
            with open(name, "w", encoding="utf-8") as out:
                json.dump([record], out)
        check(["gguf-bench", "compare", "a.json", "b.json"], "B is")
    print("no line is wider than the terminal")


main()

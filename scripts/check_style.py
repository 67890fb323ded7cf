#!/usr/bin/env python3
"""Check what clang-format does not: layers, banned calls, lengths, opening comments. Exit 1 with findings."""
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# A folder may include its own headers and those of the folders before it.
LAYERS = ["libgguf", "quant", "runtime", "tools"]
# Rooms of runtime/ and what each may include beside itself and the public headers.
ROOMS = {
    "model": {"template/template_ast.h"},
    "engine": {"model"},
    "measure": {"model", "engine"},
    "calibrate": {"model", "engine"},
    "sizing": {"model", "engine/layout.h", "import/import.h"},
    "chat": {"model", "engine", "tokenizer", "template"},
    "serve": {"model", "engine", "chat", "tokenizer"},
    "import": {"model", "tokenizer"},
    "export": {"model", "import", "tokenizer"},
    "tokenizer": set(),
    "template": set(),
    "pull": set(),
}
# Headers that anybody may include.
PUBLIC = {"runtime/runtime.h", "runtime/model/arch.h"}
BANNED = {
    "strcpy": "snprintf or memcpy", "strcat": "snprintf", "sprintf": "snprintf",
    "vsprintf": "vsnprintf", "gets": "fgets", "atoi": "strtol", "atof": "strtod",
    "alloca": "malloc", "system": "no shell", "rand": "a seeded generator", "strtok": "strtok_r",
}
MAX_FUNCTION_LINES = 90
MAX_FILE_LINES = 900
GENERATED = {"runtime/tokenizer/unicode_table.c"}

TRACKED_BYTES = 60 * 10**6


def strip_comments_and_strings(text):
    """Same number of lines, without comments and with empty string literals."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)

    def blank(match):
        token = match.group(0)
        return '""' if token[0] == '"' else "\n" * token.count("\n") or " "

    return pattern.sub(blank, text)


def check_layers(path, text, report):
    folder = path.parts[0]
    if folder not in LAYERS:
        return
    for number, line in enumerate(text.split("\n"), 1):
        match = re.match(r'\s*#include "(\w+)/', line)
        if match and match.group(1) in LAYERS and LAYERS.index(match.group(1)) > LAYERS.index(folder):
            report(path, number, f"{folder} must not include {match.group(1)}")


def check_rooms(path, text, report):
    if path.parts[0] not in ("runtime", "quant"):
        return
    room = path.parts[1] if len(path.parts) > 2 else ""
    for number, line in enumerate(text.split("\n"), 1):
        match = re.match(r'\s*#include "((?:runtime|quant)/[^"]+)"', line)
        if not match or match.group(1) in PUBLIC:
            continue
        folder, other, *rest = match.group(1).split("/")
        if path.parts[0] == "quant" and room == "kernels" and rest == [] and other != "quant.h":
            report(path, number, f"quant/kernels must not include {match.group(1)}")
        if path.parts[0] != "runtime" or folder != "runtime" or room not in ROOMS or other == room:
            continue
        if other not in ROOMS[room] and "/".join([other, *rest]) not in ROOMS[room]:
            report(path, number, f"runtime/{room} must not include {match.group(1)}")
    backend_only = path.parts[:3] != ("runtime", "engine", "cpu")
    if path.parts[0] == "runtime" and backend_only and '#include "runtime/engine/cpu/' in text:
        report(path, 1, "only the CPU's own files may include runtime/engine/cpu")


def check_names(paths, report):
    """Each command has a main.c; every other file name occurs once."""
    seen = {}
    for path in paths:
        if path.name != "main.c" and path.parts[0] in LAYERS:
            if path.name in seen:
                report(path, 1, f"the file name occurs twice: {seen[path.name]}")
            seen[path.name] = path


def check_functions(path, code, report):
    start = None
    for number, line in enumerate(code.split("\n"), 1):
        if re.match(r"^[A-Za-z_].*\)\s*(\{)?\s*$|^[A-Za-z_].*\) \{$", line) and line.rstrip().endswith("{"):
            start = number
        elif start is None and line == "{":
            start = number
        elif line == "}" and start is not None:
            if number - start > MAX_FUNCTION_LINES:
                report(path, start, f"a function of {number - start} lines, more than {MAX_FUNCTION_LINES}")
            start = None


def check_file(path, report):
    text = (ROOT / path).read_text(encoding="utf-8")
    if not text.startswith("/*"):
        report(path, 1, "the file does not open with what it owns")
    lines = text.split("\n")
    if len(lines) > MAX_FILE_LINES and str(path) not in GENERATED:
        report(path, 1, f"{len(lines)} lines, more than {MAX_FILE_LINES}")
    for number, line in enumerate(lines, 1):
        if "\t" in line:
            report(path, number, "a tab")
        if line != line.rstrip():
            report(path, number, "white space at the end")
    code = strip_comments_and_strings(text)
    for number, line in enumerate(code.split("\n"), 1):
        for name, instead in BANNED.items():
            if re.search(rf"(?<![\w.>]){name}\s*\(", line):
                report(path, number, f"{name} is banned: use {instead}")
    if re.search(r"\b(TODO|FIXME|XXX)\b", text):
        report(path, 1, "an open TODO, FIXME or XXX")
    if path.parts[0] in LAYERS[:3] and re.search(r"(?<![\w.>])(printf|puts|putchar|exit|abort)\s*\(", code):
        report(path, 1, "a library that prints or ends the process")
    check_layers(path, text, report)
    check_rooms(path, text, report)
    check_functions(path, code, report)


def check_tracked(report):
    """What comes with every clone: no more than was agreed, and no link to nothing."""
    names = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, check=True, text=True).stdout
    files = [ROOT / name for name in names.split("\0") if name and os.path.lexists(ROOT / name)]
    n_bytes = sum(file.lstat().st_size for file in files)
    if n_bytes > TRACKED_BYTES:
        report(".", 1, f"{n_bytes} bytes are tracked, more than {TRACKED_BYTES}")
    for file in files:
        if file.is_symlink() and not file.exists():
            report(file.relative_to(ROOT), 1, "a link to nothing")


def main():
    findings = []

    def report(path, line, what):
        findings.append(f"{path}:{line}: {what}")

    paths = [file.relative_to(ROOT) for folder in [*LAYERS, "tests"] for suffix in ("*.c", "*.h", "*.inc")
             for file in sorted((ROOT / folder).rglob(suffix))]
    for path in paths:
        check_file(path, report)
    check_names(paths, report)
    check_tracked(report)
    print("\n".join(findings) if findings else "style: nothing found")
    return 1 if findings else 0


sys.exit(main())

#!/usr/bin/env python3
"""The pictures of docs/gallery: what people see of ggufkit, made from a real model.
usage: make_gallery.py BUILD MODEL.gguf OUTPUT-FOLDER [PICTURE...]      pictures: chat report page-360 page-1440 fit; speed,
which needs a machine that does nothing else

Needs the Python packages playwright and pillow, chromium and rsvg-convert of the system. MODEL is one that chats, for instance
SmolLM2-135M-Instruct. Numbers differ from machine to machine; the pictures of a commit need not be made anew.
"""
import fcntl
import html
import os
import pathlib
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time

from PIL import Image
from playwright.sync_api import sync_playwright

BUILD, MODEL, OUT = (pathlib.Path(arg).resolve() for arg in sys.argv[1:4])
WANTED = sys.argv[4:] or ["chat", "report", "page-360", "page-1440", "fit"]
ENV = {**os.environ, "PATH": f"{BUILD}:{os.environ['PATH']}", "COLUMNS": "80", "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
NAME = "model.gguf"


def save(picture, name, colors=48):
    """A PNG of few colours: small, and letters stay sharp."""
    picture.convert("RGB").quantize(colors, dither=Image.Dither.NONE).save(OUT / f"{name}.png", optimize=True)
    print(f"{name}.png: {(OUT / f'{name}.png').stat().st_size} bytes")


# ---- a terminal -------------------------------------------------------------------------------------


def play(command, folder, lines=(), wait=60):
    """What a command shows on a terminal of 80 columns to which lines are typed, each when the prompt is there."""
    pid, fd = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 80, 0, 0))
        os.chdir(folder)
        os.execvpe(command[0], command, ENV)
    shown, typed, quiet_since = "", 0, time.monotonic()
    end = time.monotonic() + wait
    while time.monotonic() < end:
        if select.select([fd], [], [], 0.2)[0]:
            try:
                data = os.read(fd, 65536)
            except OSError:
                break
            if not data:
                break
            shown += data.decode("utf-8", "replace")
            quiet_since = time.monotonic()
        elif typed < len(lines) and time.monotonic() - quiet_since > 1.0 and re.search(r"> $", without_codes(shown)):
            os.write(fd, lines[typed].encode() + b"\n")
            typed += 1
    os.close(fd)
    os.waitpid(pid, 0)
    return shown


def without_codes(text):
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]", "", text)
    return "\n".join(re.sub(r".*\r(?=.)", "", line.rstrip("\r")) for line in text.split("\n"))


def wrapped(text, width=80):
    """Lines as a terminal breaks them."""
    lines = []
    for line in text.split("\n"):
        while len(line) > width:
            lines.append(line[:width])
            line = line[width:]
        lines.append(line)
    return lines


def terminal(text, name, title):
    lines = wrapped(text.strip("\n"))
    width, line_height, top = 80 * 8.43 + 32, 19, 44
    height = top + line_height * len(lines) + 14
    rows = []
    for i, line in enumerate(lines):
        color = "#9ece6a" if line.startswith("$ ") or line.startswith("> ") else "#c8d0e0"
        rows.append(f'<text xml:space="preserve" x="16" y="{top + line_height * i + 8}" fill="{color}">{html.escape(line)}</text>')
    svg = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="DejaVu Sans Mono,monospace" '
           f'font-size="14"><rect width="100%" height="100%" rx="8" fill="#1a1d27"/>'
           f'<text x="{width / 2}" y="20" text-anchor="middle" fill="#7a8299" font-size="12">{html.escape(title)}</text>'
           f'{"".join(rows)}</svg>')
    draw(svg, name, 16)


def draw(svg, name, colors):
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder, "a.svg"), pathlib.Path(folder, "a.png")
        source.write_text(svg)
        subprocess.run(["rsvg-convert", source, "-o", target, "-b", "white"], check=True)
        save(Image.open(target), name, colors)


# ---- the pictures -----------------------------------------------------------------------------------


def chat(folder, _):
    questions = ["Why is the sky blue?", "/stats", "/exit"]
    shown = play(["gguf-run", NAME, "--seed", "1", "-n", "90"], folder, questions)
    terminal(f"$ gguf-run {NAME}\n" + without_codes(shown), "chat", "a chat in a terminal")


def fit(folder, _):
    shown = subprocess.run(["gguf-bench", "fit", "--device", "4070 ti"], env=ENV, cwd=folder, capture_output=True, text=True, check=True).stdout
    terminal("$ gguf-bench fit --device \"4070 ti\"\n" + "\n".join(shown.split("\n")[:16]), "fit", "what runs on 12 GB?")


def speed(folder, _):
    subprocess.run(["gguf-bench", NAME, "-p", "64,256", "-n", "32", "-d", "0,512,1024", "-r", "3", "-t", "1", "-q", "--plot", "speed.svg"],
                   env=ENV, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    draw(pathlib.Path(folder, "speed.svg").read_text(), "speed", 128)


def report(folder, browser):
    subprocess.run(["gguf-inspect", "report", NAME, "-o", "report.html", "-q"], env=ENV, cwd=folder, check=True)
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    page.goto(f"file://{folder}/report.html")
    page.wait_for_timeout(500)
    page.screenshot(path=f"{folder}/report.png")
    save(Image.open(f"{folder}/report.png"), "report")


def page_of(folder, browser, url, width, height):
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(url)
    page.wait_for_function("document.querySelector('#model').innerText !== 'gguf-serve'")
    page.fill("textarea", "Why is the sky blue?")
    page.keyboard.press("Enter")
    page.wait_for_timeout(1500)
    for _ in range(100):
        before = page.inner_text("body")
        page.wait_for_timeout(1000)
        if page.inner_text("body") == before:
            break
    page.screenshot(path=f"{folder}/page.png")
    save(Image.open(f"{folder}/page.png"), f"page-{width}")


def pages(folder, browser, sizes):
    command = ["gguf-serve", NAME, "--port", "0", "-q", "--temp", "0.3", "--max-tokens", "120"]
    with subprocess.Popen(command, env=ENV, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        url = re.search(r"http://\S+", server.stdout.readline()).group(0)
        for width, height in sizes:
            page_of(folder, browser, url, width, height)
        server.terminate()


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    sizes = [size for size in ((360, 640), (1440, 800)) if f"page-{size[0]}" in WANTED]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play_wright:
        os.symlink(MODEL, pathlib.Path(folder, NAME))
        browser = play_wright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for make in (chat, report, speed, fit):
            if make.__name__ in WANTED:
                make(folder, browser)
        if sizes:
            pages(folder, browser, sizes)
        browser.close()


main()

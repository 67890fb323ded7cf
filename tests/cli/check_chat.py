#!/usr/bin/env python3
"""Chat with gguf-run on a pseudo-terminal: editing, history, Ctrl-C, word wrap, typing ahead, leaving. usage: check_chat.py BUILD DATA editor|plain"""
import fcntl
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios

BUILD, DATA = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
EDITOR = sys.argv[3] == "editor"
SECONDS = 60
UP, CTRL_C, CTRL_D, ENTER = b"\x1b[A", b"\x03", b"\x04", b"\r"


class Chat:
    """A gguf-run on a terminal of 80 columns."""

    def __init__(self, folder, *options, columns=80, model="demo.gguf"):
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "xterm", "LC_ALL": "C.UTF-8"}
        # libedit 3.1 never frees the names of added functions; leaks are looked for in the cases with pipes.
        environment["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        command = [str(BUILD / "gguf-run"), str(folder / model), "--temp", "0", *options]
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            self.terminal = 0
            self.resize(columns)
            os.execve(command[0], command, environment)
        self.text = b""
        if "-p" not in options:
            self.prompt()

    def resize(self, columns):
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read(self):
        """More output; False at the end."""
        if not select.select([self.terminal], [], [], SECONDS)[0]:
            sys.exit(f"nothing for {SECONDS} s behind {self.text!r}")
        try:
            got = os.read(self.terminal, 65536)
        except OSError:
            return False
        self.text += got
        return bool(got)

    def expect(self, pattern):
        """What comes up to a match of the pattern; it is used up."""
        while not (match := re.search(pattern, self.text, re.S)):
            if not self.read():
                sys.exit(f"{pattern!r} is not in {self.text!r}")
        before, self.text = self.text[: match.end()], self.text[match.end():]
        return before

    def prompt(self):
        return self.expect(rb"> \Z")

    def send(self, keys):
        os.write(self.terminal, keys)

    def say(self, line):
        """Send a line and return what comes up to the next prompt, without what steers the terminal."""
        self.send(line + ENTER)
        self.expect(rb"\r\n")
        return re.sub(rb"\x1b\[[?0-9;]*[a-zA-Z]", b"", self.prompt())

    def echoes(self):
        """Whether the terminal shows what is typed, and hands it on in lines."""
        modes = termios.tcgetattr(self.terminal)[3]
        return bool(modes & termios.ECHO) and bool(modes & termios.ICANON)

    def end(self, status):
        while self.read():
            pass
        got = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        check(self.echoes(), "the terminal is left as it was")
        os.close(self.terminal)
        check(got == status, f"exit {got} instead of {status}: {self.text!r}")


def check(condition, what):
    if not condition:
        sys.exit(f"failed: {what}")


def test_answers(folder):
    chat = Chat(folder, "-n", "12", "--no-history")
    first = chat.say(b"What is the world?")
    check(len(first) > 20, f"an answer: {first!r}")
    check(b"12 tokens" in chat.say(b"/stats"), "/stats")
    again = chat.say(b"/regen")
    check(again == first, f"/regen gives the same at temperature 0: {first!r}, {again!r}")
    numbers = re.search(rb"prompt +(\d+) tokens, (\d+) of them", chat.say(b"/stats"))
    check(int(numbers[1]) == int(numbers[2]) + 1, "the same prompt comes from the cache, but for one token")
    check(b"unknown command /nothing" in chat.say(b"/nothing"), "an unknown command")
    check(b"takes a number from 0 to 1, not '2'" in chat.say(b"/set top-p 2"), "/set with a wrong value")
    chat.say(b"/undo")
    check(b"0 messages" in chat.say(b"/stats"), "/undo")
    check(b"nothing to take back" in chat.say(b"/undo"), "/undo of nothing")
    chat.say("Grüße € 😀".encode())
    chat.say(b"/save talk.json")
    check(b"exists" in chat.say(b"/save talk.json"), "/save does not replace")
    chat.say(b"/clear")
    check(b"2 messages" in chat.say(b"/load talk.json"), "/load")
    chat.send(b"/exit" + ENTER)
    chat.end(0)
    check("Grüße € 😀" in pathlib.Path("talk.json").read_text(encoding="utf-8"), "UTF-8 is kept")
    check(not list(folder.glob(".local/**/history")), "--no-history")


def test_interrupts(folder):
    chat = Chat(folder, "--ctx", "40000", "--no-history")
    chat.send(b"What is the world" + ENTER)
    chat.expect(rb"\r\n[^\r]*\r\n")
    chat.send(CTRL_C)
    chat.expect(rb"gguf-run: stopped")
    chat.prompt()
    check(b"interrupted" in chat.say(b"/stats"), "the answer was interrupted")
    chat.say(b"/set n 5")
    check(len(chat.say(b"And then?")) > 5, "an answer behind an interrupted one")
    if EDITOR:
        chat.send(b"not this")
        chat.expect(rb"not this")
        chat.send(CTRL_C)
        chat.prompt()
    chat.send(CTRL_C)
    chat.expect(rb"Ctrl-C again leaves")
    chat.prompt()
    chat.send(CTRL_C)
    chat.end(130)
    chat = Chat(folder)
    chat.send(CTRL_D)
    chat.end(0)
    chat = Chat(folder)
    os.kill(chat.pid, signal.SIGTERM)
    chat.end(130)


def test_control_characters(folder):
    """The terminal sees none of those in a text, whoever wrote it."""
    chat = Chat(folder, "-p", "\x1b[31mred\x9b\u009b\tx\n", "-n", "1")
    chat.expect(rb"\\x1b\[31mred.*\\x9b.*\tx\r\n")
    check(b"\x1b" not in chat.text, "an escape character")
    chat.end(0)


def test_note(folder):
    """Who completes a text with a model for chats is told of --chat."""
    template = folder / "x.jinja"
    template.write_text("{{ messages[0].content }}")
    (folder / "chat.gguf").write_bytes((folder / "demo.gguf").read_bytes())
    subprocess.run([BUILD / "gguf-edit", "set-template", folder / "chat.gguf", template, "-q"], check=True)
    chat = Chat(folder, "-p", "one", "-n", "1", model="chat.gguf")
    chat.expect(rb"gguf-run: the text is continued; .* --chat answers\r\n *it\r\none")
    chat.end(0)


def test_wrapping(folder):
    """Words that do not fit a line of 30 columns begin the next one; so does what the model says."""
    chat = Chat(folder, "-p", "one two three four five six seven eight", "-n", "1", columns=30)
    chat.expect(rb"one two three four five six (s[a-z]*\x1b\[\dD\x1b\[K)?\r\nseven eight")
    chat.end(0)


def test_typing_ahead(folder):
    """What is typed during an answer is not shown in it, and is the next line."""
    for ends in (signal.SIGINT, signal.SIGQUIT):
        chat = Chat(folder, "--ctx", "40000", "--no-history")
        chat.send(b"What is the world" + ENTER)
        chat.expect(rb"\r\n[^\r]*\r\n")
        check(not chat.echoes(), "no echo during an answer")
        chat.send(b"/stats" + ENTER)
        chat.expect(rb"\r\n[^\r]*\r\n")
        os.kill(chat.pid, ends)
        if ends == signal.SIGQUIT:
            chat.end(-signal.SIGQUIT)
            continue
        check(b"/stats" not in chat.expect(rb"gguf-run: stopped"), "the answer has what was typed in it")
        chat.expect(rb"context +\d+ of 40000 tokens")
        chat.prompt()
        chat.send(CTRL_D)
        chat.end(0)


def test_editing(folder):
    chat = Chat(folder, "-n", "4")
    chat.say(b"first mesage\x1b[D\x1b[D\x1b[D\x1b[Ds")
    chat.say(b"/st\t")
    chat.send(b"\t")
    chat.expect(rb"/help  /clear  .*/exit  \r\n")
    chat.send(b"/s\t")
    chat.expect(rb"/system  /save  /set  /stats  \r\n.*> /s")
    chat.send(b"\x15")
    chat.send(b"one\\" + ENTER)
    chat.expect(rb"\. ")
    chat.say(b"two")
    chat.send(b'"""' + ENTER)
    chat.expect(rb"\. ")
    chat.say(b'block"""')
    chat.send(b"\x1b[200~pasted\rlines\r\x1b[201~")
    chat.expect(rb"lines")
    chat.say(b"")
    chat.resize(40)
    chat.say(b"wide " * 200 + b"line")
    chat.say(b"bad \xff\xc3 bytes")
    chat.send(CTRL_D)
    chat.end(0)
    chat = Chat(folder, "-n", "4")
    chat.send(UP * 7)
    chat.expect(rb"first message")
    chat.say(b"")
    chat.say(b"/save history.json")
    chat.send(CTRL_D)
    chat.end(0)
    check("first message" in pathlib.Path("history.json").read_text(encoding="utf-8"), "a line of the history is sent")
    history = (folder / ".local/state/ggufkit/history").read_text(encoding="utf-8").split("\n")
    expected = ["first message", "/stats", "one\\ntwo", "block", "pasted\\nlines", "wide " * 200 + "line",
                "bad \ufffd\ufffd bytes", "first message", "/save history.json", ""]
    check(history == expected, f"history: {history}")


def test_stopped_and_continued(folder):
    chat = Chat(folder, "-n", "4")
    chat.send(b"half")
    chat.expect(rb"half")
    os.kill(chat.pid, signal.SIGSTOP)
    os.waitpid(chat.pid, os.WUNTRACED)
    os.kill(chat.pid, signal.SIGCONT)
    chat.expect(rb"> half")
    chat.say(b" done")
    chat.send(CTRL_D)
    chat.end(0)


with tempfile.TemporaryDirectory() as temporary:
    os.chdir(temporary)
    home = pathlib.Path(temporary)
    subprocess.run([BUILD / "gguf-convert", DATA / "demo-model", "-o", home / "demo.gguf", "-q"], check=True)
    test_answers(home)
    test_interrupts(home)
    test_control_characters(home)
    test_note(home)
    test_wrapping(home)
    test_typing_ahead(home)
    if EDITOR:
        test_editing(home)
        test_stopped_and_continued(home)
print("chat on a terminal: answers, interrupts, wrapping, typing ahead" + (", editing" if EDITOR else ""))

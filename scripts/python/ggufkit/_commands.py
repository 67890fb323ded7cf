"""ggufkit's commands: each call starts one and reads its JSON document."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Dict, List, NoReturn, Optional, Sequence

import numpy as np

from ._library import FILES, Error, Path


def command(name: str, *args: "str | Path", input: Optional[str] = None) -> Dict[str, Any]:
    """Run a command ("gguf-inspect") with --json and return its document. A check that found something (exit status 1) returns
    its document too. Raises Error."""
    line = [str(FILES / "bin" / name), *(os.fspath(arg) for arg in args), "--json"]
    result = subprocess.run(line, input=None if input is None else input.encode(), stdin=None if input is not None else subprocess.DEVNULL,
                            capture_output=True, check=False)
    try:
        document = json.loads(result.stdout)
    except ValueError:
        last = result.stderr.decode("utf-8", "replace").strip().split("\n")[-1]
        raise Error("interrupted" if result.returncode in (130, -2) else "failed", last or f"exit status {result.returncode}") from None
    if isinstance(document, dict) and "error" in document:
        error = document["error"]
        raise Error(error["code"], error["message"], error["file"], error["offset"])
    return document  # type: ignore[no-any-return]


def _threads(threads: Optional[int]) -> List[str]:
    return [] if threads is None else ["-t", str(threads)]


def convert(source: Path, output: Path, *, outtype: str = "auto", force: bool = False, threads: Optional[int] = None) -> Dict[str, Any]:
    """A model folder becomes a GGUF file, of any type that quantize writes."""
    return command("gguf-convert", source, "-o", output, "--outtype", outtype, *["--force"] * force, *_threads(threads))


def quantize(source: Path, output: Path, type: str, *, imatrix: Optional[Path] = None, calibrate: Optional[Path] = None,
             force: bool = False, threads: Optional[int] = None) -> Dict[str, Any]:
    """Quantise a GGUF file or model folder; imatrix is an importance matrix, calibrate a text to compensate errors with."""
    options: List[Any] = []
    if imatrix is not None:
        options += ["--imatrix", imatrix]
    if calibrate is not None:
        options += ["--calibrate", calibrate]
    return command("gguf-quantize", source, output, type, *options, *["--force"] * force, *_threads(threads))


@dataclass(frozen=True)
class Answer:
    """What a model generated: the text, its token ids, and why it ended ("stop" or "length")."""

    text: str
    ids: List[int]
    finish_reason: str


def generate(model: Path, prompt: str, *, n: int = 128, chat: bool = False, system: Optional[str] = None, temperature: Optional[float] = None,
             seed: Optional[int] = None, stop: Sequence[str] = (), threads: Optional[int] = None) -> Answer:
    """Go on with a text, or with chat answer a message. The same seed gives the same text."""
    options = ["-n", str(n)]
    if chat:
        options.append("--chat")
    if system is not None:
        options += ["--system", system]
    if temperature is not None:
        options += ["--temp", repr(float(temperature))]
    if seed is not None:
        options += ["--seed", str(seed)]
    for text in stop:
        options += ["--stop", text]
    document = command("gguf-run", model, "-p", "-", *options, *_threads(threads), input=prompt)
    return Answer(document["text"], document["ids"], document["finish_reason"])


def tokenize(model: Path, text: str, *, special: bool = True, parse_special: bool = True) -> List[int]:
    """Token ids of a text; special: with those that the tokenizer adds itself, parse_special: special tokens in the text count as such."""
    options = ["--no-special"] * (not special) + ["--no-parse-special"] * (not parse_special)
    ids: List[int] = command("gguf-run", model, "--tokenize", "-p", "-", *options, input=text)["ids"]
    return ids


def embed(model: Path, texts: Sequence[str], *, pooling: Optional[str] = None, threads: Optional[int] = None) -> "np.ndarray[Any, Any]":
    """Vectors of texts, float32 [len(texts), n_embd], normalised. The model is opened once, unless a text has several lines."""
    options = ([] if pooling is None else ["--pooling", pooling]) + _threads(threads)
    one_line_each = all(text.strip() and "\n" not in text and "\r" not in text for text in texts)
    if one_line_each and len(texts) > 1:
        rows = command("gguf-run", model, "--embed", "-f", "/dev/stdin", *options, input="\n".join(texts) + "\n")["texts"]
    else:
        rows = [command("gguf-run", model, "--embed", "-p", "-", *options, input=text)["texts"][0] for text in texts]
    return np.array([row["embedding"] for row in rows], np.float32)


def main() -> NoReturn:
    """The commands themselves, under their own names."""
    name = os.path.basename(sys.argv[0])
    os.execv(str(FILES / "bin" / name), sys.argv)

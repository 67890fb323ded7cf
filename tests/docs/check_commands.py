#!/usr/bin/env python3
"""Every command line of the documents, and every example of --help, is tried: parsed by the command's own parser, and run where it can be run here.
usage: check_commands.py BUILD SOURCE [DOCUMENT...]      VERBOSE=1 in the environment shows each with its time

A command line is a line of an indented or fenced block that begins with gguf- (what is to be started by mpirun is started as one
process here, see tests/mpi), or a span `gguf-x ...` in a text. Names of files
that documents use are names of fixtures; placeholders in capitals stand for one. --help at the end of a command line makes the
command parse everything before it and do nothing.
"""
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

BUILD, SOURCE = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
DATA = SOURCE / "tests" / "data"
OTHERS = {"gguf-dump"}  # of llama.cpp's Python package
COMMANDS = [f"gguf-{name}" for name in "convert imatrix quantize inspect edit bench run serve pull".split()]

# What is parsed only, and why.
NOT_RUN = [
    (r"hf://|ollama://|hf\.co/|-hf |gemma3-|ORG/REPO|\bNAME\b|gguf-pull", "needs the network"),
    (r"-ngl|gguf-\w+ .*--device 0", "needs a device for computing"),
    (r"\bURL\b|http://127", "needs a server that runs already"),
    (r"-d 0,4096,16384|\bM -t 2 -p 512", "takes minutes"),
    (r"--tls-cert", "needs a certificate"),
    (r"--port 11434", "a fixed port may be taken"),
    (r"big|\bTYPE\b(?!=)|SmolLM2", "stands for several, or for a model that is not here"),
    (r"cohere2\.yaml", "the document writes this file in its course"),
]
# A fixture for each name; two commands in one document find what the one before them wrote.
SAME = {
    "bf16": "A.gguf B.gguf model.gguf model-bf16.gguf demo-bf16.gguf BF16.gguf bf16.gguf m.gguf F.gguf IN.gguf MODEL.gguf MODEL MODEL... FILE A B REF",
    "q4": "out.gguf model-q4.gguf q.gguf Q4_K_M.gguf Q8_0.gguf new.gguf demo-Q8_0.gguf",
    "bert": "e.gguf minilm.gguf EMBEDDER",
    "rerank": "RERANKER",
    "linear": "BASE",
    "lora": "a.gguf ADAPTER",
    "folder": "Llama-3.2-1B Llama-3.1-8B model FOLDER MODEL-FOLDER",
    "text": "text.txt calibration.txt calib.txt TEXT TEXT[.gz]",
    "test": "test.txt",
    "lines": "texts.txt questions.txt TEXTS",
    "imatrix": "imatrix.gguf im.gguf F",
    "base": "test.base b",
    "speed": "before.json after.json A.json B.json",
    "quality": "record.json",
    "choices": "F.jsonl",
    "chat": "chat.json",
    "tools": "tools.json",
    "template": "F.jinja TEMPLATE.jinja",
    "ids": "cases.json LIST.json",
    "schema": "person.json",
    "grammar": "yes-no.gbnf",
    "shards": "part-00001-of-00003.gguf FIRST-SHARD",
}
FIXTURE = {name: fixture for fixture, names in SAME.items() for name in names.split()}
# Placeholders that are no file.
VALUE = {"KEY=TYPE:VALUE...": "general.name=str:x", "KEY=VALUE": "general.name=x", "KEY...": "general.size_label", "KEY": "general.name",
         "OLD": "general.name", "NEW": "general.title", "SIZE": "4M", "4G": "4M", "N": "2", "2N": "4", "PREFIX": "part", "TYPE": "Q8_0",
         "OUT": "out.gguf", "QUERY": "question", "VERB": "set", "ADDRESS": "127.0.0.1", "bf16|f32": "bf16", "auto|always|never": "never",
         "ADAPTER[:SCALE]": "ADAPTER", "OUT.svg|OUT.png": "OUT.svg", "-o/--report": "--report", "4GiB": "4MiB", "6G": "6M"}


# Options and verbs that texts name alone.
PARTS = {"-o", "--plot", "--save-every", "--save-base", "--manifest", "--logits", "F.yaml", "OUT"}
VERBS = {"verify", "merge-lora", "serve", "merge", "quality"}


def run(args, folder, **options):
    return subprocess.run(args, cwd=folder, capture_output=True, text=True, errors="replace", timeout=100, **options)


# ---- fixtures -----------------------------------------------------------------------------------


def make_fixtures(folder):
    def command(*args, out=None):
        result = run(args, folder)
        if result.returncode:
            sys.exit(f"{' '.join(map(str, args))}: {result.stderr}")
        if out:
            (folder / out).write_text(result.stdout)

    models = DATA / "models"
    shutil.copytree(DATA / "demo-model", folder / "folder")
    command("gguf-convert", "folder", "-o", "bf16", "-q")
    (folder / "text").write_text((DATA / "demo-model" / "calib.txt").read_text()[:20000])
    (folder / "test").write_text((DATA / "demo-model" / "test.txt").read_text()[:8000])
    (folder / "template").write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:")
    command("gguf-edit", "set-template", "bf16", "template", "-q")
    command("gguf-quantize", "bf16", "q4", "Q4_K_M", "--calibrate", "text", "--samples", "256", "-q")
    for name, model in (("bert", "bert_sentence"), ("rerank", "qwen3_embedding"), ("linear", "llama_linear"), ("lora", "llama_lora")):
        command("gguf-convert", models / model, "-o", name, "-q")
    (folder / "lines").write_text("In the beginning\nAnd the earth\n")
    command("gguf-imatrix", "bf16", "-f", "text", "--chunks", "4", "-o", "imatrix", "-q")
    command("gguf-bench", "quality", "bf16", "-f", "test", "--save-base", "base", "-q", out="quality.txt")
    command("gguf-bench", "quality", "q4", "-f", "test", "--base", "base", "--json", "-q", out="quality")
    command("gguf-bench", "q4", "-p", "8", "-n", "4", "-r", "3", "-o", "json", "-q", out="speed")
    (folder / "choices").write_text('{"context": "And", "choices": ["God said", "said God"], "label": 0}\n')
    (folder / "chat").write_text('{"messages": [{"role": "user", "content": "Hello"}]}')
    (folder / "tools").write_text('[{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]')
    (folder / "ids").write_text("[]")
    (folder / "schema").write_text('{"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}')
    (folder / "grammar").write_text('root ::= "yes" | "no"')


# The pieces that a document's command line needs, where nothing of that name lies there yet.
def bring(command, fixtures, folder):
    for word in re.split(r"[\s=<>|()'\"$]+", command):
        top = word.rstrip("/").split("/")[0]
        target = folder / (word if word.startswith("part-") else top)
        kind = FIXTURE.get(top)
        if not kind or target.exists():
            continue
        if kind == "shards":
            run(["gguf-edit", "split", fixtures / "bf16", "part", "--max-size", "5M", "--force", "-q"], folder)
            first = sorted(folder.glob("part-00001-*"))[0]
            if not target.exists():
                return first.name
        elif kind == "folder":
            shutil.copytree(fixtures / kind, target)
        else:
            shutil.copy(fixtures / kind, target)
    return None


# ---- extraction ---------------------------------------------------------------------------------


def command_lines(text):
    """Pairs of a line's number and a command; scripts of a fenced block come as a whole, with True."""
    lines, fenced, block = text.split("\n"), False, []
    for number, line in enumerate(lines, 1):
        if line.startswith("```"):
            fenced = not fenced
            if not fenced and block and block[0].startswith("#!"):
                yield number - len(block), "\n".join(block), True
            block = []
            continue
        if fenced:
            block.append(line)
        script = fenced and block[0].startswith("#!")
        match = re.match(r"\s*(?:\$ )?(?:mpirun (?:-\S+ [^-\s]\S* )*)?(gguf-[a-z]+( .*)?)$", line)
        if match and (fenced or line.startswith("    ")) and not script:
            yield number, match.group(1), False
        elif not fenced and not line.startswith("    "):
            for span in re.findall(r"`(gguf-[a-z]+ [^`]*)`", line.replace("\\|", "|")):
                if span.split()[0] not in OTHERS:
                    yield number, span, False


def is_part(command):
    """A command and an option without its value, of which a text speaks."""
    words = [word for word in command.split() if word != "-q"]
    return "set/unset" in words[1] or len(words) <= 4 and words[-1] in PARTS or len(words) == 2 and words[1] in VERBS or words[1] == "VERB"


def check_part(command):
    """Its verbs and options stand in the help."""
    name, *words = command.split()
    shown = run([name, "--help"], None).stdout
    for word in words:
        for one in word.split("/"):
            if one not in ("VERB", "OUT", "FOLDER", "F.yaml") and not re.search(rf"(?<![\w-]){re.escape(one)}(?![\w-])", shown):
                return f"--help has no {one}"
    return None


def fill_in(command):
    """Placeholders and options in brackets become something to run."""
    command = re.sub(r"\s+#.*$", "", command)
    command = command.replace("TEXT[.gz]", "TEXT").replace("ADAPTER[:SCALE]", "ADAPTER")
    command = re.sub(r"\[(-[^\]]*)\]", r"\1", command)
    if "merge-lora" in command:
        command = re.sub(r"\bMODEL\b|\bm\.gguf\b", "BASE", command)
    if command.startswith("gguf-convert"):
        command = command.replace("MODEL ", "FOLDER ").replace("-o FOLDER", "-o NEW-FOLDER")
    if re.match(r"gguf-bench serve (MODEL|model)", command):
        command += " --requests 2 --tokens 8"
    if "--show" in command:
        command = command.replace("FILE", "im.gguf")
    command = command.replace("<questions.txt", "<questions.txt -n 8").replace("--max-ppl 12", "--max-ppl 1000")
    if "--embed" in command:
        command = command.replace("MODEL", "EMBEDDER")
    if "--rank" in command:
        command = command.replace("MODEL", "RERANKER")
    words = [VALUE.get(word, word) for word in command.split(" ")]
    words = [word[:-3] if word.endswith("...") and word != "MODEL..." else word for word in words]
    return " ".join(words).replace("MODEL...", "MODEL")


# ---- trying -------------------------------------------------------------------------------------


def without_redirections(command):
    return re.sub(r"\s*(?<!\S)[0-9]?[<>]+\s*\S+", "", command.split(" | ")[0])


def parse(command, folder):
    """The parser's complaint, or None."""
    if not command.split()[0] in COMMANDS:
        return f"{command.split()[0]} is no command"
    result = run(["bash", "-c", without_redirections(command) + " --help"], folder)
    return None if result.returncode == 0 else result.stderr.strip() or f"exit {result.returncode}"


def serve(command, folder):
    command = command if "--port" in command else command + " --port 0"
    with subprocess.Popen(["bash", "-c", "exec " + re.sub(r"--port \d+", "--port 0", command)], cwd=folder, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        line = server.stdout.readline()
        server.terminate()
        error = server.communicate()[1]
    return None if line.startswith("listening on http") and server.returncode == 0 else error or f"exit {server.returncode}"


def execute(command, folder):
    if command.startswith("gguf-serve") and "--help" not in command:
        return serve(command, folder)
    for attempt in (command, re.sub(r"^(gguf-\w+( (set|unset|rename|split|merge-lora|merge|quality|fit|report|stats))?)", r"\1 --force", command)):
        result = run(["bash", "-c", attempt], folder, stdin=subprocess.DEVNULL)
        if "--force" not in result.stderr:
            break
    return None if result.returncode == 0 else f"exit {result.returncode}: {result.stderr.strip()}"


def try_script(text, fixtures, folder):
    """check-model.sh of docs/ci.md: twice, the second time against its own records, and once with a gate that is missed."""
    (folder / "script.sh").write_text(text)
    for name in ("q4", "base", "test"):
        shutil.copy(fixtures / name, folder / name)
    command = ["sh", "script.sh", "q4", "base", "test", "records"]
    for gate, status in (({}, 0), ({"SAME_MACHINE": "no"}, 0), ({"MAX_KLD": "0"}, 1)):
        result = run(command, folder, env={**os.environ, **gate})
        if result.returncode != status:
            return f"exit {result.returncode}, not {status}: {result.stderr}"
    return None


def check(document, fixtures, parent):
    """Lines about what fails, and how many command lines were parsed and run."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=parent))
    verbose = os.environ.get("VERBOSE")
    failures, n_parsed, n_run = [], 0, 0
    for number, line, is_script in command_lines(document.read_text()):
        start = time.monotonic()
        where = f"{document.name}:{number}: {line.splitlines()[0]}"
        if is_script:
            fault = try_script(line, fixtures, folder)
            n_run += 1
        elif is_part(line):
            fault = check_part(line)
            n_parsed += 1
        else:
            command = fill_in(line)
            fault = parse(command, folder)
            n_parsed += 1
            if not fault and not any(re.search(pattern, line) for pattern, _ in NOT_RUN):
                shard = bring(command, fixtures, folder)
                if shard:
                    command = re.sub(r"FIRST-SHARD|part-00001-of-00003.gguf", shard, command)
                shutil.rmtree(folder / "NEW-FOLDER", ignore_errors=True)
                fault = execute(command, folder)
                n_run += 1
        if verbose:
            print(f"{time.monotonic() - start:6.1f} s  {where}")
        if fault:
            failures.append(f"{where}\n    {fault}")
    shutil.rmtree(folder)
    return failures, n_parsed, n_run


def help_examples(folder):
    """The examples of every command's help, as documents."""
    for words in [[name] for name in COMMANDS] + [["gguf-bench", "fit"], ["gguf-bench", "serve"]]:
        shown = run([*words, "--help"], None).stdout
        path = folder / f"{'-'.join(words)}.help"
        path.write_text(re.search(r"Examples:\n((    gguf-.*\n)+)", shown).group(1))
        yield path


def main():
    os.environ.update(PATH=f"{BUILD}:{os.environ['PATH']}", GGUFKIT_MODELS="/nonexistent", HF_ENDPOINT="http://127.0.0.1:9", PAGER="cat")
    documents = [pathlib.Path(name) for name in sys.argv[3:]] or [SOURCE / "README.md", *sorted((SOURCE / "docs").glob("*.md"))]
    with tempfile.TemporaryDirectory() as scratch:
        if not sys.argv[3:]:
            documents += help_examples(pathlib.Path(scratch))
        fixtures = pathlib.Path(scratch) / "fixtures"
        fixtures.mkdir()
        make_fixtures(fixtures)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda document: check(document, fixtures, scratch), documents))
    failures = [failure for result in results for failure in result[0]]
    print("\n".join(failures))
    print(f"{sum(r[1] for r in results)} command lines parsed, {sum(r[2] for r in results)} of them and of the scripts run, {len(failures)} failed")
    return 1 if failures else 0


sys.exit(main())

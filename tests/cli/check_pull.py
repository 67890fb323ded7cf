#!/usr/bin/env python3
"""gguf-pull against a hub on loopback, with faults. usage: check_pull.py BUILD DATA [--kills N]"""
import hashlib
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import hub_server  # noqa: E402

BUILD, DATA = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
KILLS = int(sys.argv[4]) if len(sys.argv) > 4 else 3
TMP = pathlib.Path(tempfile.mkdtemp())
hub = hub_server.Hub()
failures = []
random.seed(5)


def fake(n):
    return b"GGUF" + random.randbytes(n - 4)


def environment(**more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "XDG_", "OLLAMA_", "GGUFKIT_")) and "proxy" not in k.lower()}
    return {**clean, "HOME": str(TMP / "home"), "GGUFKIT_MODELS": str(TMP / "store"), "HF_ENDPOINT": hub.url, "LC_ALL": "C.UTF-8", **more}


def run(*args, tool="gguf-pull", env=None, limit=None, timeout=60):
    def limits():
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    result = subprocess.run([BUILD / tool, *map(str, args)], capture_output=True, text=True, timeout=timeout,
                            env=environment(**(env or {})), preexec_fn=limits, cwd=TMP)
    return result


def check(what, condition, result=None):
    print(("ok      " if condition else "FAILED  ") + what)
    if not condition:
        failures.append(what)
        if result is not None:
            print(f"  exit {result.returncode}\n  out: {result.stdout}\n  err: {result.stderr}")


def fresh():
    """A hub and a store with nothing in them."""
    hub.reset()
    shutil.rmtree(TMP / "store", ignore_errors=True)


def leftovers(ending=""):
    blobs = TMP / "store" / "blobs"
    return sorted(p.name for p in blobs.glob("*" + ending)) if blobs.exists() else []


def same(result, data):
    return result.returncode == 0 and pathlib.Path(result.stdout.strip()).read_bytes() == data


def refuses(what, result, status, *words):
    whole = all(len(name) == 71 and hashlib.sha256((TMP / "store" / "blobs" / name).read_bytes()).hexdigest() == name[7:]
                for name in leftovers() if "." not in name)
    one_line = len([line for line in result.stderr.splitlines() if line.startswith("gguf-pull: ") and "warning" not in line]) >= 1
    named = all(word in result.stderr for word in words)
    check(what, result.returncode == status and named and one_line and whole and result.stdout == "", result)


MODEL = "Tiny-GGUF"
REPO = f"org/{MODEL}"


def put(name="tiny-Q8_0.gguf", n=300_000):
    fresh()
    data = fake(n)
    hub.repos[REPO] = {name: data, "README.md": b"# Tiny\n"}
    return data, f"/{REPO}/resolve/{hub_server.COMMIT}/{name}"


FAST = ("--timeout", "1", "--tries", "3")


def test_fresh():
    data, path = put()
    result = run(f"hf://{REPO}")
    check("fresh", same(result, data) and result.stdout.endswith("tiny-Q8_0.gguf\n"), result)
    n = hub.counts[path]
    result = run(f"hf://{REPO}:Q8_0", "--json")
    document = json.loads(result.stdout)
    check("what is there is not fetched again", hub.counts[path] == n and document["fetched_bytes"] == 0, result)
    hub.forget()
    check("--if-missing asks nobody", same(run(f"{REPO}:q8_0", "--if-missing"), data) and not hub.requests)
    check("by its bare name", same(run(MODEL, "--if-missing"), data) and not hub.requests)
    check("offline", same(run(f"hf.co/{REPO}", env={"HF_HUB_OFFLINE": "1"}), data))
    refuses("offline and absent", run("org/other", env={"HF_HUB_OFFLINE": "1"}), 3, "HF_HUB_OFFLINE")
    listed = json.loads(run("--list", "--json").stdout)["models"]
    check("--list", [row["name"] for row in listed] == [f"hf://{REPO}:Q8_0"] and listed[0]["complete"])
    shown = json.loads(run("--show", f"hf://{REPO}", "--json").stdout)
    check("--show", shown["revision"] == hub_server.COMMIT and shown["files"][0]["sha256"] == hub_server.sha256(data))
    result = run("--rm", f"{REPO}", "--json")
    check("--rm", json.loads(result.stdout)["freed_bytes"] == len(data) and leftovers() == [], result)
    check("nothing is left", [p for p in (TMP / "store").rglob("*") if not p.is_dir()] == [TMP / "store" / "lock"])
    refuses("--rm of what is absent", run("--rm", REPO), 3, "not in the store")


def test_choice():
    fresh()
    files = {f"m-{t}.gguf": fake(n) for t, n in (("BF16", 5000), ("Q8_0", 3000), ("Q4_K_M", 2000))}
    shards = {f"big/m-Q6_K-0000{i}-of-00002.gguf": fake(1000 + i) for i in (1, 2)}
    hub.repos[REPO] = {**files, **shards, "mmproj-F16.gguf": fake(9000), "m-Q2_K-00001-of-00002.gguf": fake(100)}
    result = run(REPO)
    check("the best quantised type that fits", same(result, files["m-Q8_0.gguf"]) and "taking Q8_0" in result.stderr, result)
    check("a type", same(run(f"{REPO}:q4_k_m"), files["m-Q4_K_M.gguf"]))
    check("a file", same(run(f"{REPO}:m-BF16.gguf"), files["m-BF16.gguf"]))
    result = run(f"{REPO}:Q6_K")
    folder = pathlib.Path(result.stdout.strip()).parent
    check("all shards, beside each other", same(result, shards["big/m-Q6_K-00001-of-00002.gguf"])
          and (folder / "m-Q6_K-00002-of-00002.gguf").read_bytes() == shards["big/m-Q6_K-00002-of-00002.gguf"], result)
    refuses("a type that is not there", run(f"{REPO}:Q4_K_X"), 2, "did you mean", "Q4_K_M")
    refuses("a set without all shards is none", run(f"{REPO}:Q2_K"), 2, "Q2_K")
    result = run(f"{REPO}:Q4_K_M", "--dry-run", env={"GGUFKIT_MODELS": str(TMP / "other")})
    check("--dry-run", result.returncode == 0 and "1.95 KiB to fetch" in result.stdout and not list((TMP / "other").rglob("sha256*")), result)
    refuses("a revision that is not there", run(f"{REPO}@nope"), 3, "revision 'nope'")
    check("a revision", same(run(f"{REPO}:Q4_K_M@{hub_server.COMMIT}"), files["m-Q4_K_M.gguf"]))


def test_faults():
    data, path = put()
    hub.faults[path] = {"cut": 100_000, "times": 2}
    result = run(REPO, *FAST)
    ranges = [headers.get("Range") for p, headers in hub.requests if p == path]
    check("cut off and resumed", same(result, data) and ranges == [None, "bytes=100000-", "bytes=200000-"], result)

    fresh()
    hub.files["/a/changing.gguf"], other = fake(300_000), fake(310_000)
    hub.faults["/a/changing.gguf"] = {"cut": 100_000, "times": 1, "etags": ['"one"', '"two"'], "changed": other}
    result = run(f"{hub.url}/a/changing.gguf", *FAST)
    asked = [headers.get("If-Range") for _, headers in hub.requests]
    check("changed meanwhile: begun again", same(result, other) and asked == [None, '"one"'], result)

    data, path = put()
    hub.hashes["tiny-Q8_0.gguf"] = "0" * 64
    refuses("a wrong checksum", run(REPO), 4, "SHA-256", path)
    check("what came is kept as .bad alone", leftovers() == ["sha256-" + "0" * 64 + ".bad"])

    data, path = put()
    hub.faults[path] = {"etag": False}
    store = TMP / "store" / "blobs"
    store.mkdir(parents=True)
    (store / f"sha256-{hub_server.sha256(data)}.part").write_bytes(b"GGUF other" * 100)
    check("a part of something else is begun again", same(run(REPO), data))

    for status, error, words in ((401, "", ("HF_TOKEN",)), (403, "GatedRepo", ("accept its terms", f"{hub.url}/{REPO}")), (404, "", ("there is no org/",))):
        put()
        hub.faults[f"/api/models/{REPO}/revision/main"] = {"status": status, "headers": {"X-Error-Code": error}}
        refuses(f"status {status} {error}", run(REPO), 3, *words)
    data, path = put()
    hub.faults[path] = {"status": 403}
    refuses("a file that may not be read", run(REPO), 3, "not allowed", "403")

    data, path = put()
    hub.faults[path] = {"status": 429, "times": 1, "headers": {"Retry-After": "1"}}
    started = time.time()
    check("429, and back after the time asked for", same(run(REPO), data) and time.time() - started >= 1)
    hub.faults[path] = {"status": 429, "headers": {"Retry-After": "100000"}}
    shutil.rmtree(TMP / "store")
    refuses("429, to come back tomorrow", run(REPO), 3, "minutes")

    data, path = put()
    hub.faults[path] = {"cut": 50_000, "stall": 3, "times": 1}
    started = time.time()
    check("a server that stalls", same(run(REPO, *FAST), data) and time.time() - started < 10)

    data, path = put()
    hub.faults[path] = {"lie": 400_000}
    refuses("a length beyond the hub's", run(REPO, *FAST), 4, "400000")
    data, path = put()
    hub.claimed["tiny-Q8_0.gguf"] = 400_000
    refuses("a file that is shorter than the hub says", run(REPO, *FAST), 4, "300000")
    data, path = put()
    hub.faults[path] = {"cut": 100_000, "whole": True, "times": 1}
    check("a server without ranges", same(run(REPO, *FAST), data))
    data, path = put()
    hub.faults[path] = {"status": 416, "times": 0}
    store.mkdir(parents=True)
    (store / f"sha256-{hub_server.sha256(data)}.part").write_bytes(data[:200_000])
    hub.faults[path] = {"status": 416, "times": 1}
    check("416 is begun again", same(run(REPO, *FAST), data))

    data, path = put()
    hub.faults[path] = {"status": 304}
    refuses("304 that nobody asked for", run(REPO, *FAST), 3, "304")
    data, path = put()
    hub.files["/v/t-Q8_0.gguf"], newer = data, fake(len(data))
    hub.faults["/v/t-Q8_0.gguf"] = {"cut": 100_000, "times": 1, "blind": True, "changed": newer, "etags": ['"one"', '"two"']}
    check("two versions are never mixed", same(run(f"{hub.url}/v/t-Q8_0.gguf", *FAST), newer))
    put()
    hub.repos[REPO] = {"empty-Q8_0.gguf": b""}
    hub.faults[f"/{REPO}/resolve/{hub_server.COMMIT}/empty-Q8_0.gguf"] = {"status": 404}
    refuses("an empty file that is not there", run(REPO, *FAST), 3, "404")
    data, path = put()
    hub.repos["org/Odd"] = {"my (model) é@x.gguf": data}
    odd = run("org/Odd", "--json")
    check("a file name with spaces and more", odd.returncode == 0 and "cannot" not in run("--list").stderr, odd)
    check("--rm leaves what another model uses", same(run(REPO), data) and run("--rm", REPO).returncode == 0
          and pathlib.Path(json.loads(odd.stdout)["path"]).read_bytes() == data)
    check("and the odd name is removed by itself", run("--rm", json.loads(odd.stdout)["name"]).returncode == 0 and leftovers() == [])
    data, path = put()
    run(REPO)
    broken = TMP / "store" / "manifests" / "huggingface.co" / "org" / "other" / "x.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    refuses("--rm beside a manifest that cannot be read", run("--rm", REPO), 4, "cannot be read")
    data, path = put()
    run(REPO)
    next((TMP / "store" / "blobs").glob("sha256-*")).unlink()
    check("what is incomplete is shown", "incomplete" in run("--show", REPO).stdout)
    check("and removed", run("--rm", REPO).returncode == 0 and "Tiny" not in run("--list").stdout)
    data, path = put()
    refuses("a token with a space", run(REPO, env={"HF_TOKEN": "a b"}), 2, "space")
    data, path = put()
    refuses("a full disk", run(REPO, limit=100_000), 6, "cannot write")
    check("and resumed when there is room", same(run(REPO), data))
    put(n=4000)
    hub.claimed["tiny-Q8_0.gguf"] = 1 << 50
    refuses("no room for so much", run(REPO), 6)

    put()
    hub.repos[REPO]["../../evil.gguf"] = fake(1000)
    result = run(REPO)
    check("a path that leaves its folder", result.returncode == 0 and not list(TMP.rglob("evil*")), result)
    refuses("no such server", run(REPO, env={"HF_ENDPOINT": "http://127.0.0.1:9"}), 3, "127.0.0.1:9")
    refuses("a name that is none", run("hf://org"), 2, "hf://ORG/REPO")
    refuses("a short name that is none", run("gema3-4b"), 3, "did you mean 'gemma3-4b'")


def test_token():
    data, path = put()
    token = {"HF_TOKEN": "hf_secret"}
    other = hub_server.Hub()
    other.files["/cdn/tiny"] = data
    hub.faults[path] = {"redirect": f"{other.url}/cdn/tiny"}
    result = run(REPO, env=token)
    sent = {p: headers.get("Authorization") for p, headers in hub.requests}
    there = [headers for _, headers in other.requests]
    check("the token goes to the hub", same(result, data) and set(sent.values()) == {"Bearer hf_secret"}, result)
    check("and not past a redirection", there and all("Authorization" not in headers and "secret" not in str(headers) for headers in there))
    refuses("nor unencrypted", run("org/x", env={**token, "HF_ENDPOINT": "http://192.0.2.1:8"}, timeout=20), 2, "https only")
    folder = TMP / "home" / ".cache" / "huggingface"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "token").write_text("hf_file\n")
    hub.forget()
    run(REPO)
    check("the token of the login file", hub.requests[0][1].get("Authorization") == "Bearer hf_file")
    (folder / "token").unlink()
    hub.forget()
    hub.files["/a/t-Q8_0.gguf"] = data
    run(f"{hub.url}/a/t-Q8_0.gguf", env=token)
    check("no token for an address", "Authorization" not in hub.requests[0][1])


def test_url():
    fresh()
    data = hub.files["/a/model.gguf"] = fake(100_000)
    name = f"{hub.url}/a/model.gguf"
    check("an address", same(run(name), data))
    hub.forget()
    check("asked whether it changed", same(run(name), data) and hub.requests[0][1].get("If-None-Match"))
    data = hub.files["/a/model.gguf"] = fake(90_000)
    check("it did", same(run(name), data))
    hub.faults["/a/model.gguf"] = {"etag": False}
    run("--rm", name)
    check("an address without a tag", same(run(name), data) and same(run(name), data) and hub.counts["/a/model.gguf"] < 9)
    data = hub.files["/a/model.gguf"] = fake(90_000)
    check("is fetched again with --force", same(run(name, "--force"), data))
    refuses("an address without a model", run(f"{hub.url}/b.gguf"), 3, "not found")
    hub.files["/page.gguf"] = b"<html>"
    refuses("a page in place of a model", run(f"{hub.url}/page.gguf"), 4, "no GGUF file")


def test_ollama():
    fresh()
    data = hub.models["library/tiny:1b"] = fake(50_000)
    name = f"ollama://127.0.0.1:{hub.port}/library/tiny:1b"
    result = run(name)
    check("a registry", same(result, data) and result.stdout.endswith("tiny-1b.gguf\n"), result)
    run("--rm", name)
    hub.registry_login = f"{hub.url}/token"
    check("with its own login", same(run(name), data))
    shutil.rmtree(TMP / "store")
    hub.registry_login = "http://127.0.0.2:1/token"
    refuses("a login at another host", run(name), 3, "no place of its own")
    hub.registry_login = None
    refuses("a tag that is not there", run(name + "x"), 3, "there is no library/tiny:1bx")
    hub.layers = [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../../etc/passwd", "size": 9}]
    refuses("a digest that is a path", run(name), 4, "digest")
    hub.layers = [{"mediaType": "application/vnd.ollama.image.tensor", "digest": "sha256:" + "2" * 64, "size": 9}]
    refuses("a model of single tensors", run(name), 5, "single tensors")

    models = TMP / "home" / ".ollama" / "models"
    (models / "blobs").mkdir(parents=True)
    folder = models / "manifests" / "registry.ollama.ai" / "library" / "bard"
    folder.mkdir(parents=True)
    digest = hub_server.sha256(data)
    (models / "blobs" / f"sha256-{digest}").write_bytes(data)
    (folder / "latest").write_text(json.dumps({"schemaVersion": 2, "layers": [
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": len(data)}]}))
    listed = json.loads(run("--list", "--json").stdout)["models"]
    check("Ollama's own store is listed", any(row["name"] == "ollama://bard:latest" and "ollama" in row["where"] for row in listed))
    hub.forget()
    result = run("ollama://bard", "--if-missing")
    check("and read in place", same(result, data) and not leftovers() and not hub.requests, result)
    hub.layers = None
    check("the same contents are not fetched twice", same(run(name), data) and not any("/blobs/" in p for p, _ in hub.requests))
    check("--rm leaves it", run("--rm", "ollama://bard").returncode == 0 and (models / "blobs" / f"sha256-{digest}").exists())
    refuses("and says so", run("--rm", "ollama://bard"), 3, "left alone")


def test_hub_cache():
    data, path = put()
    cache = TMP / "home" / ".cache" / "huggingface" / "hub" / f"models--org--{MODEL}"
    snapshot = cache / "snapshots" / hub_server.COMMIT
    for folder in (cache / "blobs", cache / "refs", snapshot):
        folder.mkdir(parents=True)
    digest = hub_server.sha256(data)
    (cache / "blobs" / digest).write_bytes(data)
    (cache / "refs" / "main").write_text(hub_server.COMMIT)
    (snapshot / "tiny-Q8_0.gguf").symlink_to(f"../../blobs/{digest}")
    check("the hub's cache, online", same(run(REPO), data) and path not in hub.counts and not leftovers())
    run("--rm", REPO)
    hub.forget()
    check("and offline", same(run(REPO, env={"HF_HUB_OFFLINE": "1"}), data) and not hub.requests)
    check("--rm leaves it", run("--rm", REPO).returncode == 0 and (cache / "blobs" / digest).exists())
    shutil.rmtree(cache)


def test_safetensors():
    fresh()
    source = DATA / "models" / "llama"
    hub.repos["org/llama"] = {str(p.relative_to(source)): p.read_bytes() for p in sorted(source.rglob("*")) if p.is_file()}
    for name in ("Q4_K_M", "BF16"):
        result = run(f"org/llama:{name}")
        run(source, "-o", TMP / "own.gguf", "--outtype", name, "-q", "--force", tool="gguf-convert")
        check(f"safetensors to {name}: the bytes of gguf-convert", same(result, (TMP / "own.gguf").read_bytes()), result)
    check("the sources do not stay", leftovers() == [])
    n = len(hub.requests)
    check("nor are they fetched again", run("org/llama:BF16").returncode == 0 and len(hub.requests) == n + 1)
    refuses("a type that is none", run("org/llama:Q9_9"), 2, "Q9_9")
    hub.repos["org/empty"] = {"README.md": b"x"}
    refuses("a repository without a model", run("org/empty"), 4, "neither")


def start(*args):
    return subprocess.Popen([BUILD / "gguf-pull", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=environment(), cwd=TMP)


def test_kills():
    data, path = put(n=3_000_000)
    hub.faults[path] = {"drip": (20_000, 0.001)}
    for i in range(KILLS):
        shutil.rmtree(TMP / "store", ignore_errors=True)
        process = start(REPO)
        time.sleep(random.uniform(0, 0.25))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        whole = [name for name in leftovers() if not name.endswith((".part", ".etag"))]
        ok = not whole or (TMP / "store" / "blobs" / whole[0]).read_bytes() == data
        began = sum((TMP / "store" / "blobs" / name).stat().st_size for name in leftovers(".part") if "etag" not in name)
        result = run(REPO, "--json")
        got = json.loads(result.stdout)
        ok &= pathlib.Path(got["path"]).read_bytes() == data
        ok &= bool(whole) or got["fetched_bytes"] == len(data) - began
        check(f"killed after {began} bytes and resumed", ok and leftovers(".part") == [], result)
    shutil.rmtree(TMP / "store")
    hub.requests.clear()
    both = [start(REPO), start(REPO, "--json")]
    results = [process.communicate() + (process.returncode,) for process in both]
    n = sum(1 for p, _ in hub.requests if p == path)
    check("two at once share one download", all(r[2] == 0 for r in results) and leftovers() == ["sha256-" + hub_server.sha256(data)] and n == 1,
          subprocess.CompletedProcess([], n, repr(leftovers()), repr(results)))
    source = DATA / "models" / "llama"
    hub.repos["org/llama"] = {p.name: p.read_bytes() for p in source.iterdir() if p.is_file()}
    both = [start("org/llama:Q8_0"), start("org/llama:Q8_0")]
    results = [process.communicate() + (process.returncode,) for process in both]
    check("two at once make one conversion", all(r[2] == 0 for r in results) and results[0][0] == results[1][0],
          subprocess.CompletedProcess([], 0, "", repr(results)))
    shutil.rmtree(TMP / "store")
    hub.faults[path] = {"drip": (20_000, 0.01)}
    process = start(REPO)
    time.sleep(0.3)
    refuses("no --rm while a pull runs", run("--rm", "x/y"), 3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    check("Ctrl-C", process.returncode == 130 and "interrupted" in errors)


def test_names():
    fresh()
    source = DATA / "models" / "llama3"
    run(source, "-o", TMP / "m.gguf", "--outtype", "q8_0", "-q", "--force", tool="gguf-convert")
    data = (TMP / "m.gguf").read_bytes()
    hub.repos[REPO] = {"m-Q8_0.gguf": data}
    hub.repos["org/source"] = {p.name: p.read_bytes() for p in source.iterdir() if p.is_file()}
    own = run(TMP / "m.gguf", "-p", "Once", "-n", "4", "--seed", "1", tool="gguf-run")
    result = run(REPO, "-p", "Once", "-n", "4", "--seed", "1", tool="gguf-run")
    check("gguf-run NAME", result.returncode == 0 and result.stdout == own.stdout, result)
    hub.forget()
    result = run(f"{MODEL}", "-p", "Once", "-n", "4", "--seed", "1", tool="gguf-run")
    check("again without a request", result.stdout == own.stdout and not hub.requests, result)
    result = run("org/none", "-p", "x", "--json", tool="gguf-run")
    check("gguf-run of what is not there", result.returncode == 3 and json.loads(result.stdout)["error"]["code"] == "io", result)
    result = run("quality", REPO, "-f", DATA / "texts.txt", tool="gguf-bench")
    check("gguf-bench quality NAME", "texts.txt" in result.stderr, result)
    result = run(REPO, "-p", "4", "-n", "2", "-r", "1", "-o", "json", tool="gguf-bench")
    check("gguf-bench NAME", result.returncode == 0 and "m-Q8_0.gguf" in result.stdout, result)
    hub.forget()
    shutil.rmtree(TMP / "store")
    result = run("fit", REPO, "--vram", "1G", "--json", tool="gguf-bench")
    own = run("fit", TMP / "m.gguf", "--vram", "1G", "--json", tool="gguf-bench")
    pick = lambda text: json.loads(text)["devices"][0]["weights_bytes"]
    check("gguf-bench fit NAME", result.returncode == 0 and pick(result.stdout) == pick(own.stdout) and leftovers() == [], result)
    # A header of several requests: a long value is put in front of the others.
    value = b"x.long"
    entry = len(value).to_bytes(8, "little") + value + (8).to_bytes(4, "little")
    n_text = 3_000_000
    n_text += -(len(entry) + 8 + n_text) % 32
    long = data[:16] + (int.from_bytes(data[16:24], "little") + 1).to_bytes(8, "little")
    long += entry + n_text.to_bytes(8, "little") + b"y" * n_text + data[24:]
    hub.repos["org/long"] = {"l-Q8_0.gguf": long}
    hub.forget()
    result = run("fit", "org/long", "--vram", "1G", "--json", tool="gguf-bench")
    asked = [headers.get("Range") for p, headers in hub.requests if p.endswith(".gguf")]
    check("a header of 3 MB", result.returncode == 0 and pick(result.stdout) == pick(own.stdout) and len(asked) == 3, result)
    run("split", TMP / "m.gguf", TMP / "m-Q8_0", "--max-tensors", "9", "-q", tool="gguf-edit")
    hub.repos["org/split"] = {p.name: p.read_bytes() for p in TMP.glob("m-Q8_0-0*.gguf")}
    result = run("fit", "org/split", "--vram", "1G", "--json", tool="gguf-bench")
    check("fit of a split model", len(hub.repos["org/split"]) > 1 and result.returncode == 0
          and pick(result.stdout) == pick(own.stdout), result)
    hub.forget()
    result = run("fit", "org/source", "--vram", "1G", "--json", tool="gguf-bench")
    check("fit of a repository in safetensors", result.returncode == 0 and not any("safetensors" in p for p, _ in hub.requests), result)
    result = run("hf://org/x", tool="gguf-inspect")
    check("other commands name gguf-pull", result.returncode == 3 and "gguf-pull hf://org/x" in result.stderr, result)


try:
    for test in ([test_kills] if len(sys.argv) > 4 else [test_fresh, test_choice, test_faults, test_token, test_url, test_ollama,
                                                         test_hub_cache, test_safetensors, test_kills, test_names]):
        test()
finally:
    shutil.rmtree(TMP, ignore_errors=True)
print(f"{len(failures)} failed")
sys.exit(bool(failures))

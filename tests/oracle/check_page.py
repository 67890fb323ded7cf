#!/usr/bin/env python3
"""gguf-serve's page in a real browser: chromium, without a screen.

usage: check_page.py BUILD_FOLDER DATA_FOLDER [SCREENSHOT_FOLDER]

A small model answers for real; answers that no model gives at will (hostile, huge, cut, failed) are put in place of the
server's. Needs the Python package playwright, and chromium of the system.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

from playwright.sync_api import sync_playwright

FAULTS = []


def check(what, holds, seen=""):
    print(("ok    " if holds else "FAULT ") + what + ("" if holds else f": {seen!r}"), flush=True)
    if not holds:
        FAULTS.append(what)


def stream(*deltas, finish="stop", usage=None):
    """The body of a streamed chat completion."""
    events = [{"choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    if usage:
        events.append({"choices": [], "usage": usage})
    return "".join(f"data: {json.dumps(e)}\n\n" for e in events) + "data: [DONE]\n\n"


class Stand:
    """A page whose next answers may be given by the test."""

    def __init__(self, browser, url, **context):
        self.url, self.requests, self.origins, self.complaints, self.given = url, [], set(), [], []
        self.context = browser.new_context(accept_downloads=True, **context)
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.on("console", self.listen)
        self.page.on("request", lambda r: self.origins.add(re.match(r"[a-z]+:(//[^/]*)?", r.url).group(0)))
        self.page.route("**/v1/chat/completions", self.answer)
        self.page.goto(url)
        self.wait_for(lambda page: page.inner_text("#model") != "gguf-serve")

    def listen(self, message):
        if message.type == "error" and "status of 4" not in message.text and "status of 5" not in message.text:
            self.complaints.append(message.text)

    def answer(self, route):
        self.requests.append((json.loads(route.request.post_data), route.request.headers))
        if not self.given:
            return route.continue_()
        status, body = self.given.pop(0)
        kind = "text/event-stream" if status == 200 else "application/json"
        return route.fulfill(status=status, body=body, content_type=kind)

    def send(self, text):
        self.page.fill("#text", text)
        self.page.press("#text", "Enter")

    def wait_for(self, holds):
        """Until a function of the page says so. (The page's policy forbids what wait_for_function does.)"""
        for _ in range(600):
            if holds(self.page):
                return
            self.page.wait_for_timeout(100)
        raise TimeoutError("the page did not come so far")

    def wait_end(self):
        self.page.wait_for_selector("#send:visible", timeout=60000)

    def shot(self, name):
        if len(sys.argv) > 3:
            self.page.screenshot(path=os.path.join(sys.argv[3], name + ".png"))


def last_answer(page):
    return page.locator("article.assistant .body").last


def check_real(browser, url):
    s = Stand(browser, url)
    page = s.page
    check("the welcome says where the text goes", "stays on the machine" in page.inner_text("#log"))
    s.send("Hello")
    s.wait_end()
    check("a model answers", len(last_answer(page).inner_text().strip()) > 0)
    check("its speed is shown", "tokens" in page.inner_text("article.assistant .facts >> nth=0"))
    check("the context is shown", re.search(r"\d of \d", page.inner_text("#used-text")), page.inner_text("#used-text"))
    check("the answer was streamed", s.requests[0][0]["stream"] is True)
    page.click("text=Regenerate")
    s.wait_end()
    check("regenerating makes a second version", "2 of 2" in page.inner_text("article.assistant"))
    page.click("[aria-label='Earlier version']")
    check("versions can be turned over", "1 of 2" in page.inner_text("article.assistant"))
    page.click("article.user >> text=Edit")
    page.fill("article.user textarea", "Hello again")
    page.click("text=Send again")
    s.wait_end()
    check("editing makes a branch", "2 of 2" in page.inner_text("article.user"), page.inner_text("article.user"))
    check("the edited message is sent", s.requests[-1][0]["messages"][-1]["content"] == "Hello again")
    page.reload()
    page.wait_for_selector("article.user")
    check("a reload keeps the conversation", "Hello again" in page.inner_text("article.user"))
    check("nothing was asked of others", all(o in ("data:", url.rstrip("/").replace("http:", "http:")) for o in s.origins), s.origins)
    check("the browser has nothing to complain about", not s.complaints, s.complaints)
    s.shot("real")
    s.context.close()


def check_stop(browser, url):
    s = Stand(browser, url)
    page = s.page
    page.click("#settings")
    page.fill("#s-max_tokens", "4000")
    page.fill("#s-temperature", "1.5")
    page.fill("#s-system", "Write without an end.")
    page.keyboard.press("Escape")
    s.send("Count")
    s.wait_for(lambda page: page.locator("article.assistant .body").count() and len(last_answer(page).inner_text()) > 3)
    page.keyboard.press("Escape")
    s.wait_end()
    request = s.requests[0][0]
    check("settings are sent", request["max_tokens"] == 4000 and request["temperature"] == 1.5, request)
    check("the system message is sent", request["messages"][0] == {"role": "system", "content": "Write without an end."})
    stopped = "Stopped." in page.inner_text("article.assistant")
    check("Escape stops, or the answer had ended", stopped or page.locator("article.assistant .facts").count() > 0)
    s.context.close()


HOSTILE = """<img src=x onerror="window.hacked = 1"> <script>window.hacked = 1</script>

[click](javascript:window.hacked=1) [data](data:text/html,x) ![image](http://example.org/x.png)

```html
<script>window.hacked = 1</script>
```

| <b>a</b> | b |
|---|---|
| <iframe src="javascript:1"> | 2 |
"""


def check_hostile(browser, url):
    s = Stand(browser, url)
    page = s.page
    s.given.append((200, stream({"role": "assistant", "content": None}, {"content": HOSTILE})))
    s.send("<b>bold</b>")
    s.wait_end()
    bad = page.locator("#log img, #log script, #log iframe, #log b, #log a[href^='javascript'], #log a[href^='data']")
    check("text of a model becomes no element", bad.count() == 0, bad.count())
    check("nothing of it ran", page.evaluate("window.hacked === undefined"))
    check("it is shown as it is", '<img src=x onerror="window.hacked = 1">' in last_answer(page).inner_text())
    check("what was written is shown as it is", "<b>bold</b>" in page.inner_text("article.user"))
    check("nothing was asked of others", not any("example.org" in o for o in s.origins), s.origins)
    check("code has a button", page.locator("text=Copy code").count() == 1)
    big = "".join(f"Paragraph {i} with **bold** words and `code`.\n\n" for i in range(4500))
    s.given.append((200, stream(*[{"content": big[i : i + 2000]} for i in range(0, len(big), 2000)])))
    s.send("A long one")
    s.wait_end()
    check("200 KB are shown", "Paragraph 4499" in last_answer(page).inner_text())
    s.shot("hostile")
    s.context.close()


def check_answers(browser, url):
    s = Stand(browser, url)
    page = s.page
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 7}}
    s.given.append((200, stream({"reasoning_content": "I think"}, {"content": "The first half"}, finish="length", usage=usage)))
    s.send("Go")
    s.wait_end()
    check("reasoning is folded", page.locator("details:not([open]) summary").inner_text().startswith("Reasoning"))
    check("a cut is named", "was cut" in page.inner_text("article.assistant"))
    check("the cache is named", "7 from the cache" in page.inner_text("article.assistant"))
    s.given.append((200, stream({"content": " and the second."})))
    page.click("text=Continue")
    s.wait_end()
    check("an answer goes on", last_answer(page).inner_text() == "The first half and the second.", last_answer(page).inner_text())
    check("the half was sent", s.requests[-1][0]["messages"][-1]["content"] == "The first half", s.requests[-1][0])
    with page.expect_download() as download:
        page.click("#export")
    path = download.value.path()
    exported = json.load(open(path))
    check("the export is what gguf-run reads", [m["role"] for m in exported["messages"]] == ["user", "assistant"], exported)
    check("with the reasoning", exported["messages"][1]["thinking"] == "I think", exported)
    page.set_input_files("#file", path)
    s.wait_for(lambda page: page.locator("#list li").count() == 2)
    check("an import is a conversation", "and the second." in page.inner_text("#log"))
    page.set_input_files("#file", {"name": "x.json", "mimeType": "application/json", "buffer": b"[1]"})
    page.wait_for_selector("#note:visible")
    check("a wrong file is refused by name", "x.json is no conversation" in page.inner_text("#note"))
    page.fill("#search", "nowhere")
    check("search leaves what fits", page.locator("#list li").count() == 0)
    page.fill("#search", "second")
    check("search looks into the text", page.locator("#list li").count() == 2)
    page.fill("#search", "")
    s.given.append((200, stream({"content": '{"a": [1, 2]}'})))
    s.send("JSON please")
    s.wait_end()
    check("JSON is shown with its structure", '"a": [\n' in last_answer(page).inner_text(), last_answer(page).inner_text())
    page.click("#wipe")
    page.click("dialog[open] button[value=yes]")
    page.wait_for_selector("#welcome")
    check("all can be deleted", page.locator("article").count() == 0)
    check("the browser has nothing to complain about", not s.complaints, s.complaints)
    s.context.close()


def check_failures(browser, url):
    s = Stand(browser, url)
    page = s.page
    error = {"type": "exceed_context_size_error", "code": "context_length_exceeded", "message": "m", "n_prompt_tokens": 3001, "n_ctx": 1024}
    s.given.append((400, json.dumps({"error": error})))
    s.send("Too long")
    s.wait_end()
    note = page.inner_text("#note")
    check("a full context is said with both numbers", "3,001" in note and "1,024" in note, note)
    check("an answer that never began leaves no message", page.locator("article.assistant").count() == 0)
    s.given.append((401, json.dumps({"error": {"message": "key"}})))
    s.given.append((200, stream({"content": "Welcome"})))
    s.send("With a key")
    page.wait_for_selector("#key-sheet[open]")
    page.fill("#key", "secret")
    page.keyboard.press("Enter")
    s.wait_end()
    check("a key is asked for and sent", s.requests[-1][1].get("authorization") == "Bearer secret")
    check("then the answer comes", last_answer(page).inner_text() == "Welcome")
    s.given.append((200, 'data: {"choices":[{"delta":{"content":"half"}}]}\n\n'))
    s.send("Broken")
    s.wait_end()
    check("a broken connection is said", "ended before" in page.inner_text("#note"), page.inner_text("#note"))
    check("what had come stays", last_answer(page).inner_text() == "half")
    s.given.append((503, json.dumps({"error": {"message": "no place", "code": "queue_full"}})))
    s.send("Crowd")
    s.wait_end()
    check("a full queue is said in words", "more requests than it takes" in page.inner_text("#note"), page.inner_text("#note"))
    s.context.close()
    loading = browser.new_context()
    page = loading.new_page()
    page.route("**/health", lambda r: r.fulfill(status=503, body='{"status":"loading","progress":0.4}'))
    page.goto(url)
    page.wait_for_selector("#note:visible")
    check("loading is shown with its progress", "40 %" in page.inner_text("#note"), page.inner_text("#note"))
    page.unroute("**/health")
    page.wait_for_selector("#note", state="hidden")
    check("and goes away", True)
    loading.close()


CONTRAST = """() => {
  const shine = c => { const v = c.match(/\\w\\w/g).map(h => parseInt(h, 16) / 255).map(x => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
    return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
  const style = getComputedStyle(document.documentElement), colour = n => style.getPropertyValue(n).trim().slice(1);
  const ratio = (a, b) => { const [x, y] = [shine(colour(a)), shine(colour(b))].sort(); return (y + .05) / (x + .05); };
  const pairs = [['--text', '--bg'], ['--text', '--side'], ['--text', '--mine'], ['--soft', '--bg'], ['--soft', '--side'],
    ['--soft', '--code'], ['--accent', '--bg'], ['--on-accent', '--accent'], ['--bad', '--bad-bg'], ['--warn', '--warn-bg']];
  return pairs.map(p => [p.join(' on '), ratio(...p)]).filter(p => p[1] < 4.5);
}"""
NAMELESS = """() => [...document.querySelectorAll('button, input:not([hidden]), textarea, progress, a, [role=log]')]
  .filter(e => !(e.textContent.trim() || e.ariaLabel || e.getAttribute('aria-label') || (e.labels && e.labels.length)))
  .map(e => e.outerHTML)"""


def check_looks(browser, url):
    for scheme in "light", "dark":
        s = Stand(browser, url, color_scheme=scheme, viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
        page = s.page
        check(f"{scheme} is taken from the system", page.evaluate("document.documentElement.dataset.theme") == scheme)
        s.given.append((200, stream({"content": "A word\n\n```c\n" + "long " * 60 + "\n```\n\n" + "x" * 300})))
        page.fill("#text", "y" * 300)
        page.click("#send")
        s.wait_end()
        check("360 pixels are enough", page.evaluate("document.documentElement.scrollWidth") <= 360)
        low = page.evaluate(CONTRAST)
        check(f"contrast of {scheme} is 4.5 at least", not low, low)
        page.click("#menu")
        check("the menu opens", page.is_visible("#new") and page.get_attribute("#menu", "aria-expanded") == "true")
        s.shot(scheme + "-menu")
        page.keyboard.press("Escape")
        page.wait_for_selector("#new", state="hidden")
        s.shot(scheme)
        page.click("#settings")
        s.shot(scheme + "-settings")
        nameless = page.evaluate(NAMELESS)
        check("every control has a name", not nameless, nameless)
        s.context.close()
    s = Stand(browser, url)
    page = s.page
    reached = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    check("the keyboard reaches everything", {"new", "search", "export", "wipe", "theme", "settings", "log", "send"} <= reached, reached)
    page.focus("#text")
    page.keyboard.press("Shift+Enter")
    check("Shift and Enter make a line", page.input_value("#text") == "\n")
    s.given.append((200, stream({"content": "Read me"})))
    s.send("Aloud")
    s.wait_end()
    check("the whole answer is announced once", page.inner_text("#say") == "Read me")
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    check("ids are unique", len(ids) == len(set(ids)))
    s.context.close()


def main():
    build, data = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    if len(sys.argv) > 3:
        os.makedirs(sys.argv[3], exist_ok=True)
    folder = tempfile.mkdtemp()
    model = os.path.join(folder, "small.gguf")
    subprocess.run([f"{build}/gguf-convert", f"{data}/demo-model", "-o", model, "-q"], check=True)
    server = subprocess.Popen([f"{build}/gguf-serve", model, "--port", "0", "-q"], stdout=subprocess.PIPE, text=True)
    try:
        url = re.search(r"http://\S+", server.stdout.readline()).group(0).rstrip("/") + "/"
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for part in check_real, check_stop, check_hostile, check_answers, check_failures, check_looks:
                print(f"== {part.__name__}", flush=True)
                part(browser, url)
            browser.close()
    finally:
        server.terminate()
        server.wait(60)
        shutil.rmtree(folder)
    check("the server ends well", server.returncode == 0, server.returncode)
    print(f"{len(FAULTS)} faults")
    return 1 if FAULTS else 0


if __name__ == "__main__":
    sys.exit(main())

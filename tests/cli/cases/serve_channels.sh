# Answers in channels, as gpt-oss writes them: calls that are demanded, and the form of the final message.
cp -rL "$DATA/models/qwen3" m
chmod -R u+w m
cat >channels.jinja <<'JINJA'
{% for t in tools or [] %}{{ t.function.name }}
{% endfor %}{% for m in messages %}{% for c in m.tool_calls or [] %}<|start|>assistant<|channel|>commentary to=functions.{{ c.function.name }} <|constrain|>json<|message|>{{ c.function.arguments | tojson }}<|call|>{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endfor %}{% endfor %}<|start|>assistant
JINJA
cat >make.py <<'PY'
"""The tokens of the format take the places of the last merges."""
import json

path = "m/tokenizer.json"
data = json.load(open(path))
vocab, merges, added = data["model"]["vocab"], data["model"]["merges"], data["added_tokens"]
pairs = [pair if isinstance(pair, list) else pair.split(" ") for pair in merges]
for token in added:
    token["content"] = {"<|im_start|>": "<|start|>", "<|im_end|>": "<|end|>"}.get(token["content"], token["content"])
for name in ("<|channel|>", "<|message|>", "<|constrain|>", "<|call|>", "<|return|>"):
    last = pairs.pop()
    added.append(dict(added[0], id=vocab.pop("".join(last)), content=name, special=True))
data["model"]["merges"] = [" ".join(pair) for pair in pairs]
json.dump(data, open(path, "w"))
PY
cat >ask.py <<'PY'
"""What is called, or the text. Biases end the thoughts of a model that knows no end."""
import json
import sys
import urllib.request

ids = {token["content"]: token["id"] for token in json.load(open("m/tokenizer.json"))["added_tokens"]}
where = {"enum": ["north", "south"]}
bias = {str(ids["<|end|>"]): 100, str(ids["<|call|>"]): 90}


def tool(name, properties):
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


def ask(seed, **fields):
    body = {"messages": [{"role": "user", "content": "x"}], "temperature": 1, "seed": seed, "max_tokens": 300} | fields
    url = f"http://127.0.0.1:{sys.argv[1]}/v1/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))["choices"][0]


tools = [tool("go", {"where": where, "steps": {"type": "integer", "minimum": 1, "maximum": 9}}), tool("stay", {"at": where})]
for demand in "required", {"type": "function", "function": {"name": "stay"}}:
    for seed in 1, 2, 3:
        choice = ask(seed, tools=tools, tool_choice=demand, logit_bias=bias)
        call = choice["message"]["tool_calls"][0]["function"]
        arguments = json.loads(call["arguments"])
        assert arguments.get("where", arguments.get("at")) in where["enum"], arguments
        assert set(arguments) == ({"where", "steps"} if call["name"] == "go" else {"at"}), arguments
        assert demand == "required" or call["name"] == "stay", call
        assert choice["finish_reason"] == "tool_calls", choice
# Reasoning takes half of the answer where a call is demanded.
choice = ask(4, tools=tools, tool_choice="required", logit_bias={str(ids["<|end|>"]): -100})
assert choice["message"]["tool_calls"] and choice["finish_reason"] == "tool_calls", choice
schema = {"type": "object", "properties": {"at": where}, "required": ["at"], "additionalProperties": False}
for seed in 1, 2, 3:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    choice = ask(seed, response_format=form, logit_bias=bias)
    assert json.loads(choice["message"]["content"])["at"] in where["enum"], choice
    assert choice["finish_reason"] == "stop", choice
print("answers have the form that was asked for")
PY
python3 make.py
gguf-convert m -o m.gguf -q
gguf-serve m.gguf --port 0 -q -t 1 --template channels.jinja >listening 2>log &
server=$!
for _ in $(seq 1 200); do [ -s listening ] && break; sleep 0.05; done
python3 ask.py "$(sed -n 's/.*:\([0-9]*\)$/\1/p' listening)"
kill $server
wait $server || echo "status $?"

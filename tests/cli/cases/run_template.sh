# Chat templates: a template of every construct (scripts/check_templates.py holds it against jinja2), and what fails.
cat >chat.json <<'JSON'
{"messages": [
  {"role": "system", "content": " be terse "},
  {"role": "user", "content": [{"type": "text", "text": "Wetter in Zürich?"}, {"type": "image"}]},
  {"role": "assistant", "content": "<think>\nhm\n</think>\n\nLooking.", "reasoning_content": "i need a tool",
   "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"place": "Zürich", "days": [1, 2]}}}]},
  {"role": "tool", "content": "{\"t\": 21.5}"},
  {"role": "user", "content": "Thanks"}],
 "tools": [{"type": "function", "function": {"name": "weather", "description": "The\nweather", "parameters":
  {"type": "object", "required": ["place"], "properties": {"place": {"type": "string", "description": "é <b>"}, "days": {"type": ["array", "null"]}}}}}],
 "add_generation_prompt": true, "enable_thinking": false, "bos_token": "<s>", "eos_token": "</s>"}
JSON
t gguf-run --template "$DATA/templates/constructs.jinja" --render chat.json
echo '{"messages": [{"role": "critic", "content": "no"}]}' >critic.json
t gguf-run --template "$DATA/templates/constructs.jinja" --render critic.json
printf 'a\n{%% if x %%}\n' >open.jinja
t gguf-run --template open.jinja --render chat.json
printf 'a\n  {{ nothing.more }}' >undefined.jinja
t gguf-run --template undefined.jinja --render chat.json
printf '{{ messages.append(1) }}' >change.jinja
t gguf-run --template change.jinja --render chat.json
printf '{%% for a in range(99999) %%}{%% for b in range(99999) %%}{%% endfor %%}{%% endfor %%}' >slow.jinja
t gguf-run --template slow.jinja --render chat.json
printf '{%% macro m(x) %%}{{ m(x) }}{%% endmacro %%}{{ m(1) }}' >deep.jinja
t gguf-run --template deep.jinja --render chat.json
t gguf-run --template open.jinja --render missing.json
t gguf-run --template open.jinja
gguf-convert "$DATA/models/llama" -o model.gguf -q
t gguf-run model.gguf --render chat.json
printf '{{ bos_token }}{{ messages|length }}{{ eos_token }}' >tokens.jinja
echo '{"messages": []}' >empty.json
t gguf-run model.gguf --template tokens.jinja --render empty.json --json

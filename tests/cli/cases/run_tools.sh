# Tools in chats: calls that the answer is held to, results, and what is refused.
gguf-convert "$DATA/demo-model" -o demo.gguf -q
# The model knows no tools: a template that opens the call for it.
cat >open.jinja <<'JINJA'
{% for t in tools or [] %}{{ t.function.name }}
{% endfor %}{% for m in messages %}<{{ m.role }}{{ ' ' + m.name if m.name else '' }}>{{ m.content }}{% for c in m.tool_calls or [] %}
<tool_call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}
{% endfor %}
JINJA
cat >tools.json <<'JSON'
{"tools": [{"type": "function", "function": {"name": "go", "parameters": {"type": "object", "properties":
 {"where": {"enum": ["north", "south"]}, "steps": {"type": "integer", "minimum": 1, "maximum": 9}}, "required": ["where", "steps"]}}}]}
JSON
t gguf-run demo.gguf --chat -p "Whither?" -n 12 --temp 0 --template open.jinja --tools tools.json -v
# Calls of a conversation that was saved reach the template, and the next message is the result.
cat >saved.json <<'JSON'
{"messages": [{"role": "user", "content": "Whither?"}, {"role": "assistant", "content": "", "tool_calls":
 [{"id": "call00000", "type": "function", "function": {"name": "go", "arguments": {"where": "north", "steps": 2}}}]}]}
JSON
printf '/load saved.json\nWe are there.\n/save after.json\n' | t gguf-run demo.gguf -n 4 --temp 0 --template open.jinja --tools tools.json
jq -c '.messages[2]' after.json
jq '. + {tools: []}' after.json >render.json
t gguf-run --template open.jinja --render render.json
gguf-run demo.gguf --chat -p "Whither?" -n 12 --temp 0 --template open.jinja --tools tools.json --json -q | jq -c '[(.text | length > 0), .tool_calls]'
# What is refused.
t gguf-run demo.gguf -p x --tools tools.json
t gguf-run demo.gguf --chat -p x --tools missing.json
echo '[{"type": "function", "function": {"name": "a b"}}]' >name.json
t gguf-run demo.gguf --chat -p x --tools name.json
echo '[]' >none.json
t gguf-run demo.gguf --chat -p x --tools none.json
echo '{"properties": {}}' >s.json
t gguf-run demo.gguf --chat -p x --tools tools.json --json-schema s.json
jq '.tools[0].function += {strict: true} | .tools[0].function.parameters.not = {}' tools.json >strict.json
t gguf-run demo.gguf --chat -p x --tools strict.json --template open.jinja
jq 'del(.tools[0].function.strict)' strict.json >lax.json
t gguf-run demo.gguf --chat -p x -n 1 --temp 0 --tools lax.json --template open.jinja

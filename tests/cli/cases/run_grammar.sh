# Answers that are held to a schema or a grammar, and what is refused.
gguf-convert "$DATA/demo-model" -o demo.gguf -q
echo '{"properties": {"who": {"enum": ["king", "queen"]}, "n": {"type": "integer", "maximum": 9, "minimum": 1}}, "required": ["who", "n"]}' >s.json
echo 'root ::= "yes" | "no" "!"{2}' >g.gbnf
t gguf-run demo.gguf -p "Who: " -n 60 --temp 0 --json-schema s.json
gguf-run demo.gguf --chat -p "Who is there?" -n 60 --seed 3 --json-schema s.json --json -q | jq -c '[(.text | fromjson | keys), .finish_reason]'
t gguf-run demo.gguf --chat -p "Art thou?" --temp 0 --grammar g.gbnf
printf 'Art thou?\nAnd thou?\n' | t gguf-run demo.gguf --temp 0 --grammar g.gbnf
# What a model thinks is free: the prompt opens it here, and nothing closes it; or the template spells no markers.
say() { printf '{%% for m in messages %%}{{ m.content }}\n{%% endfor %%}%b' "$1" >t.jinja; }
apart() { gguf-run demo.gguf --chat -p "Art thou?" -n 8 --temp 0 --template t.jinja "$@" --json -q |
    jq -c '[(.reasoning // "" | length > 0), .text, .finish_reason]'; }
say '<think>\n{# </think> #}'
apart --grammar g.gbnf
apart
say '<think>\n'
apart --grammar g.gbnf
say '[THINK]{# [/THINK] #}'
apart --grammar g.gbnf
say '{# <think></think> #}'
apart --grammar g.gbnf
t gguf-run demo.gguf -p x --grammar g.gbnf --json-schema s.json
t gguf-run demo.gguf -p x --grammar missing.gbnf
t gguf-run demo.gguf --tokenize -p x --grammar g.gbnf
echo 'root ::= root "a" | "b"' >left.gbnf
t gguf-run demo.gguf -p x --grammar left.gbnf
echo '{"items": {"not": {}}}' >not.json
t gguf-run demo.gguf -p x --json-schema not.json
echo '{' >broken.json
t gguf-run demo.gguf -p x --json-schema broken.json

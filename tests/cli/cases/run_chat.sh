# One answer and chats through pipes. Temperature 0 or a seed: the answers are always the same.
gguf-convert "$DATA/demo-model" -o demo.gguf -q
cat >chatml.jinja <<'JINJA'
{% for m in messages %}<{{ m.role }}>{{ m.content }}
{% endfor %}<assistant>
JINJA
# `answer ARGUMENTS...`: a JSON result without its times.
answer() {
    gguf-run "$@" --json | jq -c 'with_entries(select(.key | test("_s$|^n_(drafted|accepted)$") | not))'
    echo "exit ${PIPESTATUS[0]}"
}
t gguf-run demo.gguf -p "And the LORD said unto" -n 8 --temp 0
echo -n "And the LORD said unto" | t gguf-run demo.gguf -p - -n 8 --temp 0
echo -n "And the LORD said unto" >prompt.txt
t gguf-run demo.gguf -f prompt.txt -n 8 --temp 0
t gguf-run demo.gguf -p "And the LORD said unto" -n 20 --temp 0 --stop "up to" --stop "never"
answer demo.gguf -p "And the LORD said unto" -n 8 --temp 0
answer demo.gguf -p "And the LORD said unto" -n 20 --temp 0 --stop "up to"
answer demo.gguf -p "And the LORD said unto" -n 0
answer demo.gguf -p "And" -n 4 --seed 5
[ "$(answer demo.gguf -p "And" -n 20 --seed random)" != "$(answer demo.gguf -p "And" -n 20 --seed random)" ] && echo "other seeds, other texts"
answer demo.gguf -p "And the LORD said unto" -n 16 --temp 0
answer demo.gguf -p "And the LORD said unto" -n 16 --temp 0 --repeat-penalty 2
# The context: a text ends there, unless it may lose what is old.
gguf-run demo.gguf -p "And" -n 200 --temp 0 --ctx 100 >text 2>note
wc -l <text | grep -q '[1-9]' && cat note
gguf-run demo.gguf -p "And" -n 200 --temp 0 --ctx 128 --shift >text 2>note
cat note
t gguf-run demo.gguf -f "$DATA/demo-model/calib.txt" -n 2 --ctx 64
t gguf-run demo.gguf -p "And" -n 200 --ctx 100 --shift
# One turn of a conversation.
t gguf-run demo.gguf --chat -p "Who is there?" -n 8 --temp 0
t gguf-run demo.gguf --chat -p "Who is there?" -n 8 --temp 0 --template chatml.jinja --system "Be brief." -q
echo "Who is there?" | t gguf-run demo.gguf --chat -p - -n 8 --temp 0 --template chatml.jinja --system "Be brief."
answer demo.gguf --chat -p "Who is there?" -n 8 --temp 0 --template chatml.jinja
# Templates may write the begin token themselves; it comes once.
for begin in "" "{{ bos_token }}"; do
    (echo -n "$begin"; cat chatml.jinja) >begin.jinja
    answer demo.gguf --chat -p "Who is there?" -n 0 --template begin.jinja
done
printf '{{ greeting }} {{ messages[0].content }}' >variables.jinja
answer demo.gguf --chat -p "there" -n 4 --temp 0 --template variables.jinja --template-vars '{"greeting": "Who is"}'
answer demo.gguf -p "Who is there" -n 4 --temp 0
# What the model recommends counts where nothing else was said.
cp demo.gguf advice.gguf
gguf-edit set advice.gguf general.sampling.temp=f32:0.25 general.sampling.top_k=i32:7 general.sampling.top_p=f32:3 2>/dev/null
echo /set | t gguf-run advice.gguf --top-k 9 -q
# A chat; nobody types: no prompt, no editing, the first error ends it.
cat >lines <<'LINES'
What is the world?
/regen

Two \
lines
/system Be brief.
/system
"""
A block of
lines
"""
//slash
/save talk.json
/undo
/save -f short.json
/set n=2
/set temp 0.5
/set
Again
/clear
/stats
LINES
t gguf-run demo.gguf -n 6 --temp 0 --template chatml.jinja <lines
t jq -c '.messages[]' talk.json
t jq '.messages | length' short.json
t gguf-run --template chatml.jinja --render short.json
printf '/load talk.json\n/undo\n/undo\nWell?\n/stats\n' >lines
gguf-run demo.gguf -n 6 --temp 0 --template chatml.jinja <lines 2>&1
# Two turns: what was said is not evaluated again, and the second answer is that of a chat loaded from a file.
printf 'One\nTwo\n/save two.json\n' | gguf-run demo.gguf -n 6 --temp 0 --template chatml.jinja -q >both
printf '/load two.json\n/regen\n/save three.json\n' | gguf-run demo.gguf -n 6 --temp 0 --template chatml.jinja -q
t cmp two.json three.json
t tail -n 1 both
printf 'One\n' | t gguf-run demo.gguf -n 6 --temp 0 -v --ctx 32
(printf 'One\n'; yes "many words" | head -n 40 | tr '\n' ' ') | t gguf-run demo.gguf -n 6 --temp 0 --ctx 64 --template chatml.jinja
for i in 1 2 3 4 5 6; do echo "And many many more words to say"; done | t gguf-run demo.gguf -n 6 --temp 0 --ctx 64 --shift --template chatml.jinja
t gguf-run demo.gguf </dev/null
printf 'no end of line' | t gguf-run demo.gguf -n 3 --temp 0 -q
printf 'bad \xff\xc3\x28 bytes\n/save bytes.json\n' | t gguf-run demo.gguf -n 3 --temp 0 -q
t cat bytes.json
# What goes wrong.
for line in "/nothing" "/clear all" "/undo" "/regen" "/save" "/save no-folder/x" "/save talk.json" "/load none.json" "/load lines" \
    "/set top-p 7" "/set colour red" "/set temp"; do
    echo "$line" | t gguf-run demo.gguf -q
done
echo '{"messages": [{"role": "user"}]}' >broken.json
echo "/load broken.json" | t gguf-run demo.gguf -q
printf "{{ raise_exception('no system message, please') }}" >raise.jinja
echo "hello" | t gguf-run demo.gguf --template raise.jinja
t gguf-run demo.gguf --template none.jinja --chat -p x
t gguf-run demo.gguf --chat -p x --template-vars '[1]'
t gguf-run demo.gguf --json
t gguf-run demo.gguf -p x -f y
t gguf-run demo.gguf -p x --system y
t gguf-run demo.gguf --system x --system-file y
t gguf-run demo.gguf --chat -p x --system-file none
t gguf-run demo.gguf --chat -p x --no-special
t gguf-run demo.gguf -p x --stop ""
t gguf-run demo.gguf -p x --top-p 2
t gguf-run demo.gguf -p x --repeat-penalty 0
t gguf-run demo.gguf -p x --seed -1
t gguf-run demo.gguf -p "" -n 2 --temp 0
t gguf-run demo.gguf --tokenize
gguf-convert "$DATA/models/qwen3_embedding" -o embedding.gguf -q
t gguf-run embedding.gguf </dev/null
# A chat that waits for its next line ends at once.
sleep 5 | gguf-run demo.gguf -q &
sleep 1
kill -INT $!
wait $!
echo "interrupted: $?"
# Ctrl-C: what there is, and status 130.
gguf-run demo.gguf -p "And" -n 1000000 --ctx 50000 --temp 0 --json >interrupted.json &
sleep 1
kill -INT $!
wait $!
echo "interrupted: $?"
t jq -r .finish_reason interrupted.json

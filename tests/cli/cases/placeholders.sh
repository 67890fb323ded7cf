# What stands in the place of a file is called by its name, whatever reads it; of a file that is cut off
# the first word is how much of it is there.
copy_model llama3 hf
gguf-convert hf -o m.gguf -q
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:abab\nsize 1014800\n' >lfs
printf '../../.git/annex/objects/x\n' >text
printf '/annex/objects/SHA256E-s100--abcd\n' >annex
printf '\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n' >html
printf '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>' >xml
printf '{"error":"Repository not found"}' >json
head -c 4096 /dev/zero >zeros
: >empty
for file in lfs annex html xml json zeros empty; do
    t gguf-inspect $file
    t gguf-inspect verify $file
    t gguf-quantize $file o.gguf Q8_0
    t gguf-quantize m.gguf o.gguf Q8_0 --imatrix $file
    t gguf-bench quality m.gguf -f "$DATA/demo-model/test.txt" --base $file
    for part in model.safetensors config.json tokenizer.json; do
        mv hf/$part kept && cp $file hf/$part
        t gguf-convert hf -o o.gguf
        mv kept hf/$part
    done
done
for file in lfs annex html xml empty; do
    t gguf-quantize m.gguf o.gguf --recipe $file
    t gguf-convert hf -o o.gguf --metadata $file
    t gguf-convert hf --check-tokenizer $file
    t gguf-edit set-template m.gguf $file
    t gguf-run m.gguf --render $file --template "$file"
    t gguf-imatrix m.gguf -f $file -o o.gguf
    t gguf-bench quality m.gguf -f $file
done
t gguf-run m.gguf -f lfs
# A page may be what a prompt is about.
t gguf-run m.gguf --tokenize -f text
gguf-run m.gguf --tokenize -f html >/dev/null && echo "a page is a text"
# Cut off: in the data, in the padding, in the header.
size=$(stat -c %s m.gguf)
for n in 300000 $((size - 1)) 2000 100; do
    head -c $n m.gguf >cut.gguf
    t gguf-inspect cut.gguf
    gguf-inspect verify cut.gguf | head -n 1
    t gguf-run cut.gguf -p x
done
for part in model.safetensors config.json tokenizer.json; do
    mv hf/$part kept && head -c $(($(stat -c %s kept) / 2)) kept >hf/$part
    t gguf-convert hf -o o.gguf
    mv kept hf/$part
done
copy_model llama3_bin bin
truncate -s -100 bin/pytorch_model.bin
t gguf-convert bin -o o.gguf
t ls
# A pipe that nobody writes to: no file is made of it and none is waited for. A text may come through
# one; that is waited for until a signal comes.
mkfifo pipe
quick() { timeout -k 1 5 "$@" </dev/null; }
mv hf/model.safetensors kept && ln -s "$PWD/pipe" hf/model.safetensors
t quick gguf-convert hf -o o.gguf
rm hf/model.safetensors && mv kept hf/model.safetensors
t quick gguf-convert pipe -o o.gguf
t quick gguf-quantize pipe o.gguf Q8_0
t quick gguf-quantize m.gguf o.gguf Q8_0 --imatrix pipe
t quick gguf-imatrix --show pipe
t quick gguf-imatrix --merge pipe pipe -o o.gguf
t quick gguf-bench quality m.gguf -f "$DATA/demo-model/test.txt" --base pipe
t quick gguf-bench fit pipe --vram 2G
for command in "gguf-imatrix m.gguf -f pipe -o o.gguf" "gguf-run m.gguf -f pipe" "gguf-run m.gguf -p -"; do
    sleep 5 | $command &
    sleep 0.5
    kill -TERM $!
    wait $!
    echo "ended: $?"
done

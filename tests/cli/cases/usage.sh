# Wrong arguments: exit 2 and one line that says what is expected.
for tool in gguf-convert gguf-imatrix gguf-quantize gguf-inspect gguf-bench gguf-run; do
    t $tool
    t $tool --no-such-option
    t $tool --threads 0
    t $tool --version
done
t gguf-convert model
t gguf-quantize in out
t gguf-quantize in out Q4_K_M more
t gguf-inspect paint file
t gguf-run model --tokens 1,2
t gguf-run model -p x --temp hot
t gguf-run model --tokens 1,x --logits l.safetensors
t gguf-bench model -o xml
t gguf-bench quality model
t gguf-convert "$DATA/models/llama" -o out.gguf --max-memory 5X
t gguf-convert "$DATA/models/llama" -o out.gguf --outtype Q9_Z
t gguf-inspect --json
t ls
# A verb without its file is wrong usage, not a file of that name.
t gguf-inspect verify
t gguf-inspect diff a.gguf
t gguf-edit
t gguf-edit set
t gguf-edit rename a.gguf x
t gguf-edit foo
mkdir folder
t gguf-inspect folder
touch folder/config.json
t gguf-run folder -p x
gguf-inspect --help 2>&1 >/dev/full; echo "full: $?"
gguf-inspect --version 2>&1 >/dev/full; echo "full: $?"
# An option that the verb does not take is no silence.
t gguf-inspect summary a.gguf --values
t gguf-inspect a.gguf --filter 'x*'
t gguf-inspect tokens a.gguf --tensor x --json
t gguf-inspect hash a.gguf --check m --algo xxh64
t gguf-inspect diff a.gguf b.gguf -o f.html
t gguf-edit split a.gguf part -o out.gguf --max-tensors 1
t gguf-edit set a.gguf a.b=u32:1 --max-size 1G
t gguf-bench a.gguf --fail-on-regression
t gguf-bench compare a.json b.json -p 5
t gguf-bench quality a.gguf -f text -r 3
# Every verb has help of its own, wherever it stands; a word that is none gets the command's.
t gguf-inspect diff --help
gguf-edit --help split | head -n 1
gguf-edit splt --help | head -n 1
# Closed standard files: nothing that is printed gets into an output.
gguf-convert "$DATA/models/llama" -o open.gguf -q
gguf-convert "$DATA/models/llama" -o closed.gguf --progress always 2>&-; echo "exit $?"
cmp open.gguf closed.gguf && echo "the same file"
gguf-inspect meta open.gguf >&-; echo "exit $?"

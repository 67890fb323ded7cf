# Models with recurrent layers, alone and beside others: from the folder to a file that is measured.
M="$DATA/models"
head -c 3000 "$DATA/demo-model/calib.txt" >calib.txt
for f in mamba2 nemotron_h; do
    t gguf-convert "$M/$f" -o $f.gguf -q
    t gguf-inspect verify $f.gguf
    gguf-inspect meta $f.gguf | grep -E "ssm|head_count|feed_forward|vocab_size"
    t gguf-imatrix $f.gguf -f calib.txt -o $f-imatrix.gguf -q
    t gguf-quantize $f.gguf $f-q.gguf Q8_0 --imatrix $f-imatrix.gguf -q
    gguf-inspect tensors $f-q.gguf | grep "blk.[01]" | sed 's/  *[0-9]* *[0-9.]* [KM]*i*B$//'
    t gguf-quantize $f.gguf $f-c.gguf Q4_0 --calibrate calib.txt -q
    t gguf-inspect verify $f-c.gguf
    gguf-bench quality $f-q.gguf -f calib.txt --base $f.gguf --json | jq '.kld_mean < 0.01'
    gguf-bench fit "$M/$f" --vram 1G --ctx 512 | grep "layers without\|whole context"
done
# A kind of layer that is not known, and a list for another number of layers.
mkdir other && cp "$M"/nemotron_h/* other && chmod u+w other/config.json
sed -i 's/"M-M\*-"/"MEM*-"/' other/config.json
t gguf-convert other -o x.gguf
sed -i 's/"MEM\*-"/"M-M*"/' other/config.json
t gguf-convert other -o x.gguf
# A description that is like another one.
cat >mine.yaml <<'YAML'
architecture: mine
like: mamba2
huggingface:
  - {class: Mamba2ForCausalLM, model_type: mamba2}
without: [feed_forward_length]
YAML
gguf-convert "$M/mamba2" -o mine.gguf --arch-file mine.yaml --dry-run | grep "blk.0.ssm"
sed -i 's/like: mamba2/like: mamba3/' mine.yaml
t gguf-convert "$M/mamba2" -o mine.gguf --arch-file mine.yaml --dry-run
sed -i 's/like: mamba3/like: mamba2/; s/\[feed_forward_length\]/[feed_forward_size]/' mine.yaml
t gguf-convert "$M/mamba2" -o mine.gguf --arch-file mine.yaml --dry-run
# States have no positions to shift: a text says so first, an answer of a chat ends.
t gguf-run mamba2.gguf -p "And" -n 200 --ctx 128 --shift
t gguf-run nemotron_h.gguf -p "And" -n 200 --ctx 64 --shift
t gguf-run mamba2.gguf -p "And" -n 8 --ctx 128 --shift --temp 0 --json -q >/dev/null
echo "And" | gguf-run nemotron_h.gguf -n 300 --ctx 128 --shift --temp 0 2>&1 >/dev/null

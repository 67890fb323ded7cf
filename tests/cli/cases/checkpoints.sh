# gguf-inspect on what training frameworks save.
M="$DATA/models"
cp -rL "$M/llama3" st && cp -rL "$M/llama3_bin" bin && cp -rL "$M/llama" two && chmod -R u+w .
t gguf-inspect st/model.safetensors
t gguf-inspect two
gguf-inspect two --json | head -4
gguf-inspect summary bin --json
t gguf-inspect tensors bin/pytorch_model.bin --filter 'model.norm*'
t gguf-inspect tensors st --filter 'absent*'
t gguf-inspect diff st bin
python3 - <<'END'
data = bytearray(open("st/model.safetensors", "rb").read())
data[-1] ^= 0x80
open("st/model.safetensors", "wb").write(data)
END
t gguf-inspect diff st bin --values
gguf-inspect diff st two | tail -2
gguf-inspect diff st bin --json | grep -e difference -e equal

# ---- what there is not
gguf-convert st -o m.gguf -q
cp m.gguf named.bin
gguf-inspect named.bin | head -3
t gguf-inspect diff st m.gguf
t gguf-inspect verify st
t gguf-inspect get st general.name
truncate -s 2000 st/model.safetensors
t gguf-inspect st
mkdir empty
t gguf-inspect empty
echo text >x.safetensors
t gguf-inspect tensors x.safetensors

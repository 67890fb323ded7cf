# The way a user goes, with what the tools say.
t gguf-convert --list-archs
t gguf-convert "$DATA/models/llama3" --dry-run -t 2
t gguf-convert "$DATA/models/llama3" -o llama3.gguf
t gguf-inspect llama3.gguf
t gguf-inspect meta llama3.gguf --max-array 3
t gguf-quantize llama3.gguf q8.gguf Q8_0
t gguf-quantize llama3.gguf mixed.gguf Q8_0 --tensor-type 'attn_v=Q5_1' --token-embedding-type F16 --dry-run -t 2
t gguf-quantize llama3.gguf k.gguf Q4_K_M
t gguf-inspect tensors k.gguf
t gguf-quantize k.gguf again.gguf Q8_0
t gguf-quantize llama3.gguf copy.gguf COPY
cmp llama3.gguf copy.gguf && echo "COPY: equal"
t gguf-run llama3.gguf --tokenize -p "Hello world"
t gguf-run llama3.gguf --tokenize -p "Hello world" --no-special --json
t gguf-convert "$DATA/models/llama3" --vocab-only -o vocab.gguf
t gguf-run vocab.gguf --tokenize -p "Hello world"
t gguf-quantize -q llama3.gguf q4.gguf Q4_0
t gguf-run q4.gguf -q -p "Hello world" -n 12 --temp 0 -t 2
gguf-run q4.gguf -q -p "Hello world" -n 40 --temp 0 -t 2 >repacked.txt
gguf-run q4.gguf -q -p "Hello world" -n 40 --temp 0 -t 2 --no-repack >as_in_file.txt
cmp repacked.txt as_in_file.txt && echo "--no-repack: equal"

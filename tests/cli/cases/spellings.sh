# Spellings of llama.cpp's and Ollama's programs, and the model behind -m.
gguf-convert "$DATA/models/llama3" -o m.gguf --outtype q8_0 -q
t gguf-run -m m.gguf -p Once -n 3 -c 64 --temperature 0
t gguf-run m.gguf -p Once --predict 3 --ctx-size 64 --temp 0 -s 4
t gguf-run -p -c -m m.gguf -n 2 --temp 0
t gguf-run --model=m.gguf --tokenize -p "-m x"
t gguf-run -m
t gguf-run -m m.gguf m.gguf -p x
t gguf-run m.gguf -p x -ngl 1 --device none
t gguf-run m.gguf -p x -n 1 -ctk q4
t gguf-run m.gguf -p x -ctv q4_0
t gguf-run m.gguf --tokenize -p x -c 3
t gguf-run -hf
t gguf-serve -m m.gguf -np 0
t gguf-bench -m m.gguf -pg 4
t gguf-imatrix -m m.gguf -c 1 -f text -o i.gguf
# As in llama-imatrix, llama-cli and llama-gguf-split.
head -c 3000 "$DATA/demo-model/test.txt" >text
gguf-imatrix -m m.gguf -f text -c 64 --chunks 4 --output-format gguf -ofreq 2 --output-file i.gguf -q
gguf-inspect get i.gguf imatrix.chunk_count; rm i.gguf text
printf 'root ::= "yes"' >g.gbnf
echo 'Answer in one word.' >sys.txt
t gguf-run m.gguf -p Once -n 3 --grammar-file g.gbnf
t gguf-run m.gguf -p Once --chat -n 3 -sysf missing.txt
t gguf-run m.gguf -p Once -n 8 --temp 0 -r e -sp
t gguf-run m.gguf -p Once -n 3 -jf missing.json
t gguf-run m.gguf -p Once --chat --chat-template-kwargs '[1]'
t gguf-edit split m.gguf part --split-max-tensors 0
gguf-edit split m.gguf part --split-max-size 100K -q && ls part-0000?-of-* | wc -l
# A word behind -- is no option.
t gguf-run --tokenize -p x -- -m
printf '/?\n/bye\n' | gguf-run -m m.gguf --temp 0 2>/dev/null | grep -c '^/exit'
printf '/byr\n' | gguf-run -m m.gguf 2>&1 | grep 'unknown command'

# Files that are not there, not whole or not what they should be.
: >empty.gguf
printf 'GGUF\003\000\000\000' >short.gguf
printf 'hello, this is no model' >text.gguf
for file in missing.gguf empty.gguf short.gguf text.gguf .; do
    t gguf-inspect $file
    t gguf-quantize $file out.gguf Q8_0
    t gguf-run $file -p x
    t gguf-bench $file
    t gguf-imatrix $file -f "$DATA/demo-model/calib.txt" -o out.gguf
done
t gguf-convert missing -o out.gguf
t gguf-convert short.gguf -o out.gguf
t gguf-inspect missing.gguf --json
gguf-convert "$DATA/models/llama" -o model.gguf -q
t gguf-convert "$DATA/models/llama" -o model.gguf
t gguf-convert "$DATA/models/llama" -o model.gguf --force -q
t gguf-convert model.gguf -o other.gguf
t gguf-quantize model.gguf folder/out.gguf Q8_0
head -c 300000 model.gguf >cut.gguf
t gguf-inspect cut.gguf
t gguf-quantize model.gguf out.gguf Q4_0 --imatrix model.gguf
t gguf-quantize model.gguf out.gguf Q4_0 --require-imatrix
t gguf-bench quality model.gguf -f missing.txt
t ls
gguf-convert "$DATA/demo-model" -o demo.gguf -q
t gguf-imatrix demo.gguf -f "$DATA/demo-model/calib.txt" -o no-folder/imatrix.gguf
t gguf-imatrix demo.gguf -f "$DATA/demo-model/calib.txt" -o demo.gguf

# Importance matrices: saved on the way, resumed with the same bytes, shown, drawn; compressed text.
gguf-convert "$DATA/demo-model" -o demo.gguf -q
head -c 12000 "$DATA/demo-model/calib.txt" >calib.txt
gguf-imatrix demo.gguf -f calib.txt -o whole.gguf --ctx 128 --chunks 6 --save-every 2 -q
gguf-imatrix demo.gguf -f calib.txt -o part.gguf --ctx 128 --chunks 4 --save-every 2 -q
gguf-imatrix demo.gguf -f calib.txt -o part.gguf --ctx 128 --chunks 6 --save-every 2 --resume
cmp whole.gguf part.gguf && echo "resumed: same bytes"
mkdir packed && gzip -c calib.txt >packed/calib.txt
gguf-imatrix demo.gguf -f packed/calib.txt -o packed.gguf --ctx 128 --chunks 6 --save-every 2 -q
cmp whole.gguf packed.gguf && echo "compressed text: same bytes"
t gguf-imatrix demo.gguf -f calib.txt -o part.gguf --ctx 64 --resume
t gguf-imatrix demo.gguf -f calib.txt -o part.dat --format dat --resume
t gguf-imatrix demo.gguf -f calib.txt -o whole.gguf
gguf-imatrix --show whole.gguf --plot plot.svg | cut -c1-36 | grep -c blk
grep -c '<polyline' plot.svg
gguf-imatrix --show whole.gguf --json | jq -c '.tensors[0] | keys'
# What bf16 and q8, the default, do depends on the processor.
for form in default f32 bf16 q8; do
    gguf-imatrix demo.gguf -f calib.txt -o $form.gguf --ctx 128 --chunks 6 --save-every 2 -q --precision $form
    echo "$form: $?, $(gguf-imatrix --show $form.gguf | grep -c blk) weights"
done
cmp whole.gguf q8.gguf && cmp default.gguf f32.gguf && echo "q8 is what is done; default, as other tools have it, is f32 for float weights"
t gguf-imatrix demo.gguf -f calib.txt -o no.gguf --precision f64

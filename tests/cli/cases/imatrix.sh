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
# Another text of the same name, another model, another precision: none goes on from what is there.
mkdir other && tail -c 12000 "$DATA/demo-model/calib.txt" >other/calib.txt
t gguf-imatrix demo.gguf -f other/calib.txt -o part.gguf --ctx 128 --resume
gguf-quantize demo.gguf q4.gguf Q4_0 -q
t gguf-imatrix q4.gguf -f calib.txt -o part.gguf --ctx 128 --resume
t gguf-imatrix demo.gguf -f calib.txt -o part.gguf --ctx 128 --resume --precision f32
cmp whole.gguf part.gguf && echo "the matrix is as before"
# Too little text harms a model.
: >empty.txt
head -c 200 calib.txt >short.txt
t gguf-imatrix demo.gguf -f empty.txt -o no.gguf
t gguf-imatrix demo.gguf -f short.txt -o no.gguf
t gguf-imatrix demo.gguf -f calib.txt -o few.gguf --ctx 64 --chunks 19 -q
t gguf-imatrix demo.gguf -f calib.txt -o enough.gguf --ctx 64 --chunks 20 -q
t gguf-imatrix demo.gguf -f "$DATA/demo-model/calib.txt" -o long.gguf --ctx 2048 --chunks 20 -q
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
same_numbers() {
    [ "$(gguf-inspect hash "$1" | cut -d: -f1,2 | sed 's/ [^ ]*:/ /; s/ [^ ]*\.gguf$//')" = \
        "$(gguf-inspect hash "$2" | cut -d: -f1,2 | sed 's/ [^ ]*:/ /; s/ [^ ]*\.gguf$//')" ]
}
# Products of 8-bit numbers are another sum wherever the processor, as far as it is used, has them.
has_q8() { grep -qw avx512_vnni /proc/cpuinfo && [[ "${GGUF_ISA:-avx512}" == avx512* ]]; }
q8_is_done() { ! has_q8 || ! same_numbers q8.gguf f32.gguf; }
cmp whole.gguf q8.gguf && same_numbers default.gguf f32.gguf && q8_is_done && echo "q8 is what is done; default, as other tools have it, is f32 for float weights"
t gguf-imatrix demo.gguf -f calib.txt -o no.gguf --precision f64

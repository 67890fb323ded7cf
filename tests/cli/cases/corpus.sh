# The program's own calibration text.
gguf-convert "$DATA/models/qwen3" -o m.gguf -q
t gguf-imatrix m.gguf -f @default -o d.imx --ctx 64 --chunks 4 -q
gguf-inspect meta d.imx --filter 'imatrix.datasets'
t gguf-imatrix m.gguf -f @other -o no.imx
t gguf-quantize m.gguf q.gguf Q4_0 --calibrate @default --samples 1024 -q
gguf-inspect get q.gguf ggufkit.calibration.dataset
t gguf-quantize m.gguf no.gguf Q4_0 --calibrate @other
t gguf-quantize m.gguf no.gguf Q4_0 --calibrate @other --dry-run
t gguf-quantize m.gguf no.gguf Q4_0 --calibrate ./@default
printf 'a file of this name' >@default
t gguf-imatrix m.gguf -f ./@default -o no.imx --ctx 4 --chunks 1 -q
ls no.*

#!/usr/bin/env bash
# Install what is missing, build everything and run every test. Ends with a summary; exit 0 if all passed. A step that
# cannot run here counts as skipped, which is a failure where it was asked for by name.
# usage: scripts/test.sh [STEP...]   steps: style release cross device mpi sanitize threads oracle serve (default: these), fuzz,
#   tarball (needs root, debootstrap and the network)
set -euo pipefail
cd "$(dirname "$0")/.."
steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(style release cross device mpi sanitize threads oracle serve)
for step in "${steps[@]}"; do
    [[ " style release cross device mpi sanitize threads oracle serve fuzz tarball " == *" $step "* ]] || { sed -n '2,5s/^# //p' "$0"; exit 2; }
done
scripts/install_deps.sh --tests
jobs=$(nproc)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export TMPDIR=$scratch

# build FOLDER OPTIONS...
build() {
    local folder=$1
    shift
    cmake -S . -B "$folder" "$@" >"$scratch/cmake.log" || { cat "$scratch/cmake.log"; return 1; }
    local targets=()
    [[ $folder != *fuzz ]] || targets=(--target fuzz_targets)
    cmake --build "$folder" "${targets[@]}" -j "$jobs" >"$scratch/build.log" 2>&1 || { tail -n 60 "$scratch/build.log"; return 1; }
}
run_ctest() {
    ctest --test-dir "$1" --output-on-failure -j "$jobs" -LE "${leave_out:-device}" "${@:2}"
}

style() {
    git ls-files '*.c' '*.h' '*.inc' | grep -v unicode_table | xargs clang-format --dry-run -Werror
    python3 scripts/check_style.py
}
release() {
    build build -DCMAKE_C_COMPILER=gcc
    run_ctest build
    # The kernels again with fewer and fewer instruction sets; long tests that none of them changes are left out.
    for isa in $(grep -ow -m 1 avx2 /proc/cpuinfo | head -n 1) scalar; do GGUF_ISA=$isa leave_out='slow|device' run_ctest build; done
}
# The NEON kernels under an emulator.
cross() {
    tests/kernels/cross/run.sh build/cross
}
# The Vulkan backend on Mesa's software device: with validation of calls and of synchronisation, whose every message is a
# failure, and the kernels with other widths of subgroups.
device() {
    build build -DCMAKE_C_COMPILER=gcc
    local log=$scratch/device.log width
    export GGUFKIT_TEST_DEVICE=1
    VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation \
        VK_LAYER_ENABLES=VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT \
        ctest --test-dir build -L device --output-on-failure -V >"$log" 2>&1 || { tail -n 60 "$log"; return 1; }
    ! grep -m 5 -E 'VUID-|SYNC-HAZARD|UNASSIGNED-' "$log" || return 1
    for width in 128 512; do
        LP_NATIVE_VECTOR_WIDTH=$width ctest --test-dir build -R test_device_kernels --output-on-failure || return 1
    done
}
# Several processes on one machine, and between networks of their own; the package of the module.
mpi() {
    build build -DCMAKE_C_COMPILER=gcc -DGGUFKIT_MPI=ON
    ctest --test-dir build --output-on-failure -R '^(mpi|packages)$'
}
sanitize() {
    build build-asan -DCMAKE_C_COMPILER=clang -DGGUFKIT_SANITIZE=address,undefined
    ASAN_OPTIONS=allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 run_ctest build-asan
}
threads() {
    build build-tsan -DCMAKE_C_COMPILER=clang -DGGUFKIT_SANITIZE=thread
    run_ctest build-tsan -R 'pool|execute|test_job|shared_file|runtime|logits|quality_base|test_tokenizer$|test_calibrate|test_sensitivity|test_weights|test_ranks|test_drafts|serve'
}
# Every fuzz target for FUZZ_SECONDS; the corpora are replayed by ctest in the steps above.
fuzz() {
    build build-fuzz -DCMAKE_C_COMPILER=clang -DGGUFKIT_FUZZ=ON -DGGUFKIT_SANITIZE=address,undefined
    for target in build-fuzz/tests/fuzz/fuzz_*; do
        [ -x "$target" ] && [ -f "$target" ] || continue
        name=${target##*/fuzz_}
        mkdir -p "build-fuzz/found/$name"
        "$target" -max_total_time="${FUZZ_SECONDS:-30}" -max_len=4096 -timeout=5 -print_final_stats=1 \
            -dict="tests/fuzz/$name.dict" -artifact_prefix="build-fuzz/$name-" \
            "build-fuzz/found/$name" "tests/fuzz/corpus/$name" >"build-fuzz/$name.log" 2>&1 ||
            { tail -n 40 "build-fuzz/$name.log"; return 1; }
        echo "$name: $(sed -n 's/.*number_of_executed_units: //p' "build-fuzz/$name.log") executions"
    done
}
# Independent readers: the Python packages gguf, safetensors and numpy.
oracle() {
    venv gguf safetensors numpy jsonschema
    build/venv/bin/python tests/oracle/check_files.py build tests/data
    build/venv/bin/python tests/oracle/check_schemas.py build tests/data
    build/venv/bin/python tests/oracle/check_wheel.py build .
    (cd tests/data/models && "$OLDPWD/build/venv/bin/python" "$OLDPWD/scripts/check_folders.py" "$OLDPWD/build" \
        llama llama3 mixtral qwen3_moe_wide gemma3 gemma4 gpt_oss deepseek_v2 falcon_new jamba kimi_linear lfm2 nemotron_h roberta)
}
# The official clients of gguf-serve, what people build on them, and its page in a browser.
serve() {
    venv openai anthropic ollama litellm langchain-openai instructor llm llm-ollama playwright
    build/venv/bin/python tests/oracle/check_serve.py build tests/data
    python3 tests/oracle/check_serve_load.py build tests/data
    python3 tests/oracle/check_serve_bombs.py build tests/data
    build/venv/bin/python tests/oracle/check_clients.py build tests/data
    build/venv/bin/python tests/oracle/check_page.py build tests/data
}
# The tarball and its wheel, in a root that has nothing else.
tarball() {
    venv numpy
    scripts/make_tarball.sh build/packages
    [ -x build/plain-root/bin/sh ] || debootstrap --variant=minbase bullseye "$PWD/build/plain-root" http://deb.debian.org/debian >"$scratch/root.log"
    tests/install/check_tarball.sh build/packages/ggufkit-*.tar.xz build/plain-root .
    build/venv/bin/python tests/oracle/check_wheel.py build . build/packages/ggufkit-*.tar.xz
}
# venv PACKAGES...
venv() {
    [ -x build/gguf-serve ] || build build -DCMAKE_C_COMPILER=gcc
    python3 -m venv build/venv
    build/venv/bin/pip install -q "$@"
}

passed=0
failed=()
skipped=()
for step in "${steps[@]}"; do
    echo "== $step"
    bash -e -o pipefail -c "$(declare -f build run_ctest venv "$step"); scratch=$scratch jobs=$jobs; $step" && status=0 || status=$?
    case $status in
    0) passed=$((passed + 1)) ;;
    77) skipped+=("$step") ;;
    *) failed+=("$step") ;;
    esac
done
[ ${#failed[@]} -eq 0 ] || echo "failed: ${failed[*]}"
[ ${#skipped[@]} -eq 0 ] || echo "skipped: ${skipped[*]}"
echo "$passed passed, ${#failed[@]} failed, ${#skipped[@]} skipped"
[ ${#failed[@]} -eq 0 ] && { [ $# -eq 0 ] || [ ${#skipped[@]} -eq 0 ]; }

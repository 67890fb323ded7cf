#!/usr/bin/env bash
# Commands under mpirun: any number of ranks gives the bytes of one process; failures, kills, ranks that fall silent and
# networks are what they ought to be.
# usage: check_mpi.sh BUILD DATA      exit 77: no mpirun here
set -eu
build=$(realpath "$1") data=$(realpath "$2") here=$(dirname "$(realpath "$0")")
command -v mpirun >/dev/null || exit 77
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
export PATH=$build:$PATH LC_ALL=C.UTF-8 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
demo=$data/demo-model text=$data/demo-model/calib.txt

fail() { echo "$*"; exit 1; }
# ranks N COMMAND...: what the ranks print, and the status of the job; a hang is a failure.
ranks() {
    local n=$1
    shift
    timeout 60 mpirun -q --oversubscribe --bind-to none -n "$n" "$@"
}
same() { cmp "$1" "$2" || fail "$2 has other bytes"; }
# refused STATUS TEXT COMMAND...: ends with the status and says the text once.
refused() {
    local status=$1 said=$2
    shift 2
    local got=0
    "$@" >out 2>err || got=$?
    [ $got -eq "$status" ] || { cat err; fail "status $got, not $status: $*"; }
    [ "$(grep -c -- "$said" err)" -eq 1 ] || { cat err; fail "not said once: $said"; }
}

# ---- the same bytes
gguf-convert "$demo" -o one.gguf -q
gguf-convert "$data/models/qwen3_moe_wide" -o moe.gguf -q
for n in 1 2 3 4 7; do
    ranks $n gguf-convert "$demo" -o c.gguf -q --force -t 1
    same one.gguf c.gguf
done
gguf-quantize one.gguf q.gguf Q4_K_M -q --manifest q.txt
gguf-quantize one.gguf s.gguf Q4_0 -q --split-max-size 1M
gguf-imatrix one.gguf -f "$text" -o one.imx -q --chunks 14
gguf-imatrix moe.gguf -f "$text" -o moe.imx -q --chunks 5 --ctx 256
gguf-quantize one.gguf k.gguf IQ2_XS -q --calibrate "$text" --samples 3072
gguf-quantize moe.gguf m.gguf Q3_K_M -q --calibrate "$text" --samples 3072
gguf-quantize one.gguf t.gguf --target-bpw 4 -q --calibrate "$text" --samples 3072
gguf-bench quality q.gguf -f "$demo/test.txt" --base one.gguf --ctx 256 --chunks 9 --json >q.json
gguf-bench quality one.gguf -f "$demo/test.txt" --save-base b.base --ctx 128 --chunks 9 --json >b.json
for n in 2 3; do
    mkdir $n
    ranks $n gguf-quantize one.gguf $n/q.gguf Q4_K_M -q -t 1 --manifest $n/q.txt
    ranks $n gguf-quantize one.gguf $n/s.gguf Q4_0 -q --split-max-size 1M -t 1
    ranks $n gguf-imatrix one.gguf -f "$text" -o $n/one.imx -q --chunks 14 -t 1
    ranks $n gguf-imatrix moe.gguf -f "$text" -o $n/moe.imx -q --chunks 5 --ctx 256 -t 1
    ranks $n gguf-quantize one.gguf $n/k.gguf IQ2_XS -q --calibrate "$text" --samples 3072 -t 1
    ranks $n gguf-quantize moe.gguf $n/m.gguf Q3_K_M -q --calibrate "$text" --samples 3072 -t 1
    ranks $n gguf-bench quality q.gguf -f "$demo/test.txt" --base one.gguf --ctx 256 --chunks 9 --json -t 1 >$n/q.json
    ranks $n gguf-bench quality one.gguf -f "$demo/test.txt" --save-base $n/b.base --ctx 128 --chunks 9 --json -t 1 >$n/b.json
    sed -i "s# $n/q.gguf# q.gguf#" $n/q.txt
    for f in q.gguf s-0000*.gguf one.imx moe.imx k.gguf m.gguf q.json b.base b.json; do same $f $n/$f; done
    diff <(grep source q.txt) <(grep source $n/q.txt)
done
ranks 3 gguf-quantize one.gguf 3/t.gguf --target-bpw 4 -q --calibrate "$text" --samples 3072 -t 1
same t.gguf 3/t.gguf
# More ranks than parts of the text.
ranks 7 gguf-quantize one.gguf k7.gguf IQ2_XS -q --calibrate "$text" --samples 3072 -t 1
same k.gguf k7.gguf

# ---- a pipeline of layers
for model in llama gemma3 gemma4 deepseek_v3 qwen3_next falcon_h1 jamba kimi_linear lfm2 nemotron_h gpt_oss_mxfp4 mamba2; do
    gguf-convert "$data/models/$model" -o p.gguf --force -q 2>/dev/null
    gguf-run p.gguf --tokens 5,3,7,9,2,4,6,8,1,3,5,7,11,13,12,10 --logits p.1 --force -q
    for n in 2 3; do
        ranks $n gguf-run p.gguf --tokens 5,3,7,9,2,4,6,8,1,3,5,7,11,13,12,10 --logits p.$n --force -q -t 1
        same p.1 p.$n
    done
done
gguf-run one.gguf -p "In the beginning" -n 24 --temp 1 --seed 3 -q >text.1
ranks 3 gguf-run one.gguf -p "In the beginning" -n 24 --temp 1 --seed 3 -q -t 1 >text.3
same text.1 text.3
ranks 2 gguf-bench one.gguf -p 32 -n 8 -r 2 -t 1 --json >speed.json 2>/dev/null
jq -e '.[0].avg_ts > 0' speed.json >/dev/null

# ---- failures: one error, the status as ever, no remains
refused 3 'the output exists' ranks 3 gguf-convert "$demo" -o c.gguf
refused 2 "unknown option '--bad'" ranks 2 gguf-quantize --bad
refused 2 'not shared' ranks 2 gguf-inspect one.gguf
refused 2 'one process' ranks 2 gguf-bench compare q.json b.json
refused 2 'standard input' ranks 2 gguf-run one.gguf
refused 5 'without drafts' ranks 2 gguf-run one.gguf -p a -n 1 --lookup on
refused 2 'cannot be shared by 7 ranks' ranks 7 gguf-run one.gguf -p a -n 1
refused 1 'missed:' ranks 2 gguf-bench quality q.gguf -f "$demo/test.txt" --ctx 256 --chunks 4 --max-ppl 2
cp one.gguf only_here.gguf
mkdir elsewhere
refused 3 '(rank 1, on ' ranks 3 sh -c '[ "$OMPI_COMM_WORLD_RANK" != 1 ] || cd elsewhere; exec gguf-quantize only_here.gguf ../x.gguf Q4_0'
refused 6 '' ranks 2 sh -c 'ulimit -f 40960; exec gguf-quantize one.gguf x.gguf F32'
[ -z "$(find . -name '*.part*' -o -name 'x.gguf')" ] || fail "a failed run left something: $(find . -name '*.part*' -o -name 'x.gguf')"

# ---- killed in the middle and resumed, by another number of ranks
job() { echo gguf-quantize one.gguf r.gguf Q3_K_M --calibrate "$text" -q -t 1 --resume; }
gguf-quantize one.gguf r1.gguf Q3_K_M --calibrate "$text" -q
ranks 3 $(job) >/dev/null 2>&1 &
launcher=$!
until [ -s r.gguf.part.journal-1 ] && [ "$(stat -c %s r.gguf.part.journal-1)" -gt 2000 ]; do
    kill -0 $launcher 2>/dev/null || fail "the job ended before it could be killed"
    sleep 0.05
done
victim=$(pgrep -f "^gguf-quantize one.gguf r.gguf" | tail -n 1)
kill -9 "$victim"
wait $launcher && fail "a job with a killed rank succeeded"
[ ! -e r.gguf ] || fail "a killed job left its output"
ranks 2 $(job)
same r1.gguf r.gguf
[ -z "$(find . -name 'r.gguf.part*')" ] || fail "a resumed job left something"

# ---- a rank that says nothing any more
export GGUFKIT_RANK_TIMEOUT=2
rm r.gguf
ranks 2 $(job) >out 2>err &
launcher=$!
until [ -s r.gguf.part.journal-1 ]; do sleep 0.05; done
victim=$(pgrep -f "^gguf-quantize one.gguf r.gguf" | tail -n 1)
kill -STOP "$victim"
status=0
wait $launcher || status=$?
kill -CONT "$victim" 2>/dev/null || true
[ $status -eq 3 ] || { cat err; fail "a silent rank: status $status"; }
grep -q 'nothing was heard of rank' err || { cat err; fail "a silent rank is not named"; }
unset GGUFKIT_RANK_TIMEOUT
ranks 3 $(job)
same r1.gguf r.gguf

# ---- between networks
if unshare -n true 2>/dev/null && command -v ip >/dev/null && command -v nsenter >/dev/null; then
    timeout 60 unshare -n "$here/networks.sh" gguf-quantize one.gguf n.gguf IQ2_XS -q --calibrate "$text" --samples 3072 -t 1
    same k.gguf n.gguf
    echo "networks: the same bytes"
else
    echo "networks: not tried, this needs root and iproute2"
fi
echo "mpi: passed"

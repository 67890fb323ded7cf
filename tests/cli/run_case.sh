#!/usr/bin/env bash
# Run one command-line case and compare its transcript with the expected one.
# usage: run_case.sh CASE BUILD DATA      UPDATE=1 in the environment writes the expectation instead
# A case calls `t COMMAND...`, which prints the command, its output ("1> ", "2> ") and its exit status.
set -u
case_file=$(realpath "$1")
export BUILD DATA
BUILD=$(realpath "$2")
DATA=$(realpath "$3")
export PATH=$BUILD:$PATH LC_ALL=C.UTF-8
expected=${case_file%.sh}.expected
scratch=$(mktemp -d)
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
export GGUFKIT_MODELS=$scratch/models HF_ENDPOINT=http://127.0.0.1:9 # no case asks the network
cd "$scratch" || exit 1

# Times, rates and folders differ from run to run.
neutral() {
    sed -E -e "s#$DATA#DATA#g; s#$scratch/##g" -e 's/[0-9]+\.[0-9]+ s\b/N s/g; s/\([0-9.]+ tokens\/s\)/(N tokens\/s)/'
}
t() {
    echo "\$ $*"
    "$@" >.stdout 2>.stderr
    local status=$?
    neutral <.stdout | sed 's/^/1> /'
    neutral <.stderr | sed 's/^/2> /'
    echo "exit $status"
}
# A writable copy of a fixture model.
copy_model() {
    cp -rL "$DATA/models/$1" "$2" && chmod -R u+w "$2"
}

(. "$case_file") | neutral >.transcript
if [ "${UPDATE:-}" = 1 ]; then
    cp .transcript "$expected"
    exit 0
fi
diff -u "$expected" .transcript

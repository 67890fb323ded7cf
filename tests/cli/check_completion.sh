#!/usr/bin/env bash
# Load a command's completion script in its shell and complete a verb, an option and a file.
# usage: check_completion.sh SHELL BUILD     exit 77 (skipped) where the shell is not installed
set -eu
shell=$1
PATH=$(realpath "$2"):$PATH
command -v "$shell" >/dev/null || { echo "$shell is not installed: skipped"; exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
touch model.gguf "two words.gguf"
for tool in gguf-inspect gguf-edit gguf-quantize gguf-run gguf-bench; do $tool --completion "$shell" >"_$tool"; done

# complete LINE: what the shell offers behind it, one candidate a line
complete_bash() {
    bash -c '. "./_${1%% *}"; read -ra COMP_WORDS <<<"$1"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
             "_$(tr - _ <<<"${COMP_WORDS[0]}")"; printf "%s\n" "${COMPREPLY[@]}"' bash "$1"
}
complete_fish() {
    HOME=$scratch fish --no-config -c 'source (string split " " -- $argv[1] | head -n 1 | string replace -r "^" "_")
                                       complete -C "$argv[1]"' "$1" | cut -f 1
}
# An interactive zsh on a pseudo terminal, which prints what it would list.
complete_zsh() {
    cat >ask.zsh <<'ZSH'
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1= PROMPT= RPS1= fpath=('"$PWD"' $fpath); autoload -Uz compinit; compinit -u -D'
zpty -w shell 'show() { compadd() { local -a got; builtin compadd -O got "$@"; print -rl -- "<"${^got}">" >>'"$PWD"'/offered; builtin compadd "$@" } ; _main_complete }; zle -C show-them complete-word show; bindkey "^X" show-them; print ready'
zpty -m shell '*ready*ready*' 2>/dev/null
zpty -w -n shell "$1"$'\x18'
for i in {1..50}; do [[ -s offered ]] && break; sleep 0.1; done
sleep 0.3
zpty -d shell
ZSH
    rm -f offered
    zsh -f ask.zsh "$1" >/dev/null 2>&1 </dev/null || true
    sed -n 's/^<\(.*\)>$/\1/p' offered 2>/dev/null || true
}

expect() {
    local found
    found=$("complete_$shell" "$1")
    grep -qx -- "$2" <<<"$found" && return
    echo "$shell: behind '$1' there is no '$2' but: $found"
    exit 1
}
expect "gguf-inspect sta" stats
expect "gguf-inspect --al" "--algo=\?"
expect "gguf-edit set-t" set-template
expect "gguf-quantize --outp" "--output-tensor-type=\?"
expect "gguf-run --te" "--temp=\?"
expect "gguf-inspect verify mod" model.gguf
expect "gguf-bench fit --vr" "--vram=\?"
expect "gguf-bench fit --pa" "--parallel=\?"
expect "gguf-bench fi" fit
expect "gguf-bench --min-t" "--min-tg=\?"
if [ "$shell" = bash ]; then expect "gguf-inspect verify two" "two words.gguf"; fi
echo "$shell: completes verbs, options and files"

#!/bin/sh
# tools/quickstart with a model and text of one's own, on this build: one table, which device computes, and nothing done twice.
# usage: quickstart.sh SOURCE BUILD
set -eu
source=$1 build=$2
scratch=$(mktemp -d "${TMPDIR:-/tmp}/dapt-test-XXXXXX")
fail() { echo "quickstart: $*" >&2; exit 1; }
cleanup() {
    rm -rf "$scratch"
    [ -z "${work:-}" ] || rm -rf "$work"
}
trap cleanup EXIT
cp -R "$source/tools/base" "$scratch/model"
i=0
while [ $i -lt 80 ]; do echo "the cat number $i sat on the mat and looked at cat number $((i * 7 % 80))"; i=$((i + 1)); done >"$scratch/text.txt"
quickstart() {
    (cd "$scratch" && DAPT_BUILD=$build "$source/tools/quickstart" --model model --domain text.txt --heldout text.txt "$@") >"$scratch/log" 2>&1
}
quickstart --steps 2 || { cat "$scratch/log" >&2; fail "it failed"; }
work=$(sed -n 's/^Its configuration: \(.*\)\/config.json$/\1/p' "$scratch/log")
[ -n "$work" ] || { cat "$scratch/log" >&2; fail "it does not name the configuration"; }
once() { [ "$(grep -c "$1" "$scratch/log")" = 1 ] || { cat "$scratch/log" >&2; fail "'$1' does not stand there once"; }; }
once '^device  '
once 'bits/byte .*perplexity$'
once '^domain  *[0-9]*\.[0-9]'
once '^step 2  checkpoint'
grep -q '"model": "'"$scratch"'/model"' "$work/config.json" || fail "its configuration names another model"
! grep -q '"backend"' "$work/config.json" || fail "its configuration names a backend"
quickstart --steps 2 || { cat "$scratch/log" >&2; fail "the second time failed"; }
once 'bits/byte .*perplexity$'
once 'the run is complete: 2 steps'
! grep -q '^step ' "$scratch/log" || fail "it trains again what was trained"
quickstart --steps 2 --fresh || fail "--fresh failed"
once '^step 2  checkpoint'
! quickstart --model owner/name || fail "a model that is not there is no error"
once 'hf download owner/name --local-dir'
echo "quickstart: all well"

#!/bin/sh
# Installs into a scratch folder, moves the tree, and uses it there: the command finds its library and its modules relative to itself, and a
# program that embeds the library and a plugin build against it.
# Manual pages, completion, schema and licence are there, and the examples do what they say.
# usage: installed.sh MESON BUILD SOURCE BINDIR LIBDIR INCLUDEDIR DATADIR MANDIR PYTHON CC...
set -eu
meson=$1 build=$2 source=$3 bindir=$4 libdir=$5 includedir=$6 datadir=$7 mandir=$8 python=$9
shift 9
unset LD_LIBRARY_PATH DAPT_PLUGIN_PATH DAPT_TEST_BUILD || true
scratch=$(mktemp -d "${TMPDIR:-/tmp}/dapt-test-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
fail() { echo "installed: $*" >&2; exit 1; }

"$meson" install -C "$build" --no-rebuild --quiet --destdir "$scratch/stage" >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; fail "meson install failed"; }
program=$(find "$scratch/stage" -path "*/$bindir/dapt" -type f)
[ -n "$program" ] || fail "no program was installed"
mkdir "$scratch/elsewhere"
mv "${program%/"$bindir"/dapt}" "$scratch/elsewhere/tree"
rm -rf "$scratch/stage"
tree=$scratch/elsewhere/tree
dapt=$tree/$bindir/dapt
cd "$scratch"

"$dapt" --version >/dev/null || fail "the moved program does not start"
"$dapt" plugins --json >plugins.json || fail "dapt plugins failed"
for id in cpu text jsonl bytes hf cosine; do grep -q "\"id\":[[:space:]]*\"$id\"" plugins.json || fail "no module '$id'"; done
grep '"path"' plugins.json | grep -v "$(cd "$tree" && pwd -P)\|$tree" && fail "modules from outside of the moved tree"

i=0
while [ $i -lt 60 ]; do echo "the cat number $i sat on the mat and looked at cat number $((i * 7 % 60))"; i=$((i + 1)); done >text.txt
cat >config.json <<END
{"model": {"random": {"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
                      "vocab_size": 258, "max_position_embeddings": 64}},
 "tokenizer": {"plugin": "bytes"},
 "data": {"domain": "text.txt", "eval": {"same": "text.txt"}, "sequence": 32, "packing": "concatenate", "cache": "cache"},
 "train": {"batch": 2, "steps": 5}, "run": "run"}
END
"$dapt" train config.json >train.log 2>&1 || { cat train.log >&2; fail "training failed"; }
[ -f run/checkpoints/step-000005/model.safetensors ] || fail "no checkpoint"
"$dapt" generate run --prompt "the cat" --max-tokens 5 >/dev/null || fail "generation failed"

# An embedding program and a plugin, built against what was installed.
cat >embed.c <<'END'
#include <dapt/dapt.h>
#include <stdio.h>
#include <string.h>
struct seen { int steps, evaluations, ends; };
static void on_event(void *user, const struct dapt_train_event *event) {
    struct seen *seen = user;
    seen->steps += event->kind == DAPT_TRAIN_STEP && event->loss > 0 && event->steps == 5;
    seen->evaluations += event->kind == DAPT_TRAIN_EVALUATION && event->evaluation_count == 1;
    seen->ends += event->kind == DAPT_TRAIN_END;
}
static bool on_text(void *user, const char *text, size_t length) {
    (void)text;
    *(size_t *)user += length;
    return true;
}
int main(void) {
    struct dapt_context *context = NULL;
    struct seen seen = {0, 0, 0};
    const char *sets[] = {"run=embedded", NULL};
    struct dapt_train_options train = {.config = "config.json", .sets = sets, .callback = on_event, .user = &seen};
    struct dapt_generate_options generate = {.model = {.model = "embedded"}, .prompt = "the", .max_tokens = 4, .ignore_end = true};
    struct dapt_generated generated;
    size_t bytes = 0;
    enum dapt_status status = dapt_train(&train);
    if (!status) status = dapt_context_open(NULL, &context);
    if (!status) status = dapt_generate(context, &generate, on_text, &bytes, &generated);
    if (status) fprintf(stderr, "%s\n", dapt_last_error());
    else if (seen.steps != 5 || seen.evaluations != 2 || seen.ends != 1 || generated.tokens != 4) status = DAPT_ERROR_INTERNAL;
    generate.model.model = "nowhere";
    if (!status && (dapt_generate(context, &generate, on_text, &bytes, NULL) != DAPT_ERROR_INVALID ||
                    !strstr(dapt_last_error(), "nowhere"))) status = DAPT_ERROR_INTERNAL;
    if (!status) printf("%zu\n", dapt_plugin_count(context));
    dapt_context_close(&context);
    return status != DAPT_OK;
}
END
"$@" -I"$tree/$includedir" embed.c -L"$tree/$libdir" -ldapt -Wl,-rpath,"$tree/$libdir" -o "$tree/$bindir/embed" || fail "a program can't be built"
count=$("$tree/$bindir/embed") || fail "an embedding program fails"
[ "$count" -ge 6 ] || fail "an embedding program prints something else, or finds no modules: $count"
soname=$(readelf -d "$tree/$libdir/libdapt.so" 2>/dev/null | sed -n 's/.*soname: \[\(.*\)\]/\1/p')
[ -z "$soname" ] || [ -f "$tree/$libdir/$soname" ] || fail "no $soname"
case $soname in ''|libdapt.so.*) ;; *) fail "the SONAME has no version: $soname" ;; esac

# What is there besides programs.
share=$tree/$datadir docs=$tree/$datadir/doc/dapt examples=$tree/$datadir/doc/dapt/examples
for file in "$docs/LICENSE" "$docs/README.md" "$docs/plugins/README.md" "$share/dapt/dapt.schema.json" \
            "$share/zsh/site-functions/_dapt" "$share/fish/vendor_completions.d/dapt.fish"; do
    [ -s "$file" ] || fail "$file is not installed"
done
commands=$("$dapt" plugins --help >/dev/null && "$dapt" help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p' | grep -vx help)
[ "$(echo "$commands" | wc -w)" -ge 9 ] || fail "the overview lists too few commands: $commands"
"$dapt" train --schema >schema.json
cmp -s schema.json "$share/dapt/dapt.schema.json" || fail "the schema is another one than dapt train --schema"
for page in man1/dapt.1 man5/dapt.json.5 $(for c in $commands; do echo "man1/dapt-$c.1"; done); do
    [ -s "$tree/$mandir/$page" ] || fail "$page is not installed"
    ! command -v groff >/dev/null || [ -z "$(groff -man -Tutf8 -ww -z "$tree/$mandir/$page" 2>&1)" ] || fail "$page: groff warns"
done
for option in $("$dapt" help train | grep -o '^  --[a-z-]*'); do
    grep -q -- "$(echo "$option" | sed 's/-/\\\\-/g')" "$tree/$mandir/man1/dapt-train.1" || fail "dapt-train.1 lacks $option"
    grep -q -- "$option" "$share/zsh/site-functions/_dapt" || fail "zsh completion lacks $option"
    grep -q -- "-l ${option#--}" "$share/fish/vendor_completions.d/dapt.fish" || fail "fish completion lacks $option"
done
grep -q 'schedule' "$tree/$mandir/man5/dapt.json.5" || fail "dapt.json.5 lacks train.schedule"
! command -v zsh >/dev/null || zsh -n "$share/zsh/site-functions/_dapt" || fail "zsh completion does not parse"
! command -v fish >/dev/null || fish -n "$share/fish/vendor_completions.d/dapt.fish" || fail "fish completion does not parse"
if command -v bash >/dev/null; then
    complete() {   # complete WORD...: what bash offers for the last word of "dapt WORD..."
        bash -c '. "$0"; COMP_WORDS=(dapt "$@"); COMP_CWORD=$#; _dapt; echo "${COMPREPLY[@]}"' "$share/bash-completion/completions/dapt" "$@"
    }
    [ "$(complete tr)" = train ] || fail "bash completes 'tr' to '$(complete tr)'"
    [ "$(complete train --re)" = --resume ] || fail "bash completes 'train --re' to '$(complete train --re)'"
    [ "$(complete generate --device te)" = text.txt ] || fail "bash completes a file to '$(complete generate --device te)'"
fi

# Only what dapt.h needs: with no package but ours to be found.
for pc in dapt dapt-plugin; do
    [ -f "$tree/$libdir/pkgconfig/$pc.pc" ] || fail "$pc.pc is not installed"
    if command -v pkg-config >/dev/null; then
        flags=$(PKG_CONFIG_LIBDIR=$tree/$libdir/pkgconfig PKG_CONFIG_PATH='' pkg-config --cflags --libs "$pc") || fail "$pc.pc asks for more"
        case $flags in *"$tree"*) ;; *) fail "$pc.pc does not move with the tree: $flags" ;; esac
    fi
done

# The examples, as they are installed.
mkdir plugins
plugin_flags=-I$tree/$includedir
! command -v pkg-config >/dev/null || plugin_flags=$(PKG_CONFIG_LIBDIR=$tree/$libdir/pkgconfig pkg-config --cflags dapt-plugin)
# shellcheck disable=SC2086 # flags
"$@" -shared -fPIC -O2 -Wall -Werror "$examples/fortune.c" -o plugins/fortune.so $plugin_flags || fail "fortune.c can't be built"
printf 'one fish\n%%\ntwo fish and more\n%%\nred fish\n' >fortunes
"$dapt" plan config.json --set 'plugins=["plugins"]' --set 'data.domain={"path": "fortunes", "source": "fortune"}' >plan.log 2>&1 ||
    { cat plan.log >&2; fail "fortune.so does not read"; }
grep -q '^domain .* 3 documents' plan.log || { cat plan.log >&2; fail "fortune.so reads something else"; }
case "$*" in *-fsanitize*) echo "installed: embed.py is not run: Python is not built with sanitizers" ;;
*)
    "$python" "$examples/embed.py" "$tree/$libdir/libdapt.so" config.json by-python "the cat" >embed.log 2>&1 ||
        { cat embed.log >&2; fail "embed.py fails"; }
    [ -f by-python/checkpoints/step-000005/model.safetensors ] || fail "embed.py trains nothing"
    ! "$python" "$examples/embed.py" "$tree/$libdir/libdapt.so" nowhere.json by-python x 2>embed.log || fail "embed.py hides an error"
    grep -q 'nowhere.json: No such file' embed.log || { cat embed.log >&2; fail "embed.py tells no reason"; } ;;
esac
echo "installed: all well"

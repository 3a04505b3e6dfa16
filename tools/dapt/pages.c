// Writes what an installation has besides programs, from the tables that the help goes by: manual
// pages, completion for bash, zsh and fish, and the JSON Schema of a configuration.
//
//   pages DATADIR MANDIR     relative folders are below $MESON_INSTALL_DESTDIR_PREFIX
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tool.h"

// ------------------------------------------------------------------------------------------ files

static void die(const char *what, const char *path) {
    fprintf(stderr, "pages: %s %s: %s\n", path, what, strerror(errno));
    exit(1);
}

// Opens FOLDER/NAME for writing, making the folders on the way.
static FILE *create(const char *folder, const char *name) {
    const char *prefix = getenv("MESON_INSTALL_DESTDIR_PREFIX");
    bool below = folder[0] != '/' && prefix;
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s%s%s/%s", below ? prefix : "", below ? "/" : "",
                          folder, name);
    if (length < 0 || (size_t)length >= sizeof path) die("is too long", folder);
    for (char *slash = path; (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST) die("cannot be made", path);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    if (!file) die("cannot be opened", path);
    return file;
}

static void finish(FILE *file, const char *name) {
    if (fclose(file) != 0) die("cannot be written", name);
}

// --------------------------------------------------------------------------------- manual pages

// Text as roff takes it; one that begins a line.
static void put_roff(FILE *out, const char *text, size_t length) {
    if (length > 0 && (*text == '.' || *text == '\'')) fputs("\\&", out);
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\\')
            fputs("\\e", out);
        else if (text[i] == '-')
            fputs("\\-", out);
        else
            fputc(text[i], out);
    }
}

static void put_text(FILE *out, const char *text) {
    put_roff(out, text, strlen(text));
}

static void put_line(FILE *out, const char *before, const char *text, const char *after) {
    fputs(before, out);
    put_text(out, text);
    fputs(after, out);
}

static void put_head(FILE *out, const char *name, int section) {
    fprintf(out, ".TH \"");
    put_text(out, name);
    fprintf(out, "\" %d \"\" \"dapt %s\" \"dapt\"\n.SH NAME\n", section, dapt_version());
    put_text(out, name);
}

static void put_codes(FILE *out) {
    fputs(".SH EXIT STATUS\n", out);
    for (const struct tool_code *code = tool_codes; code->text; code++) {
        fprintf(out, ".TP\n.B %d\n", code->code);
        put_line(out, "", code->text, "\n");
    }
}

// Every line of `text` is a paragraph.
static void put_paragraphs(FILE *out, const char *text) {
    while (*text) {
        size_t length = strcspn(text, "\n");
        fputs(".PP\n", out);
        put_roff(out, text, length);
        fputc('\n', out);
        text += length + (text[length] == '\n');
    }
}

static void write_command(const struct tool_command *command, const char *mandir) {
    char name[64], file[96];
    snprintf(name, sizeof name, "dapt-%s", command->name);
    snprintf(file, sizeof file, "man1/%s.1", name);
    FILE *out = create(mandir, file);
    const struct tool_option *option = tool_option_at(command, 0);
    put_head(out, name, 1);
    put_line(out, " \\- ", command->summary, "\n.SH SYNOPSIS\n");
    put_line(out, "\\fBdapt ", command->name, "\\fR ");
    put_line(out, "\\fI", command->plain, "\\fR");
    fputs(option ? " [\\fIOPTION\\fR ...]\n.SH OPTIONS\n" : "\n", out);
    for (size_t k = 0; (option = tool_option_at(command, k)); k++) {
        put_line(out, ".TP\n\\fB", option->name, "\\fR");
        if (option->argument) put_line(out, " \\fI", option->argument, "\\fR");
        put_line(out, "\n", option->help, "\n");
    }
    if (command->notes) {
        fputs(".SH NOTES\n", out);
        put_paragraphs(out, command->notes);
    }
    put_codes(out);
    fputs(".SH SEE ALSO\n.BR dapt (1),\n.BR dapt.json (5)\n", out);
    finish(out, file);
}

static void write_overview(const char *mandir) {
    static const struct {
        const char *name, *text;
    } environment[] = {
        {"DAPT_PLUGIN_PATH", "folders with plugins, absolute, a colon between them"},
        {"XDG_CACHE_HOME",
         "tokenised text and what was measured of devices are kept in its "
         "dapt/; default: ~/.cache"},
        {"TERM", "dumb: no escape sequences are written"},
    };
    FILE *out = create(mandir, "man1/dapt.1");
    put_head(out, "dapt", 1);
    put_line(out, " \\- ", tool_about, "\n.SH SYNOPSIS\n");
    fputs("\\fBdapt\\fR \\fICOMMAND\\fR [\\fIARGUMENT\\fR ...]\n.SH COMMANDS\n", out);
    for (const struct tool_command *const *command = tool_commands; *command; command++) {
        put_line(out, ".TP\n\\fB", (*command)->name, "\\fR");
        put_line(out, " \\fI", (*command)->plain, "\\fR\n");
        put_line(out, "", (*command)->summary, "\n");
    }
    fputs(".TP\n\\fBhelp\\fR [\\fICOMMAND\\fR]\nthe commands, or the options of one\n", out);
    put_line(out, ".PP\n", tool_model_about, "\n");
    put_codes(out);
    fputs(".SH ENVIRONMENT\n", out);
    for (size_t i = 0; i < sizeof environment / sizeof environment[0]; i++) {
        put_line(out, ".TP\n.B ", environment[i].name, "\n");
        put_line(out, "", environment[i].text, "\n");
    }
    fputs(".SH SEE ALSO\n", out);
    for (const struct tool_command *const *command = tool_commands; *command; command++) {
        put_line(out, ".BR dapt\\-", (*command)->name, " (1),\n");
    }
    fputs(".BR dapt.json (5)\n", out);
    finish(out, "man1/dapt.1");
}

// The text of --help-config: a key and its type at the margin, what is told of it indented.
static void put_config(FILE *out, const char *text) {
    bool key = false;
    for (; *text; text += strcspn(text, "\n") + 1) {
        size_t length = strcspn(text, "\n"), margin = strspn(text, " ");
        size_t name = strcspn(text, ": \n");
        if (length == 0) continue;
        if (margin == 0 && text[name] == ':') {
            fputs(".TP\n\\fB", out);
            put_roff(out, text, name);
            fputs("\\fR", out);
            put_roff(out, text + name, length - name);
            key = true;
        } else {
            fputs(!key ? "" : ".br\n", out);
            put_roff(out, text + margin, length - margin);
        }
        fputc('\n', out);
        if (!text[length]) break;
    }
}

static void write_config(const char *mandir) {
    char *text = NULL;
    size_t length;
    FILE *page = open_memstream(&text, &length), *out = create(mandir, "man5/dapt.json.5");
    if (!page) die("could not be made", "a text");
    if (dapt_config_describe(tool_emit, page) != DAPT_OK) {
        fprintf(stderr, "pages: %s\n", dapt_last_error());
        exit(1);
    }
    finish(page, "a text");
    put_head(out, "dapt.json", 5);
    fputs(" \\- the configuration of a run of dapt\n.SH DESCRIPTION\n", out);
    put_config(out, text);
    fputs(".SH SEE ALSO\n.BR dapt\\-train (1)\n", out);
    finish(out, "man5/dapt.json.5");
    free(text);
}

// ------------------------------------------------------------------------------------ completion

static void put_options(FILE *out, const struct tool_command *command, bool with_value) {
    const struct tool_option *option;
    for (size_t k = 0; (option = tool_option_at(command, k)); k++)
        if (!with_value || option->kind != TOOL_FLAG) fprintf(out, " %s", option->name);
}

static void put_names(FILE *out) {
    for (const struct tool_command *const *command = tool_commands; *command; command++)
        fprintf(out, " %s", (*command)->name);
}

static void write_bash(const char *datadir) {
    FILE *out = create(datadir, "bash-completion/completions/dapt");
    fputs(
        "# bash completion for dapt\n"
        "_dapt() {\n"
        "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
        "    local options='' values='' commands='",
        out);
    put_names(out);
    fputs(
        "'\n"
        "    COMPREPLY=()\n"
        "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
        "        COMPREPLY=($(compgen -W \"$commands help --help --version\" -- \"$word\"))\n"
        "        return\n"
        "    fi\n"
        "    case ${COMP_WORDS[1]} in\n",
        out);
    for (const struct tool_command *const *command = tool_commands; *command; command++) {
        fprintf(out, "    %s) options='", (*command)->name);
        put_options(out, *command, false);
        fputs(" --help' values='", out);
        put_options(out, *command, true);
        fputs("' ;;\n", out);
    }
    fputs(
        "    help) COMPREPLY=($(compgen -W \"$commands\" -- \"$word\")); return ;;\n"
        "    esac\n"
        "    case \" $values \" in\n"
        "    *\" $before \"*) ;;\n"
        "    *) if [ \"${word:0:1}\" = - ]; then\n"
        "           COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
        "           return\n"
        "       fi ;;\n"
        "    esac\n"
        "    COMPREPLY=($(compgen -f -- \"$word\"))\n"
        "}\n"
        "complete -o filenames -F _dapt dapt\n",
        out);
    finish(out, "bash-completion/completions/dapt");
}

// Text between single quotes; of `special` characters, each gets a backslash.
static void put_quoted(FILE *out, const char *text, const char *special) {
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", out);
        else
            fprintf(out, "%s%c", strchr(special, *text) ? "\\" : "", *text);
    }
}

static void write_zsh(const char *datadir) {
    FILE *out = create(datadir, "zsh/site-functions/_dapt");
    fputs(
        "#compdef dapt\n"
        "_dapt() {\n"
        "    local -a commands\n"
        "    commands=(\n",
        out);
    for (const struct tool_command *const *command = tool_commands; *command; command++) {
        fprintf(out, "        '%s:", (*command)->name);
        put_quoted(out, (*command)->summary, "\\:");
        fputs("'\n", out);
    }
    fputs(
        "        'help:the commands, or the options of one'\n"
        "    )\n"
        "    if (( CURRENT == 2 )); then\n"
        "        _describe command commands\n"
        "        return\n"
        "    fi\n"
        "    local command=$words[2]\n"
        "    shift words\n"
        "    (( CURRENT-- ))\n"
        "    case $command in\n"
        "    help) _describe command commands ;;\n",
        out);
    for (const struct tool_command *const *command = tool_commands; *command; command++) {
        const struct tool_option *option;
        fprintf(out, "    %s) _arguments", (*command)->name);
        for (size_t k = 0; (option = tool_option_at(*command, k)); k++) {
            fprintf(out, " \\\n        '%s%s[", option->kind == TOOL_LIST ? "*" : "", option->name);
            put_quoted(out, option->help, "\\[]:");
            fputs("]", out);
            if (option->argument) fprintf(out, ":%s:_files", option->argument);
            fputs("'", out);
        }
        fputs(" \\\n        '*:file:_files' ;;\n", out);
    }
    fputs("    esac\n}\n_dapt \"$@\"\n", out);
    finish(out, "zsh/site-functions/_dapt");
}

static void write_fish(const char *datadir) {
    FILE *out = create(datadir, "fish/vendor_completions.d/dapt.fish");
    fputs("# fish completion for dapt\n", out);
    for (const struct tool_command *const *command = tool_commands; *command; command++) {
        const char *name = (*command)->name;
        const struct tool_option *option;
        fprintf(out, "complete -c dapt -n __fish_use_subcommand -f -a %s -d '", name);
        put_quoted(out, (*command)->summary, "\\");
        fputs("'\n", out);
        for (size_t k = 0; (option = tool_option_at(*command, k)); k++) {
            bool word = option->name[1] == '-';  // "--steps", not "-n"
            fprintf(out, "complete -c dapt -n '__fish_seen_subcommand_from %s' -%c %s%s -d '", name,
                    word ? 'l' : 's', option->name + 1 + word,
                    option->kind == TOOL_FLAG ? "" : " -r");
            put_quoted(out, option->help, "\\");
            fputs("'\n", out);
        }
    }
    fputs(
        "complete -c dapt -n __fish_use_subcommand -f -a help -d 'the commands, or the options "
        "of one'\n"
        "complete -c dapt -n '__fish_seen_subcommand_from help' -f -a '",
        out);
    put_names(out);
    fputs("'\n", out);
    finish(out, "fish/vendor_completions.d/dapt.fish");
}

// ----------------------------------------------------------------------------------------- schema

static void write_schema(const char *datadir) {
    FILE *out = create(datadir, "dapt/dapt.schema.json");
    if (dapt_config_describe_schema(tool_emit, out) != DAPT_OK) {
        fprintf(stderr, "pages: %s\n", dapt_last_error());
        exit(1);
    }
    finish(out, "dapt/dapt.schema.json");
}

int main(int count, char **words) {
    if (count != 3) {
        fputs("usage: pages DATADIR MANDIR\n", stderr);
        return 2;
    }
    const char *datadir = words[1], *mandir = words[2];
    unsetenv("DAPT_PLUGIN_PATH");  // what is ours alone
    for (const struct tool_command *const *command = tool_commands; *command; command++)
        write_command(*command, mandir);
    write_overview(mandir);
    write_config(mandir);
    write_bash(datadir);
    write_zsh(datadir);
    write_fish(datadir);
    write_schema(datadir);
    return 0;
}

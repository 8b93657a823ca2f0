#include "cli/completion.h"

#include <string.h>

#include "cli/command.h"

// What stands behind an option, or in an operand's place.
enum completion_kind { COMPLETE_NOTHING, COMPLETE_FILES, COMPLETE_CHOICES, COMPLETE_NAMES };

struct completion {
    enum completion_kind kind;
    const char *words;  // COMPLETE_CHOICES: "a|b"; COMPLETE_NAMES: the kind of object
};

static const char *const kind_words[] = {
    [CATALOG_SOURCE] = "source", [CATALOG_DESTINATION] = "destination", [CATALOG_PIPELINE] = "pipeline"};

static bool is_one_of(const char *word, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(word, words[i]) == 0)
            return true;
    return false;
}

static struct completion completion_of_option(const struct option_spec *spec)
{
    static const char *const files[] = {"FILE", "PATH", "DIRECTORY"};
    if (spec->kind == OPTION_CHOICE)
        return (struct completion){COMPLETE_CHOICES, spec->choices};
    if (spec->value_name != NULL && is_one_of(spec->value_name, files, sizeof files / sizeof files[0]))
        return (struct completion){COMPLETE_FILES, NULL};
    if (is_one_of(spec->name, kind_words, sizeof kind_words / sizeof kind_words[0]))
        return (struct completion){COMPLETE_NAMES, spec->name};
    return (struct completion){COMPLETE_NOTHING, NULL};
}

// By the usage: NAME is that of an object of the command's own kind, of a pipeline where the command has none. The name of
// what is being added is nobody's yet.
static struct completion completion_of_operand(const struct command *command)
{
    size_t name_size = strlen(command->name);
    const char *operand = command->usage + name_size + strspn(command->usage + name_size, " [");
    if (strncmp(operand, "FILE", 4) == 0)
        return (struct completion){COMPLETE_FILES, NULL};
    if (strcmp(command->name, "completion") == 0)
        return (struct completion){COMPLETE_CHOICES, operand};
    if (strncmp(operand, "NAME", 4) != 0 || strstr(command->name, " add") != NULL)
        return (struct completion){COMPLETE_NOTHING, NULL};
    for (size_t i = 0; i < sizeof kind_words / sizeof kind_words[0]; i++)
        if (strncmp(command->name, kind_words[i], strlen(kind_words[i])) == 0)
            return (struct completion){COMPLETE_NAMES, kind_words[i]};
    return (struct completion){COMPLETE_NAMES, kind_words[CATALOG_PIPELINE]};
}

// "a|b" with blanks for the bars.
static void append_words(struct buf *out, const char *words)
{
    for (; *words != '\0'; words++)
        buf_append_byte(out, *words == '|' ? ' ' : (uint8_t)*words);
}

static size_t first_word_size(const struct command *command)
{
    return strcspn(command->name, " ");
}

// The first words of the commands' names, each once.
static void append_first_words(struct buf *out)
{
    for (size_t i = 0; i < command_count; i++) {
        size_t size = first_word_size(commands[i]);
        if (i > 0 && first_word_size(commands[i - 1]) == size &&
            memcmp(commands[i]->name, commands[i - 1]->name, size) == 0)
            continue;
        buf_append(out, commands[i]->name, size);
        buf_append_byte(out, ' ');
    }
}

// --- bash --------------------------------------------------------------------------------------------------------------

static const char bash_head[] =
    "_etl_stream_names()\n"
    "{\n"
    "    etl-stream \"$1\" list --json 2>/dev/null | sed -n 's/.*\"name\": *\"\\([^\"]*\\)\".*/\\1/p'\n"
    "}\n\n"
    "_etl_stream()\n"
    "{\n"
    "    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command= operands=0 words= i\n"
    "    COMPREPLY=()\n"
    "    # --option=value is three words where = separates them.\n"
    "    if [ \"$current\" = = ]; then current=; elif [ \"$before\" = = ]; then before=${COMP_WORDS[COMP_CWORD-2]}; "
    "fi\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        case ${COMP_WORDS[i]} in -* | =) continue ;; esac\n"
    "        case $command in\n"
    "        '') command=${COMP_WORDS[i]} ;;\n"
    "        source | destination | pipeline | help) command=\"$command ${COMP_WORDS[i]}\" ;;\n"
    "        *) operands=$((operands + 1)) ;;\n"
    "        esac\n"
    "    done\n";

static const char bash_tail[] = "    [ -n \"$words\" ] && COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
                                "    return 0\n"
                                "}\n\n"
                                "complete -F _etl_stream etl-stream\n";

static void bash_value(struct buf *out, const struct completion *completion)
{
    switch (completion->kind) {
    case COMPLETE_FILES: buf_append_text(out, "COMPREPLY=($(compgen -f -- \"$current\")); return 0"); return;
    case COMPLETE_CHOICES:
        buf_append_text(out, "words='");
        append_words(out, completion->words);
        buf_append_byte(out, '\'');
        return;
    case COMPLETE_NAMES: buf_appendf(out, "words=$(_etl_stream_names %s)", completion->words); return;
    case COMPLETE_NOTHING: buf_append_text(out, "return 0"); return;
    }
}

static void bash_command(struct buf *out, const struct command *command)
{
    struct option_spec options[COMMAND_OPTIONS_MAX];
    size_t option_count = command_all_options(command, options);
    struct completion operand = completion_of_operand(command);
    buf_appendf(out, "    '%s')\n        case $before in\n", command->name);
    for (size_t i = 0; i < option_count; i++) {
        struct completion completion = completion_of_option(&options[i]);
        if (options[i].kind == OPTION_FLAG)
            continue;
        buf_appendf(out, "        --%s) ", options[i].name);
        bash_value(out, &completion);
        buf_append_text(out, " ;;\n");
    }
    buf_append_text(out, "        *)\n            case $current in\n            -*) words='--help");
    for (size_t i = 0; i < option_count; i++)
        if (strcmp(options[i].name, "help") != 0)
            buf_appendf(out, " --%s", options[i].name);
    buf_append_text(out, "' ;;\n");
    if (operand.kind != COMPLETE_NOTHING) {
        buf_append_text(out, "            *) [ $operands = 0 ] || return 0; ");
        bash_value(out, &operand);
        buf_append_text(out, " ;;\n");
    }
    buf_append_text(out, "            esac ;;\n        esac ;;\n");
}

static void bash_function(struct buf *out)
{
    buf_append_text(out, bash_head);
    buf_append_text(out, "    case $command in\n    '' | help) words='");
    append_first_words(out);
    buf_append_text(out, "' ;;\n");
    for (size_t i = 0; i < command_count; i++) {
        size_t size = first_word_size(commands[i]);
        bool is_group = commands[i]->name[size] == ' ';
        bool is_first = i == 0 || strncmp(commands[i - 1]->name, commands[i]->name, size + 1) != 0;
        if (!is_group || !is_first)
            continue;
        buf_appendf(out, "    '%.*s' | 'help %.*s') words='", (int)size, commands[i]->name, (int)size,
                    commands[i]->name);
        for (size_t j = i; j < command_count && strncmp(commands[j]->name, commands[i]->name, size + 1) == 0; j++)
            buf_appendf(out, "%s ", commands[j]->name + size + 1);
        buf_append_text(out, "' ;;\n");
    }
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(commands[i]->name, "help") != 0)
            bash_command(out, commands[i]);
    buf_append_text(out, "    esac\n");
    buf_append_text(out, bash_tail);
}

void completion_write_bash(struct buf *out)
{
    buf_append_text(out, "# bash completion of etl-stream " ETL_VERSION "; made by: etl-stream completion bash\n");
    bash_function(out);
}

void completion_write_zsh(struct buf *out)
{
    buf_append_text(out, "#compdef etl-stream\n"
                         "# zsh completion of etl-stream " ETL_VERSION "; made by: etl-stream completion zsh\n"
                         "autoload -U +X bashcompinit && bashcompinit\n");
    bash_function(out);
}

// --- fish --------------------------------------------------------------------------------------------------------------

static void fish_quoted(struct buf *out, const char *text, size_t size)
{
    buf_append_byte(out, '\'');
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\'' || text[i] == '\\')
            buf_append_byte(out, '\\');
        buf_append_byte(out, (uint8_t)text[i]);
    }
    buf_append_byte(out, '\'');
}

static void fish_value(struct buf *out, const struct completion *completion)
{
    switch (completion->kind) {
    case COMPLETE_FILES: buf_append_text(out, " -rF"); return;
    case COMPLETE_CHOICES:
        buf_append_text(out, " -xa '");
        append_words(out, completion->words);
        buf_append_byte(out, '\'');
        return;
    case COMPLETE_NAMES: buf_appendf(out, " -xa '(__etl_stream_names %s)'", completion->words); return;
    case COMPLETE_NOTHING: buf_append_text(out, " -x"); return;
    }
}

static void fish_command(struct buf *out, const struct command *command)
{
    struct option_spec options[COMMAND_OPTIONS_MAX];
    size_t option_count = command_all_options(command, options), size = first_word_size(command);
    struct completion operand = completion_of_operand(command);
    const char *second = command->name[size] == ' ' ? command->name + size + 1 : NULL;
    if (second == NULL)
        buf_append_text(out, "complete -c etl-stream -n '__etl_stream_is \"\"' -a ");
    else
        buf_appendf(out, "complete -c etl-stream -n '__etl_stream_is %.*s' -a ", (int)size, command->name);
    buf_append_text(out, second == NULL ? command->name : second);
    buf_append_text(out, " -d ");
    fish_quoted(out, command->summary, strlen(command->summary));
    buf_append_byte(out, '\n');
    if (operand.kind != COMPLETE_NOTHING) {
        buf_appendf(out, "complete -c etl-stream -n '__etl_stream_is %s'", command->name);
        fish_value(out, &operand);
        buf_append_byte(out, '\n');
    }
    for (size_t i = 0; i < option_count; i++) {
        struct completion completion = completion_of_option(&options[i]);
        buf_appendf(out, "complete -c etl-stream -n '__etl_stream_in %s' -l %s", command->name, options[i].name);
        if (options[i].kind != OPTION_FLAG)
            fish_value(out, &completion);
        buf_append_text(out, " -d ");
        fish_quoted(out, options[i].help, strcspn(options[i].help, "\n"));
        buf_append_byte(out, '\n');
    }
}

void completion_write_fish(struct buf *out)
{
    buf_append_text(out,
                    "# fish completion of etl-stream " ETL_VERSION "; made by: etl-stream completion fish\n"
                    "function __etl_stream_names\n"
                    "    etl-stream $argv[1] list --json 2>/dev/null | string match -rg '\"name\": *\"([^\"]*)\"'\n"
                    "end\n\n"
                    "# The words before the one that is typed, without options.\n"
                    "function __etl_stream_words\n"
                    "    for word in (commandline -opc)[2..]\n"
                    "        string match -q -- '-*' $word; or echo $word\n"
                    "    end\n"
                    "end\n\n"
                    "# These words, and no others.\n"
                    "function __etl_stream_is\n"
                    "    set -l words (__etl_stream_words)\n"
                    "    test \"$words\" = \"$argv\"\n"
                    "end\n\n"
                    "# These words, and perhaps others behind them.\n"
                    "function __etl_stream_in\n"
                    "    set -l words (__etl_stream_words)\n"
                    "    set -l count (count $argv)\n"
                    "    set -l first $words[1..$count]\n"
                    "    test \"$first\" = \"$argv\"\n"
                    "end\n\n"
                    "complete -c etl-stream -f\n");
    for (size_t i = 0; i < command_count; i++) {
        size_t size = first_word_size(commands[i]);
        if (commands[i]->name[size] == ' ' &&
            (i == 0 || strncmp(commands[i - 1]->name, commands[i]->name, size + 1) != 0))
            buf_appendf(out, "complete -c etl-stream -n '__etl_stream_is \"\"' -a %.*s\n", (int)size,
                        commands[i]->name);
        fish_command(out, commands[i]);
    }
}

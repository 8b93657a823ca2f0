// One table describes every option: its name, kind, default, range and help. Command line, environment, help text and the
// configuration reference in docs/ come from it.
#ifndef ETL_BASE_OPTIONS_H
#define ETL_BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum option_kind { OPTION_TEXT, OPTION_NUMBER, OPTION_FLAG, OPTION_CHOICE };

struct option_spec {
    const char *name;      // "merge-interval-seconds": --merge-interval-seconds N or =N
    const char *variable;  // environment variable that gives it where the command line does not; NULL: none
    enum option_kind kind;
    const char *value_name;     // "N", "URL"; for help
    const char *default_value;  // NULL: none
    int64_t minimum, maximum;   // OPTION_NUMBER
    const char *choices;        // OPTION_CHOICE: "stop|resync"
    const char *help;           // one line or several
};

struct option_value {
    const char *text;  // borrowed from argv, the environment or the spec; NULL: not given and no default
    int64_t number;    // OPTION_NUMBER
    bool flag;         // OPTION_FLAG
    bool is_given;     // on the command line
};

// Reads argv[0..count) by the specs; --some_name is --some-name. values has one entry a spec. What is no option is an operand: up to operand_max are put into operands.
// False: ERR_CONFIG naming the option, the value and what is allowed, with the nearest name for a misspelt one.
bool options_parse(const struct option_spec *specs, size_t spec_count, int count, char *const *arguments,
                   struct option_value *values, const char **operands, size_t operand_max, size_t *out_operand_count,
                   struct err *out_error);
// Reads one value that stands elsewhere (the catalog, a file). origin: how a message calls it. False: ERR_CONFIG naming
// origin, the value and what is allowed.
bool options_read_value(const struct option_spec *spec, const char *origin, const char *text,
                        struct option_value *out_value, struct err *out_error);
// The place of a value among an OPTION_CHOICE's choices, from 0; the value was read by this spec.
unsigned options_choice_index(const struct option_spec *spec, const char *text);
// Appends the help: one paragraph an option, with default and range.
void options_help(const struct option_spec *specs, size_t spec_count, struct buf *out);
// The word of `words` that is nearest to `word` (edit distance of at most 2, or one is the beginning or end of the other), or NULL.
const char *options_nearest(const char *word, const char *const *words, size_t word_count);

#endif

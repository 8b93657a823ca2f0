#include "pipeline/remedy.h"

#include <stdio.h>
#include <string.h>

static const char mend[] = " with: ";

struct rule {
    const char *code;
    const char *text;
};

// By our own codes and by what a SQLSTATE begins with; the first that fits. "{pipeline}" and "{table}" are filled in.
static const struct rule rules[] = {
    {"slot_lost", "etl-stream pipeline edit {pipeline} --on-slot-lost resync, which copies all tables anew"},
    {"publication_lost", "etl-stream pipeline edit {pipeline} --on-slot-lost resync, which copies all tables anew"},
    {"decoding_failed", "should it stay: drop the slot that the message names, and etl-stream pipeline edit {pipeline} "
                        "--on-slot-lost resync, "
                        "which copies all tables anew"},
    {"claimed", "nothing, while the other process is well; it takes over within seconds when that one ends"},
    {"claim_lost", "nothing: it is claimed again when the catalog answers; look at the machine's load and the network"},
    {"fenced", "stop the other etl-stream that writes to these tables, then: etl-stream pipeline start {pipeline}"},
    {"timeline_left", "nothing: all tables are copied anew by themselves"},
    {"published_again", "nothing: the table is copied anew by itself"},
    {"resync", "nothing: the table is copied anew by itself"},
    {"name_awaited", "nothing: it is copied when what was committed to the other table is merged; look at the merges"},
    {"28", "set the user and password right: etl-stream source edit"},
    {"3D000", "set the database right: etl-stream source edit"},
    {"42501", "GRANT what the message names to the source's user"},
    {"circuit_open", "nothing: the destination is tried again by itself; look at it if it lasts"},
};

static void fill(const char *text, const struct remedy_subject *subject, char *out, size_t out_size)
{
    size_t used = 0;
    while (*text != '\0' && used + 1 < out_size) {
        const char *part = NULL;
        size_t skip = 0;
        if (strncmp(text, "{pipeline}", strlen("{pipeline}")) == 0) {
            part = subject->pipeline;
            skip = strlen("{pipeline}");
        } else if (strncmp(text, "{table}", strlen("{table}")) == 0) {
            part = subject->table != NULL ? subject->table : "";
            skip = strlen("{table}");
        }
        if (part == NULL) {
            out[used++] = *text++;
            continue;
        }
        for (; *part != '\0' && used + 1 < out_size; part++)
            out[used++] = *part;
        text += skip;
    }
    out[used] = '\0';
}

void remedy_format(const struct err *error, const struct remedy_subject *subject, char *out, size_t out_size)
{
    const char *own = strstr(error->text, mend);
    if (own != NULL) {
        (void)snprintf(out, out_size, "%s", own + strlen(mend));
        return;
    }
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (strncmp(error->code, rules[i].code, strlen(rules[i].code)) == 0) {
            fill(rules[i].text, subject, out, out_size);
            return;
        }
    }
    const char *text = "see the message; then: etl-stream pipeline start {pipeline}";
    if (error->kind == ERR_TRANSIENT)
        text = "nothing: it is tried again by itself; if it lasts, see that both ends can be reached: etl-stream check "
               "{pipeline}";
    else if (error->kind == ERR_CONFIG)
        text =
            "set right what the message names; it is tried again by itself. What else may be missing: etl-stream check "
            "{pipeline}";
    else if (subject->table != NULL)
        text = "once its cause is mended: etl-stream pipeline resync {pipeline} {table}";
    else if (error->kind == ERR_LOST)
        text = "etl-stream pipeline edit {pipeline} --on-slot-lost resync, which copies all tables anew";
    fill(text, subject, out, out_size);
}

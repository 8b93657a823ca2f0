#include "monitor/pipeline_facts.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

// The code of the error that parked it (sinks/snowflake/sf_channel.c).
#define ROWS_REFUSED "rows_refused"

static char *copy_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    char *copy = text != NULL ? strdup(text) : NULL;
    CHECK(text == NULL || copy != NULL);
    return copy;
}

static lsn_t lsn_of(const json_t *positions, const char *key)
{
    const char *text = json_string_value(json_object_get(positions, key));
    lsn_t lsn = LSN_NONE;
    return text != NULL && lsn_parse(text, &lsn) ? lsn : LSN_NONE;
}

// FNV-1a over numbers.
static void mix(uint64_t *mark, uint64_t number)
{
    for (int i = 0; i < 8; i++) {
        *mark ^= number >> (8 * i) & 0xFF;
        *mark *= 0x100000001B3;
    }
}

static void mix_text(uint64_t *mark, const char *text)
{
    for (const char *at = text != NULL ? text : ""; *at != '\0'; at++)
        mix(mark, (uint64_t)(unsigned char)*at);
}

static void mix_counts(uint64_t *mark, const json_t *object, const char *const *keys, size_t key_count)
{
    for (size_t i = 0; i < key_count; i++)
        mix(mark, (uint64_t)json_integer_value(json_object_get(object, keys[i])));
}

static void take_parked(struct pipeline_facts *facts, const json_t *table)
{
    const char *schema = json_string_value(json_object_get(table, "schema"));
    const char *name = json_string_value(json_object_get(table, "table"));
    char full[512];
    (void)snprintf(full, sizeof full, "%s.%s", schema != NULL ? schema : "", name != NULL ? name : "");
    facts->parked = reallocarray(facts->parked, (size_t)facts->parked_count + 1, sizeof facts->parked[0]);
    CHECK(facts->parked != NULL);
    struct pipeline_parked *parked = &facts->parked[facts->parked_count++];
    *parked = (struct pipeline_parked){
        .name = strdup(full), .reason = copy_text(table, "reason"), .remedy = copy_text(table, "remedy")};
    CHECK(parked->name != NULL);
    const char *code = json_string_value(json_object_get(table, "reason_code"));
    parked->is_rows_refused = code != NULL && strcmp(code, ROWS_REFUSED) == 0;
}

void pipeline_facts_read(struct pipeline_facts *facts, const char *status_json)
{
    static const char *const counts[] = {"merges", "epoch"};
    static const char *const copy_counts[] = {"rows", "ranges_read", "tables_read"};
    size_t index;
    json_t *table;
    pipeline_facts_deinit(facts);
    json_t *status = json_loads(status_json, 0, NULL);
    if (!json_is_object(status)) {
        json_decref(status);
        return;
    }
    const json_t *positions = json_object_get(status, "positions"), *copy = json_object_get(status, "copy");
    facts->is_known = true;
    facts->state = copy_text(status, "state");
    facts->error = copy_text(status, "error");
    facts->reason = copy_text(status, "reason");
    facts->remedy = copy_text(status, "remedy");
    facts->received_lsn = lsn_of(positions, "received");
    facts->committed_lsn = lsn_of(positions, "committed");
    facts->confirmed_lsn = lsn_of(positions, "confirmed");
    facts->is_copying = copy != NULL;
    facts->waits_for = copy_text(json_object_get(status, "following"), "waits_for");
    facts->rows_sent = (uint64_t)json_integer_value(json_object_get(status, "rows_sent"));
    facts->progress_mark = 0xCBF29CE484222325;
    mix_text(&facts->progress_mark, facts->state);
    mix_text(&facts->progress_mark, facts->waits_for);
    mix(&facts->progress_mark, facts->committed_lsn);
    mix(&facts->progress_mark, facts->confirmed_lsn);
    mix(&facts->progress_mark, lsn_of(positions, "merged"));
    mix_counts(&facts->progress_mark, status, counts, sizeof counts / sizeof counts[0]);
    mix_counts(&facts->progress_mark, copy, copy_counts, sizeof copy_counts / sizeof copy_counts[0]);
    facts->has_tables = json_is_array(json_object_get(status, "tables"));
    json_array_foreach(json_object_get(status, "tables"), index, table)
    {
        const char *state = json_string_value(json_object_get(table, "state"));
        mix(&facts->progress_mark, (uint64_t)json_integer_value(json_object_get(table, "rows_copied")));
        if (state != NULL && strcmp(state, "parked") == 0)
            take_parked(facts, table);
    }
    json_decref(status);
}

void pipeline_facts_deinit(struct pipeline_facts *facts)
{
    free(facts->state);
    free(facts->error);
    free(facts->reason);
    free(facts->remedy);
    free(facts->waits_for);
    for (uint32_t i = 0; i < facts->parked_count; i++) {
        free(facts->parked[i].name);
        free(facts->parked[i].reason);
        free(facts->parked[i].remedy);
    }
    free(facts->parked);
    *facts = (struct pipeline_facts){0};
}

static bool is_any(const char *state, const char *const *words, size_t word_count)
{
    for (size_t i = 0; state != NULL && i < word_count; i++)
        if (strcmp(state, words[i]) == 0)
            return true;
    return false;
}

static bool is_state(const struct pipeline_facts *facts, const char *word)
{
    return facts->state != NULL && strcmp(facts->state, word) == 0;
}

bool pipeline_facts_is_running(const struct pipeline_facts *facts)
{
    return is_state(facts, "running");
}

bool pipeline_facts_is_paused(const struct pipeline_facts *facts)
{
    return is_state(facts, "paused");
}

bool pipeline_facts_is_elsewhere(const struct pipeline_facts *facts)
{
    return is_state(facts, "claimed_elsewhere");
}

bool pipeline_facts_is_starting(const struct pipeline_facts *facts)
{
    static const char *const words[] = {"starting", "checking", "opening", "preparing", "snapshot", "opening_channels"};
    return is_any(facts->state, words, sizeof words / sizeof words[0]);
}

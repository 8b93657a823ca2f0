#include "supervisor/hold_command.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

static const char word_hold[] = "hold", word_release[] = "release";

bool hold_command_is(const struct catalog_command *command)
{
    return strcmp(command->word, word_hold) == 0 || strcmp(command->word, word_release) == 0;
}

bool hold_command_read(const struct catalog_command *command, struct pipeline_hold_order *out_order,
                       struct err *out_error)
{
    json_t *object = json_loads(command->arguments, 0, NULL);
    const char *holder = json_string_value(json_object_get(object, "holder"));
    const char *lsn = json_string_value(json_object_get(object, "lsn"));
    json_int_t lease_ms = json_integer_value(json_object_get(object, "lease_ms"));
    *out_order = (struct pipeline_hold_order){.command_id = command->id,
                                              .is_release = strcmp(command->word, word_release) == 0,
                                              .may_wake = json_is_true(json_object_get(object, "may_wake"))};
    bool is_good = holder != NULL && *holder != '\0' && strlen(holder) < sizeof out_order->holder &&
                   (out_order->is_release || (lease_ms > 0 && lease_ms <= HOLD_LEASE_MS_MAX)) &&
                   (lsn == NULL || lsn_parse(lsn, &out_order->lsn));
    if (is_good) {
        (void)snprintf(out_order->holder, sizeof out_order->holder, "%s", holder);
        out_order->lease_ms = (uint32_t)lease_ms;
    }
    json_decref(object);
    return is_good || err_set(out_error, ERR_DATA, "arguments", "its arguments cannot be read");
}

char *hold_command_write(const struct pipeline_hold_order *order, const char **out_word)
{
    json_t *object = json_object();
    char lsn[24];
    CHECK(object != NULL);
    *out_word = order->is_release ? word_release : word_hold;
    json_object_set_new(object, "holder", json_string(order->holder));
    if (!order->is_release) {
        json_object_set_new(object, "lease_ms", json_integer(order->lease_ms));
        json_object_set_new(object, "may_wake", json_boolean(order->may_wake));
    }
    if (order->lsn != LSN_NONE) {
        (void)snprintf(lsn, sizeof lsn, LSN_FORMAT, LSN_ARGUMENTS(order->lsn));
        json_object_set_new(object, "lsn", json_string(lsn));
    }
    char *text = json_dumps(object, JSON_COMPACT);
    CHECK(text != NULL);
    json_decref(object);
    return text;
}

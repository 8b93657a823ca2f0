#include "io/json_put.h"

#include <string.h>

#include "base/check.h"
#include "base/clock.h"

json_t *json_text_sized(const char *text, size_t size)
{
    json_t *value = json_stringn(text, size);
    return value != NULL ? value : json_string("(not UTF-8)");
}

json_t *json_text(const char *text)
{
    return json_text_sized(text, strlen(text));
}

void json_put_text(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, json_text(text));
}

char *json_take_line(json_t *take_json)
{
    char *text = json_dumps(take_json, JSON_COMPACT | JSON_REAL_PRECISION(15));
    CHECK(text != NULL);
    json_decref(take_json);
    return text;
}

void json_put_time(json_t *object, const char *key, int64_t wall_us)
{
    char when[32];
    clock_format(wall_us, when, sizeof when);
    json_put_text(object, key, when);
}

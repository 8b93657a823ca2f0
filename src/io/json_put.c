#include "io/json_put.h"

#include "base/clock.h"

void json_put_text(json_t *object, const char *key, const char *text)
{
    json_t *value = json_string(text);
    json_object_set_new(object, key, value != NULL ? value : json_string("(not UTF-8)"));
}

void json_put_time(json_t *object, const char *key, int64_t wall_us)
{
    char when[32];
    clock_format(wall_us, when, sizeof when);
    json_put_text(object, key, when);
}

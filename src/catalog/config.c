// Reads what is configured.
#include "catalog/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "catalog/catalog_private.h"

#define SQL_BYTES_MAX 8192
#define NAMES_MAX 512

const char *config_table(enum catalog_kind kind)
{
    static const char *const names[] = {"sources", "destinations", "pipelines"};
    CHECK((unsigned)kind < CATALOG_KIND_COUNT);
    return names[kind];
}

static char *copy(const char *text)
{
    char *out = strdup(text);
    CHECK(out != NULL);
    return out;
}

struct reading {
    struct catalog_config *config;
    enum catalog_kind kind;
    uint32_t capacity;
};

// PostgreSQL says t and f, SQLite 1 and 0, a person in SQLite whatever comes to mind.
static const char *as_flag(const char *text)
{
    static const char *const words[] = {"t", "true", "1", "yes", "on"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(text, words[i]) == 0)
            return "true";
    return "false";
}

static char *value_of(const struct setting *setting, const char *text)
{
    if (text == NULL)
        return NULL;
    return copy(setting->option.kind == OPTION_FLAG ? as_flag(text) : text);
}

// The columns before the settings': id, name, and for pipelines status, source's name, destination's name, id_pipeline.
static bool on_object(void *context, const char *const *values)
{
    struct reading *reading = context;
    struct catalog_config *config = reading->config;
    uint32_t *count = &config->counts[reading->kind];
    const struct setting *setting;
    if (*count == reading->capacity) {
        reading->capacity = reading->capacity == 0 ? 16 : 2 * reading->capacity;
        config->objects[reading->kind] =
            reallocarray(config->objects[reading->kind], reading->capacity, sizeof(struct catalog_object));
        CHECK(config->objects[reading->kind] != NULL);
    }
    struct catalog_object *object = &config->objects[reading->kind][(*count)++];
    *object =
        (struct catalog_object){.kind = reading->kind, .id = strtoll(values[0], NULL, 10), .name = copy(values[1])};
    values += 2;
    if (reading->kind == CATALOG_PIPELINE) {
        object->is_wanted = values[0] != NULL && strcasecmp(values[0], "START") == 0;
        object->source = copy(values[1]);
        object->destination = copy(values[2]);
        object->first_id = values[3] != NULL ? strtoll(values[3], NULL, 10) : 0;
        values += 4;
    }
    while (settings_nth(reading->kind, object->value_count) != NULL)
        object->value_count++;
    object->values = calloc(object->value_count + 1, sizeof *object->values);
    CHECK(object->values != NULL);
    for (uint32_t i = 0; (setting = settings_nth(reading->kind, i)) != NULL; i++) {
        object->values[i].setting = setting;
        if (setting->is_column)
            object->values[i].text = value_of(setting, *values++);
    }
    return true;
}

static bool read_objects(struct db *db, enum catalog_kind kind, struct catalog_config *config, struct err *out_error)
{
    struct reading reading = {.config = config, .kind = kind};
    const struct setting *setting;
    struct buf sql;
    buf_init(&sql, SQL_BYTES_MAX);
    buf_append_text(&sql, "SELECT o.id, o.name");
    if (kind == CATALOG_PIPELINE)
        buf_append_text(&sql, ", o.status, s.name, d.name, o.id_pipeline");
    for (size_t i = 0; (setting = settings_nth(kind, i)) != NULL; i++)
        if (setting->is_column)
            buf_appendf(&sql, ", o.%s", setting->name);
    buf_appendf(&sql, " FROM %s o", config_table(kind));
    if (kind == CATALOG_PIPELINE)
        buf_append_text(&sql, " JOIN sources s ON s.id = o.source_id JOIN destinations d ON d.id = o.destination_id");
    CHECK(!sql.failed);
    struct db_query query = {.sql = buf_text(&sql), .on_row = on_object, .context = &reading};
    bool is_read = db_query(db, &query, out_error);
    buf_deinit(&sql);
    return is_read;
}

static struct catalog_object *find_by_id(struct catalog_config *config, enum catalog_kind kind, int64_t id)
{
    for (uint32_t i = 0; i < config->counts[kind]; i++)
        if (config->objects[kind][i].id == id)
            return &config->objects[kind][i];
    return NULL;
}

static bool on_setting(void *context, const char *const *values)
{
    struct catalog_config *config = context;
    for (enum catalog_kind kind = CATALOG_SOURCE; kind <= CATALOG_PIPELINE; kind++) {
        if (strcmp(values[0], catalog_kind_name(kind)) != 0)
            continue;
        struct catalog_object *object = find_by_id(config, kind, strtoll(values[1], NULL, 10));
        for (uint32_t i = 0; object != NULL && i < object->value_count; i++) {
            const struct setting *setting = object->values[i].setting;
            if (!setting->is_column && strcmp(setting->name, values[2]) == 0)
                object->values[i].text = value_of(setting, values[3]);
        }
    }
    return true;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct catalog_object *)a)->name, ((const struct catalog_object *)b)->name);
}

bool config_read(struct db *db, struct catalog_config **out_config, struct err *out_error)
{
    bool is_read = db_begin_read(db, out_error) && config_read_within(db, out_config, out_error);
    db_rollback(db);
    return is_read;
}

bool config_read_within(struct db *db, struct catalog_config **out_config, struct err *out_error)
{
    struct catalog_config *config = calloc(1, sizeof *config);
    CHECK(config != NULL);
    struct db_query settings = {
        .sql = "SELECT owner, owner_id, name, value FROM etl_settings", .on_row = on_setting, .context = config};
    bool is_read = true;
    for (enum catalog_kind kind = CATALOG_SOURCE; is_read && kind <= CATALOG_PIPELINE; kind++)
        is_read = read_objects(db, kind, config, out_error);
    is_read = is_read && db_query(db, &settings, out_error);
    if (!is_read) {
        catalog_config_free(config);
        return false;
    }
    for (enum catalog_kind kind = CATALOG_SOURCE; kind <= CATALOG_PIPELINE; kind++)
        if (config->counts[kind] > 0)
            qsort(config->objects[kind], config->counts[kind], sizeof(struct catalog_object), compare_names);
    *out_config = config;
    return true;
}

static void object_deinit(struct catalog_object *object)
{
    for (uint32_t i = 0; i < object->value_count; i++) {
        char *text = object->values[i].text;
        if (text != NULL)
            explicit_bzero(text, strlen(text));
        free(text);
    }
    free(object->values);
    free(object->name);
    free(object->source);
    free(object->destination);
}

void catalog_config_free(struct catalog_config *config)
{
    if (config == NULL)
        return;
    for (enum catalog_kind kind = CATALOG_SOURCE; kind <= CATALOG_PIPELINE; kind++) {
        for (uint32_t i = 0; i < config->counts[kind]; i++)
            object_deinit(&config->objects[kind][i]);
        free(config->objects[kind]);
    }
    free(config);
}

void catalog_object_free(struct catalog_object *object)
{
    if (object != NULL)
        object_deinit(object);
    free(object);
}

static void set_text(char **text, const char *value)
{
    if (*text != NULL)
        explicit_bzero(*text, strlen(*text));
    free(*text);
    *text = value != NULL ? copy(value) : NULL;
}

static void apply_change(struct catalog_object *object, const struct catalog_change *change)
{
    if (object->kind == CATALOG_PIPELINE && strcmp(change->name, "source") == 0)
        set_text(&object->source, change->text);
    else if (object->kind == CATALOG_PIPELINE && strcmp(change->name, "destination") == 0)
        set_text(&object->destination, change->text);
    else if (object->kind == CATALOG_PIPELINE && strcmp(change->name, "status") == 0)
        object->is_wanted = strcmp(change->text, "START") == 0;
    for (uint32_t i = 0; i < object->value_count; i++) {
        const struct setting *setting = object->values[i].setting;
        if (strcmp(setting->name, change->name) == 0)
            set_text(&object->values[i].text,
                     change->text == NULL && setting->is_column ? setting->option.default_value : change->text);
    }
}

struct catalog_object *catalog_object_with(const struct catalog_object *base, enum catalog_kind kind, const char *name,
                                           const struct catalog_change *changes, uint32_t change_count)
{
    const struct setting *setting;
    struct catalog_object *object = calloc(1, sizeof *object);
    CHECK(object != NULL);
    *object = (struct catalog_object){.kind = kind, .name = copy(name)};
    while (settings_nth(kind, object->value_count) != NULL)
        object->value_count++;
    object->values = calloc(object->value_count + 1, sizeof *object->values);
    CHECK(object->values != NULL);
    for (uint32_t i = 0; (setting = settings_nth(kind, i)) != NULL; i++) {
        const char *text = setting->is_column ? setting->option.default_value : NULL;
        object->values[i].setting = setting;
        set_text(&object->values[i].text, base != NULL ? base->values[i].text : text);
    }
    if (base != NULL) {
        object->id = base->id;
        object->is_wanted = base->is_wanted;
        set_text(&object->source, base->source);
        set_text(&object->destination, base->destination);
    }
    for (uint32_t i = 0; i < change_count; i++)
        apply_change(object, &changes[i]);
    return object;
}

const struct catalog_object *catalog_config_find(const struct catalog_config *config, enum catalog_kind kind,
                                                 const char *name)
{
    for (uint32_t i = 0; i < config->counts[kind]; i++)
        if (strcmp(config->objects[kind][i].name, name) == 0)
            return &config->objects[kind][i];
    return NULL;
}

const char *catalog_config_nearest(const struct catalog_config *config, enum catalog_kind kind, const char *name)
{
    const char *names[NAMES_MAX];
    size_t count = config->counts[kind] < NAMES_MAX ? config->counts[kind] : NAMES_MAX;
    for (size_t i = 0; i < count; i++)
        names[i] = config->objects[kind][i].name;
    return options_nearest(name, names, count);
}

bool catalog_config_fail_missing(const struct catalog_config *config, enum catalog_kind kind, const char *name,
                                 struct err *out_error)
{
    const char *nearest = catalog_config_nearest(config, kind, name), *word = catalog_kind_name(kind);
    if (nearest != NULL)
        return err_set(out_error, ERR_CONFIG, "missing", "there is no %s \"%s\"; did you mean \"%s\"?", word, name,
                       nearest);
    return err_set(out_error, ERR_CONFIG, "missing",
                   "there is no %s \"%s\"; etl-stream %s list shows those that there are", word, name, word);
}

const char *catalog_object_get(const struct catalog_object *object, const char *setting_name)
{
    for (uint32_t i = 0; i < object->value_count; i++)
        if (strcmp(object->values[i].setting->name, setting_name) == 0)
            return object->values[i].text;
    return NULL;
}

static bool is_same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

bool catalog_object_is_same(const struct catalog_object *a, const struct catalog_object *b)
{
    bool is_same = a->kind == b->kind && a->id == b->id && is_same_text(a->name, b->name) &&
                   is_same_text(a->source, b->source) && is_same_text(a->destination, b->destination) &&
                   a->value_count == b->value_count;
    for (uint32_t i = 0; is_same && i < a->value_count; i++)
        is_same = is_same_text(a->values[i].text, b->values[i].text);
    return is_same;
}

bool catalog_config_is_same(const struct catalog_config *a, const struct catalog_config *b)
{
    for (int kind = 0; kind < CATALOG_KIND_COUNT; kind++) {
        if (a->counts[kind] != b->counts[kind])
            return false;
        for (uint32_t i = 0; i < a->counts[kind]; i++) {
            const struct catalog_object *left = &a->objects[kind][i], *right = &b->objects[kind][i];
            if (left->is_wanted != right->is_wanted || left->first_id != right->first_id ||
                !catalog_object_is_same(left, right))
                return false;
        }
    }
    return true;
}

// --- a pipeline's settings -------------------------------------------------------------------------------------------

struct resolving {
    const struct catalog_object *pipeline;
    char schedule_s[24];  // of the destination
};

static const char *get_setting(void *context, const struct setting *setting)
{
    const struct resolving *resolving = context;
    const char *text = catalog_object_get(resolving->pipeline, setting->name);
    if (text != NULL || strcmp(setting->name, "merge_interval_seconds") != 0 || resolving->schedule_s[0] == '\0')
        return text;
    // Our own variable was set by somebody who means it; the destination's schedule always has a value.
    const char *variable = getenv(setting->option.variable);
    return variable != NULL && *variable != '\0' ? NULL : resolving->schedule_s;
}

bool catalog_pipeline_settings(const struct catalog_config *config, const struct catalog_object *pipeline,
                               struct pipeline_settings *out_settings, struct err *out_error)
{
    struct resolving resolving = {.pipeline = pipeline};
    char owner[CATALOG_NAME_SIZE + 16];
    const struct catalog_object *destination = catalog_config_find(config, CATALOG_DESTINATION, pipeline->destination);
    const char *schedule =
        destination != NULL ? catalog_object_get(destination, "snowflake_task_schedule_minutes") : NULL;
    (void)snprintf(owner, sizeof owner, "pipeline \"%s\"", pipeline->name);
    if (schedule != NULL) {
        const struct setting *setting = setting_find(CATALOG_DESTINATION, "snowflake_task_schedule_minutes");
        struct option_value minutes;
        if (!options_read_value(&setting->option, setting->name, schedule, &minutes, out_error)) {
            err_prefix(out_error, "destination \"%s\"", destination->name);
            return false;
        }
        (void)snprintf(resolving.schedule_s, sizeof resolving.schedule_s, "%lld", (long long)minutes.number * 60);
    }
    return pipeline_settings_read(get_setting, &resolving, owner, out_settings, out_error);
}

#include "io/metric_registry.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "io/lock.h"
#include "io/metric_process.h"

#define SLOTS 16384

// Invariant: a series is in its slot's list and in `all` (at its index), and is not forgotten; or it is forgotten, in neither,
// and has holders or somebody lists. Whoever lists reads series outside of the lock, so that none is freed meanwhile.
static struct {
    struct lock lock;
    struct metric *slots[SLOTS];
    struct metric **all;
    size_t count, capacity;
    size_t listing_count;  // who reads the series of a list
    struct metric *gone;   // forgotten, without holders, to be freed when nobody lists
    uint64_t refused_count;
} registry = {.lock = LOCK_INITIALIZER};

static uint64_t hash_of(enum metric_id id, const char *labels)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325) ^ (uint64_t)id;  // FNV-1a
    hash *= UINT64_C(0x100000001B3);
    for (; *labels != '\0'; labels++)
        hash = (hash ^ (uint8_t)*labels) * UINT64_C(0x100000001B3);
    return hash ^ hash >> 32;
}

static void free_series(struct metric *metric)
{
    while (metric != NULL) {
        struct metric *next = metric->next;
        free(metric->labels);
        free(metric);
        metric = next;
    }
}

// Under the lock. What nobody can see any more, to be freed outside of it.
static struct metric *take_gone(void)
{
    if (registry.listing_count > 0)
        return NULL;
    struct metric *gone = registry.gone;
    registry.gone = NULL;
    return gone;
}

static struct metric **find(uint64_t hash, const struct metric_family *family, const char *labels)
{
    struct metric **at = &registry.slots[hash % SLOTS];
    while (*at != NULL && ((*at)->hash != hash || (*at)->family != family || strcmp((*at)->labels, labels) != 0))
        at = &(*at)->next;
    return at;
}

static struct metric *new_series(const struct metric_family *family, const char *labels, uint64_t hash)
{
    size_t buckets = family->type == METRIC_HISTOGRAM ? metric_bucket_count(family) + 1 : 0;
    struct metric *metric = calloc(1, sizeof *metric + buckets * sizeof metric->buckets[0]);
    if (metric == NULL)
        return NULL;
    metric->labels = strdup(labels);
    if (metric->labels == NULL) {
        free(metric);
        return NULL;
    }
    metric->family = family;
    metric->hash = hash;
    return metric;
}

// Under the lock. The few without labels always find room: among them is what tells that there is none.
static bool has_room(const char *labels)
{
    if (registry.count >= METRIC_SERIES_MAX + (labels[0] == '\0' ? (size_t)METRIC_ID_COUNT : 0))
        return false;
    if (registry.count < registry.capacity)
        return true;
    size_t capacity = registry.capacity == 0 ? 256 : registry.capacity * 2;
    struct metric **all = realloc(registry.all, capacity * sizeof *all);
    if (all == NULL)
        return false;
    registry.all = all;
    registry.capacity = capacity;
    return true;
}

static struct metric *get_by_text(enum metric_id id, const char *labels)
{
    const struct metric_family *family = &metric_families[id];
    uint64_t hash = hash_of(id, labels);
    struct metric *fresh = NULL;
    for (;;) {
        lock_acquire(&registry.lock);
        struct metric *found = *find(hash, family, labels);
        if (found == NULL && fresh != NULL && has_room(labels)) {
            found = fresh;
            fresh = NULL;
            found->next = registry.slots[hash % SLOTS];
            registry.slots[hash % SLOTS] = found;
            found->index = registry.count;
            registry.all[registry.count++] = found;
        }
        if (found != NULL)
            found->holders++;
        bool is_refused = found == NULL && fresh != NULL;
        registry.refused_count += is_refused;
        lock_release(&registry.lock);
        if (found == NULL && !is_refused && (fresh = new_series(family, labels, hash)) != NULL)
            continue;
        free_series(fresh);
        if (is_refused)
            log_line(LOG_WARNING, NULL, "metric_refused",
                     "%s has no series for %s: there are %d series, which is the most. Fewer tables or pipelines in "
                     "one process "
                     "would make room",
                     family->name, labels, METRIC_SERIES_MAX);
        return found;
    }
}

struct metric *metric_get_values(enum metric_id id, const char *const *values)
{
    const struct metric_family *family = &metric_families[id];
    size_t count = 0;
    while (values[count] != NULL)
        count++;
    CHECK(count == metric_label_count(family));
    struct buf labels;
    buf_init(&labels, 16384);
    metric_append_labels(&labels, family, values);
    const char *text = buf_text(&labels);
    struct metric *metric = labels.failed ? NULL : get_by_text(id, text);
    buf_deinit(&labels);
    return metric;
}

// Under the lock.
static void unlist(struct metric *metric)
{
    struct metric **at = find(metric->hash, metric->family, metric->labels);
    CHECK(*at == metric);
    *at = metric->next;
    struct metric *last = registry.all[--registry.count];
    registry.all[metric->index] = last;
    last->index = metric->index;
    metric->is_forgotten = true;
    metric->next = NULL;
}

static void bury(struct metric *metric)
{
    metric->next = registry.gone;
    registry.gone = metric;
}

static void give_back(struct metric *metric, bool ends)
{
    if (metric == NULL)
        return;
    lock_acquire(&registry.lock);
    CHECK(metric->holders > 0);
    if (--metric->holders == 0) {
        if (ends && !metric->is_forgotten)
            unlist(metric);
        if (metric->is_forgotten)
            bury(metric);
    }
    struct metric *gone = take_gone();
    lock_release(&registry.lock);
    free_series(gone);
}

void metric_put(struct metric *take_metric)
{
    give_back(take_metric, false);
}

void metric_drop(struct metric *take_metric)
{
    give_back(take_metric, true);
}

void metric_add_to_values(enum metric_id id, uint64_t amount, const char *const *values)
{
    struct metric *metric = metric_get_values(id, values);
    metric_add(metric, amount);
    metric_put(metric);
}

void metric_set_to_values(enum metric_id id, double value, const char *const *values)
{
    struct metric *metric = metric_get_values(id, values);
    metric_set(metric, value);
    metric_put(metric);
}

// `a="x"` as it stands among a series' labels. A value has no bare quote, so that `,a="` is never inside of one.
static bool has_label(const struct metric *metric, const char *label, const char *pair)
{
    size_t label_size = strlen(label);
    size_t pair_size = strlen(pair);
    for (const char *at = metric->labels; (at = strstr(at, pair)) != NULL; at += label_size) {
        bool begins = at == metric->labels || at[-1] == ',';
        if (begins && (at[pair_size] == ',' || at[pair_size] == '\0'))
            return true;
    }
    return false;
}

static void append_pair(struct buf *out, const char *label, const char *value)
{
    const struct metric_family one = {.labels = {label}};
    metric_append_labels(out, &one, &value);
}

static void forget(const char *const *labels, const char *const *values, size_t count)
{
    struct buf pairs[2];
    bool failed = false;
    for (size_t i = 0; i < count; i++) {
        buf_init(&pairs[i], 16384);
        append_pair(&pairs[i], labels[i], values[i]);
        (void)buf_text(&pairs[i]);
        failed = failed || pairs[i].failed;
    }
    lock_acquire(&registry.lock);
    for (size_t i = 0; !failed && i < registry.count;) {
        struct metric *metric = registry.all[i];
        bool matches = true;
        for (size_t j = 0; matches && j < count; j++)
            matches = has_label(metric, labels[j], (const char *)pairs[j].data);
        if (!matches) {
            i++;
            continue;
        }
        unlist(metric);  // another one has its index now
        if (metric->holders == 0)
            bury(metric);
    }
    struct metric *gone = take_gone();
    lock_release(&registry.lock);
    free_series(gone);
    for (size_t i = 0; i < count; i++)
        buf_deinit(&pairs[i]);
}

void metric_forget(const char *label, const char *value)
{
    forget(&label, &value, 1);
}

void metric_forget_both(const char *label, const char *value, const char *other_label, const char *other_value)
{
    forget((const char *[]){label, other_label}, (const char *[]){value, other_value}, 2);
}

static int compare_series(const void *left, const void *right)
{
    const struct metric *a = *(struct metric *const *)left;
    const struct metric *b = *(struct metric *const *)right;
    if (a->family != b->family)
        return a->family < b->family ? -1 : 1;
    return strcmp(a->labels, b->labels);
}

// The series there are, sorted; they stay readable until end_listing. NULL: out of memory.
static struct metric **begin_listing(size_t *out_count)
{
    size_t capacity = 0;
    struct metric **list = NULL;
    for (;;) {
        lock_acquire(&registry.lock);
        bool fits = registry.count <= capacity && list != NULL;
        *out_count = registry.count;
        if (fits) {
            if (registry.count > 0)
                memcpy(list, registry.all, registry.count * sizeof *list);
            registry.listing_count++;
        }
        lock_release(&registry.lock);
        if (fits)
            break;
        free(list);
        capacity = *out_count + *out_count / 8 + 16;
        list = malloc(capacity * sizeof *list);
        if (list == NULL)
            return NULL;
    }
    qsort(list, *out_count, sizeof *list, compare_series);
    return list;
}

static void end_listing(struct metric **list)
{
    lock_acquire(&registry.lock);
    registry.listing_count--;
    struct metric *gone = take_gone();
    lock_release(&registry.lock);
    free_series(gone);
    free(list);
}

// Families without labels are there from the start, at 0.
static void make_plain_series(void)
{
    for (size_t i = 0; i < METRIC_ID_COUNT; i++) {
        if (metric_label_count(&metric_families[i]) == 0)
            metric_put(metric_get((enum metric_id)i));
    }
    metric_set_to(METRIC_BUILD_INFO, 1, ETL_VERSION);
}

static void measure_itself(void)
{
    lock_acquire(&registry.lock);
    size_t count = registry.count;
    uint64_t refused_count = registry.refused_count;
    lock_release(&registry.lock);
    metric_set_to(METRIC_SERIES, (double)count);
    struct metric *refused = metric_get(METRIC_SERIES_REFUSED);
    metric_raise(refused, refused_count);
    metric_put(refused);
}

void metric_render(struct buf *out)
{
    make_plain_series();
    metric_process_measure();
    measure_itself();
    size_t count;
    struct metric **list = begin_listing(&count);
    if (list == NULL) {
        out->failed = true;
        return;
    }
    const struct metric_family *family = NULL;
    struct metric_bounds bounds;
    for (size_t i = 0; i < count; i++) {
        if (list[i]->family != family) {
            family = list[i]->family;
            metric_append_head(out, family);
            metric_bounds_format(family, &bounds);
        }
        metric_append_series(out, list[i], &bounds);
    }
    end_listing(list);
}

void metric_reset(void)
{
    lock_acquire(&registry.lock);
    CHECK(registry.listing_count == 0);
    while (registry.count > 0) {
        struct metric *metric = registry.all[registry.count - 1];
        CHECK(metric->holders == 0);
        unlist(metric);
        bury(metric);
    }
    registry.refused_count = 0;
    free(registry.all);
    registry.all = NULL;
    registry.capacity = 0;
    struct metric *gone = take_gone();
    lock_release(&registry.lock);
    free_series(gone);
}

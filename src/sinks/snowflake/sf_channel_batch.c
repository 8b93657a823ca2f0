#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "sinks/snowflake/sf_channel_private.h"

static const size_t CUT_BYTES = (size_t)64 * 1024;
static const size_t APPEND_RAW_BYTES_MAX = (size_t)8 * 1000 * 1000;  // bounds the time that one compression takes
static const size_t APPEND_RAW_BYTES_SMALL =
    (size_t)1000 * 1000;                               // a rest of the rate limit below it is not worth a request
static const size_t KEPT_BYTES_MAX = (size_t)1 << 20;  // of an idle channel's buffers

// ---- tokens

int sf_token_compare(const struct sf_token *a, const struct sf_token *b)
{
    return strcmp(a->text, b->text);
}

void sf_token_set(struct sf_token *token, const char *text)
{
    (void)snprintf(token->text, sizeof token->text, "%s", text);
}

// ---- the batch

static bool cuts_reserve(struct sf_batch *batch)
{
    if (batch->cut_count < batch->cut_capacity)
        return true;
    size_t capacity = batch->cut_capacity == 0 ? 4 : batch->cut_capacity * 2;
    struct sf_cut *cuts = realloc(batch->cuts, capacity * sizeof *cuts);
    if (cuts == NULL)
        return false;
    batch->cuts = cuts;
    size_t *offsets = realloc(batch->cut_offsets, capacity * sizeof *offsets);
    if (offsets == NULL)
        return false;
    batch->cut_offsets = offsets;
    batch->cut_capacity = capacity;
    return true;
}

// A line has been appended to data. A large line has a cut of its own, so that it alone is refused if it is too large.
bool sf_batch_add(struct sf_batch *batch, const struct sf_token *token, size_t line_bytes, const struct loop *loop)
{
    size_t count = batch->cut_count;
    size_t cut_start = count > 1 ? batch->cut_offsets[count - 2] : 0;
    bool is_new_cut = count == 0 || count == batch->ready_count || line_bytes >= CUT_BYTES ||
                      batch->cut_offsets[count - 1] - cut_start >= CUT_BYTES;
    if (is_new_cut) {
        if (!cuts_reserve(batch))
            return false;
        batch->cuts[batch->cut_count++] = (struct sf_cut){.first = *token, .oldest_wall_ms = loop_wall_us(loop) / 1000};
    }
    struct sf_cut *cut = &batch->cuts[batch->cut_count - 1];
    cut->last = *token;
    cut->rows++;
    batch->cut_offsets[batch->cut_count - 1] = batch->data.size;
    batch->rows++;
    return true;
}

size_t sf_batch_ready(const struct sf_batch *batch)
{
    return batch->cut_count < batch->ready_count ? batch->cut_count : batch->ready_count;
}

static void batch_give(struct sf_channel *channel, size_t bytes)
{
    budget_give(channel->shared.budget, bytes);
    channel->batch.budget_bytes -= bytes;
    channel->is_room_due = channel->is_room_due || bytes > 0;
}

void sf_batch_drop(struct sf_channel *channel)
{
    batch_give(channel, channel->batch.budget_bytes);
    buf_reset(&channel->batch.data);
    channel->batch.cut_count = 0;
    channel->batch.rows = 0;
    if (channel->batch.ready_count != SIZE_MAX)
        channel->batch.ready_count = 0;
}

void sf_append_drop(struct sf_channel *channel)
{
    struct sf_append *append = &channel->append;
    if (!append->is_kept)
        return;
    budget_give(channel->shared.budget, append->wire.size);
    channel->is_room_due = true;
    append->is_kept = false;
    buf_reset(&append->wire);
}

static void batch_consume(struct sf_channel *channel, size_t cut_count)
{
    struct sf_batch *batch = &channel->batch;
    size_t bytes = batch->cut_offsets[cut_count - 1];
    batch->cut_count -= cut_count;
    if (batch->ready_count != SIZE_MAX)
        batch->ready_count -= cut_count;
    memmove(batch->cuts, batch->cuts + cut_count, batch->cut_count * sizeof *batch->cuts);
    for (size_t i = 0; i < batch->cut_count; i++)
        batch->cut_offsets[i] = batch->cut_offsets[i + cut_count] - bytes;
    batch->rows -= channel->append.rows;
    buf_consume(&batch->data, bytes);
    // The budget that is given back here may fill another channel's buffer: what this one has touched must not stay with it.
    if (batch->data.capacity - batch->data.size > 4 * KEPT_BYTES_MAX)
        buf_trim(&batch->data, KEPT_BYTES_MAX);
    batch_give(channel, bytes);
}

bool sf_batch_seal(struct sf_channel *channel, size_t raw_bytes_max, struct err *out_error)
{
    struct sf_batch *batch = &channel->batch;
    struct sf_append *append = &channel->append;
    size_t ready_count = sf_batch_ready(batch);
    CHECK(!append->is_kept && ready_count > 0);
    size_t count = 1;
    while (count < ready_count && batch->cut_offsets[count] <= raw_bytes_max)
        count++;
    size_t last = 0;
    struct err error;
    if (!zstd_compress_front(channel->shared.zstd, batch->data.data, batch->cut_offsets, count,
                             SF_APPEND_WIRE_BYTES_MAX, &append->wire, &last, &error)) {
        *out_error = error;
        if (error.kind == ERR_DATA)
            err_set(out_error, ERR_DATA, "row_too_large",
                    "channel %s: the row at offset token %s has %zu bytes and does not fit Snowflake's limit of %zu "
                    "bytes an "
                    "append when compressed",
                    channel->name, batch->cuts[0].first.text, batch->cut_offsets[0], SF_APPEND_WIRE_BYTES_MAX);
        return false;
    }
    CHECK(append->wire.size <= SF_APPEND_WIRE_BYTES_MAX);
    append->is_kept = true;
    append->first = batch->cuts[0].first;
    append->last = batch->cuts[last].last;
    append->oldest_wall_ms = batch->cuts[0].oldest_wall_ms;
    append->raw_bytes = batch->cut_offsets[last];
    append->rows = 0;
    for (size_t i = 0; i <= last; i++)
        append->rows += batch->cuts[i].rows;
    budget_take(channel->shared.budget, append->wire.size);
    batch_consume(channel, last + 1);
    return true;
}

static void shrink(struct buf *buf)
{
    size_t capacity_max = buf->capacity_max;
    if (buf->capacity <= KEPT_BYTES_MAX || buf->size > 0)
        return;
    buf_deinit(buf);
    buf_init(buf, capacity_max);
}

void sf_buffers_shrink(struct sf_channel *channel)
{
    shrink(&channel->batch.data);
    if (!channel->append.is_kept)
        shrink(&channel->append.wire);
}

// ---- accepted appends

bool sf_ring_push(struct sf_ring *ring, const struct sf_accepted *item)
{
    if (ring->count == ring->capacity) {
        size_t capacity = ring->capacity == 0 ? 16 : ring->capacity * 2;
        struct sf_accepted *items = malloc(capacity * sizeof *items);
        if (items == NULL)
            return false;
        for (size_t i = 0; i < ring->count; i++)
            items[i] = ring->items[(ring->first + i) % ring->capacity];
        free(ring->items);
        *ring = (struct sf_ring){.items = items, .capacity = capacity, .count = ring->count};
    }
    ring->items[(ring->first + ring->count++) % ring->capacity] = *item;
    return true;
}

const struct sf_accepted *sf_ring_front(const struct sf_ring *ring)
{
    return ring->count == 0 ? NULL : &ring->items[ring->first];
}

const struct sf_accepted *sf_ring_back(const struct sf_ring *ring)
{
    return ring->count == 0 ? NULL : &ring->items[(ring->first + ring->count - 1) % ring->capacity];
}

void sf_ring_pop(struct sf_ring *ring)
{
    CHECK(ring->count > 0);
    ring->first = (ring->first + 1) % ring->capacity;
    ring->count--;
}

// ---- the rate

enum {
    WINDOW_US = 1000000 + 5000,  // a second, and what two clocks may differ in it
    CREDIT_US_AN_APPEND = 125000,
    CREDIT_US_MAX = 2 * CREDIT_US_AN_APPEND  // with the refill of 8 a second: never more than 10 in any second
};

uint64_t sf_rate_wait_us(struct sf_rate *rate, uint64_t now_us, size_t first_bytes, size_t all_bytes,
                         size_t *out_raw_bytes_max)
{
    // The ring is ordered by time, `next` being the oldest.
    size_t recent_bytes = 0;
    uint32_t recent_count = 0;
    uint64_t oldest_us = 0;
    for (uint32_t i = 0; i < SF_APPENDS_PER_SECOND_MAX; i++) {
        uint32_t k = (rate->next + i) % SF_APPENDS_PER_SECOND_MAX;
        if (rate->ended_us[k] == 0 || now_us >= rate->ended_us[k] + WINDOW_US)
            continue;
        oldest_us = recent_count == 0 ? rate->ended_us[k] : oldest_us;
        recent_count++;
        recent_bytes += rate->raw_bytes[k];
    }
    uint64_t window_wait_us = recent_count == 0 ? 0 : oldest_us + WINDOW_US - now_us;
    if (recent_count == SF_APPENDS_PER_SECOND_MAX)
        return window_wait_us;

    rate->credit_us += now_us - rate->credit_at_us;
    rate->credit_at_us = now_us;
    if (rate->credit_us > CREDIT_US_MAX)
        rate->credit_us = CREDIT_US_MAX;
    if (rate->credit_us < CREDIT_US_AN_APPEND)
        return CREDIT_US_AN_APPEND - rate->credit_us;

    *out_raw_bytes_max = APPEND_RAW_BYTES_MAX;
    if (recent_count == 0)
        return 0;
    size_t room = recent_bytes >= SF_RAW_BYTES_PER_SECOND_MAX ? 0 : SF_RAW_BYTES_PER_SECOND_MAX - recent_bytes;
    if (room < first_bytes || (room < all_bytes && room < APPEND_RAW_BYTES_SMALL))
        return window_wait_us;
    *out_raw_bytes_max = room < APPEND_RAW_BYTES_MAX ? room : APPEND_RAW_BYTES_MAX;
    return 0;
}

void sf_rate_init(struct sf_rate *rate, uint64_t now_us)
{
    *rate = (struct sf_rate){.credit_us = CREDIT_US_MAX, .credit_at_us = now_us};
}

void sf_rate_sent(struct sf_rate *rate)
{
    rate->credit_us -= CREDIT_US_AN_APPEND < rate->credit_us ? CREDIT_US_AN_APPEND : rate->credit_us;
}

void sf_rate_ended(struct sf_rate *rate, uint64_t now_us, size_t raw_bytes)
{
    rate->ended_us[rate->next] = now_us;
    rate->raw_bytes[rate->next] = raw_bytes;
    rate->next = (rate->next + 1) % SF_APPENDS_PER_SECOND_MAX;
}

// ---- statuses

static const char *text_member(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text == NULL ? "" : text;
}

// A whole number, also as a string of digits. -1: there is none.
static int64_t number_member(const json_t *json, const char *name)
{
    const json_t *value = json_object_get(json, name);
    if (json_is_string(value)) {
        char *end = NULL;
        int64_t number = strtoll(json_string_value(value), &end, 10);
        return end != json_string_value(value) && *end == '\0' && number >= 0 ? number : -1;
    }
    if (json_is_real(value))
        return json_real_value(value) >= 0 && json_real_value(value) < 9e15 ? (int64_t)json_real_value(value) : -1;
    return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value) : -1;
}

bool sf_status_parse(const json_t *json, struct sf_status *out_status)
{
    if (!json_is_object(json))
        return false;
    *out_status = (struct sf_status){.committed = text_member(json, "last_committed_offset_token"),
                                     .error_offset = text_member(json, "last_error_offset_upper_bound"),
                                     .error_message = text_member(json, "last_error_message")};
    int64_t code = number_member(json, "channel_status_code");
    if (code >= 0)
        (void)snprintf(out_status->code, sizeof out_status->code, "%lld", (long long)code);
    else
        (void)snprintf(out_status->code, sizeof out_status->code, "%s", text_member(json, "channel_status_code"));
    int64_t created = number_member(json, "created_on_ms");
    out_status->created_on_ms = created > 0 ? created : 0;
    int64_t errors = number_member(json, "rows_error_count");
    if (errors < 0)
        errors = number_member(json, "rows_errors");
    out_status->has_error_count = errors >= 0;
    out_status->error_count = errors > 0 ? (uint64_t)errors : 0;
    return strlen(out_status->committed) <= SF_TOKEN_SIZE_MAX;
}

bool sf_status_is_healthy(const struct sf_status *status)
{
    return strcmp(status->code, "SUCCESS") == 0 || strcmp(status->code, "ACTIVE") == 0 ||
           strcmp(status->code, "0") == 0;
}

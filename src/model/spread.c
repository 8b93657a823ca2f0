#include "model/spread.h"

#include <stdio.h>
#include <string.h>

static const struct spread_step *step_at(const struct spread *spread, const struct seq *seq)
{
    uint32_t i = spread->step_count - 1;
    while (i > 0 && seq_compare(seq, &spread->steps[i].from) < 0)
        i--;
    return &spread->steps[i];
}

uint32_t spread_channel(const struct spread *spread, const struct seq *seq)
{
    if (spread->step_count == 0)
        return 0;
    uint64_t block = (seq->commit_lsn >> 16) + (seq->ordinal >> 12);
    return (uint32_t)(block % step_at(spread, seq)->channel_count);
}

uint32_t spread_channel_count(const struct spread *spread)
{
    return spread->step_count == 0 ? 1 : spread->steps[spread->step_count - 1].channel_count;
}

bool spread_add(struct spread *spread, const struct seq *from, uint32_t channel_count)
{
    if (spread->step_count == SPREAD_STEPS_MAX || channel_count == 0 || channel_count > SPREAD_CHANNELS_MAX)
        return false;
    if (spread->step_count > 0) {
        const struct spread_step *last = &spread->steps[spread->step_count - 1];
        if (from->epoch != last->from.epoch || seq_compare(from, &last->from) <= 0 ||
            channel_count <= last->channel_count)
            return false;
    }
    spread->steps[spread->step_count++] = (struct spread_step){.from = *from, .channel_count = channel_count};
    return true;
}

bool spread_is_same(const struct spread *a, const struct spread *b)
{
    bool is_same = a->step_count == b->step_count;
    for (uint32_t i = 0; is_same && i < a->step_count; i++)
        is_same = seq_compare(&a->steps[i].from, &b->steps[i].from) == 0 &&
                  a->steps[i].channel_count == b->steps[i].channel_count;
    return is_same;
}

void spread_trim(struct spread *spread, const struct seq *floor)
{
    uint32_t gone = 0;
    while (gone + 1 < spread->step_count && seq_compare(&spread->steps[gone + 1].from, floor) <= 0)
        gone++;
    spread->step_count -= gone;
    memmove(spread->steps, spread->steps + gone, spread->step_count * sizeof spread->steps[0]);
}

void spread_format(const struct spread *spread, char out_text[SPREAD_TEXT_SIZE])
{
    size_t size = 0;
    out_text[0] = '\0';
    for (uint32_t i = 0; i < spread->step_count; i++) {
        char seq[SEQ_TEXT_SIZE];
        seq_format(&spread->steps[i].from, seq);
        size += (size_t)snprintf(out_text + size, SPREAD_TEXT_SIZE - size, "%s%.*s:%u", i == 0 ? "" : " ",
                                 SEQ_TEXT_SIZE, seq, spread->steps[i].channel_count);
    }
}

// One or two digits without a leading zero; 0: there is no such number.
static uint32_t number_parse(const char **text)
{
    uint32_t number = 0;
    for (int i = 0; i < 2 && **text >= (number == 0 ? '1' : '0') && **text <= '9'; i++)
        number = 10 * number + (uint32_t)(*(*text)++ - '0');
    return number;
}

bool spread_parse(const char *text, struct spread *out_spread)
{
    *out_spread = (struct spread){0};
    while (*text != '\0') {
        struct seq from;
        if (out_spread->step_count > 0 && *text++ != ' ')
            return false;
        if (strlen(text) <= SEQ_TEXT_SIZE || !seq_parse(text, SEQ_TEXT_SIZE, &from) || text[SEQ_TEXT_SIZE] != ':')
            return false;
        text += SEQ_TEXT_SIZE + 1;
        if (!spread_add(out_spread, &from, number_parse(&text)))
            return false;
    }
    return true;
}

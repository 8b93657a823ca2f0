#include "model/seq.h"

#define EPOCH_DIGITS 2
#define LSN_DIGITS 16
#define ORDINAL_DIGITS 8

static void hex_format(uint64_t number, size_t digits, char *out_text)
{
    for (size_t i = digits; i > 0; i--) {
        out_text[i - 1] = "0123456789ABCDEF"[number & 15];
        number >>= 4;
    }
}

// Upper case only: lower case would sort differently as text.
static bool hex_parse(const char *text, size_t digits, uint64_t *out_number)
{
    uint64_t number = 0;
    for (size_t i = 0; i < digits; i++) {
        char c = text[i];
        uint64_t digit;
        if (c >= '0' && c <= '9')
            digit = (uint64_t)(c - '0');
        else if (c >= 'A' && c <= 'F')
            digit = (uint64_t)(c - 'A') + 10;
        else
            return false;
        number = number << 4 | digit;
    }
    *out_number = number;
    return true;
}

void seq_format(const struct seq *seq, char out_text[SEQ_TEXT_SIZE])
{
    seq_format_position(seq->epoch, seq->commit_lsn, out_text);
    hex_format(seq->ordinal, ORDINAL_DIGITS, out_text + SEQ_POSITION_TEXT_SIZE);
}

void seq_format_position(uint8_t epoch, lsn_t position, char out_text[SEQ_POSITION_TEXT_SIZE])
{
    hex_format(epoch, EPOCH_DIGITS, out_text);
    hex_format(position, LSN_DIGITS, out_text + EPOCH_DIGITS);
}

bool seq_parse(const char *text, size_t size, struct seq *out_seq)
{
    uint64_t epoch;
    uint64_t commit_lsn;
    uint64_t ordinal;
    if (size != SEQ_TEXT_SIZE || !hex_parse(text, EPOCH_DIGITS, &epoch) || epoch == 0 ||
        !hex_parse(text + EPOCH_DIGITS, LSN_DIGITS, &commit_lsn) ||
        !hex_parse(text + SEQ_POSITION_TEXT_SIZE, ORDINAL_DIGITS, &ordinal))
        return false;
    *out_seq = (struct seq){.commit_lsn = commit_lsn, .ordinal = (uint32_t)ordinal, .epoch = (uint8_t)epoch};
    return true;
}

int seq_compare(const struct seq *a, const struct seq *b)
{
    if (a->epoch != b->epoch)
        return a->epoch < b->epoch ? -1 : 1;
    if (a->commit_lsn != b->commit_lsn)
        return a->commit_lsn < b->commit_lsn ? -1 : 1;
    if (a->ordinal != b->ordinal)
        return a->ordinal < b->ordinal ? -1 : 1;
    return 0;
}

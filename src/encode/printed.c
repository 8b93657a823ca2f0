#include "encode/printed.h"

#include <stdio.h>

#include "encode/datetime.h"
#include "encode/decimal.h"
#include "encode/float_text.h"
#include "encode/printed_network.h"
#include "encode/wire.h"

bool printed_has(enum value_kind kind)
{
    return kind >= KIND_INTERVAL && kind <= KIND_VERSIONED_TEXT;
}

static void append_number(int64_t number, struct buf *out)
{
    char digits[20];
    if (number < 0)
        buf_append_byte(out, '-');
    buf_append(out, digits, decimal_format_u64(number < 0 ? 0 - (uint64_t)number : (uint64_t)number, digits));
}

// ---- interval, money, timetz

static void append_part(int64_t number, char unit, struct buf *out)
{
    if (number == 0)
        return;
    append_number(number, out);
    buf_append_byte(out, (uint8_t)unit);
}

static void append_seconds(int64_t us, struct buf *out)
{
    if (us == 0)
        return;
    if (us < 0)
        buf_append_byte(out, '-');
    uint64_t magnitude = us < 0 ? 0 - (uint64_t)us : (uint64_t)us;
    append_number((int64_t)(magnitude / 1000000), out);
    char fraction[8];
    int size = snprintf(fraction, sizeof fraction, ".%06u", (unsigned)(magnitude % 1000000));
    while (size > 0 && (fraction[size - 1] == '0' || fraction[size - 1] == '.'))
        size--;
    buf_append(out, fraction, (size_t)size);
    buf_append_byte(out, 'S');
}

// interval_send (src/backend/utils/adt/timestamp.c): Int64 microseconds | Int32 days | Int32 months. EncodeInterval prints each part
// with its own sign. From version 17 on all parts at their limits mean infinity (has_infinity).
static bool append_interval(bool has_infinity, struct wire *wire, struct buf *out)
{
    uint64_t us_bits;
    uint32_t days_bits;
    uint32_t months_bits;
    if (!wire_read_u64(wire, &us_bits) || !wire_read_u32(wire, &days_bits) || !wire_read_u32(wire, &months_bits))
        return false;
    int64_t us = (int64_t)us_bits;
    int32_t days = (int32_t)days_bits;
    int32_t months = (int32_t)months_bits;
    if (has_infinity && us == INT64_MAX && days == INT32_MAX && months == INT32_MAX) {
        buf_append_text(out, "infinity");
    } else if (has_infinity && us == INT64_MIN && days == INT32_MIN && months == INT32_MIN) {
        buf_append_text(out, "-infinity");
    } else if (us == 0 && days == 0 && months == 0) {
        buf_append_text(out, "PT0S");
    } else {
        buf_append_byte(out, 'P');
        append_part(months / 12, 'Y', out);
        append_part(months % 12, 'M', out);
        append_part(days, 'D', out);
        if (us != 0)
            buf_append_byte(out, 'T');
        append_part(us / INT64_C(3600000000), 'H', out);
        append_part(us / 60000000 % 60, 'M', out);
        append_seconds(us % 60000000, out);
    }
    return true;
}

// cash_send (src/backend/utils/adt/cash.c): Int64 cents, as lc_monetary C has two digits of fraction, commas and "$".
static bool append_money(struct wire *wire, struct buf *out)
{
    uint64_t bits;
    char digits[20];
    if (!wire_read_u64(wire, &bits))
        return false;
    bool is_negative = (int64_t)bits < 0;
    uint64_t cents = is_negative ? 0 - bits : bits;
    buf_append_text(out, is_negative ? "-$" : "$");
    size_t size = decimal_format_u64(cents / 100, digits);
    for (size_t i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            buf_append_byte(out, ',');
        buf_append_byte(out, (uint8_t)digits[i]);
    }
    buf_append_byte(out, '.');
    buf_append_byte(out, (uint8_t)('0' + cents % 100 / 10));
    buf_append_byte(out, (uint8_t)('0' + cents % 10));
    return true;
}

// timetz_send (src/backend/utils/adt/date.c): Int64 microseconds | Int32 seconds west of UTC. EncodeTimezone leaves out minutes
// and seconds of the zone that are 0.
static bool append_timetz(struct wire *wire, struct buf *out)
{
    char text[DATETIME_TEXT_SIZE_MAX];
    uint64_t us;
    uint32_t zone_bits;
    if (!wire_read_u64(wire, &us) || !wire_read_u32(wire, &zone_bits) || us > (uint64_t)DATETIME_DAY_US)
        return false;
    int32_t west = (int32_t)zone_bits;
    if (west < -86400 * 2 || west > 86400 * 2)
        return false;
    buf_append(out, text, datetime_print_time((int64_t)us, text));
    unsigned seconds = (unsigned)(west < 0 ? -west : west);
    int size = snprintf(text, sizeof text, "%c%02u", west <= 0 ? '+' : '-', seconds / 3600);
    if (seconds % 3600 != 0)
        size += snprintf(text + size, sizeof text - (size_t)size, ":%02u", seconds / 60 % 60);
    if (seconds % 60 != 0)
        size += snprintf(text + size, sizeof text - (size_t)size, ":%02u", seconds % 60);
    buf_append(out, text, (size_t)size);
    return true;
}

// ---- geometric types: float8s in parentheses

static bool append_float(struct wire *wire, struct buf *out)
{
    uint64_t bits;
    double number;
    char text[FLOAT_TEXT_SIZE_MAX];
    if (!wire_read_u64(wire, &bits))
        return false;
    memcpy(&number, &bits, sizeof number);
    buf_append(out, text, float8_format(number, text));
    return true;
}

// point_send: Float8 x | Float8 y → (x,y)
static bool append_point(struct wire *wire, struct buf *out)
{
    buf_append_byte(out, '(');
    if (!append_float(wire, out))
        return false;
    buf_append_byte(out, ',');
    if (!append_float(wire, out))
        return false;
    buf_append_byte(out, ')');
    return true;
}

static bool append_points(struct wire *wire, uint32_t count, const char *open, const char *close, struct buf *out)
{
    buf_append_text(out, open);
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            buf_append_byte(out, ',');
        if (!append_point(wire, out))
            return false;
    }
    buf_append_text(out, close);
    return true;
}

// line_send: Float8 A | Float8 B | Float8 C → {A,B,C}
static bool append_line(struct wire *wire, struct buf *out)
{
    for (int i = 0; i < 3; i++) {
        buf_append_byte(out, i == 0 ? '{' : ',');
        if (!append_float(wire, out))
            return false;
    }
    buf_append_byte(out, '}');
    return true;
}

// path_send: Int8 closed | Int32 points | points → ((x,y),…) closed, [(x,y),…] open
static bool append_path(struct wire *wire, struct buf *out)
{
    uint8_t is_closed;
    uint32_t count;
    return wire_read_u8(wire, &is_closed) && wire_read_u32(wire, &count) &&
           append_points(wire, count, is_closed != 0 ? "(" : "[", is_closed != 0 ? ")" : "]", out);
}

// poly_send: Int32 points | points → ((x,y),…)
static bool append_polygon(struct wire *wire, struct buf *out)
{
    uint32_t count;
    return wire_read_u32(wire, &count) && append_points(wire, count, "(", ")", out);
}

// circle_send: point | Float8 radius → <(x,y),r>
static bool append_circle(struct wire *wire, struct buf *out)
{
    buf_append_byte(out, '<');
    if (!append_point(wire, out))
        return false;
    buf_append_byte(out, ',');
    if (!append_float(wire, out))
        return false;
    buf_append_byte(out, '>');
    return true;
}

// ---- bits, identifiers, search vectors

// bit_send, varbit_send (src/backend/utils/adt/varbit.c): Int32 bits | bytes, the first bit highest
static bool append_bits(struct wire *wire, struct buf *out)
{
    uint32_t count;
    const uint8_t *bytes;
    if (!wire_read_u32(wire, &count) || count > INT32_MAX - 7 || !wire_take(wire, (count + 7) / 8, &bytes))
        return false;
    if (!buf_reserve(out, count))
        return true;  // out has failed
    for (uint32_t i = 0; i < count; i++)
        out->data[out->size++] = (uint8_t)('0' + (bytes[i / 8] >> (7 - i % 8) & 1));
    return true;
}

// pg_lsn_send: Int64
static bool append_lsn(struct wire *wire, struct buf *out)
{
    uint64_t lsn;
    if (!wire_read_u64(wire, &lsn))
        return false;
    buf_appendf(out, "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn);
    return true;
}

// xidsend, cidsend: Int32
static bool append_xid(struct wire *wire, struct buf *out)
{
    uint32_t xid;
    if (!wire_read_u32(wire, &xid))
        return false;
    append_number(xid, out);
    return true;
}

// tidsend: Int32 block | Int16 offset → (block,offset)
static bool append_tid(struct wire *wire, struct buf *out)
{
    uint32_t block;
    uint16_t offset;
    if (!wire_read_u32(wire, &block) || !wire_read_u16(wire, &offset))
        return false;
    buf_appendf(out, "(%u,%u)", block, offset);
    return true;
}

// tsvectorsend (src/backend/utils/adt/tsvector.c):
//   Int32 lexemes | for each: NUL-terminated text | Int16 positions | for each Int16: weight (2 bits), position (14 bits)
// → 'lexeme':1A,2 'other'; quotes and backslashes are doubled.
static bool append_lexeme(struct wire *wire, struct buf *out)
{
    static const char weights[] = "DCBA";  // D is not printed
    const uint8_t *start = wire->data + wire->position;
    const uint8_t *end = memchr(start, '\0', wire->size - wire->position);
    uint16_t count;
    if (end == NULL)
        return false;
    buf_append_byte(out, '\'');
    for (const uint8_t *at = start; at < end; at++) {
        if (*at == '\'' || *at == '\\')
            buf_append_byte(out, *at);
        buf_append_byte(out, *at);
    }
    buf_append_byte(out, '\'');
    wire->position += (size_t)(end - start) + 1;
    if (!wire_read_u16(wire, &count))
        return false;
    for (uint16_t i = 0; i < count; i++) {
        uint16_t position;
        if (!wire_read_u16(wire, &position))
            return false;
        buf_append_byte(out, i == 0 ? ':' : ',');
        append_number(position & 0x3FFF, out);
        if (position >> 14 != 0)
            buf_append_byte(out, (uint8_t)weights[position >> 14]);
    }
    return true;
}

static bool append_tsvector(struct wire *wire, struct buf *out)
{
    uint32_t count;
    if (!wire_read_u32(wire, &count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            buf_append_byte(out, ' ');
        if (wire_is_at_end(wire) || !append_lexeme(wire, out))
            return false;
    }
    return true;
}

static bool append_versioned_text(struct wire *wire, struct buf *out)
{
    uint8_t version;
    if (!wire_read_u8(wire, &version) || version != 1)
        return false;
    buf_append(out, wire->data + wire->position, wire->size - wire->position);
    wire->position = wire->size;
    return true;
}

static bool append_geometric(enum value_kind kind, struct wire *wire, struct buf *out)
{
    switch (kind) {
    case KIND_POINT: return append_point(wire, out);
    case KIND_LINE: return append_line(wire, out);
    case KIND_LSEG: return append_points(wire, 2, "[", "]", out);
    case KIND_BOX: return append_points(wire, 2, "", "", out);
    case KIND_PATH: return append_path(wire, out);
    case KIND_POLYGON: return append_polygon(wire, out);
    default: return append_circle(wire, out);
    }
}

static bool append_by_kind(enum value_kind kind, struct wire *wire, struct buf *out)
{
    switch (kind) {
    case KIND_INTERVAL:
    case KIND_FINITE_INTERVAL: return append_interval(kind == KIND_INTERVAL, wire, out);
    case KIND_MONEY: return append_money(wire, out);
    case KIND_TIMETZ: return append_timetz(wire, out);
    case KIND_INET: return printed_append_network(wire, out);
    case KIND_MACADDR: return printed_append_hardware(wire, 6, out);
    case KIND_MACADDR8: return printed_append_hardware(wire, 8, out);
    case KIND_BIT: return append_bits(wire, out);
    case KIND_LSN: return append_lsn(wire, out);
    case KIND_XID: return append_xid(wire, out);
    case KIND_TID: return append_tid(wire, out);
    case KIND_TSVECTOR: return append_tsvector(wire, out);
    case KIND_VERSIONED_TEXT: return append_versioned_text(wire, out);
    default: return append_geometric(kind, wire, out);
    }
}

bool printed_append(enum value_kind kind, const struct value *value, struct buf *out)
{
    struct wire wire = wire_of(value);
    return append_by_kind(kind, &wire, out) && wire_is_at_end(&wire);
}

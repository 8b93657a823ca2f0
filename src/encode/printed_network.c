#include "encode/printed_network.h"

#define FAMILY_IPV4 2  // PGSQL_AF_INET and PGSQL_AF_INET6 of src/include/utils/inet.h: AF_INET and the number behind it
#define FAMILY_IPV6 3
#define WORDS 8

static void append_ipv4(const uint8_t *bytes, struct buf *out)
{
    buf_appendf(out, "%u.%u.%u.%u", bytes[0], bytes[1], bytes[2], bytes[3]);
}

// The longest run of two or more zero words, the first of equals; length 0: none.
static void find_zeros(const uint16_t words[WORDS], int *out_start, int *out_length)
{
    *out_start = -1;
    *out_length = 0;
    for (int i = 0; i < WORDS; i++) {
        int length = 0;
        while (i + length < WORDS && words[i + length] == 0)
            length++;
        if (length >= 2 && length > *out_length) {
            *out_start = i;
            *out_length = length;
        }
        i += length;
    }
}

// As inet_net_ntop_ipv6 (src/port/inet_net_ntop.c) does: the longest run of zeros becomes "::", and an address whose first six words are zeros,
// or five zeros and ffff, ends as an IPv4 address.
static void append_ipv6(const uint8_t *bytes, struct buf *out)
{
    uint16_t words[WORDS];
    int start;
    int length;
    for (int i = 0; i < WORDS; i++)
        words[i] = (uint16_t)(bytes[2 * i] << 8 | bytes[2 * i + 1]);
    find_zeros(words, &start, &length);
    bool ends_as_ipv4 =
        start == 0 && (length == 6 || (length == 7 && words[7] != 1) || (length == 5 && words[5] == 0xFFFF));
    for (int i = 0; i < WORDS; i++) {
        if (i >= start && i < start + length) {
            if (i == start)
                buf_append_byte(out, ':');
            continue;
        }
        if (i > 0)
            buf_append_byte(out, ':');
        if (i == 6 && ends_as_ipv4) {
            append_ipv4(bytes + 12, out);
            return;
        }
        buf_appendf(out, "%x", words[i]);
    }
    if (length > 0 && start + length == WORDS)
        buf_append_byte(out, ':');
}

// network_send (src/backend/utils/adt/network.c): Int8 family | Int8 bits of the mask | Int8 is cidr | Int8 bytes | address.
// An inet whose mask is whole is printed without it.
bool printed_append_network(struct wire *wire, struct buf *out)
{
    uint8_t family;
    uint8_t bits;
    uint8_t is_cidr;
    uint8_t size;
    const uint8_t *bytes;
    if (!wire_read_u8(wire, &family) || !wire_read_u8(wire, &bits) || !wire_read_u8(wire, &is_cidr) ||
        !wire_read_u8(wire, &size) || !wire_take(wire, size, &bytes))
        return false;
    bool is_ipv4 = family == FAMILY_IPV4 && size == 4 && bits <= 32;
    bool is_ipv6 = family == FAMILY_IPV6 && size == 16 && bits <= 128;
    if (is_ipv4)
        append_ipv4(bytes, out);
    else if (is_ipv6)
        append_ipv6(bytes, out);
    else
        return false;
    if (is_cidr != 0 || bits < 8 * size)
        buf_appendf(out, "/%u", bits);
    return true;
}

bool printed_append_hardware(struct wire *wire, size_t bytes, struct buf *out)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes; i++) {
        uint8_t byte;
        if (!wire_read_u8(wire, &byte))
            return false;
        if (i > 0)
            buf_append_byte(out, ':');
        buf_append_byte(out, (uint8_t)hex[byte >> 4]);
        buf_append_byte(out, (uint8_t)hex[byte & 15]);
    }
    return true;
}

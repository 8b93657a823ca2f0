#include "pg/pgoutput.h"

#include <endian.h>
#include <string.h>

#include "base/check.h"

// Cursor over one message. Invariant: position <= size. A reader that would pass the end reads nothing, sets `wanted` and returns false.
struct reader {
    const uint8_t *data;
    size_t size;
    size_t position;
    const char *wanted;  // what was expected where reading stopped
};

static bool reader_wants(struct reader *reader, const char *wanted)
{
    reader->wanted = wanted;
    return false;
}

static bool reader_has(struct reader *reader, size_t size, const char *wanted)
{
    return size <= reader->size - reader->position || reader_wants(reader, wanted);
}

static bool read_u8(struct reader *reader, const char *wanted, uint8_t *out)
{
    if (!reader_has(reader, 1, wanted))
        return false;
    *out = reader->data[reader->position++];
    return true;
}

static bool read_u16(struct reader *reader, const char *wanted, uint16_t *out)
{
    if (!reader_has(reader, 2, wanted))
        return false;
    const uint8_t *at = reader->data + reader->position;
    *out = (uint16_t)(at[0] << 8 | at[1]);
    reader->position += 2;
    return true;
}

static bool read_u32(struct reader *reader, const char *wanted, uint32_t *out)
{
    if (!reader_has(reader, 4, wanted))
        return false;
    uint32_t big_endian;
    memcpy(&big_endian, reader->data + reader->position, 4);
    *out = be32toh(big_endian);
    reader->position += 4;
    return true;
}

static bool read_u64(struct reader *reader, const char *wanted, uint64_t *out)
{
    if (!reader_has(reader, 8, wanted))
        return false;
    uint64_t big_endian;
    memcpy(&big_endian, reader->data + reader->position, 8);
    *out = be64toh(big_endian);
    reader->position += 8;
    return true;
}

static bool read_i64(struct reader *reader, const char *wanted, int64_t *out)
{
    uint64_t bits;
    if (!read_u64(reader, wanted, &bits))
        return false;
    *out = (int64_t)bits;
    return true;
}

// A NUL-terminated string, which stays in the message.
static bool read_string(struct reader *reader, const char *wanted, const char **out)
{
    const uint8_t *start = reader->data + reader->position;
    const uint8_t *end = memchr(start, '\0', reader->size - reader->position);
    if (end == NULL)
        return reader_wants(reader, wanted);
    *out = (const char *)start;
    reader->position += (size_t)(end - start) + 1;
    return true;
}

// TupleData: Int16 count, then for each column Byte1 'n' (null) | 'u' (unchanged TOAST) | 't' or 'b' followed by Int32 length and bytes.
static bool read_tuple(struct reader *reader, struct value *values, struct row_view *out_row)
{
    uint16_t count;
    if (!read_u16(reader, "a tuple's count of columns", &count))
        return false;
    if (count > ROW_COLUMNS_MAX)
        return reader_wants(reader, "at most 1664 columns");

    for (uint16_t i = 0; i < count; i++) {
        struct value *value = &values[i];
        uint8_t kind;
        if (!read_u8(reader, "a column's kind", &kind))
            return false;
        if (kind == 'n' || kind == 'u') {
            *value = (struct value){.state = kind == 'n' ? VALUE_NULL : VALUE_UNCHANGED};
            continue;
        }
        if (kind != 't' && kind != 'b') {
            reader->position--;
            return reader_wants(reader, "a column's kind (n, u, t or b)");
        }
        if (!read_u32(reader, "a column's length", &value->size) ||
            !reader_has(reader, value->size, "a column's bytes"))
            return false;
        value->data = reader->data + reader->position;
        value->state = kind == 't' ? VALUE_TEXT : VALUE_BINARY;
        reader->position += value->size;
    }
    *out_row = (struct row_view){.values = values, .count = count};
    return true;
}

// Begin: Byte1('B') Int64 final LSN | Int64 commit time | Int32 xid
static bool read_begin(struct reader *reader, struct pgoutput_message *message)
{
    return read_u64(reader, "the transaction's final LSN", &message->begin.commit_lsn) &&
           read_i64(reader, "the commit time", &message->begin.commit_time_us) &&
           read_u32(reader, "the xid", &message->begin.xid);
}

// Commit: Byte1('C') Int8 flags (0) | Int64 commit LSN | Int64 end LSN | Int64 commit time
static bool read_commit(struct reader *reader, struct pgoutput_message *message)
{
    uint8_t flags;
    if (!read_u8(reader, "flags", &flags))
        return false;
    if (flags != 0) {
        reader->position--;
        return reader_wants(reader, "flags of 0");
    }
    return read_u64(reader, "the commit's LSN", &message->commit.commit_lsn) &&
           read_u64(reader, "the transaction's end LSN", &message->commit.end_lsn) &&
           read_i64(reader, "the commit time", &message->commit.commit_time_us);
}

// Origin: Byte1('O') Int64 LSN of the commit on the origin server | String name
static bool read_origin(struct reader *reader)
{
    uint64_t origin_lsn;
    const char *name;
    return read_u64(reader, "the origin's LSN", &origin_lsn) && read_string(reader, "the origin's name", &name);
}

// Relation: Byte1('R') Int32 oid | String schema | String name | Int8 replica identity | Int16 count,
//           then for each column Int8 flags (1: part of the key) | String name | Int32 type oid | Int32 typmod
static bool read_relation(struct reader *reader, struct pgoutput_scratch *scratch, struct pgoutput_message *message)
{
    uint8_t identity;
    uint16_t count;
    if (!read_u32(reader, "a relation's oid", &message->relation_oid) ||
        !read_string(reader, "a schema's name", &message->relation.schema_name) ||
        !read_string(reader, "a table's name", &message->relation.table_name) ||
        !read_u8(reader, "the replica identity", &identity))
        return false;
    if (identity != 'd' && identity != 'n' && identity != 'f' && identity != 'i') {
        reader->position--;
        return reader_wants(reader, "a replica identity (d, n, f or i)");
    }
    if (!read_u16(reader, "the count of columns", &count))
        return false;
    if (count > ROW_COLUMNS_MAX)
        return reader_wants(reader, "at most 1664 columns");

    for (uint16_t i = 0; i < count; i++) {
        struct pgoutput_relation_column *column = &scratch->columns[i];
        uint8_t flags;
        uint32_t modifier;
        if (!read_u8(reader, "a column's flags", &flags) || !read_string(reader, "a column's name", &column->name) ||
            !read_u32(reader, "a column's type", &column->type_oid) ||
            !read_u32(reader, "a column's type modifier", &modifier))
            return false;
        column->is_key = (flags & 1) != 0;
        column->type_modifier = (int32_t)modifier;
    }
    message->relation.columns = scratch->columns;
    message->relation.column_count = count;
    message->relation.replica_identity = (char)identity;
    return true;
}

// Type: Byte1('Y') Int32 oid | String schema | String name
static bool read_type(struct reader *reader)
{
    uint32_t oid;
    const char *name;
    return read_u32(reader, "a type's oid", &oid) && read_string(reader, "a type's schema", &name) &&
           read_string(reader, "a type's name", &name);
}

// Insert: Byte1('I') Int32 relation oid | Byte1('N') TupleData
static bool read_insert(struct reader *reader, struct pgoutput_scratch *scratch, struct pgoutput_message *message)
{
    uint8_t part;
    if (!read_u32(reader, "a relation's oid", &message->relation_oid) || !read_u8(reader, "a new tuple (N)", &part))
        return false;
    if (part != 'N') {
        reader->position--;
        return reader_wants(reader, "a new tuple (N)");
    }
    return read_tuple(reader, scratch->new_values, &message->change.new_row);
}

// Update: Byte1('U') Int32 relation oid | optionally Byte1('K' key | 'O' whole old row) TupleData | Byte1('N') TupleData
static bool read_update(struct reader *reader, struct pgoutput_scratch *scratch, struct pgoutput_message *message)
{
    uint8_t part;
    if (!read_u32(reader, "a relation's oid", &message->relation_oid) || !read_u8(reader, "a tuple (K, O or N)", &part))
        return false;
    if (part == 'K' || part == 'O') {
        message->change.old = part == 'K' ? PGOUTPUT_OLD_KEY : PGOUTPUT_OLD_ROW;
        if (!read_tuple(reader, scratch->old_values, &message->change.old_row) ||
            !read_u8(reader, "a new tuple (N)", &part))
            return false;
    }
    if (part != 'N') {
        reader->position--;
        return reader_wants(reader, "a tuple (K or O once, then N)");
    }
    if (!read_tuple(reader, scratch->new_values, &message->change.new_row))
        return false;
    if (message->change.old != PGOUTPUT_OLD_NONE && message->change.old_row.count != message->change.new_row.count)
        return reader_wants(reader, "as many columns in the new tuple as in the old");
    return true;
}

// Delete: Byte1('D') Int32 relation oid | Byte1('K' key | 'O' whole old row) TupleData
static bool read_delete(struct reader *reader, struct pgoutput_scratch *scratch, struct pgoutput_message *message)
{
    uint8_t part;
    if (!read_u32(reader, "a relation's oid", &message->relation_oid) || !read_u8(reader, "a tuple (K or O)", &part))
        return false;
    if (part != 'K' && part != 'O') {
        reader->position--;
        return reader_wants(reader, "a tuple (K or O)");
    }
    message->change.old = part == 'K' ? PGOUTPUT_OLD_KEY : PGOUTPUT_OLD_ROW;
    return read_tuple(reader, scratch->old_values, &message->change.old_row);
}

// Truncate: Byte1('T') Int32 count | Int8 flags (1: CASCADE, 2: RESTART IDENTITY) | count times Int32 relation oid
static bool read_truncate(struct reader *reader, struct pgoutput_message *message)
{
    uint32_t count;
    uint8_t flags;
    if (!read_u32(reader, "the count of relations", &count) || !read_u8(reader, "flags", &flags) ||
        !reader_has(reader, (size_t)count * sizeof(uint32_t), "an oid for each relation"))
        return false;
    message->truncate.relation_oids = reader->data + reader->position;
    reader->position += (size_t)count * sizeof(uint32_t);
    message->truncate.relation_count = count;
    message->truncate.is_cascade = (flags & 1) != 0;
    message->truncate.restarts_identity = (flags & 2) != 0;
    return true;
}

// Message: Byte1('M') Int8 flags | Int64 LSN | String prefix | Int32 length | bytes
static bool read_logical_message(struct reader *reader)
{
    uint8_t flags;
    uint64_t message_lsn;
    const char *prefix;
    uint32_t size;
    if (!read_u8(reader, "flags", &flags) || !read_u64(reader, "the message's LSN", &message_lsn) ||
        !read_string(reader, "the message's prefix", &prefix) || !read_u32(reader, "the content's length", &size) ||
        !reader_has(reader, size, "the content"))
        return false;
    reader->position += size;
    return true;
}

// Stream Abort: Byte1('A') Int32 xid | Int32 xid of the subtransaction. It tells the end of one that was streamed while it was open,
// which is never asked for; PostgreSQL 18 sends it all the same of subtransactions that it takes for streamed (others saw it too:
// github.com/estuary/connectors, pull request 5228). What was not rolled back comes with the commit, as ever.
static bool read_abort(struct reader *reader)
{
    uint32_t xid;
    return read_u32(reader, "a transaction's xid", &xid) && read_u32(reader, "a subtransaction's xid", &xid);
}

static bool read_message(struct reader *reader, struct pgoutput_scratch *scratch, struct pgoutput_message *message)
{
    uint8_t kind;
    if (!read_u8(reader, "a message's kind", &kind))
        return false;
    switch (kind) {
    case 'B': message->kind = PGOUTPUT_BEGIN; return read_begin(reader, message);
    case 'C': message->kind = PGOUTPUT_COMMIT; return read_commit(reader, message);
    case 'O': message->kind = PGOUTPUT_ORIGIN; return read_origin(reader);
    case 'R': message->kind = PGOUTPUT_RELATION; return read_relation(reader, scratch, message);
    case 'Y': message->kind = PGOUTPUT_TYPE; return read_type(reader);
    case 'I': message->kind = PGOUTPUT_INSERT; return read_insert(reader, scratch, message);
    case 'U': message->kind = PGOUTPUT_UPDATE; return read_update(reader, scratch, message);
    case 'D': message->kind = PGOUTPUT_DELETE; return read_delete(reader, scratch, message);
    case 'T': message->kind = PGOUTPUT_TRUNCATE; return read_truncate(reader, message);
    case 'A': message->kind = PGOUTPUT_ABORT; return read_abort(reader);
    case 'M': message->kind = PGOUTPUT_MESSAGE; return read_logical_message(reader);
    default: reader->position = 0; return reader_wants(reader, "a message of protocol version 1 (B C O R Y I U D T M)");
    }
}

bool pgoutput_decode(const uint8_t *data, size_t size, struct pgoutput_scratch *scratch,
                     struct pgoutput_message *out_message, struct err *out_error)
{
    struct reader reader = {.data = data, .size = size};
    memset(out_message, 0, sizeof *out_message);
    if (read_message(&reader, scratch, out_message)) {
        if (reader.position == size)
            return true;
        (void)reader_wants(&reader, "the message's end");
    }
    char kind = size > 0 && data[0] > 0x20 && data[0] < 0x7F ? (char)data[0] : '?';
    return err_set(out_error, ERR_DATA, "pgoutput", "replication message '%c' of %zu bytes: expected %s at byte %zu",
                   kind, size, reader.wanted, reader.position);
}

uint32_t pgoutput_truncated(const struct pgoutput_message *message, uint32_t index)
{
    uint32_t big_endian;
    CHECK(message->kind == PGOUTPUT_TRUNCATE && index < message->truncate.relation_count);
    memcpy(&big_endian, message->truncate.relation_oids + (size_t)index * sizeof big_endian, sizeof big_endian);
    return be32toh(big_endian);
}

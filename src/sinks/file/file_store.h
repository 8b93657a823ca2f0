// The files of a file destination. Every call blocks (write, fsync, rename): they belong to the sink's thread.
//
//   DIRECTORY/etl-stream.json                                whose files these are: pipeline, identity, epoch
//   DIRECTORY/SCHEMA/TABLE/<seq>.ndjson.open                 stream, growing; its end may be taken back at a start
//   DIRECTORY/SCHEMA/TABLE/<seq>.ndjson                      stream, complete: it never changes again
//   DIRECTORY/SCHEMA/TABLE/copy-<seq>/<seq>-<range>-<n>.ndjson   one copy, complete
//   DIRECTORY/SCHEMA/TABLE/.copy-<seq>/…                     a copy under way; removed when another one begins
//
// <seq> of a stream's file is its first row's sequence. A row is durable when file_lane_write returns. Exactly once: what
// lies behind the durable position that the catalog keeps is cut off at the start, before rows are taken again from there; and a
// file loses its .open only when the catalog knows all of it, so no complete file ever holds a row that comes again.
#ifndef ETL_SINKS_FILE_FILE_STORE_H
#define ETL_SINKS_FILE_FILE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/lsn.h"
#include "model/seq.h"
#include "sinks/file/file_config.h"
#include "sinks/sink.h"

struct file_store;
struct file_lane;

// Up to where a stream's rows are durable.
struct file_position {
    struct seq file;  // the first row of the file, which names it; without any row yet the floor
    struct seq last;  // the newest durable row
    uint64_t offset;  // the file's size then
};

// config, pipeline and identity are borrowed. No I/O.
struct file_store *file_store_new(const struct file_config *config, const char *pipeline, const char *identity);
void file_store_free(struct file_store *store);  // gives the directory up
// The directory is there and can be written to, or can be made. Makes nothing. ERR_CONFIG.
bool file_store_check(struct file_store *store, struct err *out_error);
// Takes the directory for this process and this identity from now on; tells the newest epoch of earlier ones (0: none).
// ERR_FENCED: another process has it; ERR_CONFIG: it is another pipeline's.
bool file_store_claim(struct file_store *store, uint8_t *out_epoch, struct err *out_error);

struct file_lane *file_lane_new(struct file_store *store, const char *schema, const char *table);  // no I/O
void file_lane_free(struct file_lane *lane);  // closes its files as they are
// Recovers the stream's files: cuts off what lies behind the kept position (without one: behind floor). ERR_LOST: what the
// catalog knows as durable is not there.
bool file_lane_open_stream(struct file_lane *lane, const struct sink_channel_record *kept, const struct seq *floor,
                           struct file_position *out_position, struct err *out_error);
// A range of a copy. Removes what another copy of this table left unfinished.
bool file_lane_open_copy(struct file_lane *lane, const struct seq *copy_seq, uint16_t range, struct err *out_error);
// Appends whole lines and makes them durable. After a failure the same lines must come again: they are written at the same
// place. *out_position: stream only.
bool file_lane_write(struct file_lane *lane, const void *data, size_t size, const struct seq *first,
                     const struct seq *last, int64_t now_s, struct file_position *out_position, struct err *out_error);
bool file_lane_finish_copy(struct file_lane *lane, struct err *out_error);  // the range is durable
// Shows a finished copy with one rename; done already is fine. On a lane that was not opened. ERR_LOST: there is none.
bool file_lane_publish(struct file_lane *lane, const struct seq *copy_seq, struct err *out_error);
// Stream: ends the current file if it is old enough, and completes the ended ones whose rows are all saved.
bool file_lane_settle(struct file_lane *lane, const struct seq *saved, int64_t now_s, struct err *out_error);

// The position as the catalog keeps it, and back. False: the record is of another kind of destination or of another epoch.
void file_position_format(const struct file_position *position, struct sink_channel_record *out_record);
bool file_position_parse(const struct sink_channel_record *record, struct file_position *out_position);

#endif

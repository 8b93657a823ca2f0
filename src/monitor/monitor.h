// The WAL monitor: looks at every source at its interval, on at most one connection each, publishes what it finds, decides
// what is worth an alert, and posts alerts. One thread with a loop of its own; nothing in it blocks, and nobody waits for it.
//
//   main thread ── monitor_send(what is configured) ──► schedule ─► source_check ─► facts ─┐
//   board "pipeline/NAME" (read) ──────────────────────────────────────────────────────────┴► rules ─► alert_book ─► alert_post
//                                                                                  │                     │
//   board "wal/SOURCE", "alerts" (published), metrics ◄────────────────────────────┴──────► keep ◄───────┘
//   catalog: what was found, the book, who tells ◄──────────────────────────────────────────┘
//
// Every process looks, shows and counts; one tells (keep.h).
//
// "wal/SOURCE": {"source", "up", "checked_at", "error", "server_version", "is_standby", "position", "wal_size_bytes", "wal_size_mb",
// "level": normal|warning|danger|unknown, "max_slot_wal_keep_size_bytes", "hint", "slots": [{"slot", "pipeline_name", "exists",
// "active", "restart_lsn", "confirmed_flush_lsn", "held_back_bytes", "wal_status", "safe_wal_size_bytes", "inactive_seconds",
// "invalidation_reason", "conflicting"}]}; what is not known is null or left out.
// "alerts": [{"type", "status", "source_name", "pipeline_name", "table", "message", "remedy", "since", "delivery", …}], what is raised.
#ifndef ETL_MONITOR_MONITOR_H
#define ETL_MONITOR_MONITOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "catalog/catalog.h"
#include "io/board.h"
#include "monitor/settings.h"
#include "pg/pg_conn.h"

struct monitor_pipeline {
    char *name, *slot;  // owned
    bool is_wanted;     // its status is START
};

struct monitor_source {
    char *name;               // owned
    struct pg_target target;  // owned, with its password
    struct err error;         // set: it is configured wrongly and cannot be looked at; target is empty
    struct monitor_pipeline *pipelines;
    uint32_t pipeline_count;
};

// What is configured, whole. Handed over: it belongs to whoever holds it.
struct monitor_config {
    uint32_t source_count;
    struct monitor_source sources[];
};

struct monitor_config *monitor_config_new(uint32_t source_count);  // all zeros, to be filled
void monitor_config_free(struct monitor_config *config);           // wipes passwords

struct monitor;

// Starts its thread. settings is copied; they were checked. board, and the catalog, which was started: used until monitor_stop has come
// back. scope: whose alerts they are and what is claimed for it (keep.h).
struct monitor *monitor_new(const struct monitor_settings *settings, struct board *board, struct catalog *catalog,
                            const char *scope, struct err *out_error);
// Any one thread; never waits. False: too much is on its way already, and the configuration is still the caller's.
bool monitor_send(struct monitor *monitor, struct monitor_config *take_config);
// Waits for the thread to end, which waits for nobody: looks and posts under way are given up. What is to be kept is sent to the
// catalog.
void monitor_stop(struct monitor *monitor);
void monitor_free(
    struct monitor *monitor);  // stopped, and after catalog_close, which may have been answering it; NULL is harmless

#endif

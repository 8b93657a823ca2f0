// What the monitor's files share: the thread, rounds of rules and alerts (monitor.c), sources and their looks (watched_source.c).
// Everything here belongs to the monitor's thread.
#ifndef ETL_MONITOR_MONITOR_PRIVATE_H
#define ETL_MONITOR_MONITOR_PRIVATE_H

#include <pthread.h>

#include "io/mailbox.h"
#include "monitor/alert_post.h"
#include "monitor/keep.h"
#include "monitor/monitor.h"
#include "monitor/rules.h"
#include "monitor/schedule.h"
#include "monitor/source_check.h"

struct watched_source {
    struct monitor *monitor;
    char *name;
    struct pg_target target;
    bool is_scheduled;  // false: it is configured wrongly
    struct schedule_entry entry;
    struct source_check *check;
    struct watched_pipeline *pipelines;
    bool was_checked, is_up;
    struct err error;  // of the newest look
    int64_t checked_wall_us;
    char hint[ERR_TEXT_SIZE];  // the one that was logged
    struct watched_source *next;
};

struct monitor {
    struct monitor_settings settings;
    char *alert_url, *alert_ca_file;  // owned, behind the settings
    char alert_text[256];             // the URL as it may be shown
    struct board *board;
    pthread_t thread;
    struct loop *loop;
    struct mailbox *mailbox;
    struct resolver *resolver;
    struct http_client *client;
    struct schedule schedule;
    struct alert_book book;
    struct alert_post *post;  // NULL: there is no receiver
    struct keep *keep;
    json_t *others;  // an array: the alerts of the process that tells, as it shows them; NULL: none, or this one tells
    char *others_text;  // what that was read from
    struct watched_source *sources;
    uint32_t source_count;
    bool is_configured;  // what is configured was told
    struct loop_timer schedule_timer, round_timer;
    struct loop_deferred pump_again;
    uint64_t check_count;
    uint64_t left_out_told;
};

// watched_source.c
struct watched_source *watched_source_new(struct monitor *monitor, const char *name);
void watched_source_free(struct watched_source *source);  // closes its connection; what was published of it goes
// Takes target and pipelines out of what is configured. The connection is closed where the target is another one.
void watched_source_configure(struct watched_source *source, struct monitor_source *configured);
void watched_source_look(struct watched_source *source);              // the schedule has begun its check
void watched_source_close_connection(struct watched_source *source);  // one that rests, to make room
void watched_source_publish(struct watched_source *source);

// monitor.c
void monitor_pump(struct monitor *monitor);  // begins what is due and has a place

#endif

// Posts the alert book's messages to the receiver, on the monitor's loop. A message is posted at most three times, one and two
// seconds apart, ten seconds each, and four seconds after the third it counts as not taken. A receiver that hangs or is down
// holds up nothing but its own messages: at most four are on their way at a time, and what waits is in the book, one message
// a subject.
#ifndef ETL_MONITOR_ALERT_POST_H
#define ETL_MONITOR_ALERT_POST_H

#include <stdbool.h>
#include <stdint.h>

#include "io/http_client.h"
#include "io/loop.h"
#include "monitor/alert_book.h"
#include "monitor/settings.h"

#define ALERT_POST_TRIES 3
#define ALERT_POST_TIMEOUT_MS 10000

struct alert_post;

struct alert_post_events {
    // The book has changed, or a place is free. error NULL: the receiver has taken it; else it is not tried again for now. The
    // alert is valid in the call only.
    void (*on_posted)(void *context, const struct alert *alert, const struct err *error);
    void *context;
};

// settings, book and client are borrowed.
struct alert_post *alert_post_new(struct loop *loop, struct http_client *client, struct alert_book *book,
                                  const struct monitor_settings *settings, const struct alert_post_events *events);
void alert_post_free(struct alert_post *post);  // what is on its way counts as not taken; not inside on_posted
void alert_post_pump(
    struct alert_post *post);  // begins what waits, as far as places are free; to be called after a round
// How long until the try after the n-th (from 1), or, after the last, until the message is given up; in seconds.
uint32_t alert_post_pause_s(uint32_t tries);

#endif

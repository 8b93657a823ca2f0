// A bounded queue of messages to the thread that owns the receiving loop; the only thing threads share.
// Senders never wait: a full mailbox refuses. At most one wake-up is pending (eventfd). The mutex inside is
// held for a few instructions, never across I/O. Messages are pointers; sending passes ownership. Messages of one sender arrive in the order they were sent.
#ifndef ETL_IO_MAILBOX_H
#define ETL_IO_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "io/loop.h"

struct mailbox;

// on_message runs in the receiving loop's thread, once per message, at most 64 a turn.
struct mailbox *mailbox_new(struct loop *loop, uint32_t capacity, void (*on_message)(void *context, void *take_message),
                            void *context, struct err *out_error);
// Receiving thread only, not inside on_message, and after the last sender has come back from mailbox_send for good
// (its thread was joined: a message from it may be here before that call is over). Messages still inside are passed to discard.
void mailbox_free(struct mailbox *mailbox, void (*discard)(void *take_message));
bool mailbox_send(struct mailbox *mailbox, void *take_message);  // any thread; false: full, message still the caller's

#endif

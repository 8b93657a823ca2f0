#include "io/mailbox.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "io/lock.h"
#include "io/wakeup.h"

enum { MESSAGES_A_TURN_MAX = 64 };

// A ring of pointers. Under the lock: messages[first], … count of them, wrapping at capacity.
//
// is_wake_pending: the eventfd is readable, or the sender that set the flag is about to make it so. Whoever sets it
// writes, only the receiver clears it, and only under the lock with the ring empty: a message put in after that finds it
// clear and wakes again. So a message never stays behind unannounced, and a thousand messages cost one write.
struct mailbox {
    struct loop *loop;
    struct loop_watch watch;
    int event_fd;
    bool is_delivering;
    void (*on_message)(void *context, void *take_message);
    void *context;

    struct lock lock;  // guards what follows
    uint32_t capacity;
    uint32_t first;
    uint32_t count;
    bool is_wake_pending;
    void *messages[];
};

// Moves up to MESSAGES_A_TURN_MAX out of the ring; what is left keeps the wake-up pending.
static uint32_t take_messages(struct mailbox *mailbox, void **out_messages, bool *out_has_more)
{
    lock_acquire(&mailbox->lock);
    uint32_t count = mailbox->count < MESSAGES_A_TURN_MAX ? mailbox->count : MESSAGES_A_TURN_MAX;
    for (uint32_t i = 0; i < count; i++) {
        out_messages[i] = mailbox->messages[mailbox->first];
        mailbox->first = mailbox->first + 1 == mailbox->capacity ? 0 : mailbox->first + 1;
    }
    mailbox->count -= count;
    mailbox->is_wake_pending = mailbox->count > 0;
    *out_has_more = mailbox->is_wake_pending;
    lock_release(&mailbox->lock);
    return count;
}

static void on_wake(struct loop_watch *watch, unsigned events)
{
    (void)events;
    struct mailbox *mailbox = watch->context;
    // Drained before the ring is looked at, never after: the other way round a wake-up sent in between would be lost.
    wakeup_drain(mailbox->event_fd);
    void *messages[MESSAGES_A_TURN_MAX];
    bool has_more;
    uint32_t count = take_messages(mailbox, messages, &has_more);
    if (has_more)
        wakeup_signal(mailbox->event_fd);
    mailbox->is_delivering = true;
    for (uint32_t i = 0; i < count; i++)
        mailbox->on_message(mailbox->context, messages[i]);
    mailbox->is_delivering = false;
}

struct mailbox *mailbox_new(struct loop *loop, uint32_t capacity, void (*on_message)(void *context, void *take_message),
                            void *context, struct err *out_error)
{
    CHECK(capacity > 0);
    struct mailbox *mailbox = calloc(1, sizeof *mailbox + capacity * sizeof mailbox->messages[0]);
    if (mailbox == NULL) {
        err_set(out_error, ERR_INTERNAL, "", "out of memory for a mailbox of %u messages", capacity);
        return NULL;
    }
    mailbox->loop = loop;
    mailbox->watch = (struct loop_watch){.on_ready = on_wake, .context = mailbox, .fd = -1};
    mailbox->on_message = on_message;
    mailbox->context = context;
    mailbox->capacity = capacity;
    if (!wakeup_open("mailbox", &mailbox->event_fd, out_error)) {
        free(mailbox);
        return NULL;
    }
    if (!loop_watch_set(loop, &mailbox->watch, mailbox->event_fd, LOOP_READ, out_error)) {
        close(mailbox->event_fd);
        free(mailbox);
        return NULL;
    }
    lock_init(&mailbox->lock);
    return mailbox;
}

void mailbox_free(struct mailbox *mailbox, void (*discard)(void *take_message))
{
    if (mailbox == NULL)
        return;
    CHECK(!mailbox->is_delivering);
    loop_watch_stop(mailbox->loop, &mailbox->watch);
    void *messages[MESSAGES_A_TURN_MAX];
    bool has_more;
    do {
        uint32_t count = take_messages(mailbox, messages, &has_more);
        for (uint32_t i = 0; i < count; i++)
            discard(messages[i]);
    } while (has_more);
    close(mailbox->event_fd);
    lock_deinit(&mailbox->lock);
    free(mailbox);
}

bool mailbox_send(struct mailbox *mailbox, void *take_message)
{
    lock_acquire(&mailbox->lock);
    if (mailbox->count == mailbox->capacity) {
        lock_release(&mailbox->lock);
        return false;
    }
    uint32_t room_before_wrap = mailbox->capacity - mailbox->first;
    uint32_t index =
        mailbox->count < room_before_wrap ? mailbox->first + mailbox->count : mailbox->count - room_before_wrap;
    mailbox->messages[index] = take_message;
    mailbox->count++;
    bool must_wake = !mailbox->is_wake_pending;
    mailbox->is_wake_pending = true;
    lock_release(&mailbox->lock);
    if (must_wake)
        wakeup_signal(mailbox->event_fd);
    return true;
}

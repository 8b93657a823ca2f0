// Mailboxes, alone and with threads that send at the same time (run under ThreadSanitizer as well).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "base/clock.h"
#include "io/loop.h"
#include "io/mailbox.h"

enum { SENDERS = 4, MESSAGES_EACH = 20000 };

struct message {
    uint32_t sender;
    uint32_t number;
};

struct receiver {
    struct loop *loop;
    struct mailbox *mailbox;
    uint32_t count;
    uint32_t next[SENDERS];
    bool is_in_order;
};

static void on_message(void *context, void *take_message)
{
    struct receiver *receiver = context;
    struct message *message = take_message;
    receiver->is_in_order = receiver->is_in_order && receiver->next[message->sender]++ == message->number;
    receiver->count++;
    free(message);
}

static uint32_t discarded_count;

static void discard(void *take_message)
{
    discarded_count++;
    free(take_message);
}

static struct message *new_message(uint32_t sender, uint32_t number)
{
    struct message *message = malloc(sizeof *message);
    assert_non_null(message);
    *message = (struct message){.sender = sender, .number = number};
    return message;
}

static void receiver_init(struct receiver *receiver, uint32_t capacity)
{
    struct err error;
    *receiver = (struct receiver){.is_in_order = true};
    receiver->loop = loop_new(&clock_system, &error);
    assert_non_null(receiver->loop);
    receiver->mailbox = mailbox_new(receiver->loop, capacity, on_message, receiver, &error);
    assert_non_null(receiver->mailbox);
}

static void receiver_deinit(struct receiver *receiver)
{
    mailbox_free(receiver->mailbox, discard);
    loop_free(receiver->loop);
}

static void test_mailbox_refuses_when_full(void **state)
{
    (void)state;
    struct receiver receiver;
    receiver_init(&receiver, 3);
    // Several rounds, so that the ring's ends pass each other.
    uint32_t number = 0;
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 3; i++)
            assert_true(mailbox_send(receiver.mailbox, new_message(0, number++)));
        struct message *refused = new_message(0, 0);
        assert_false(mailbox_send(receiver.mailbox, refused));
        free(refused);
        loop_turn(receiver.loop, 0);
        assert_int_equal(receiver.count, number);
        if (round % 2 == 0) {
            assert_true(mailbox_send(receiver.mailbox, new_message(0, number++)));
            loop_turn(receiver.loop, 0);
        }
    }
    assert_true(receiver.is_in_order);
    loop_turn(receiver.loop, 0);
    assert_int_equal(receiver.count, number);
    receiver_deinit(&receiver);
}

static void test_mailbox_gives_at_most_64_a_turn(void **state)
{
    (void)state;
    struct receiver receiver;
    receiver_init(&receiver, 1000);
    for (uint32_t i = 0; i < 150; i++)
        assert_true(mailbox_send(receiver.mailbox, new_message(0, i)));
    loop_turn(receiver.loop, -1);
    assert_int_equal(receiver.count, 64);
    loop_turn(receiver.loop, -1);
    assert_int_equal(receiver.count, 128);
    loop_turn(receiver.loop, -1);
    assert_int_equal(receiver.count, 150);
    assert_true(receiver.is_in_order);
    receiver_deinit(&receiver);
}

static void test_mailbox_free_discards(void **state)
{
    (void)state;
    struct receiver receiver;
    receiver_init(&receiver, 100);
    for (uint32_t i = 0; i < 70; i++)
        assert_true(mailbox_send(receiver.mailbox, new_message(0, i)));
    discarded_count = 0;
    receiver_deinit(&receiver);
    assert_int_equal(discarded_count, 70);
}

struct sender {
    struct mailbox *mailbox;
    uint32_t index;
    uint32_t refused_count;
};

static void *run_sender(void *context)
{
    struct sender *sender = context;
    for (uint32_t i = 0; i < MESSAGES_EACH; i++) {
        struct message *message = new_message(sender->index, i);
        while (!mailbox_send(sender->mailbox, message)) {
            sender->refused_count++;
            sched_yield();
        }
    }
    return NULL;
}

// Nothing lost, nothing twice, each sender's in order, and the receiver sleeps without a limit: a lost wake-up would hang here.
static void test_mailbox_with_threads(void **state)
{
    (void)state;
    struct receiver receiver;
    receiver_init(&receiver, 128);
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    for (uint32_t i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.mailbox = receiver.mailbox, .index = i};
        assert_int_equal(pthread_create(&threads[i], NULL, run_sender, &senders[i]), 0);
    }
    uint32_t most = 0;
    while (receiver.count < SENDERS * MESSAGES_EACH) {
        uint32_t before = receiver.count;
        loop_turn(receiver.loop, -1);
        most = receiver.count - before > most ? receiver.count - before : most;
    }
    for (uint32_t i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    loop_turn(receiver.loop, 0);
    assert_int_equal(receiver.count, SENDERS * MESSAGES_EACH);
    assert_true(receiver.is_in_order);
    assert_true(most <= 64);
    receiver_deinit(&receiver);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mailbox_refuses_when_full),
        cmocka_unit_test(test_mailbox_gives_at_most_64_a_turn),
        cmocka_unit_test(test_mailbox_free_discards),
        cmocka_unit_test(test_mailbox_with_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

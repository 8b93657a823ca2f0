// The resolver with a getaddrinfo of the test's own, which can hang (run under ThreadSanitizer as well).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "io/loop.h"
#include "io/resolver.h"

// ---- the name server that the test is
// Names: "two.test" has two addresses, "none.test" does not exist, "again.test" and "broken.test" fail, "hang….test"
// waits until the test lets go. Numeric addresses are answered with AI_NUMERICHOST only.

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_moved = PTHREAD_COND_INITIALIZER;
static bool is_gate_open;
static int hanging_count;

static struct addrinfo *new_address(const char *text, struct addrinfo *next)
{
    struct {
        struct addrinfo info;
        struct sockaddr_in6 address;
    } *made = calloc(1, sizeof *made);
    CHECK(made != NULL);
    struct sockaddr_in *four = (struct sockaddr_in *)(void *)&made->address;
    if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        made->info.ai_addrlen = sizeof *four;
    } else {
        CHECK(inet_pton(AF_INET6, text, &made->address.sin6_addr) == 1);
        made->address.sin6_family = AF_INET6;
        made->info.ai_addrlen = sizeof made->address;
    }
    made->info.ai_family = made->address.sin6_family;
    made->info.ai_addr = (struct sockaddr *)&made->address;
    made->info.ai_next = next;
    return &made->info;
}

int getaddrinfo(const char *restrict name, const char *restrict service, const struct addrinfo *restrict hints,
                struct addrinfo **restrict out_found)
{
    CHECK(service == NULL && hints->ai_socktype == SOCK_STREAM);
    struct in6_addr ignored;
    bool is_numeric = inet_pton(AF_INET, name, &ignored) == 1 || inet_pton(AF_INET6, name, &ignored) == 1;
    if ((hints->ai_flags & AI_NUMERICHOST) != 0) {
        if (!is_numeric)
            return EAI_NONAME;
        *out_found = new_address(name, NULL);
        return 0;
    }
    CHECK(!is_numeric);  // would be a needless thread
    if (strncmp(name, "hang", 4) == 0) {
        pthread_mutex_lock(&gate);
        hanging_count++;
        pthread_cond_broadcast(&gate_moved);
        while (!is_gate_open)
            pthread_cond_wait(&gate_moved, &gate);
        hanging_count--;
        pthread_cond_broadcast(&gate_moved);
        pthread_mutex_unlock(&gate);
    }
    if (strcmp(name, "none.test") == 0)
        return EAI_NONAME;
    if (strcmp(name, "again.test") == 0)
        return EAI_AGAIN;
    if (strcmp(name, "broken.test") == 0) {
        errno = EMFILE;
        return EAI_SYSTEM;
    }
    *out_found = new_address("192.0.2.7", strcmp(name, "two.test") == 0 ? new_address("2001:db8::1", NULL) : NULL);
    return 0;
}

void freeaddrinfo(struct addrinfo *found)
{
    while (found != NULL) {
        struct addrinfo *next = found->ai_next;
        free(found);
        found = next;
    }
}

static void gate_set(bool is_open)
{
    pthread_mutex_lock(&gate);
    is_gate_open = is_open;
    pthread_cond_broadcast(&gate_moved);
    pthread_mutex_unlock(&gate);
}

static void gate_wait_hanging(int count)
{
    pthread_mutex_lock(&gate);
    while (hanging_count != count)
        pthread_cond_wait(&gate_moved, &gate);
    pthread_mutex_unlock(&gate);
}

// ---- who asks

struct asker {
    struct resolver_request request;
    struct resolver *resolver;
    struct asker *cancel_other;
    const char *ask_again;
    int calls;
    bool is_ok;
    char addresses[128];
    struct err error;
};

static void on_done(struct resolver_request *request, const char *addresses, const struct err *error)
{
    struct asker *asker = request->context;
    CHECK(request->id == 0);
    asker->calls++;
    asker->is_ok = error == NULL;
    if (error != NULL)
        asker->error = *error;
    else
        snprintf(asker->addresses, sizeof asker->addresses, "%s", addresses);
    if (asker->cancel_other != NULL)
        resolver_cancel(asker->resolver, &asker->cancel_other->request);
    if (asker->ask_again != NULL) {
        const char *host = asker->ask_again;
        asker->ask_again = NULL;
        CHECK(resolver_start(asker->resolver, request, host, &asker->error));
    }
}

static void ask(struct resolver *resolver, struct asker *asker, const char *host)
{
    *asker = (struct asker){.request = {.on_done = on_done, .context = asker}, .resolver = resolver};
    assert_true(resolver_start(resolver, &asker->request, host, &asker->error));
    assert_int_equal(asker->calls, 0);
}

static void turn_until(struct loop *loop, const int *calls, int count)
{
    while (*calls < count)
        loop_turn(loop, -1);
}

struct fixture {
    struct loop *loop;
    struct resolver *resolver;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct err error;
    CHECK(fixture != NULL);
    fixture->loop = loop_new(&clock_system, &error);
    CHECK(fixture->loop != NULL);
    fixture->resolver = resolver_new(fixture->loop, &error);
    CHECK(fixture->resolver != NULL);
    gate_set(false);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    resolver_free(fixture->resolver);
    loop_free(fixture->loop);
    gate_set(true);
    gate_wait_hanging(0);
    free(fixture);
    return 0;
}

static void test_resolver_numeric_needs_no_thread_and_is_later(void **state)
{
    struct fixture *fixture = *state;
    struct asker four;
    struct asker six;
    ask(fixture->resolver, &four, "127.0.0.1");
    ask(fixture->resolver, &six, "2001:db8::2");
    loop_turn(fixture->loop, 0);
    assert_string_equal(four.addresses, "127.0.0.1");
    assert_string_equal(six.addresses, "2001:db8::2");
}

static void test_resolver_names(void **state)
{
    struct fixture *fixture = *state;
    static const char *const hosts[] = {"two.test", "none.test", "again.test", "broken.test", "one.test"};
    struct asker askers[5];
    for (int i = 0; i < 5; i++)
        ask(fixture->resolver, &askers[i], hosts[i]);
    for (int i = 0; i < 5; i++)
        turn_until(fixture->loop, &askers[i].calls, 1);
    assert_string_equal(askers[0].addresses, "192.0.2.7,2001:db8::1");
    assert_int_equal(askers[1].error.kind, ERR_CONFIG);
    assert_non_null(strstr(askers[1].error.text, "none.test"));
    assert_int_equal(askers[2].error.kind, ERR_TRANSIENT);
    assert_int_equal(askers[3].error.kind, ERR_TRANSIENT);
    assert_non_null(strstr(askers[3].error.text, strerror(EMFILE)));
    assert_true(askers[4].is_ok);
    loop_turn(fixture->loop, 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(askers[i].calls, 1);
}

static void test_resolver_refuses_empty_and_endless_names(void **state)
{
    struct fixture *fixture = *state;
    struct resolver_request request = {.on_done = on_done};
    struct err error;
    assert_false(resolver_start(fixture->resolver, &request, "", &error));
    assert_int_equal(error.kind, ERR_CONFIG);
    char host[3000];
    memset(host, 'a', sizeof host);
    host[sizeof host - 1] = '\0';
    assert_false(resolver_start(fixture->resolver, &request, host, &error));
    assert_int_equal(error.kind, ERR_CONFIG);
    assert_true(request.id == 0);
}

static void test_resolver_hanging_name_does_not_hold_up_others(void **state)
{
    struct fixture *fixture = *state;
    struct asker hanging[3];
    struct asker other;
    for (int i = 0; i < 3; i++)
        ask(fixture->resolver, &hanging[i], "hang.test");
    gate_wait_hanging(3);
    ask(fixture->resolver, &other, "two.test");
    turn_until(fixture->loop, &other.calls, 1);
    assert_int_equal(hanging[0].calls, 0);
    gate_set(true);
    for (int i = 0; i < 3; i++)
        turn_until(fixture->loop, &hanging[i].calls, 1);
    assert_string_equal(hanging[2].addresses, "192.0.2.7");
}

static void test_resolver_free_does_not_wait_for_a_hanging_name(void **state)
{
    struct fixture *fixture = *state;
    struct err error;
    struct resolver *resolver = resolver_new(fixture->loop, &error);
    assert_non_null(resolver);
    struct asker hanging[20];  // more than there may be threads
    for (int i = 0; i < 20; i++)
        ask(resolver, &hanging[i], "hang.test");
    gate_wait_hanging(8);
    resolver_free(resolver);
    for (int i = 0; i < 20; i++)
        assert_true(hanging[i].request.id == 0);
    gate_set(true);
    gate_wait_hanging(0);
    loop_turn(fixture->loop, 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(hanging[i].calls, 0);
}

static void test_resolver_cancel(void **state)
{
    struct fixture *fixture = *state;
    struct asker askers[12];
    for (int i = 0; i < 12; i++)
        ask(fixture->resolver, &askers[i], "hang.test");
    gate_wait_hanging(8);
    resolver_cancel(fixture->resolver, &askers[0].request);   // may be at work
    resolver_cancel(fixture->resolver, &askers[11].request);  // waits its turn
    resolver_cancel(fixture->resolver, &askers[11].request);  // harmless
    struct asker numeric;
    ask(fixture->resolver, &numeric, "127.0.0.1");
    resolver_cancel(fixture->resolver, &numeric.request);
    gate_set(true);
    for (int i = 1; i < 11; i++)
        turn_until(fixture->loop, &askers[i].calls, 1);
    loop_turn(fixture->loop, 10000);
    assert_int_equal(askers[0].calls, 0);
    assert_int_equal(askers[11].calls, 0);
    assert_int_equal(numeric.calls, 0);
}

static void test_resolver_start_and_cancel_in_callback(void **state)
{
    struct fixture *fixture = *state;
    struct asker first;
    struct asker second;
    ask(fixture->resolver, &first, "127.0.0.1");
    ask(fixture->resolver, &second, "127.0.0.2");
    first.cancel_other = &second;
    first.ask_again = "127.0.0.3";
    turn_until(fixture->loop, &first.calls, 2);
    assert_string_equal(first.addresses, "127.0.0.3");
    assert_int_equal(second.calls, 0);
    struct asker named;
    ask(fixture->resolver, &named, "one.test");
    named.ask_again = "two.test";
    turn_until(fixture->loop, &named.calls, 2);
    assert_string_equal(named.addresses, "192.0.2.7,2001:db8::1");
}

static void test_resolver_many_look_ups(void **state)
{
    struct fixture *fixture = *state;
    enum { COUNT = 500 };
    static struct asker askers[COUNT];
    for (int i = 0; i < COUNT; i++)
        ask(fixture->resolver, &askers[i], i % 3 == 0 ? "127.0.0.1" : "one.test");
    for (int i = 0; i < COUNT; i++) {
        turn_until(fixture->loop, &askers[i].calls, 1);
        assert_true(askers[i].is_ok);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_resolver_numeric_needs_no_thread_and_is_later, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resolver_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resolver_refuses_empty_and_endless_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resolver_hanging_name_does_not_hold_up_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resolver_free_does_not_wait_for_a_hanging_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resolver_cancel, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resolver_start_and_cancel_in_callback, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resolver_many_look_ups, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

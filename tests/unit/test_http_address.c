// METRICS_ADDR and HEALTH_ADDR: what they may say, and what happens where nobody can listen.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/address.h"

static struct http_address parse(const char *text)
{
    struct http_address address;
    struct err error = {0};
    if (!http_address_parse("METRICS_ADDR", text, &address, &error))
        fail_msg("%s: %s", text, error.text);
    return address;
}

static const struct sockaddr_in *ipv4_of(const struct http_address *address, uint32_t index)
{
    assert_int_equal(address->sockets[index].ss_family, AF_INET);
    return (const struct sockaddr_in *)&address->sockets[index];
}

static const struct sockaddr_in6 *ipv6_of(const struct http_address *address, uint32_t index)
{
    assert_int_equal(address->sockets[index].ss_family, AF_INET6);
    return (const struct sockaddr_in6 *)&address->sockets[index];
}

static void test_address_forms(void **state)
{
    (void)state;
    struct http_address address = parse("[::]:9000");
    assert_true(address.is_every);
    assert_int_equal(ntohs(ipv6_of(&address, 0)->sin6_port), 9000);
    address = parse(":9000");
    assert_true(address.is_every);
    assert_int_equal(address.count, 1);
    address = parse("[::1]:80");
    assert_false(address.is_every);
    assert_true(IN6_IS_ADDR_LOOPBACK(&ipv6_of(&address, 0)->sin6_addr));
    address = parse("0.0.0.0:65535");
    assert_int_equal(ntohs(ipv4_of(&address, 0)->sin_port), 65535);
    address = parse("127.0.0.1:0");
    assert_int_equal(ntohl(ipv4_of(&address, 0)->sin_addr.s_addr), INADDR_LOOPBACK);
    address = parse("localhost:8080");
    assert_int_equal(address.count, 2);
    assert_true(address.is_either);
    assert_int_equal(ntohl(ipv4_of(&address, 0)->sin_addr.s_addr), INADDR_LOOPBACK);
    assert_true(IN6_IS_ADDR_LOOPBACK(&ipv6_of(&address, 1)->sin6_addr));
    assert_true(parse("off").is_off);
    assert_true(parse("OFF").is_off);
}

static void test_address_refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "9000",
                                      ":",
                                      "[::]",
                                      "[::]:",
                                      "[::]:65536",
                                      "[::]:-1",
                                      "[::]:+1",
                                      "[::]: 80",
                                      "[::]:80 ",
                                      "[::]:8x",
                                      "::1:9000",
                                      "host.name:80",
                                      "[]:80",
                                      "[127.0.0.1]:80",
                                      "256.0.0.1:1",
                                      "127.0.0.1",
                                      "on",
                                      "[::1:80",
                                      "127.0.0.1:000080",
                                      "http://[::]:9000"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct http_address address;
        struct err error = {0};
        if (http_address_parse("METRICS_ADDR", bad[i], &address, &error))
            fail_msg("\"%s\" was taken", bad[i]);
        char start[128];
        (void)snprintf(start, sizeof start, "METRICS_ADDR is \"%s\"; allowed is HOST:PORT", bad[i]);
        assert_int_equal(error.kind, ERR_CONFIG);
        if (strncmp(error.text, start, strlen(start)) != 0)
            fail_msg("%s", error.text);
    }
}

static void test_address_listens_and_says_when_it_cannot(void **state)
{
    (void)state;
    struct http_address address = parse("127.0.0.1:0");
    struct err error = {0};
    int fds[HTTP_ADDRESS_SOCKETS_MAX], more[HTTP_ADDRESS_SOCKETS_MAX];
    uint32_t count = 0, more_count = 0;
    char where[HTTP_ADDRESS_TEXT_SIZE];
    assert_true(http_address_listen(&address, "METRICS_ADDR", "127.0.0.1:0", fds, &count, &error));
    assert_int_equal(count, 1);
    http_address_format(fds[0], where);
    assert_int_equal(strncmp(where, "127.0.0.1:", 10), 0);
    address = parse(where);
    assert_false(http_address_listen(&address, "HEALTH_ADDR", where, more, &more_count, &error));
    assert_int_equal(more_count, 0);
    assert_int_equal(error.kind, ERR_CONFIG);
    assert_non_null(strstr(error.text, "HEALTH_ADDR is \"127.0.0.1:"));
    assert_non_null(strstr(error.text, "another program listens there"));
    // An address of every interface meets it as well.
    char every[HTTP_ADDRESS_TEXT_SIZE];
    (void)snprintf(every, sizeof every, "[::]%s", strrchr(where, ':'));
    address = parse(every);
    assert_false(http_address_listen(&address, "HEALTH_ADDR", every, more, &more_count, &error));
    close(fds[0]);
    address = parse("192.0.2.1:9000");  // TEST-NET-1: no machine has it
    assert_false(http_address_listen(&address, "METRICS_ADDR", "192.0.2.1:9000", more, &more_count, &error));
    assert_non_null(strstr(error.text, "METRICS_ADDR is \"192.0.2.1:9000\", where nobody can listen"));
}

static bool is_loopback(const char *text)
{
    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6};
    struct sockaddr_in ipv4 = {.sin_family = AF_INET};
    if (inet_pton(AF_INET, text, &ipv4.sin_addr) == 1)
        return http_address_is_loopback((const struct sockaddr *)&ipv4);
    assert_int_equal(inet_pton(AF_INET6, text, &ipv6.sin6_addr), 1);
    return http_address_is_loopback((const struct sockaddr *)&ipv6);
}

static void test_address_knows_loopback(void **state)
{
    (void)state;
    assert_true(is_loopback("127.0.0.1"));
    assert_true(is_loopback("127.255.0.2"));
    assert_true(is_loopback("::1"));
    assert_true(is_loopback("::ffff:127.0.0.1"));
    assert_false(is_loopback("::ffff:10.0.0.1"));
    assert_false(is_loopback("10.0.0.1"));
    assert_false(is_loopback("::"));
    assert_false(is_loopback("::127.0.0.1"));
    assert_false(is_loopback("2001:db8::1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address_forms),
        cmocka_unit_test(test_address_refuses),
        cmocka_unit_test(test_address_listens_and_says_when_it_cannot),
        cmocka_unit_test(test_address_knows_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

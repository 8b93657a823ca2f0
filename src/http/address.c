#include "http/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"

#define BACKLOG 128
#define ALLOWED \
    "allowed is HOST:PORT with an address of this machine, such as [::]:9000, 127.0.0.1:9000 or :9000, or off"

static void set_ipv4(struct sockaddr_storage *out, struct in_addr address, uint16_t port)
{
    struct sockaddr_in *to = (struct sockaddr_in *)out;
    memset(out, 0, sizeof *out);
    to->sin_family = AF_INET;
    to->sin_port = htons(port);
    to->sin_addr = address;
}

static void set_ipv6(struct sockaddr_storage *out, struct in6_addr address, uint16_t port)
{
    struct sockaddr_in6 *to = (struct sockaddr_in6 *)out;
    memset(out, 0, sizeof *out);
    to->sin6_family = AF_INET6;
    to->sin6_port = htons(port);
    to->sin6_addr = address;
}

static bool read_port(const char *text, uint16_t *out_port)
{
    char *end = NULL;
    if (*text < '0' || *text > '9')
        return false;
    unsigned long port = strtoul(text, &end, 10);
    *out_port = (uint16_t)port;
    return *end == '\0' && strlen(text) <= 5 && port <= UINT16_MAX;
}

// host has size bytes, without the brackets that has_brackets tells of.
static bool read_host(const char *host, size_t size, bool has_brackets, uint16_t port, struct http_address *out)
{
    char text[INET6_ADDRSTRLEN];
    struct in_addr ipv4;
    struct in6_addr ipv6;
    if (size >= sizeof text)
        return false;
    memcpy(text, host, size);
    text[size] = '\0';
    if (has_brackets || size == 0) {
        if (size == 0 && !has_brackets)
            ipv6 = in6addr_any;
        else if (inet_pton(AF_INET6, text, &ipv6) != 1)
            return false;
        out->is_every = IN6_IS_ADDR_UNSPECIFIED(&ipv6);
        set_ipv6(&out->sockets[out->count++], ipv6, port);
    } else if (strcasecmp(text, "localhost") == 0) {
        out->is_either = true;
        set_ipv4(&out->sockets[out->count++], (struct in_addr){htonl(INADDR_LOOPBACK)}, port);
        if (port != 0)  // two sockets would get two ports
            set_ipv6(&out->sockets[out->count++], in6addr_loopback, port);
    } else if (inet_pton(AF_INET, text, &ipv4) == 1) {
        set_ipv4(&out->sockets[out->count++], ipv4, port);
    } else {
        return false;
    }
    return true;
}

bool http_address_parse(const char *origin, const char *text, struct http_address *out, struct err *out_error)
{
    uint16_t port = 0;
    const char *colon = strrchr(text, ':');
    *out = (struct http_address){.is_off = strcasecmp(text, "off") == 0};
    if (out->is_off)
        return true;
    bool has_brackets = text[0] == '[' && colon != NULL && colon > text + 1 && colon[-1] == ']';
    size_t size = colon == NULL ? 0 : (size_t)(colon - text) - (has_brackets ? 2U : 0U);
    if (colon == NULL || !read_port(colon + 1, &port) || !read_host(text + has_brackets, size, has_brackets, port, out))
        return err_set(out_error, ERR_CONFIG, "address", "%s is \"%s\"; " ALLOWED, origin, text);
    return true;
}

// -1: errno says why.
static int listen_at(const struct sockaddr_storage *address, bool is_dual)
{
    int yes = 1, only = !is_dual;
    socklen_t size = address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    // Connections of an earlier process that are still closing shall not keep the port.
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
        (address->ss_family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) == 0) &&
        bind(fd, (const struct sockaddr *)address, size) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int cause = errno;
    close(fd);
    errno = cause;
    return -1;
}

static bool is_family_missing(int cause)
{
    return cause == EAFNOSUPPORT || cause == EADDRNOTAVAIL || cause == EPROTONOSUPPORT;
}

static bool fail(const char *origin, const char *text, int cause, struct err *out_error)
{
    if (cause == EADDRINUSE)
        return err_set(out_error, ERR_CONFIG, "address",
                       "%s is \"%s\", and another program listens there; stop it, choose another port, or set it to "
                       "off",
                       origin, text);
    if (cause == EACCES)
        return err_set(out_error, ERR_CONFIG, "address",
                       "%s is \"%s\", which this user may not listen at (ports below 1024 need a privilege); choose "
                       "another port, or set it to off",
                       origin, text);
    return err_set(out_error, ERR_CONFIG, "address", "%s is \"%s\", where nobody can listen: %s; " ALLOWED, origin,
                   text, strerror(cause));
}

bool http_address_listen(const struct http_address *address, const char *origin, const char *text,
                         int out_fds[HTTP_ADDRESS_SOCKETS_MAX], uint32_t *out_count, struct err *out_error)
{
    CHECK(!address->is_off);
    *out_count = 0;
    int cause = 0;
    for (uint32_t i = 0; i < address->count; i++) {
        const struct sockaddr_storage *socket_address = &address->sockets[i];
        struct sockaddr_storage ipv4;
        int fd = listen_at(socket_address, address->is_every);
        if (fd < 0 && address->is_every && is_family_missing(errno)) {
            set_ipv4(&ipv4, (struct in_addr){htonl(INADDR_ANY)},
                     ntohs(((const struct sockaddr_in6 *)socket_address)->sin6_port));
            fd = listen_at(&ipv4, false);
        }
        if (fd >= 0) {
            out_fds[(*out_count)++] = fd;
            continue;
        }
        cause = errno;
        if (address->is_either && is_family_missing(cause))
            continue;
        while (*out_count > 0)
            close(out_fds[--*out_count]);
        return fail(origin, text, cause, out_error);
    }
    return *out_count > 0 || fail(origin, text, cause, out_error);
}

void http_address_format(int fd, char out[HTTP_ADDRESS_TEXT_SIZE])
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    char text[INET6_ADDRSTRLEN] = "?";
    memset(&address, 0, sizeof address);
    if (getsockname(fd, (struct sockaddr *)&address, &size) == 0 && address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *ipv6 = (const struct sockaddr_in6 *)&address;
        inet_ntop(AF_INET6, &ipv6->sin6_addr, text, sizeof text);
        (void)snprintf(out, HTTP_ADDRESS_TEXT_SIZE, "[%s]:%u", text, ntohs(ipv6->sin6_port));
    } else {
        const struct sockaddr_in *ipv4 = (const struct sockaddr_in *)&address;
        inet_ntop(AF_INET, &ipv4->sin_addr, text, sizeof text);
        (void)snprintf(out, HTTP_ADDRESS_TEXT_SIZE, "%s:%u", text, ntohs(ipv4->sin_port));
    }
}

bool http_address_is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return (ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24) == 127;
    if (address->sa_family != AF_INET6)
        return false;
    const struct in6_addr *ipv6 = &((const struct sockaddr_in6 *)address)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(ipv6) || (IN6_IS_ADDR_V4MAPPED(ipv6) && ipv6->s6_addr[12] == 127);
}

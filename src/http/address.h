// Where to listen, as METRICS_ADDR and HEALTH_ADDR say it: "[::]:9000" (every address, IPv4 too), "0.0.0.0:9000",
// "127.0.0.1:9000", "[::1]:9000", ":9000" (as [::]), "localhost:9000" (both loopback addresses), or "off". Port 0: the
// system picks one.
#ifndef ETL_HTTP_ADDRESS_H
#define ETL_HTTP_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define HTTP_ADDRESS_SOCKETS_MAX 2
#define HTTP_ADDRESS_TEXT_SIZE 64

struct http_address {
    bool is_off;
    bool is_every;   // [::]: IPv4 alone will do where there is no IPv6
    bool is_either;  // localhost: one of the two will do
    uint32_t count;
    struct sockaddr_storage sockets[HTTP_ADDRESS_SOCKETS_MAX];
};

// origin: how a message calls it, "METRICS_ADDR". False: ERR_CONFIG with origin, text and what is allowed.
bool http_address_parse(const char *origin, const char *text, struct http_address *out_address, struct err *out_error);
// Opens listening sockets (non-blocking). False: ERR_CONFIG with origin, text, and what would mend it; none is open then.
bool http_address_listen(const struct http_address *address, const char *origin, const char *text,
                         int out_fds[HTTP_ADDRESS_SOCKETS_MAX], uint32_t *out_count, struct err *out_error);
// "[::]:9000", of a socket that listens: with the port that the system picked.
void http_address_format(int fd, char out[HTTP_ADDRESS_TEXT_SIZE]);
bool http_address_is_loopback(const struct sockaddr *address);  // 127.0.0.0/8, ::1, and ::ffff:127.0.0.0/104

#endif

// Who may do what over HTTP. Pure: headers and the other side's address in, a verdict out.
//
//   OPEN    probes and metrics: everybody
//   READ    from loopback everybody, from elsewhere whoever has the token
//   CHANGE  whoever has the token, from wherever
//
// Browsers are tricked into asking for others, so:
// - a request from loopback without the token must name a loopback host: a name of somebody else's that leads to 127.0.0.1
//   (DNS rebinding) does not read, and neither does what a proxy on this machine passes on (it says so in its headers);
// - a change takes the token as Bearer only, which a page of another origin cannot know, never as the password that a
//   browser adds by itself; its Origin must be ours, and its content application/json, which a form cannot send.
#ifndef ETL_HTTP_GUARD_H
#define ETL_HTTP_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define HTTP_TOKEN_SIZE_MIN 16

enum http_access { HTTP_OPEN, HTTP_READ, HTTP_CHANGE };

// Of the token only a digest is kept (SHA-256): it cannot leave from here.
struct http_token {
    bool is_set;
    uint8_t digest[32];
};

// origin: how a message calls it. Blanks and line ends around it do not count. False: ERR_CONFIG: it is too short, or has
// characters that no header can carry. The caller wipes text.
bool http_token_set(struct http_token *token, const char *origin, const char *text, size_t size, struct err *out_error);

// What a request says of itself; NULL where the header is missing.
struct guard_request {
    bool is_loopback;   // the other side's address
    bool is_forwarded;  // a proxy's header is there
    const char *host, *origin, *fetch_site, *authorization, *content_type;
};

struct guard_verdict {
    unsigned status;           // 200: it may
    const char *error;         // one line; static
    const char *allowed;       // what would mend it; static
    const char *authenticate;  // value of WWW-Authenticate; NULL: none
};

struct guard_verdict guard_judge(const struct guard_request *request, const struct http_token *token,
                                 enum http_access access);
bool guard_is_local_host(const char *host);  // a Host header: localhost or a loopback address, with or without a port

#endif

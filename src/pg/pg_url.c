#include "pg/pg_url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define FORM "postgres://user[:password]@host[:port]/database?publication=NAME&slot=NAME&sslmode=MODE&sslrootcert=FILE"
#define NAME_BYTES_MAX 63  // NAMEDATALEN - 1: the server would cut a longer one without a word

// What was found wrong so far, separated by semicolons.
struct problems {
    struct buf text;
};

struct span {
    const char *start;
    size_t size;
};

static void problem(struct problems *problems, const char *what)
{
    if (problems->text.size > 0)
        buf_append_text(&problems->text, "; ");
    buf_append_text(&problems->text, what);
}

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

// Decoded into memory of its own, or NULL with the problem noted. `part` names it; what it holds is never shown.
static char *decode(struct span from, const char *part, struct problems *problems)
{
    char *out = malloc(from.size + 1);
    if (out == NULL) {
        problem(problems, "out of memory");
        return NULL;
    }
    size_t size = 0;
    for (size_t i = 0; i < from.size; i++) {
        int byte = (unsigned char)from.start[i];
        if (byte == '%') {
            int high = from.size - i > 2 ? hex_digit(from.start[i + 1]) : -1;
            int low = from.size - i > 2 ? hex_digit(from.start[i + 2]) : -1;
            byte = high < 0 || low < 0 ? -1 : high * 16 + low;
            i += 2;
        }
        if (byte <= 0) {
            char what[160];
            (void)snprintf(what, sizeof what, "the %s has %s", part,
                           byte < 0 ? "a % without two hexadecimal digits (write %25 for a %)" : "a NUL character");
            problem(problems, what);
            explicit_bzero(out, size);
            free(out);
            return NULL;
        }
        out[size++] = (char)byte;
    }
    out[size] = '\0';
    return out;
}

static struct span cut_before(struct span *rest, const char *stops)
{
    struct span head = {rest->start, 0};
    while (head.size < rest->size && strchr(stops, rest->start[head.size]) == NULL)
        head.size++;
    rest->start += head.size;
    rest->size -= head.size;
    return head;
}

static const char *find_last(struct span in, char wanted)
{
    for (size_t i = in.size; i > 0; i--)
        if (in.start[i - 1] == wanted)
            return in.start + i - 1;
    return NULL;
}

static void read_user(struct span authority, struct span *out_host, struct pg_target *target, struct problems *problems)
{
    *out_host = authority;
    const char *at = find_last(authority, '@');
    if (at == NULL) {
        problem(problems, "the user is missing (user@ before the host)");
        return;
    }
    struct span user = {authority.start, (size_t)(at - authority.start)};
    *out_host = (struct span){at + 1, authority.size - user.size - 1};
    const char *colon = memchr(user.start, ':', user.size);
    if (colon != NULL) {
        struct span password = {colon + 1, (size_t)(at - colon - 1)};
        user.size = (size_t)(colon - user.start);
        target->password = decode(password, "password", problems);
    }
    if (user.size == 0)
        problem(problems, "the user is missing (user@ before the host)");
    else
        target->user = decode(user, "user", problems);
}

static bool is_port(struct span port)
{
    unsigned long value = 0;
    for (size_t i = 0; i < port.size; i++) {
        if (port.start[i] < '0' || port.start[i] > '9' || value > 65535)
            return false;
        value = value * 10 + (unsigned long)(port.start[i] - '0');
    }
    return port.size > 0 && value >= 1 && value <= 65535;
}

static void read_host(struct span host, struct pg_target *target, struct problems *problems)
{
    struct span port = {"5432", 4};
    if (host.size > 0 && host.start[0] == '[') {
        const char *close = memchr(host.start, ']', host.size);
        if (close == NULL) {
            problem(problems, "the IPv6 address lacks its closing bracket");
            return;
        }
        struct span rest = {close + 1, host.size - (size_t)(close + 1 - host.start)};
        host = (struct span){host.start + 1, (size_t)(close - host.start - 1)};
        if (rest.size > 0 && rest.start[0] != ':')
            problem(problems, "nothing but :port may follow the brackets of an IPv6 address");
        else if (rest.size > 0)
            port = (struct span){rest.start + 1, rest.size - 1};
    } else {
        const char *colon = memchr(host.start, ':', host.size);
        if (colon != NULL) {
            port = (struct span){colon + 1, host.size - (size_t)(colon + 1 - host.start)};
            host.size = (size_t)(colon - host.start);
        }
    }
    // Not shown: what stands there may be the end of a password with a character that should have been encoded.
    if (!is_port(port))
        problem(problems, "the port must be a number from 1 to 65535 (an IPv6 address stands in brackets)");
    else
        target->port = decode(port, "port", problems);

    if (host.size == 0)
        problem(problems, "the host is missing (a name, an address, or a socket's directory with %2F for its slashes)");
    else if (memchr(host.start, ',', host.size) != NULL)
        problem(problems, "there may be one host only");
    else
        target->host = decode(host, "host", problems);
}

static bool is_mode(const char *mode)
{
    static const char *const modes[] = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(mode, modes[i]) == 0)
            return true;
    return false;
}

static bool is_slot_name(const char *name)
{
    size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return size > 0 && size <= NAME_BYTES_MAX && name[size] == '\0';
}

static void check_parameters(const struct pg_target *target, const char *publication, const char *slot,
                             struct problems *problems)
{
    if (publication != NULL && (publication[0] == '\0' || strlen(publication) > NAME_BYTES_MAX))
        problem(problems, "the publication's name must have 1 to 63 bytes");
    if (slot != NULL && !is_slot_name(slot))
        problem(problems, "the slot's name must have 1 to 63 characters out of a-z, 0-9 and _");
    if (target->tls_mode != NULL && !is_mode(target->tls_mode))
        problem(problems, "sslmode must be disable, allow, prefer, require, verify-ca or verify-full");
    if (target->tls_root_cert != NULL && target->tls_root_cert[0] == '\0')
        problem(problems, "sslrootcert must name a file");
}

static void read_parameters(struct span query, struct pg_target *target, char **out_publication, char **out_slot,
                            struct problems *problems)
{
    const struct {
        const char *name;
        char **value;
    } known[] = {{"publication", out_publication},
                 {"slot", out_slot},
                 {"sslmode", &target->tls_mode},
                 {"sslrootcert", &target->tls_root_cert}};
    const size_t known_count = sizeof known / sizeof *known;
    while (query.size > 0) {
        struct span pair = cut_before(&query, "&");
        if (query.size > 0) {
            query.start++;
            query.size--;
        }
        if (pair.size == 0)
            continue;
        struct span value = pair;
        struct span name = cut_before(&value, "=");
        char what[200];
        size_t i = 0;
        while (i < known_count && (strlen(known[i].name) != name.size || memcmp(known[i].name, name.start, name.size)))
            i++;
        if (i == known_count) {
            (void)snprintf(what, sizeof what,
                           "unknown parameter \"%.*s\" (known are publication, slot, sslmode and sslrootcert)",
                           name.size > 40 ? 40 : (int)name.size, name.start);
            problem(problems, what);
        } else if (value.size == 0) {
            (void)snprintf(what, sizeof what, "%s has no value (%s=…)", known[i].name, known[i].name);
            problem(problems, what);
        } else if (*known[i].value != NULL) {
            (void)snprintf(what, sizeof what, "%s is given twice", known[i].name);
            problem(problems, what);
        } else {
            *known[i].value = decode((struct span){value.start + 1, value.size - 1}, known[i].name, problems);
        }
    }
    check_parameters(target, *out_publication, *out_slot, problems);
}

static size_t scheme_size(const char *text)
{
    static const char *const schemes[] = {"postgres://", "postgresql://"};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (strncmp(text, schemes[i], strlen(schemes[i])) == 0)
            return strlen(schemes[i]);
    return 0;
}

bool pg_url_is(const char *text)
{
    return scheme_size(text) > 0;
}

bool pg_url_parse(const char *url, struct pg_target *out_target, char **out_publication, char **out_slot,
                  struct err *out_error)
{
    *out_target = (struct pg_target){0};
    *out_publication = NULL;
    *out_slot = NULL;
    struct problems problems;
    buf_init(&problems.text, ERR_TEXT_SIZE * 2);

    struct span rest = {url + scheme_size(url), strlen(url + scheme_size(url))};
    if (rest.start == url) {
        problem(&problems, "it must begin with postgres://");
    } else {
        struct span authority = cut_before(&rest, "/?");
        if (memchr(rest.start, '@', rest.size) != NULL) {
            // Nothing of such a URL is shown: the parts are not where they seem to be, and a password is among them.
            problem(&problems, "the user and the password need percent-encoding where they hold one of / ? @ : # % "
                               "(%2F %3F %40 %3A %23 %25), and so does an @ behind the host");
        } else {
            struct span host;
            read_user(authority, &host, out_target, &problems);
            read_host(host, out_target, &problems);
            struct span path = cut_before(&rest, "?");
            if (path.size < 2)
                problem(&problems, "the database is missing (/database behind the host)");
            else if (memchr(path.start + 1, '/', path.size - 1) != NULL)
                problem(&problems, "the database's name needs %2F in place of a slash");
            else
                out_target->database = decode((struct span){path.start + 1, path.size - 1}, "database", &problems);
            if (rest.size > 0)
                read_parameters((struct span){rest.start + 1, rest.size - 1}, out_target, out_publication, out_slot,
                                &problems);
        }
    }
    bool is_good = problems.text.size == 0 && !problems.text.failed;
    if (!is_good) {
        err_set(out_error, ERR_CONFIG, "url", "the source's URL is wrong: %s. Its form is " FORM,
                buf_text(&problems.text));
        pg_target_deinit(out_target);
        free(*out_publication);
        free(*out_slot);
        *out_publication = NULL;
        *out_slot = NULL;
    }
    buf_deinit(&problems.text);
    return is_good;
}

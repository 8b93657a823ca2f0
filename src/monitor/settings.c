#include "monitor/settings.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

// What stands before the host, or NULL when it is neither http nor https.
static const char *after_scheme(const char *url)
{
    if (strncasecmp(url, "https://", strlen("https://")) == 0)
        return url + strlen("https://");
    if (strncasecmp(url, "http://", strlen("http://")) == 0)
        return url + strlen("http://");
    return NULL;
}

static const char *host_of(const char *rest, size_t *out_size)
{
    size_t authority_size = strcspn(rest, "/?#");
    const char *host = rest;
    for (const char *at = rest; at < rest + authority_size; at++)
        if (*at == '@')
            host = at + 1;
    *out_size = authority_size - (size_t)(host - rest);
    return host;
}

void monitor_url_describe(const char *url, char *out, size_t out_size)
{
    const char *rest = after_scheme(url);
    size_t host_size = 0;
    if (rest == NULL) {
        (void)snprintf(out, out_size, "(not an http or https URL)");
        return;
    }
    const char *host = host_of(rest, &host_size);
    (void)snprintf(out, out_size, "%.*s%.*s%s", (int)(rest - url), url, (int)host_size, host,
                   host[host_size] != '\0' ? "/…" : "");
}

static bool check_url(const char *url, struct err *out_error)
{
    size_t host_size = 0,
           scheme_size = strspn(url, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");
    const char *rest = after_scheme(url);
    bool has_bad_byte = false;
    for (const char *at = url; *at != '\0'; at++)
        has_bad_byte |= (unsigned char)*at <= ' ' || (unsigned char)*at == 0x7F;
    if (rest == NULL && strncmp(url + scheme_size, "://", 3) == 0)
        return err_set(out_error, ERR_CONFIG, "option",
                       "ALERT_WAL_URL begins with \"%.*s://\"; allowed is a URL that begins with http:// or https://",
                       (int)scheme_size, url);
    // Not shown: whatever it is, it may hold a password.
    if (rest == NULL)
        return err_set(out_error, ERR_CONFIG, "option",
                       "ALERT_WAL_URL is no URL; allowed is one that begins with http:// or https://");
    (void)host_of(rest, &host_size);
    if (host_size == 0 || has_bad_byte)
        return err_set(out_error, ERR_CONFIG, "option",
                       "ALERT_WAL_URL has %s; allowed is a URL like https://alerts.example.com/etl",
                       host_size == 0 ? "no host" : "a blank or a control character in it");
    return true;
}

bool monitor_settings_check(const struct monitor_settings *settings, struct err *out_error)
{
    if (settings->wal_danger_mb <= settings->wal_warning_mb)
        return err_set(out_error, ERR_CONFIG, "option",
                       "DANGER_WAL is %u and WARNING_WAL is %u (MB); DANGER_WAL must be greater than WARNING_WAL",
                       settings->wal_danger_mb, settings->wal_warning_mb);
    if (settings->slot_warning_mb != 0 && settings->slot_danger_mb != 0 &&
        settings->slot_danger_mb <= settings->slot_warning_mb)
        return err_set(
            out_error, ERR_CONFIG, "option",
            "ETL_SLOT_DANGER_MB is %u and ETL_SLOT_WARNING_MB is %u; the first must be greater, or 0 to watch for "
            "neither",
            settings->slot_danger_mb, settings->slot_warning_mb);
    return settings->alert_url == NULL || check_url(settings->alert_url, out_error);
}

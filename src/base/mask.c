#include "base/mask.h"

#include <stdbool.h>
#include <string.h>

#define SHOWN 3  // asterisks

static void overwrite(char *password, size_t size, bool keeps_length)
{
    size_t kept = keeps_length || size < SHOWN ? size : SHOWN;
    memset(password, '*', kept);
    if (kept < size)
        memmove(password + kept, password + size, strlen(password + size) + 1);
}

// What follows "://" up to where a URL ends in a text.
static size_t url_size(const char *text)
{
    return strcspn(text, " \t\r\n\"'<>");
}

// The user and the password are before the last @ of the authority. A password with a / ? or # that should have been encoded reaches
// further: in a URL of a database every @ counts.
static void mask_user(char *url, size_t size, bool is_database, bool keeps_length)
{
    char *at = memrchr(url, '@', is_database ? size : strcspn(url, "/?#") < size ? strcspn(url, "/?#") : size);
    char *colon = at != NULL ? memchr(url, ':', (size_t)(at - url)) : NULL;
    // "user[:password]@host" is how a message shows the form.
    if (colon != NULL && (colon == url || colon[-1] != '['))
        overwrite(colon + 1, (size_t)(at - colon - 1), keeps_length);
}

static void mask_query(char *url, bool keeps_length)
{
    static const char name[] = "password=";
    size_t size = url_size(url);
    char *end = url + size;
    for (char *at = memchr(url, '?', size); at != NULL && at < end; at = strpbrk(at + 1, "?&")) {
        if (strncmp(at + 1, name, sizeof name - 1) != 0)
            continue;
        char *value = at + sizeof name;
        size_t value_size = strcspn(value, "& \t\r\n\"'<>");
        overwrite(value, value_size, keeps_length);
        end = url + url_size(url);
    }
}

static void mask(char *text, bool keeps_length)
{
    static const char scheme[] = "postgres";
    for (char *at = strstr(text, "://"); at != NULL; at = strstr(at, "://")) {
        bool is_database = (at - text >= 8 && strncmp(at - 8, scheme, 8) == 0) ||
                           (at - text >= 10 && strncmp(at - 10, scheme, 8) == 0);
        at += strlen("://");
        mask_user(at, url_size(at), is_database, keeps_length);
        mask_query(at, keeps_length);
    }
}

void mask_passwords(char *text)
{
    mask(text, false);
}

void mask_passwords_whole(char *text)
{
    mask(text, true);
}

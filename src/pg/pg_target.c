// Where and how to connect, as values that are copied and wiped.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/wipe.h"
#include "pg/pg_conn.h"

void pg_target_deinit(struct pg_target *target)
{
    wipe_free(target->password);
    wipe_free(target->options);
    free(target->host);
    free(target->port);
    free(target->user);
    free(target->database);
    free(target->tls_mode);
    free(target->tls_root_cert);
    free(target->application_name);
    *target = (struct pg_target){0};
}

bool pg_target_copy(const struct pg_target *target, struct pg_target *out_copy)
{
    *out_copy = (struct pg_target){0};
    const struct {
        const char *from;
        char **to;
    } parts[] = {{target->host, &out_copy->host},
                 {target->port, &out_copy->port},
                 {target->user, &out_copy->user},
                 {target->database, &out_copy->database},
                 {target->password, &out_copy->password},
                 {target->tls_mode, &out_copy->tls_mode},
                 {target->tls_root_cert, &out_copy->tls_root_cert},
                 {target->options, &out_copy->options},
                 {target->application_name, &out_copy->application_name}};
    bool is_good = true;
    for (size_t i = 0; is_good && i < sizeof parts / sizeof *parts; i++)
        if (parts[i].from != NULL)
            is_good = (*parts[i].to = strdup(parts[i].from)) != NULL;
    if (!is_good)
        pg_target_deinit(out_copy);
    return is_good;
}

bool pg_target_is_socket(const struct pg_target *target)
{
    const char *host = target->host;
    return host == NULL || host[0] == '\0' || host[0] == '/' || host[0] == '@';
}

void pg_target_describe(const struct pg_target *target, char *out, size_t out_size)
{
    const char *host = target->host != NULL ? target->host : "";
    bool has_colon = !pg_target_is_socket(target) && strchr(host, ':') != NULL;
    (void)snprintf(out, out_size, "%s@%s%s%s:%s/%s", target->user != NULL ? target->user : "", has_colon ? "[" : "",
                   host, has_colon ? "]" : "", target->port != NULL ? target->port : "5432",
                   target->database != NULL ? target->database : "");
}

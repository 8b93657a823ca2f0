#include "base/process.h"

#include <stdio.h>
#include <unistd.h>

void process_describe(char out_text[PROCESS_TEXT_SIZE])
{
    char host[64] = "";
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
        (void)snprintf(host, sizeof host, "an unknown host");
    (void)snprintf(out_text, PROCESS_TEXT_SIZE, "process %d on %s", getpid(), host);
}

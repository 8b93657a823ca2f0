#include "base/process.h"

#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

void process_describe(char out_text[PROCESS_TEXT_SIZE])
{
    char host[64] = "";
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
        (void)snprintf(host, sizeof host, "an unknown host");
    (void)snprintf(out_text, PROCESS_TEXT_SIZE, "process %d on %s", getpid(), host);
}

void process_name_thread(const char *name)
{
    (void)prctl(PR_SET_NAME, name);  // a longer one is cut
}

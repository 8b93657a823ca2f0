// For passwords and the like that lie in ordinary memory.
#ifndef ETL_BASE_WIPE_H
#define ETL_BASE_WIPE_H

#include <stdlib.h>
#include <string.h>

// Overwrites the text, then frees it; NULL is harmless.
static inline void wipe_free(char *text)
{
    if (text != NULL)
        explicit_bzero(text, strlen(text));
    free(text);
}

#endif

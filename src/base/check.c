#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *condition, const char *file, int line)
{
    // Standard error is unbuffered, and nothing of the program's own may be trusted any more.
    (void)fprintf(stderr, "etl-stream: check failed: %s at %s:%d\n", condition, file, line);
    abort();
}

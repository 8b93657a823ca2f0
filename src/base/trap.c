#include "base/trap.h"

#ifdef ETL_TRAPS
#include <stdlib.h>
#include <string.h>

bool trap_is_set(const char *rule)
{
    const char *set = getenv("ETL_TRAP");
    return set != NULL && strcmp(set, rule) == 0;
}
#endif

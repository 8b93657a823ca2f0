#include "base/trap.h"

#ifdef ETL_TRAPS
#include <stdlib.h>
#include <string.h>

bool trap_is_set(const char *rule)
{
    size_t size = strlen(rule);
    for (const char *set = getenv("ETL_TRAP"); set != NULL; set = strchr(set, ',')) {
        set += *set == ',';
        if (strncmp(set, rule, size) == 0 && (set[size] == ',' || set[size] == '\0'))
            return true;
    }
    return false;
}
#endif

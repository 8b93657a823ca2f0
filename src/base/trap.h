// A test build (-Dtraps=true) can take one rule out, by ETL_TRAP=<rule> in the environment, so that the rule's test can
// show that it fails without it. In every other build the question is the constant false and costs nothing.
//
//     if (position < commit_lsn && !trap_is_set("positions_exclusive"))
#ifndef ETL_BASE_TRAP_H
#define ETL_BASE_TRAP_H

#include <stdbool.h>

#ifdef ETL_TRAPS
bool trap_is_set(const char *rule);
#else
static inline bool trap_is_set(const char *rule)
{
    (void)rule;
    return false;
}
#endif

#endif

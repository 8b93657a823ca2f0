// A counter of bytes with a ceiling, per pipeline: what batches and appends in flight hold. It does not
// allocate; it tells when to stop reading. One thread owns it.
#ifndef ETL_BASE_BUDGET_H
#define ETL_BASE_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct budget {
    size_t used_bytes;
    size_t bytes_max;
    size_t used_bytes_peak;
};

void budget_init(struct budget *budget, size_t bytes_max);
void budget_take(struct budget *budget, size_t bytes);  // may pass the ceiling by one row: stop reading follows
void budget_give(struct budget *budget, size_t bytes);  // CHECKs that it was taken
bool budget_is_full(const struct budget *budget);       // used >= max: stop reading
bool budget_has_room(const struct budget *budget);      // used <= 3/4 max: read again (hysteresis)

#endif

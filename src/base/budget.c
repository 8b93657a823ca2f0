#include "base/budget.h"

#include "base/check.h"

void budget_init(struct budget *budget, size_t bytes_max)
{
    CHECK(bytes_max > 0);
    *budget = (struct budget){.bytes_max = bytes_max};
}

void budget_take(struct budget *budget, size_t bytes)
{
    CHECK(bytes <= SIZE_MAX - budget->used_bytes);
    budget->used_bytes += bytes;
    if (budget->used_bytes > budget->used_bytes_peak)
        budget->used_bytes_peak = budget->used_bytes;
}

void budget_give(struct budget *budget, size_t bytes)
{
    CHECK(bytes <= budget->used_bytes);
    budget->used_bytes -= bytes;
}

bool budget_is_full(const struct budget *budget)
{
    return budget->used_bytes >= budget->bytes_max;
}

bool budget_has_room(const struct budget *budget)
{
    return budget->used_bytes <= budget->bytes_max - budget->bytes_max / 4;
}

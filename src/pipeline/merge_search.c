#include "pipeline/merge_search.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

void merge_search_begin(struct merge_search *search, uint32_t table_count, uint32_t suspect)
{
    CHECK(search->phase == MERGE_SEARCH_OFF);
    free(search->order);
    search->order = calloc((size_t)table_count + 1, sizeof *search->order);
    CHECK(search->order != NULL);
    for (uint32_t i = 0; i < table_count; i++)
        search->order[i] = i;
    search->count = table_count;
    search->tried = 0;
    search->phase = MERGE_SEARCH_NONE;
    search->has_suspect = suspect < table_count;
    if (search->has_suspect) {
        search->order[suspect] = 0;
        search->order[0] = suspect;
    }
}

void merge_search_end(struct merge_search *search)
{
    free(search->order);
    *search = (struct merge_search){.phase = MERGE_SEARCH_OFF};
}

static enum merge_search_step end_with(struct merge_search *search, enum merge_search_step step)
{
    search->phase = MERGE_SEARCH_OFF;
    return step;
}

static enum merge_search_step halve(struct merge_search *search)
{
    search->phase = search->count > 1 ? MERGE_SEARCH_HALVES : MERGE_SEARCH_LAST;
    search->tried = search->count > 1 ? search->count / 2 : 1;
    return MERGE_SEARCH_TRY;
}

enum merge_search_step merge_search_answer(struct merge_search *search, bool has_failed)
{
    switch (search->phase) {
    case MERGE_SEARCH_SUSPECT: return has_failed ? end_with(search, MERGE_SEARCH_FOUND) : halve(search);
    case MERGE_SEARCH_NONE:
        if (has_failed)
            return end_with(search, MERGE_SEARCH_COMMON);
        if (search->has_suspect) {
            search->phase = MERGE_SEARCH_SUSPECT;
            search->tried = 1;
            return MERGE_SEARCH_TRY;
        }
        return search->count > 0 ? halve(search) : end_with(search, MERGE_SEARCH_PASSED);
    case MERGE_SEARCH_HALVES:
        if (has_failed) {
            search->count = search->tried;
            if (search->count == 1)
                return end_with(search, MERGE_SEARCH_FOUND);
        } else {
            search->count -= search->tried;
            memmove(search->order, search->order + search->tried, search->count * sizeof *search->order);
        }
        return halve(search);
    case MERGE_SEARCH_LAST: return end_with(search, has_failed ? MERGE_SEARCH_FOUND : MERGE_SEARCH_PASSED);
    case MERGE_SEARCH_OFF: break;
    }
    check_failed("a search that is on", __FILE__, __LINE__);
}

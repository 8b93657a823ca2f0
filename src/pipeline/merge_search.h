// Which table makes a merge fail, when its message does not tell for certain: merges of fewer tables are tried (and rolled
// back) until one is left. Pure: it says what to try, its caller tries.
//
//   nothing at all      fails: the cause is common to all, no table is to blame
//   the suspect alone   fails: it is the one
//   a half              fails: the search goes on in it, else in the other half
//   the last one alone  fails: it is the one; else the failure was a passing one
#ifndef ETL_PIPELINE_MERGE_SEARCH_H
#define ETL_PIPELINE_MERGE_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

enum merge_search_phase {
    MERGE_SEARCH_OFF,      // ended by merge_search_begin
    MERGE_SEARCH_NONE,     // tries without any table
    MERGE_SEARCH_SUSPECT,  // tries the suspect alone
    MERGE_SEARCH_HALVES,   // tries the first half of those in question
    MERGE_SEARCH_LAST      // tries the only one left
};

enum merge_search_step {
    MERGE_SEARCH_TRY,     // merge the first `tried` of `order`, and answer
    MERGE_SEARCH_FOUND,   // order[0] is to blame; the search is off
    MERGE_SEARCH_COMMON,  // none is; off
    MERGE_SEARCH_PASSED   // none is any more; off
};

struct merge_search {
    enum merge_search_phase phase;
    uint32_t *order;  // owned: those in question, as numbers of the failed merge's tables
    uint32_t count, tried;
    bool has_suspect;  // order[0]
};

// suspect: the table that the failure seems to name, or UINT32_MAX. Try what `tried` says then.
void merge_search_begin(struct merge_search *search, uint32_t table_count, uint32_t suspect);
enum merge_search_step merge_search_answer(struct merge_search *search, bool has_failed);
void merge_search_end(struct merge_search *search);  // also one that is off

#endif

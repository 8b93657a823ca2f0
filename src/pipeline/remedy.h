// What would mend an error, as a statement or command that a person can type. Pure.
#ifndef ETL_PIPELINE_REMEDY_H
#define ETL_PIPELINE_REMEDY_H

#include <stddef.h>

#include "base/err.h"

struct remedy_subject {
    const char *pipeline;
    const char *table;  // "schema.table"; NULL: the pipeline as a whole
};

// Never empty. What the error's own text names ("mend it with: …", "move it out of the way with: …") comes first.
void remedy_format(const struct err *error, const struct remedy_subject *subject, char *out, size_t out_size);

#endif

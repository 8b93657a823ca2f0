// Looks at both ends of a pipeline and changes nothing: every setting, grant and name that is missing, each with what mends it.
#ifndef ETL_PIPELINE_INSPECT_H
#define ETL_PIPELINE_INSPECT_H

#include <stdbool.h>

#include "pipeline/judge.h"
#include "pipeline/pipeline.h"

struct inspect;

struct inspect_options {
    const char *slot, *publication;
    const char *tables;  // as in pipeline.h
    const struct pg_target *source;
    const char *source_text;
    const char *destination_text;  // NULL: none, or not usable
    struct sink *(*sink_new)(void *context, const char *identity, const struct sink_events *events,
                             struct err *out_error);
    void *sink_context;
    const struct catalog_pipeline *known;   // NULL: the catalog knows nothing of it
    int64_t decoding_work_mem_kb, workers;  // of the pipeline
};

struct inspect_events {
    finding_on on_finding;
    void (*on_good)(void *context, const char *text);                 // what was looked at and is well
    void (*on_timing)(void *context, const char *name, uint64_t us);  // how long a round trip took; may be NULL
    void (*on_done)(void *context);
    void *context;
};

struct inspect *inspect_new(struct loop *loop, struct resolver *resolver, const struct inspect_options *options,
                            const struct inspect_events *events);
void inspect_start(struct inspect *inspect);
void inspect_free(struct inspect *inspect);  // not inside its callbacks

#endif

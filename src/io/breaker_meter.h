// Circuit breakers in metrics. Every worker has a breaker of its own for a destination; those of one name are one series, which shows
// the worst of them.
#ifndef ETL_IO_BREAKER_METER_H
#define ETL_IO_BREAKER_METER_H

#include "io/breaker.h"

// The breaker, as zeros, is shown under this name from now on; closed before the breaker's memory ends. Any thread.
void breaker_meter_open(struct breaker *breaker, const char *name);
void breaker_meter_close(struct breaker *breaker);  // harmless when it is not shown
// After each call that may have changed it. Nothing where it is not shown or nothing has changed.
void breaker_meter_note(struct breaker *breaker);

#endif

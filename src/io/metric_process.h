// What the kernel tells of this process and of the machine, as metrics. Reads a handful of files of /proc, which is no I/O of a disk.
#ifndef ETL_IO_METRIC_PROCESS_H
#define ETL_IO_METRIC_PROCESS_H

#include <stdint.h>

// Sets etl_process_* and etl_system_* to what is the case now. Any thread. What cannot be read stays as it was.
void metric_process_measure(void);
// The same by the files of a folder that looks like /proc; what the process itself is asked for (time, disk) stays its own.
void metric_process_measure_in(const char *proc);

// The share of a processor that a process had between two measurements.
struct cpu_share {
    uint64_t cpu_us, at_us;  // of the newest one; at_us 0: none yet
    double percent;
};

// In percent of one processor: since the measurement before, at first since the process' start. Two within a second give the same, as
// a share over less says nothing. cpu_us: used since the start; now_us, started_us: on one clock.
double cpu_share_measure(struct cpu_share *share, uint64_t cpu_us, uint64_t now_us, uint64_t started_us);

#endif

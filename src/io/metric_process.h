// What the kernel tells of this process and of the machine, as metrics. Reads a handful of files of /proc, which is no I/O of a disk.
#ifndef ETL_IO_METRIC_PROCESS_H
#define ETL_IO_METRIC_PROCESS_H

// Sets etl_process_* and etl_system_* to what is the case now. Any thread. What cannot be read stays as it was.
void metric_process_measure(void);

#endif

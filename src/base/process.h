// How this process is called to people, who may have to find it ("process 4711 on db1"), and what its threads are to the scheduler.
#ifndef ETL_BASE_PROCESS_H
#define ETL_BASE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#define PROCESS_TEXT_SIZE 128

void process_describe(char out_text[PROCESS_TEXT_SIZE]);
// How the calling thread is called in top -H, ps -L and debuggers: at most 15 bytes.
void process_name_thread(const char *name);

uint64_t process_thread_cpu_us(void);  // processor time that the calling thread has used
// Whether the calling thread is scheduled as threads are by default: whoever started the program with chrt or nice wants it so.
bool process_thread_is_ordinary(void);
// The calling thread, which must be ordinary or have been so, keeps its share of the processors and takes it in short slices: one
// that needs little is run soon after it wakes (Linux 6.12 on; before, it changes nothing). Takes process_thread_first back. False:
// that is forbidden here.
bool process_thread_prompt(void);
// The calling thread comes before all that are not real-time. False: that takes CAP_SYS_NICE or RLIMIT_RTPRIO; nothing was changed.
bool process_thread_first(void);

#endif

// How this process is called to people, who may have to find it: "process 4711 on db1".
#ifndef ETL_BASE_PROCESS_H
#define ETL_BASE_PROCESS_H

#define PROCESS_TEXT_SIZE 128

void process_describe(char out_text[PROCESS_TEXT_SIZE]);
// How the calling thread is called in top -H, ps -L and debuggers: at most 15 bytes.
void process_name_thread(const char *name);

#endif

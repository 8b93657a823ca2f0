// Where a file destination is: parsed from --to 'file:DIRECTORY?rotate_mb=64&rotate_seconds=300'.
#ifndef ETL_SINKS_FILE_FILE_CONFIG_H
#define ETL_SINKS_FILE_FILE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct file_config {
    char *directory;        // as given; relative ones from where the program was started
    uint64_t rotate_bytes;  // a stream's file that has them is followed by the next one
    uint32_t rotate_s;      // likewise at this age
};

// False (ERR_CONFIG): the text says which part is wrong and what is allowed; nothing is left to free.
bool file_config_parse(const char *url, struct file_config *out_config, struct err *out_error);
void file_config_deinit(struct file_config *config);
void file_config_copy(const struct file_config *from, struct file_config *out_copy);
void file_config_describe(const struct file_config *config, char *out, size_t out_size);

#endif

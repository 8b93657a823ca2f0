// Where secrets live: OpenSSL's secure heap (locked in memory, left out of dumps, between guard pages, wiped when freed).
//
// OpenSSL itself copies parts of a private key into ordinary memory while it decodes and signs (buffers of the decoders,
// Montgomery contexts of the primes) and onto the stack (exponents, on processors with AVX-512 IFMA:
// crypto/bn/rsaz_exp_x2.c). So this module stands behind OpenSSL's allocator and lends a stack: all that sf_secret_call
// runs has its allocations and its stack in the secure heap.
#ifndef ETL_SINKS_SNOWFLAKE_SF_SECRET_H
#define ETL_SINKS_SNOWFLAKE_SF_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define SF_SECRET_SIZE_MAX ((size_t)64 * 1024)

struct sf_secret {
    char *text;  // NUL-terminated, in the secure heap; NULL: none
    size_t size;
};

// Before anything in the process has used OpenSSL. Harmless when called again.
bool sf_secret_process_init(struct err *out_error);
// Runs work on a thread of its own whose stack lies in the secure heap and whose OpenSSL allocations come from it, waits
// for its end and wipes the stack. One at a time in the process: others wait. Not to be called by work. False: work was
// not run.
bool sf_secret_call(void (*work)(void *context), void *context, struct err *out_error);

// size: in bytes, without the NUL; SF_SECRET_SIZE_MAX at most. No register keeps any of it.
bool sf_secret_copy(const char *text, size_t size, struct sf_secret *out_secret, struct err *out_error);
// what: how messages call it, "the private key". No buffer but the secret's own sees the content.
bool sf_secret_read_file(const char *path, const char *what, struct sf_secret *out_secret, struct err *out_error);
// Takes the variable's value out of the environment (/proc/PID/environ shows it no more) and keeps it in the secure
// heap for whoever asks again. out_secret->text is NULL when there is no such variable or it is empty.
bool sf_secret_read_variable(const char *name, struct sf_secret *out_secret, struct err *out_error);
// A systemd credential: the file of that name in $CREDENTIALS_DIRECTORY. out_secret->text is NULL when there is none.
bool sf_secret_read_credential(const char *name, const char *what, struct sf_secret *out_secret, struct err *out_error);
void sf_secret_deinit(struct sf_secret *secret);  // wipes

#endif

// The private key. Its DER bytes rest in OpenSSL's secure heap; an EVP_PKEY exists only while a token is signed and is
// cleared at once (OpenSSL's caches would copy the primes into ordinary memory). Nothing is written anywhere.
#ifndef ETL_SINKS_SNOWFLAKE_SF_KEY_H
#define ETL_SINKS_SNOWFLAKE_SF_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct sf_key;

// Once per process, before any key is loaded: secure heap, PR_SET_DUMPABLE 0, RLIMIT_CORE 0. False: says what the machine refused.
bool sf_key_process_init(struct err *out_error);
// PEM: PKCS#8 or PKCS#1, plain or encrypted (passphrase NULL: none). RSA of 2048 bits or more. pem and passphrase are the caller's to wipe.
struct sf_key *sf_key_load(const char *pem, size_t pem_size, const char *passphrase, const char *origin, struct err *out_error);
// As the configuration says (file or environment variable); wipes what it read.
struct config_source;
struct sf_config;
struct sf_key *sf_key_load_configured(const struct sf_config *config, struct err *out_error);
void sf_key_free(struct sf_key *key);
// "SHA256:<base64>" of the public key, to compare with DESCRIBE USER's RSA_PUBLIC_KEY_FP. NUL-terminated.
const char *sf_key_fingerprint(const struct sf_key *key);
// Appends a JWT (RS256) for ACCOUNT.USER, valid from now (seconds) for at most an hour.
bool sf_key_sign_jwt(const struct sf_key *key, const char *account_claim, const char *user_claim, const char *role, int64_t now_s, int64_t lifetime_s,
                     struct buf *out_jwt, struct err *out_error);

#endif

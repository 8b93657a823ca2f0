// Makes a private key for Snowflake, within the secure heap from its first bit on.
#ifndef ETL_SINKS_SNOWFLAKE_SF_KEYGEN_H
#define ETL_SINKS_SNOWFLAKE_SF_KEYGEN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "sinks/snowflake/sf_key.h"
#include "sinks/snowflake/sf_secret.h"

#define SF_KEYGEN_PASSPHRASE_MIN 8  // characters

// An RSA key of that many bits as PKCS#8 in PEM: encrypted with the passphrase (PBES2, AES-256-CBC, PBKDF2 with
// HMAC-SHA256), or plain if that is NULL. out_pem is the caller's to deinit; out_public_key gets the SubjectPublicKeyInfo as
// one line of base64, as ALTER USER … SET RSA_PUBLIC_KEY takes it; out_fingerprint "SHA256:…", as DESCRIBE USER shows it. After
// sf_key_process_init.
bool sf_keygen(uint32_t bits, const struct sf_secret *passphrase, struct sf_secret *out_pem, struct buf *out_public_key,
               char out_fingerprint[SF_KEY_FINGERPRINT_SIZE], struct err *out_error);

#endif

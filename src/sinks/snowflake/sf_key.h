// The private key. Its DER bytes rest in OpenSSL's secure heap; an EVP_PKEY exists only while a token is signed, inside the
// secure heap as well (sf_secret.h), and is cleared at once. Nothing is written anywhere.
#ifndef ETL_SINKS_SNOWFLAKE_SF_KEY_H
#define ETL_SINKS_SNOWFLAKE_SF_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "sinks/snowflake/sf_config.h"

#define SF_KEY_BITS_MIN 2048
#define SF_KEY_VARIABLE "SNOWFLAKE_PRIVATE_KEY"
#define SF_PASSPHRASE_VARIABLE "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"
#define SF_KEY_CREDENTIAL "snowflake_private_key"
#define SF_PASSPHRASE_CREDENTIAL "snowflake_private_key_passphrase"

struct sf_key;

// First thing in main, before libcurl, libpq or anybody else has used OpenSSL: secure heap, PR_SET_DUMPABLE 0,
// RLIMIT_CORE 0. False: says what the machine refused. Harmless when called again.
bool sf_key_process_init(struct err *out_error);
// PEM: PKCS#8 or PKCS#1, plain or encrypted (passphrase NULL: none). RSA of 2048 bits or more. pem and passphrase are
// the caller's to wipe. origin: where it came from, for messages ("file /etc/key.p8").
struct sf_key *sf_key_load(const char *pem, size_t pem_size, const char *passphrase, const char *origin,
                           struct err *out_error);
// As the configuration says: key_file, or the variable key_env, or (neither named) SNOWFLAKE_PRIVATE_KEY, or the systemd
// credential snowflake_private_key. The passphrase comes from passphrase_env, or (not named)
// SNOWFLAKE_PRIVATE_KEY_PASSPHRASE, or the credential snowflake_private_key_passphrase. Wipes what it read.
struct sf_key *sf_key_load_configured(const struct sf_config *config, struct err *out_error);
// The same with a passphrase that stands elsewhere (the catalog); NULL or "": as the configuration says.
struct sf_key *sf_key_load_with_passphrase(const struct sf_config *config, const char *passphrase,
                                           struct err *out_error);
// Another owner of the same key, on any thread: its bytes are in memory once. NULL stays NULL.
struct sf_key *sf_key_share(struct sf_key *key);
void sf_key_free(struct sf_key *key);  // wiped when its last owner lets go of it
// "SHA256:<base64>" of the public key, to compare with DESCRIBE USER's RSA_PUBLIC_KEY_FP. NUL-terminated.
const char *sf_key_fingerprint(const struct sf_key *key);
// Appends the public key as one line of base64, as ALTER USER … SET RSA_PUBLIC_KEY takes it.
bool sf_key_public(const struct sf_key *key, struct buf *out, struct err *out_error);
// "SHA256:…" of a public key in DER (SubjectPublicKeyInfo), as DESCRIBE USER shows it and the token's issuer names it.
#define SF_KEY_FINGERPRINT_SIZE 80  // with its NUL
bool sf_key_fingerprint_make(const unsigned char *public_der, size_t size,
                             char out_fingerprint[SF_KEY_FINGERPRINT_SIZE]);
// Appends a JWT (RS256) for ACCOUNT.USER, valid from now (seconds) for at most an hour. role (NULL: none) becomes the
// claim scp = session:role:ROLE, as Snowflake's own SDK asks for a scoped token.
bool sf_key_sign_jwt(const struct sf_key *key, const char *account_claim, const char *user_claim, const char *role,
                     int64_t now_s, int64_t lifetime_s, struct buf *out_jwt, struct err *out_error);

#endif

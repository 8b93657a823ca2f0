#include "sinks/snowflake/sf_key.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/check.h"
#include "sinks/snowflake/sf_secret.h"

enum { LIFETIME_S_MAX = 3600, DIGEST_SIZE = 32, SIGNATURE_SIZE_MAX = 2048 };

struct sf_key {
    atomic_uint users;     // threads share a key: its bytes never change
    struct sf_secret der;  // PKCS#1 or PKCS#8 without encryption
    char fingerprint[SF_KEY_FINGERPRINT_SIZE];
};

bool sf_key_process_init(struct err *out_error)
{
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return err_set(out_error, ERR_INTERNAL, "", "the machine refuses to keep this process out of core dumps: %s",
                       strerror(errno));
    const struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0)
        return err_set(out_error, ERR_INTERNAL, "", "the machine refuses a core dump limit of 0: %s", strerror(errno));
    return sf_secret_process_init(out_error);
}

// ---- what is in the text

enum pem_kind { PEM_NONE, PEM_RSA, PEM_PLAIN, PEM_ENCRYPTED, PEM_PUBLIC, PEM_CERTIFICATE, PEM_EC, PEM_OPENSSH };

struct pem_label {
    const char *text;
    enum pem_kind kind;
};

static const struct pem_label labels[] = {
    {"RSA PRIVATE KEY", PEM_RSA},         {"PRIVATE KEY", PEM_PLAIN},     {"ENCRYPTED PRIVATE KEY", PEM_ENCRYPTED},
    {"PUBLIC KEY", PEM_PUBLIC},           {"RSA PUBLIC KEY", PEM_PUBLIC}, {"CERTIFICATE", PEM_CERTIFICATE},
    {"EC PRIVATE KEY", PEM_EC},           {"EC PARAMETERS", PEM_EC},      {"DSA PRIVATE KEY", PEM_EC},
    {"OPENSSH PRIVATE KEY", PEM_OPENSSH},
};

static enum pem_kind label_kind(const char *label, size_t size)
{
    for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++)
        if (strlen(labels[i].text) == size && memcmp(labels[i].text, label, size) == 0)
            return labels[i].kind;
    return PEM_NONE;
}

// The first private key among the blocks of the text, else the first block that is known; *out_block is where it begins.
static enum pem_kind find_block(const char *text, const char **out_block)
{
    static const char begin[] = "-----BEGIN ";
    enum pem_kind found = PEM_NONE;
    for (const char *at = strstr(text, begin); at != NULL; at = strstr(at + 1, begin)) {
        const char *label = at + sizeof begin - 1;
        const char *end = strstr(label, "-----");
        enum pem_kind kind = end == NULL ? PEM_NONE : label_kind(label, (size_t)(end - label));
        bool is_key = kind == PEM_RSA || kind == PEM_PLAIN || kind == PEM_ENCRYPTED;
        if (is_key || (found == PEM_NONE && kind != PEM_NONE)) {
            *out_block = at;
            found = kind;
        }
        if (is_key)
            break;
    }
    return found;
}

static bool refuse_kind(enum pem_kind kind, const char *origin, struct err *out_error)
{
    switch (kind) {
    case PEM_PUBLIC:
        return err_set(out_error, ERR_CONFIG, "", "%s holds a public key; the private key that belongs to it is needed",
                       origin);
    case PEM_CERTIFICATE:
        return err_set(out_error, ERR_CONFIG, "", "%s holds a certificate; an RSA private key is needed", origin);
    case PEM_EC:
        return err_set(out_error, ERR_CONFIG, "", "%s holds a key that is not RSA; Snowflake takes RSA keys only",
                       origin);
    case PEM_OPENSSH:
        return err_set(out_error, ERR_CONFIG, "",
                       "%s holds a key in OpenSSH's own form; ssh-keygen -p -m PKCS8 -f FILE turns it into PEM",
                       origin);
    default:
        return err_set(out_error, ERR_CONFIG, "",
                       "%s does not hold a private key in PEM form (-----BEGIN PRIVATE KEY-----)", origin);
    }
}

// Variables of containers and .env files often hold "\n" as two characters.
static void mend_line_breaks(struct sf_secret *pem)
{
    if (strchr(pem->text, '\n') != NULL)
        return;
    size_t used = 0;
    for (size_t i = 0; i < pem->size; i++) {
        bool is_escape = pem->text[i] == '\\' && pem->text[i + 1] == 'n';
        pem->text[used++] = is_escape ? '\n' : pem->text[i];
        i += is_escape ? 1 : 0;
    }
    OPENSSL_cleanse(pem->text + used, pem->size - used);
    pem->size = used;
}

// ---- loading; everything here runs within sf_secret_call

static int give_passphrase(char *out, int out_size, int is_writing, void *context)
{
    (void)is_writing;
    const char *passphrase = context;
    size_t size = passphrase == NULL ? 0 : strlen(passphrase);
    if (passphrase == NULL || size > (size_t)out_size)
        return -1;
    memcpy(out, passphrase, size);
    return (int)size;
}

static bool has_unsupported_error(void)
{
    bool is_unsupported = false;
    for (unsigned long code = ERR_get_error(); code != 0; code = ERR_get_error()) {
        int reason = ERR_GET_REASON(code);
        is_unsupported =
            is_unsupported || (ERR_GET_LIB(code) == ERR_LIB_EVP &&
                               (reason == EVP_R_UNSUPPORTED_ALGORITHM || reason == EVP_R_UNSUPPORTED_CIPHER ||
                                reason == EVP_R_UNKNOWN_PBE_ALGORITHM));
    }
    return is_unsupported;
}

static EVP_PKEY *decode_pem(const char *block, bool is_encrypted, const char *passphrase, const char *origin,
                            struct err *out_error)
{
    ERR_clear_error();
    BIO *bio = BIO_new_mem_buf(block, -1);
    EVP_PKEY *pkey =
        bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, (void *)(uintptr_t)passphrase);
    BIO_free(bio);
    bool is_unsupported = has_unsupported_error();
    if (pkey != NULL)
        return pkey;
    if (is_encrypted && is_unsupported)
        err_set(out_error, ERR_CONFIG, "",
                "the private key in %s is encrypted in a way that OpenSSL no longer reads; openssl pkcs8 -topk8 -v2 "
                "aes-256-cbc makes a new copy",
                origin);
    else if (is_encrypted)
        err_set(out_error, ERR_CONFIG, "", "the passphrase does not open the private key in %s", origin);
    else
        err_set(out_error, ERR_CONFIG, "", "the private key in %s is damaged: it cannot be decoded", origin);
    return NULL;
}

static bool check_key(EVP_PKEY *pkey, const char *origin, struct err *out_error)
{
    if (!EVP_PKEY_is_a(pkey, "RSA"))
        return err_set(out_error, ERR_CONFIG, "", "%s holds a key that is not RSA; Snowflake takes RSA keys only",
                       origin);
    int bits = EVP_PKEY_get_bits(pkey);
    if (bits < SF_KEY_BITS_MIN)
        return err_set(out_error, ERR_CONFIG, "", "the RSA key in %s has %d bits; Snowflake wants %d or more", origin,
                       bits, SF_KEY_BITS_MIN);
    return true;
}

static bool sign(EVP_PKEY *pkey, const uint8_t *text, size_t text_size, uint8_t *out, size_t *out_size);

// A key file with a byte that was changed is decoded like any other; only its signatures are wrong.
static bool check_signs(EVP_PKEY *pkey, const char *origin, struct err *out_error)
{
    static const uint8_t text[] = "a text to sign";
    uint8_t signature[SIGNATURE_SIZE_MAX];
    size_t signature_size = sizeof signature;
    if (sign(pkey, text, sizeof text, signature, &signature_size))
        return true;
    ERR_clear_error();
    return err_set(out_error, ERR_CONFIG, "", "the private key in %s is damaged: its signatures are wrong", origin);
}

static bool keep_der(struct sf_key *key, EVP_PKEY *pkey, struct err *out_error)
{
    unsigned char *der = NULL;
    int size = i2d_PrivateKey(pkey, &der);
    bool is_kept = size > 0 && sf_secret_copy((const char *)der, (size_t)size, &key->der, out_error);
    if (size <= 0)
        err_set(out_error, ERR_INTERNAL, "", "the private key cannot be encoded");
    if (der != NULL)
        OPENSSL_clear_free(der, (size_t)(size > 0 ? size : 0));
    return is_kept;
}

bool sf_key_fingerprint_make(const unsigned char *public_der, size_t size,
                             char out_fingerprint[SF_KEY_FINGERPRINT_SIZE])
{
    unsigned char digest[DIGEST_SIZE];
    unsigned char base64[64];
    if (EVP_Q_digest(NULL, "SHA256", NULL, public_der, size, digest, NULL) != 1)
        return false;
    EVP_EncodeBlock(base64, digest, sizeof digest);
    (void)snprintf(out_fingerprint, SF_KEY_FINGERPRINT_SIZE, "SHA256:%s", (const char *)base64);
    return true;
}

static bool take_fingerprint(struct sf_key *key, EVP_PKEY *pkey, struct err *out_error)
{
    unsigned char *der = NULL;
    int size = i2d_PUBKEY(pkey, &der);
    bool is_done = size > 0 && sf_key_fingerprint_make(der, (size_t)size, key->fingerprint);
    OPENSSL_free(der);
    return is_done || err_set(out_error, ERR_INTERNAL, "", "the fingerprint of the public key cannot be made");
}

static struct sf_key *load(struct sf_secret *pem, const char *passphrase, const char *origin, struct err *out_error)
{
    mend_line_breaks(pem);
    const char *block = NULL;
    enum pem_kind kind = find_block(pem->text, &block);
    if (kind != PEM_RSA && kind != PEM_PLAIN && kind != PEM_ENCRYPTED) {
        refuse_kind(kind, origin, out_error);
        return NULL;
    }
    const char *end = strstr(block, "-----END ");
    const char *encrypted_header = strstr(block, "Proc-Type: 4,ENCRYPTED");
    bool is_encrypted = kind == PEM_ENCRYPTED || (end != NULL && encrypted_header != NULL && encrypted_header < end);
    if (is_encrypted && passphrase == NULL) {
        err_set(out_error, ERR_CONFIG, "",
                "the private key in %s is encrypted and there is no passphrase; put it into the environment variable "
                "%s, or name another with passphrase_env=",
                origin, SF_PASSPHRASE_VARIABLE);
        return NULL;
    }
    EVP_PKEY *pkey = decode_pem(block, is_encrypted, passphrase, origin, out_error);
    if (pkey == NULL)
        return NULL;
    struct sf_key *key = calloc(1, sizeof *key);
    if (key == NULL)
        err_set(out_error, ERR_INTERNAL, "", "out of memory for a private key");
    else
        atomic_init(&key->users, 1);
    if (key != NULL && (!check_key(pkey, origin, out_error) || !check_signs(pkey, origin, out_error) ||
                        !keep_der(key, pkey, out_error) || !take_fingerprint(key, pkey, out_error))) {
        sf_key_free(key);
        key = NULL;
    }
    EVP_PKEY_free(pkey);
    return key;
}

struct load_call {
    struct sf_secret *pem;
    const char *passphrase, *origin;
    struct err *error;
    struct sf_key *key;  // the result
};

static void load_in_call(void *context)
{
    struct load_call *call = context;
    call->key = load(call->pem, call->passphrase, call->origin, call->error);
}

struct sf_key *sf_key_load(const char *pem, size_t pem_size, const char *passphrase, const char *origin,
                           struct err *out_error)
{
    if (pem_size > SF_SECRET_SIZE_MAX) {
        err_set(out_error, ERR_CONFIG, "", "%s is larger than any private key", origin);
        return NULL;
    }
    struct sf_secret copy;
    if (!sf_secret_copy(pem, pem_size, &copy, out_error))
        return NULL;
    struct load_call call = {.pem = &copy, .passphrase = passphrase, .origin = origin, .error = out_error};
    sf_secret_call(load_in_call, &call, out_error);
    sf_secret_deinit(&copy);
    return call.key;
}

struct sf_key *sf_key_share(struct sf_key *key)
{
    if (key != NULL)
        CHECK(atomic_fetch_add(&key->users, 1) > 0);
    return key;
}

void sf_key_free(struct sf_key *key)
{
    if (key == NULL || atomic_fetch_sub(&key->users, 1) > 1)
        return;
    sf_secret_deinit(&key->der);
    free(key);
}

const char *sf_key_fingerprint(const struct sf_key *key)
{
    return key->fingerprint;
}

// ---- the configured key

static bool read_variable(const char *name, const char *what, struct sf_secret *out, struct err *out_error)
{
    if (!sf_secret_read_variable(name, out, out_error))
        return false;
    if (out->text == NULL)
        return err_set(out_error, ERR_CONFIG, "",
                       "the environment variable %s, which should hold %s, is not set or empty", name, what);
    return true;
}

static bool read_pem(const struct sf_config *config, struct sf_secret *out, char *origin, size_t origin_size,
                     struct err *out_error)
{
    static const char what[] = "the private key";
    if (config->key_file != NULL) {
        snprintf(origin, origin_size, "file %s", config->key_file);
        return sf_secret_read_file(config->key_file, what, out, out_error);
    }
    const char *name = config->key_env != NULL ? config->key_env : SF_KEY_VARIABLE;
    snprintf(origin, origin_size, "environment variable %s", name);
    if (config->key_env != NULL)
        return read_variable(name, what, out, out_error);
    if (!sf_secret_read_variable(name, out, out_error))
        return false;
    if (out->text != NULL)
        return true;
    snprintf(origin, origin_size, "systemd credential %s", SF_KEY_CREDENTIAL);
    if (!sf_secret_read_credential(SF_KEY_CREDENTIAL, what, out, out_error))
        return false;
    if (out->text != NULL)
        return true;
    return err_set(out_error, ERR_CONFIG, "",
                   "no private key is named: key_file=FILE or key_env=VARIABLE in the destination, the environment "
                   "variable %s, or the systemd credential %s",
                   SF_KEY_VARIABLE, SF_KEY_CREDENTIAL);
}

static bool read_passphrase(const struct sf_config *config, struct sf_secret *out, struct err *out_error)
{
    static const char what[] = "the passphrase of the private key";
    if (config->passphrase_env != NULL)
        return read_variable(config->passphrase_env, what, out, out_error);
    if (!sf_secret_read_variable(SF_PASSPHRASE_VARIABLE, out, out_error))
        return false;
    if (out->text != NULL)
        return true;
    if (!sf_secret_read_credential(SF_PASSPHRASE_CREDENTIAL, what, out, out_error))
        return false;
    // A file's last line break is not part of the passphrase.
    while (out->text != NULL && out->size > 0 && strchr("\r\n", out->text[out->size - 1]) != NULL)
        out->text[--out->size] = '\0';
    return true;
}

struct sf_key *sf_key_load_configured(const struct sf_config *config, struct err *out_error)
{
    return sf_key_load_with_passphrase(config, NULL, out_error);
}

struct sf_key *sf_key_load_with_passphrase(const struct sf_config *config, const char *given, struct err *out_error)
{
    char origin[512];
    struct sf_secret pem = {0};
    struct sf_secret passphrase = {0};
    struct sf_key *key = NULL;
    bool is_given = given != NULL && *given != '\0';
    if (read_pem(config, &pem, origin, sizeof origin, out_error) &&
        (is_given || read_passphrase(config, &passphrase, out_error)))
        key = sf_key_load(pem.text, pem.size, is_given ? given : passphrase.text, origin, out_error);
    sf_secret_deinit(&pem);
    sf_secret_deinit(&passphrase);
    return key;
}

// ---- tokens

// RFC 4648 section 5, without padding.
static void append_base64url(struct buf *out, const uint8_t *data, size_t size)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t group = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                         (left > 2 ? (uint32_t)data[i + 2] : 0);
        size_t count = left > 2 ? 4 : left + 1;
        for (size_t k = 0; k < count; k++)
            buf_append_byte(out, (uint8_t)alphabet[group >> (18 - 6 * k) & 63]);
    }
}

static void append_json_text(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            buf_append_byte(out, '\\');
        buf_append_byte(out, (uint8_t)*text);
    }
}

static void append_claims(struct buf *out, const struct sf_key *key, const char *account, const char *user,
                          const char *role, int64_t now_s, int64_t lifetime_s)
{
    struct buf claims;
    buf_init(&claims, 16 * 1024);
    buf_append_text(&claims, "{\"iss\":\"");
    append_json_text(&claims, account);
    buf_append_byte(&claims, '.');
    append_json_text(&claims, user);
    buf_appendf(&claims, ".%s\",\"sub\":\"", key->fingerprint);
    append_json_text(&claims, account);
    buf_append_byte(&claims, '.');
    append_json_text(&claims, user);
    buf_appendf(&claims, "\",\"iat\":%" PRId64 ",\"exp\":%" PRId64, now_s, now_s + lifetime_s);
    if (role != NULL) {
        buf_append_text(&claims, ",\"scp\":\"session:role:");
        append_json_text(&claims, role);
        buf_append_byte(&claims, '"');
    }
    buf_append_byte(&claims, '}');
    append_base64url(out, claims.data, claims.size);
    out->failed = out->failed || claims.failed;
    buf_deinit(&claims);
}

// The signature is checked before it leaves: one that was made wrong (a bit that flipped) would give the primes away.
static bool sign(EVP_PKEY *pkey, const uint8_t *text, size_t text_size, uint8_t *out, size_t *out_size)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool is_signed = context != NULL && EVP_DigestSignInit_ex(context, NULL, "SHA256", NULL, NULL, pkey, NULL) == 1 &&
                     EVP_DigestSign(context, out, out_size, text, text_size) == 1;
    EVP_MD_CTX_free(context);
    context = EVP_MD_CTX_new();
    is_signed = is_signed && context != NULL &&
                EVP_DigestVerifyInit_ex(context, NULL, "SHA256", NULL, NULL, pkey, NULL) == 1 &&
                EVP_DigestVerify(context, out, *out_size, text, text_size) == 1;
    EVP_MD_CTX_free(context);
    return is_signed;
}

struct sign_call {
    const struct sf_secret *der;
    const uint8_t *text;
    size_t text_size;
    uint8_t signature[SIGNATURE_SIZE_MAX];
    size_t signature_size;
    bool is_signed;
};

static void sign_in_call(void *context)
{
    struct sign_call *call = context;
    const unsigned char *der = (const unsigned char *)call->der->text;
    EVP_PKEY *pkey = d2i_AutoPrivateKey(NULL, &der, (long)call->der->size);
    call->signature_size = sizeof call->signature;
    call->is_signed = pkey != NULL && sign(pkey, call->text, call->text_size, call->signature, &call->signature_size);
    EVP_PKEY_free(pkey);
    ERR_clear_error();
}

bool sf_key_sign_jwt(const struct sf_key *key, const char *account_claim, const char *user_claim, const char *role,
                     int64_t now_s, int64_t lifetime_s, struct buf *out_jwt, struct err *out_error)
{
    static const char header[] = "{\"alg\":\"RS256\",\"typ\":\"JWT\"}";
    CHECK(lifetime_s > 0 && lifetime_s <= LIFETIME_S_MAX);
    size_t start = out_jwt->size;
    append_base64url(out_jwt, (const uint8_t *)header, sizeof header - 1);
    buf_append_byte(out_jwt, '.');
    append_claims(out_jwt, key, account_claim, user_claim, role, now_s, lifetime_s);
    if (out_jwt->failed)
        return err_set(out_error, ERR_INTERNAL, "", "out of memory signing a token");

    struct sign_call call = {.der = &key->der, .text = out_jwt->data + start, .text_size = out_jwt->size - start};
    if (!sf_secret_call(sign_in_call, &call, out_error)) {
        out_jwt->size = start;
        return false;
    }
    if (!call.is_signed) {
        out_jwt->size = start;
        return err_set(out_error, ERR_INTERNAL, "", "the private key could not sign a token");
    }
    buf_append_byte(out_jwt, '.');
    append_base64url(out_jwt, call.signature, call.signature_size);
    return !out_jwt->failed || err_set(out_error, ERR_INTERNAL, "", "out of memory signing a token");
}

struct public_call {
    const struct sf_secret *der;
    struct buf *out;
    bool is_done;
};

static void public_in_call(void *context)
{
    struct public_call *call = context;
    const unsigned char *der = (const unsigned char *)call->der->text;
    unsigned char *public_der = NULL;
    EVP_PKEY *pkey = d2i_AutoPrivateKey(NULL, &der, (long)call->der->size);
    int size = pkey != NULL ? i2d_PUBKEY(pkey, &public_der) : 0;
    EVP_PKEY_free(pkey);
    call->is_done = size > 0 && buf_reserve(call->out, (size_t)(size / 3 + 1) * 4 + 1);
    if (call->is_done)
        call->out->size += (size_t)EVP_EncodeBlock(call->out->data + call->out->size, public_der, size);
    OPENSSL_free(public_der);
    ERR_clear_error();
}

bool sf_key_public(const struct sf_key *key, struct buf *out, struct err *out_error)
{
    struct public_call call = {.der = &key->der, .out = out};
    return sf_secret_call(public_in_call, &call, out_error) &&
           (call.is_done || err_set(out_error, ERR_INTERNAL, "", "the public key cannot be read from the private one"));
}

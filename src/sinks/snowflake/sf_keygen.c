#include "sinks/snowflake/sf_keygen.h"

#include <limits.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

// What NIST and OWASP ask for with HMAC-SHA256 (2023): some tenths of a second, once at a start.
#define PBKDF2_ROUNDS 600000

struct call {
    uint32_t bits;
    const struct sf_secret *passphrase;
    struct sf_secret *pem;
    struct buf *public_key;
    char *fingerprint;
    bool is_made;
    struct err *error;
};

// Everything here runs within sf_secret_call.

static bool write_public(const struct call *call, EVP_PKEY *pkey)
{
    unsigned char *der = NULL;
    int size = i2d_PUBKEY(pkey, &der);
    bool is_done = size > 0 && sf_key_fingerprint_make(der, (size_t)size, call->fingerprint);
    if (is_done) {
        struct buf *out = call->public_key;
        is_done = buf_reserve(out, (size_t)(size / 3 + 1) * 4 + 1);
        if (is_done)
            out->size += (size_t)EVP_EncodeBlock(out->data + out->size, der, size);
    }
    OPENSSL_free(der);
    return is_done;
}

static X509_SIG *encrypt(const struct call *call, PKCS8_PRIV_KEY_INFO *info)
{
    X509_ALGOR *scheme = PKCS5_pbe2_set_iv(EVP_aes_256_cbc(), PBKDF2_ROUNDS, NULL, 0, NULL, NID_hmacWithSHA256);
    if (scheme == NULL || call->passphrase->size > INT_MAX)
        return NULL;
    X509_SIG *sealed = PKCS8_set0_pbe(call->passphrase->text, (int)call->passphrase->size, info, scheme);
    if (sealed == NULL)
        X509_ALGOR_free(scheme);
    return sealed;
}

static bool write_private(const struct call *call, EVP_PKEY *pkey)
{
    BIO *bio = BIO_new(BIO_s_mem());
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(pkey);
    bool is_done = bio != NULL && info != NULL;
    if (is_done && call->passphrase == NULL) {
        is_done = PEM_write_bio_PKCS8_PRIV_KEY_INFO(bio, info) == 1;
    } else if (is_done) {
        X509_SIG *sealed = encrypt(call, info);
        is_done = sealed != NULL && PEM_write_bio_PKCS8(bio, sealed) == 1;
        X509_SIG_free(sealed);
    }
    char *text = NULL;
    long size = is_done ? BIO_get_mem_data(bio, &text) : 0;
    is_done = size > 0 && sf_secret_copy(text, (size_t)size, call->pem, call->error);
    PKCS8_PRIV_KEY_INFO_free(info);
    BIO_free(bio);
    return is_done;
}

static void make(void *context)
{
    struct call *call = context;
    EVP_PKEY *pkey = EVP_RSA_gen(call->bits);
    call->is_made = pkey != NULL && write_public(call, pkey) && write_private(call, pkey);
    EVP_PKEY_free(pkey);
}

bool sf_keygen(uint32_t bits, const struct sf_secret *passphrase, struct sf_secret *out_pem, struct buf *out_public_key,
               char out_fingerprint[SF_KEY_FINGERPRINT_SIZE], struct err *out_error)
{
    struct call call = {.bits = bits,
                        .passphrase = passphrase,
                        .pem = out_pem,
                        .public_key = out_public_key,
                        .fingerprint = out_fingerprint,
                        .error = out_error};
    *out_pem = (struct sf_secret){0};
    err_clear(out_error);
    if (!sf_secret_call(make, &call, out_error))
        return false;
    if (call.is_made)
        return true;
    sf_secret_deinit(out_pem);
    return err_is_set(out_error) ? false : err_set(out_error, ERR_INTERNAL, "", "the private key could not be made");
}

// The private key: what loads, what is refused with which line, what a token holds, and that no part of the key is
// outside the secure heap, also not while tokens are signed.
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "sinks/snowflake/sf_key.h"

// ---- keys of this run

static EVP_PKEY *pkey;
static char folder[] = "/tmp/test_sf_key.XXXXXX";

static void path_of(const char *name, char out[128])
{
    snprintf(out, 128, "%s/%s", folder, name);
}

static void write_file(const char *name, const void *data, size_t size)
{
    char path[128];
    path_of(name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), size);
    close(fd);
}

static char *pem_of(EVP_PKEY *key, const EVP_CIPHER *cipher, const char *passphrase, bool is_traditional)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int size = passphrase == NULL ? 0 : (int)strlen(passphrase);
    const unsigned char *text = (const unsigned char *)passphrase;
    if (is_traditional)
        assert_int_equal(PEM_write_bio_PrivateKey_traditional(bio, key, cipher, text, size, NULL, NULL), 1);
    else
        assert_int_equal(PEM_write_bio_PrivateKey(bio, key, cipher, text, size, NULL, NULL), 1);
    char *data = NULL;
    long data_size = BIO_get_mem_data(bio, &data);
    char *pem = strndup(data, (size_t)data_size);
    BIO_free(bio);
    return pem;
}

static char *public_pem_of(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
    char *data = NULL;
    long data_size = BIO_get_mem_data(bio, &data);
    char *pem = strndup(data, (size_t)data_size);
    BIO_free(bio);
    return pem;
}

static int set_up(void **state)
{
    (void)state;
    struct err error;
    if (!sf_key_process_init(&error)) {
        print_error("%s\n", error.text);
        return -1;
    }
    pkey = EVP_RSA_gen(2048);
    return pkey == NULL || mkdtemp(folder) == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    EVP_PKEY_free(pkey);
    static const char *const names[] = {"key.pem", "needles"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128];
        path_of(names[i], path);
        unlink(path);
    }
    return rmdir(folder);
}

static void assert_loads(const char *pem, const char *passphrase)
{
    struct err error = {0};
    struct sf_key *key = sf_key_load(pem, strlen(pem), passphrase, "file x.pem", &error);
    assert_string_equal(error.text, "");
    assert_non_null(key);
    sf_key_free(key);
}

static void assert_refused(const char *pem, const char *passphrase, const char *part)
{
    struct err error = {0};
    assert_null(sf_key_load(pem, strlen(pem), passphrase, "file x.pem", &error));
    assert_int_equal(error.kind, ERR_CONFIG);
    assert_non_null(strstr(error.text, "file x.pem"));
    if (strstr(error.text, part) == NULL)
        fail_msg("'%s' lacks '%s'", error.text, part);
    if (passphrase != NULL)
        assert_null(strstr(error.text, passphrase));
}

// ---- loading

static void test_every_form_of_pem_loads(void **state)
{
    (void)state;
    struct {
        const EVP_CIPHER *cipher;
        const char *passphrase;
        bool is_traditional;
    } forms[] = {{NULL, NULL, false},
                 {NULL, NULL, true},
                 {EVP_aes_256_cbc(), "open sesame", false},
                 {EVP_aes_128_cbc(), "open sesame", true},
                 {EVP_des_ede3_cbc(), "open sesame", false}};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        char *pem = pem_of(pkey, forms[i].cipher, forms[i].passphrase, forms[i].is_traditional);
        assert_loads(pem, forms[i].passphrase);
        if (forms[i].passphrase == NULL)
            assert_loads(pem, "not needed");
        free(pem);
    }
}

static void test_line_breaks_as_two_characters(void **state)
{
    (void)state;
    char *pem = pem_of(pkey, NULL, NULL, false);
    char *escaped = calloc(2, strlen(pem) + 1);
    size_t used = 0;
    for (const char *c = pem; *c != '\0'; c++) {
        if (*c == '\n')
            escaped[used++] = '\\';
        escaped[used++] = *c == '\n' ? 'n' : *c;
    }
    assert_loads(escaped, NULL);
    free(escaped);
    free(pem);
}

static void test_key_behind_a_certificate_is_found(void **state)
{
    (void)state;
    char *pem = pem_of(pkey, NULL, NULL, false);
    char *public_pem = public_pem_of(pkey);
    char *both = malloc(strlen(pem) + strlen(public_pem) + 1);
    memcpy(both, public_pem, strlen(public_pem));
    memcpy(both + strlen(public_pem), pem, strlen(pem) + 1);
    assert_loads(both, NULL);
    free(both);
    free(public_pem);
    free(pem);
}

static void test_wrong_passphrase_says_so(void **state)
{
    (void)state;
    char *modern = pem_of(pkey, EVP_aes_256_cbc(), "right", false);
    char *traditional = pem_of(pkey, EVP_aes_128_cbc(), "right", true);
    for (int i = 0; i < 20; i++) {  // now and then a wrong one decrypts to something with valid padding
        char wrong[32];
        snprintf(wrong, sizeof wrong, "wrong%d", i);
        assert_refused(modern, wrong, "the passphrase does not open");
        assert_refused(traditional, wrong, "the passphrase does not open");
    }
    assert_refused(modern, NULL, "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE");
    assert_refused(traditional, NULL, "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE");
    free(modern);
    free(traditional);
}

static void test_other_things_than_an_rsa_private_key_are_named(void **state)
{
    (void)state;
    char *public_pem = public_pem_of(pkey);
    assert_refused(public_pem, NULL, "public key");
    free(public_pem);

    EVP_PKEY *ec = EVP_EC_gen("P-256");
    char *ec_pem = pem_of(ec, NULL, NULL, false);
    assert_refused(ec_pem, NULL, "not RSA");
    free(ec_pem);
    ec_pem = pem_of(ec, NULL, NULL, true);
    assert_refused(ec_pem, NULL, "not RSA");
    free(ec_pem);
    EVP_PKEY_free(ec);

    EVP_PKEY *small = EVP_RSA_gen(1024);
    char *small_pem = pem_of(small, NULL, NULL, false);
    assert_refused(small_pem, NULL, "1024 bits");
    free(small_pem);
    EVP_PKEY_free(small);

    assert_refused("", NULL, "does not hold a private key in PEM form");
    assert_refused("hello\n", NULL, "does not hold a private key in PEM form");
    assert_refused("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", NULL, "certificate");
    assert_refused("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", NULL,
                   "ssh-keygen");

    char *pem = pem_of(pkey, NULL, NULL, false);
    pem[strlen(pem) / 2] ^= 1;
    char *cut = strndup(pem, strlen(pem) / 2);
    assert_refused(cut, NULL, "damaged");
    free(cut);
    free(pem);
}

// ---- the configured key

static struct sf_key *load_configured(const char *key_file, const char *key_env, const char *passphrase_env,
                                      struct err *out_error)
{
    struct sf_config config = {.key_file = (char *)(uintptr_t)key_file,
                               .key_env = (char *)(uintptr_t)key_env,
                               .passphrase_env = (char *)(uintptr_t)passphrase_env};
    *out_error = (struct err){0};
    return sf_key_load_configured(&config, out_error);
}

static void test_configured_file(void **state)
{
    (void)state;
    char path[128];
    path_of("key.pem", path);
    struct err error;
    assert_null(load_configured(path, NULL, NULL, &error));
    assert_int_equal(error.kind, ERR_CONFIG);
    assert_non_null(strstr(error.text, path));
    assert_non_null(strstr(error.text, "No such file"));
    assert_null(load_configured(folder, NULL, NULL, &error));
    assert_non_null(strstr(error.text, "directory"));

    char *pem = pem_of(pkey, EVP_aes_256_cbc(), "from outside", false);
    write_file("key.pem", pem, strlen(pem));
    free(pem);
    assert_null(load_configured(path, NULL, "TEST_PASSPHRASE_UNSET", &error));
    assert_non_null(strstr(error.text, "TEST_PASSPHRASE_UNSET"));
    setenv("TEST_PASSPHRASE", "from outside", 1);
    struct sf_key *key = load_configured(path, NULL, "TEST_PASSPHRASE", &error);
    assert_non_null(key);
    sf_key_free(key);

    char *junk = calloc(1, 20000);
    write_file("key.pem", junk, 20000);
    free(junk);
    assert_null(load_configured(path, NULL, NULL, &error));
    assert_non_null(strstr(error.text, "larger than any key"));
}

static void test_configured_variable_is_taken_out_of_the_environment(void **state)
{
    (void)state;
    struct err error;
    assert_null(load_configured(NULL, "TEST_KEY_UNSET", NULL, &error));
    assert_non_null(strstr(error.text, "TEST_KEY_UNSET"));
    char *pem = pem_of(pkey, NULL, NULL, false);
    setenv("TEST_KEY", pem, 1);
    for (int i = 0; i < 2; i++) {  // a second pipeline finds it as well
        struct sf_key *key = load_configured(NULL, "TEST_KEY", NULL, &error);
        assert_non_null(key);
        sf_key_free(key);
        assert_string_equal(getenv("TEST_KEY"), "");
    }
    assert_null(load_configured(NULL, NULL, NULL, &error));
    assert_non_null(strstr(error.text, "SNOWFLAKE_PRIVATE_KEY"));
    free(pem);
}

static void test_configured_credential(void **state)
{
    (void)state;
    struct err error;
    char *pem = pem_of(pkey, EVP_aes_256_cbc(), "words", false);
    char link_path[128];
    write_file("snowflake_private_key", pem, strlen(pem));
    write_file("snowflake_private_key_passphrase", "words\n", 6);
    setenv("CREDENTIALS_DIRECTORY", folder, 1);
    struct sf_key *key = load_configured(NULL, NULL, NULL, &error);
    assert_string_equal(error.text, "");
    assert_non_null(key);
    sf_key_free(key);
    unsetenv("CREDENTIALS_DIRECTORY");
    path_of("snowflake_private_key", link_path);
    unlink(link_path);
    path_of("snowflake_private_key_passphrase", link_path);
    unlink(link_path);
    free(pem);
}

// ---- tokens

static size_t decode_base64url(const char *text, size_t size, uint8_t *out)
{
    char padded[8192];
    assert_true(size < sizeof padded - 4);
    for (size_t i = 0; i < size; i++)
        padded[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
    size_t padding = (4 - size % 4) % 4;
    memset(padded + size, '=', padding);
    int count = EVP_DecodeBlock(out, (const unsigned char *)padded, (int)(size + padding));
    assert_true(count >= 0);
    return (size_t)count - padding;
}

static void test_token_holds_the_claims_and_a_valid_signature(void **state)
{
    (void)state;
    struct err error = {0};
    char *pem = pem_of(pkey, NULL, NULL, false);
    struct sf_key *key = sf_key_load(pem, strlen(pem), NULL, "x", &error);
    assert_non_null(key);
    assert_int_equal(strlen(sf_key_fingerprint(key)), 7 + 44);
    struct buf jwt;
    buf_init(&jwt, 1 << 16);
    buf_append_text(&jwt, "Bearer ");
    assert_true(sf_key_sign_jwt(key, "ORG-ACC", "O\"ME", "LOADER", 1700000000, 3540, &jwt, &error));
    const char *text = buf_text(&jwt) + 7;
    const char *dot = strchr(text, '.');
    const char *second = strchr(dot + 1, '.');
    assert_null(strchr(second + 1, '.'));
    uint8_t data[8192];
    size_t size = decode_base64url(dot + 1, (size_t)(second - dot - 1), data);
    json_t *claims = json_loadb((const char *)data, size, 0, NULL);
    char issuer[256];
    snprintf(issuer, sizeof issuer, "ORG-ACC.O\"ME.%s", sf_key_fingerprint(key));
    assert_string_equal(json_string_value(json_object_get(claims, "iss")), issuer);
    assert_string_equal(json_string_value(json_object_get(claims, "sub")), "ORG-ACC.O\"ME");
    assert_string_equal(json_string_value(json_object_get(claims, "scp")), "session:role:LOADER");
    assert_int_equal(json_integer_value(json_object_get(claims, "iat")), 1700000000);
    assert_int_equal(json_integer_value(json_object_get(claims, "exp")), 1700003540);
    json_decref(claims);

    size = decode_base64url(second + 1, strlen(second + 1), data);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestVerifyInit_ex(context, NULL, "SHA256", NULL, NULL, pkey, NULL), 1);
    assert_int_equal(EVP_DigestVerify(context, data, size, (const uint8_t *)text, (size_t)(second - text)), 1);
    EVP_MD_CTX_free(context);
    buf_deinit(&jwt);
    sf_key_free(key);
    free(pem);
}

static void test_process_is_closed(void **state)
{
    (void)state;
    struct rlimit limit;
    assert_int_equal(prctl(PR_GET_DUMPABLE), 0);
    assert_int_equal(getrlimit(RLIMIT_CORE, &limit), 0);
    assert_int_equal(limit.rlim_cur, 0);
    assert_int_equal(limit.rlim_max, 0);
}

// ---- the search of the process's memory

enum { NEEDLE_SIZE = 24, NEEDLE_COUNT_MAX = 128, MASK = 0x5a };

// The sanitizers' runtime keeps a copy of the environment as it was at the start, for its own options.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ENVIRONMENT_IS_COPIED 1
#elif defined(__has_feature)
#define ENVIRONMENT_IS_COPIED __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#else
#define ENVIRONMENT_IS_COPIED 0
#endif

// Kept masked, also in the file between the two processes, so that the search does not find itself.
static struct {
    uint8_t masked[NEEDLE_COUNT_MAX][NEEDLE_SIZE];
    char names[NEEDLE_COUNT_MAX][16];
    uint32_t count;
} needles;

static void add_needle(const char *name, const uint8_t *data)
{
    assert_true(needles.count < NEEDLE_COUNT_MAX);
    for (size_t i = 0; i < NEEDLE_SIZE; i++)
        needles.masked[needles.count][i] = data[i] ^ MASK;
    snprintf(needles.names[needles.count++], 16, "%s", name);
}

static void add_needles(const char *name, const uint8_t *data, size_t size)
{
    add_needle(name, data + 8);
    add_needle(name, data + size / 2 - NEEDLE_SIZE / 2);
    add_needle(name, data + size - NEEDLE_SIZE - 8);
}

static void collect_needles(const char *pem, const char *passphrase)
{
    static const char *const names[] = {OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
                                        OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
                                        OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        BIGNUM *number = NULL;
        uint8_t bytes[512];
        assert_int_equal(EVP_PKEY_get_bn_param(pkey, names[i], &number), 1);
        int size = BN_num_bytes(number);
        BN_bn2bin(number, bytes);
        add_needles(names[i], bytes, (size_t)size);
        BN_bn2lebinpad(number, bytes, size);  // as the limbs of a BIGNUM lie in memory
        add_needles(names[i], bytes, (size_t)size);
        BN_clear_free(number);
    }
    if (passphrase != NULL && !(ENVIRONMENT_IS_COPIED))
        add_needle("passphrase", (const uint8_t *)passphrase);
    // Of every line: a register that was stored holds 16 to 64 bytes from anywhere.
    for (const char *line = strchr(pem, '\n') + 1; strcspn(line, "\n") == 64; line += 65) {
        add_needle("PEM", (const uint8_t *)line + 8);
        add_needle("PEM", (const uint8_t *)line + 32);
    }
}

struct found {
    uint32_t outside, inside;
    char where[256];
};

// The address range of the mapping that the block lies in: the secure heap.
static void find_mapping(const void *block, uintptr_t *out_start, uintptr_t *out_end)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    assert_non_null(maps);
    char line[512];
    *out_start = *out_end = 0;
    while (fgets(line, sizeof line, maps) != NULL) {
        uintptr_t start = 0;
        uintptr_t end = 0;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &start, &end) == 2 && (uintptr_t)block >= start &&
            (uintptr_t)block < end) {
            *out_start = start;
            *out_end = end;
        }
    }
    fclose(maps);
    assert_true(*out_end != 0);
}

static bool is_needle_at(const uint8_t *data, uint32_t needle)
{
    for (size_t i = 0; i < NEEDLE_SIZE; i++)
        if ((data[i] ^ MASK) != needles.masked[needle][i])
            return false;
    return true;
}

// Not instrumented: it looks at every byte of the process.
__attribute__((no_sanitize("address", "undefined"))) static void search_block(const uint8_t *data, size_t size,
                                                                              uintptr_t address, bool is_inside,
                                                                              struct found *found)
{
    // By the first two bytes, so that a megabyte does not cost a comparison with every needle at every place.
    static bool is_first[1 << 16];
    static bool is_set;
    for (uint32_t k = 0; k < needles.count && !is_set; k++)
        is_first[(needles.masked[k][0] ^ MASK) << 8 | (needles.masked[k][1] ^ MASK)] = true;
    is_set = true;
    for (size_t i = 0; i + NEEDLE_SIZE <= size; i++) {
        if (!is_first[data[i] << 8 | data[i + 1]])
            continue;
        for (uint32_t k = 0; k < needles.count; k++) {
            if (!is_needle_at(data + i, k))
                continue;
            if (is_inside)
                found->inside++;
            else if (found->outside++ == 0)
                snprintf(found->where, sizeof found->where, "%s at %" PRIxPTR, needles.names[k], address + i);
        }
    }
}

static void search_memory(struct found *found)
{
    enum { BLOCK_SIZE = 1 << 20 };
    static uint8_t *block;
    if (block == NULL)
        block = malloc(BLOCK_SIZE);
    void *probe = OPENSSL_secure_malloc(32);
    uintptr_t secure_start = 0;
    uintptr_t secure_end = 0;
    find_mapping(probe, &secure_start, &secure_end);
    OPENSSL_secure_free(probe);
    FILE *maps = fopen("/proc/self/maps", "re");
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    assert_true(maps != NULL && memory >= 0);
    char line[512];
    while (fgets(line, sizeof line, maps) != NULL) {
        uintptr_t start = 0;
        uintptr_t end = 0;
        char mode[8] = "";
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s", &start, &end, mode) != 3 || strncmp(mode, "rw", 2) != 0 ||
            end - start > ((uintptr_t)1 << 32))  // a sanitizer's shadow
            continue;
        bool is_inside = start == secure_start;
        for (uintptr_t at = start; at < end; at += BLOCK_SIZE - NEEDLE_SIZE) {
            if ((uintptr_t)block < at + BLOCK_SIZE && at < (uintptr_t)block + BLOCK_SIZE)
                continue;  // our own copy
            size_t size = end - at < BLOCK_SIZE ? end - at : BLOCK_SIZE;
            ssize_t count = pread(memory, block, size, (off_t)at);
            if (count > 0)
                search_block(block, (size_t)count, at, is_inside, found);
            OPENSSL_cleanse(block, size);
        }
    }
    close(memory);
    fclose(maps);
}

static atomic_bool is_signing;

static void *sign_on(void *context)
{
    struct buf jwt;
    buf_init(&jwt, 1 << 16);
    while (atomic_load(&is_signing)) {
        struct err error;
        buf_reset(&jwt);
        if (!sf_key_sign_jwt(context, "A", "U", NULL, 1700000000, 3600, &jwt, &error))
            abort();
    }
    buf_deinit(&jwt);
    return NULL;
}

static bool report(const char *when, const struct found *found)
{
    if (found->outside > 0)
        fprintf(stderr, "%s: %u places outside the secure heap, first %s\n", when, found->outside, found->where);
    return found->outside == 0;
}

// The second process: loads the key, signs, and searches itself before, while and after.
static int search_main(const char *key_path, const char *needle_path)
{
    struct err error = {0};
    FILE *file = fopen(needle_path, "re");
    if (!sf_key_process_init(&error) || file == NULL || fread(&needles, sizeof needles, 1, file) != 1)
        return 2;
    fclose(file);
    prctl(PR_SET_DUMPABLE, 1);  // else only root could open /proc/self/mem
    struct sf_config config = {.key_file = (char *)(uintptr_t)key_path, .passphrase_env = (char *)"TEST_PASSPHRASE"};
    if (strcmp(key_path, "environment") == 0)
        config = (struct sf_config){.key_env = (char *)"TEST_PEM", .passphrase_env = (char *)"TEST_PASSPHRASE"};
    struct sf_key *key = sf_key_load_configured(&config, &error);
    if (key == NULL) {
        fprintf(stderr, "%s\n", error.text);
        return 2;
    }
    struct found found = {0};
    search_memory(&found);
    bool is_good = report("loaded", &found);
    is_good = is_good && found.inside > 0;  // else the search finds nothing at all

    atomic_store(&is_signing, true);
    pthread_t thread;
    pthread_create(&thread, NULL, sign_on, key);
    found = (struct found){0};
    for (int i = 0; i < 4; i++)
        search_memory(&found);
    atomic_store(&is_signing, false);
    pthread_join(thread, NULL);
    is_good = report("signing", &found) && is_good;

    found = (struct found){0};
    search_memory(&found);
    is_good = report("signed", &found) && found.inside > 0 && is_good;
    sf_key_free(key);
    found = (struct found){0};
    search_memory(&found);
    // What came from the environment stays for whoever names it next, in the secure heap.
    is_good = report("freed", &found) && (found.inside == 0 || getenv("TEST_KEEPS") != NULL) && is_good;
    return is_good ? 0 : 1;
}

static const char *program;

static void search_in_second_process(const EVP_CIPHER *cipher, const char *passphrase, bool is_traditional,
                                     bool is_in_environment)
{
    char *plain = pem_of(pkey, NULL, NULL, is_traditional);
    needles.count = 0;
    collect_needles(plain, passphrase);
    free(plain);
    write_file("needles", &needles, sizeof needles);
    char *pem = pem_of(pkey, cipher, passphrase, is_traditional);
    write_file("key.pem", pem, strlen(pem));
    char key_path[128];
    char needle_path[128];
    path_of("key.pem", key_path);
    path_of("needles", needle_path);
    setenv("TEST_PASSPHRASE", passphrase == NULL ? "unused" : passphrase, 1);
    setenv("TEST_PEM", is_in_environment ? pem : "", 1);
    if (is_in_environment || passphrase != NULL)
        setenv("TEST_KEEPS", "yes", 1);
    else
        unsetenv("TEST_KEEPS");
    free(pem);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        execl(program, program, "search", is_in_environment ? "environment" : key_path, needle_path, (char *)NULL);
        _exit(3);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_key_is_nowhere_but_in_the_secure_heap(void **state)
{
    (void)state;
    static const char passphrase[] = "open sesame, open sesame, open sesame";
    bool is_in_environment = !(ENVIRONMENT_IS_COPIED);
    search_in_second_process(NULL, NULL, false, false);
    search_in_second_process(NULL, NULL, true, is_in_environment);
    search_in_second_process(EVP_aes_256_cbc(), passphrase, false, false);
    search_in_second_process(EVP_aes_128_cbc(), passphrase, true, is_in_environment);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "search") == 0)
        return search_main(argv[2], argv[3]);
    program = argv[0];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_form_of_pem_loads),
        cmocka_unit_test(test_line_breaks_as_two_characters),
        cmocka_unit_test(test_key_behind_a_certificate_is_found),
        cmocka_unit_test(test_wrong_passphrase_says_so),
        cmocka_unit_test(test_other_things_than_an_rsa_private_key_are_named),
        cmocka_unit_test(test_configured_file),
        cmocka_unit_test(test_configured_variable_is_taken_out_of_the_environment),
        cmocka_unit_test(test_configured_credential),
        cmocka_unit_test(test_token_holds_the_claims_and_a_valid_signature),
        cmocka_unit_test(test_process_is_closed),
        cmocka_unit_test(test_key_is_nowhere_but_in_the_secure_heap),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

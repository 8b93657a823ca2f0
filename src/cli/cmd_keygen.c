#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/command.h"
#include "cli/prompt.h"
#include "sinks/snowflake/sf_key.h"
#include "sinks/snowflake/sf_keygen.h"

enum { KEYGEN_BITS, KEYGEN_PASSPHRASE_ENV, KEYGEN_NO_PASSPHRASE, KEYGEN_USER, KEYGEN_HELP, KEYGEN_OPTION_COUNT };

static const struct option_spec options[KEYGEN_OPTION_COUNT] = {
    [KEYGEN_BITS] = {"bits", NULL, OPTION_CHOICE, "N", "2048", 0, 0, "2048|3072|4096", "size of the RSA key"},
    [KEYGEN_PASSPHRASE_ENV] = {"passphrase-env", NULL, OPTION_TEXT, "VARIABLE", NULL, 0, 0, NULL,
                               "environment variable that holds the passphrase; without it "
                               "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE,\nor what is typed when asked"},
    [KEYGEN_NO_PASSPHRASE] = {"no-passphrase", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL,
                              "leave the key unencrypted: whoever can read the file can sign in"},
    [KEYGEN_USER] = {"user", NULL, OPTION_TEXT, "NAME", "ETL", 0, 0, NULL, "Snowflake's user, for the statement shown"},
    [KEYGEN_HELP] = {"help", NULL, OPTION_FLAG, NULL, NULL, 0, 0, NULL, "this text"},
};

static bool ask_passphrase(struct sf_secret *out, struct err *out_error)
{
    struct sf_secret again = {0};
    if (!prompt_secret("Passphrase for the new key: ", out, out_error))
        return false;
    bool is_same = prompt_secret("The same again: ", &again, out_error);
    if (is_same && (again.size != out->size || memcmp(again.text, out->text, out->size) != 0))
        is_same = err_set(out_error, ERR_CONFIG, "passphrase", "the two passphrases differ; no key was made");
    sf_secret_deinit(&again);
    return is_same;
}

// out->text stays NULL where none is wanted.
static bool get_passphrase(const struct option_value *values, struct sf_secret *out, struct err *out_error)
{
    const char *name = values[KEYGEN_PASSPHRASE_ENV].text;
    *out = (struct sf_secret){0};
    if (values[KEYGEN_NO_PASSPHRASE].flag)
        return name == NULL || err_set(out_error, ERR_CONFIG, "usage",
                                       "--no-passphrase and --passphrase-env exclude each other; give one of them");
    if (!sf_secret_read_variable(name != NULL ? name : SF_PASSPHRASE_VARIABLE, out, out_error))
        return false;
    if (out->text == NULL && name != NULL)
        return err_set(out_error, ERR_CONFIG, "passphrase", "the environment variable %s is not set or empty", name);
    if (out->text == NULL && !prompt_has_terminal())
        return err_set(
            out_error, ERR_CONFIG, "passphrase",
            "there is no passphrase and no terminal to ask at; put it into the environment variable %s, name "
            "another with --passphrase-env, or say --no-passphrase",
            SF_PASSPHRASE_VARIABLE);
    if (out->text == NULL && !ask_passphrase(out, out_error))
        return false;
    return out->size >= SF_KEYGEN_PASSPHRASE_MIN ||
           err_set(out_error, ERR_CONFIG, "passphrase", "the passphrase has %zu characters; %d or more are allowed",
                   out->size, SF_KEYGEN_PASSPHRASE_MIN);
}

static bool write_all(int fd, const struct sf_secret *pem)
{
    for (size_t used = 0; used < pem->size;) {
        ssize_t count = write(fd, pem->text + used, pem->size - used);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        used += (size_t)count;
    }
    return fsync(fd) == 0;
}

// A file that is there is never written over: it may be the only copy of a key that is in use.
static bool write_file(const char *path, const struct sf_secret *pem, struct err *out_error)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0 && errno == EEXIST)
        return err_set(out_error, ERR_CONFIG, "file_exists",
                       "%s exists and is left as it is; name another file, or move that one away", path);
    if (fd < 0)
        return err_set(out_error, ERR_CONFIG, "file", "%s cannot be made: %s", path, strerror(errno));
    bool is_written = write_all(fd, pem);
    int cause = errno;
    close(fd);
    if (is_written)
        return true;
    unlink(path);
    return err_set(out_error, ERR_INTERNAL, "file", "%s cannot be written: %s", path, strerror(cause));
}

static void print_outcome(const struct option_value *values, const char *path, struct buf *public_key,
                          const char *fingerprint)
{
    bool is_plain = values[KEYGEN_NO_PASSPHRASE].flag;
    if (is_plain)
        fprintf(stderr, "etl-stream: warning: the key is not encrypted: whoever can read %s can sign in with it\n",
                path);
    printf("private key   %s (RSA %s, %s, readable by its owner only)\n", path, values[KEYGEN_BITS].text,
           is_plain ? "not encrypted" : "encrypted");
    printf("fingerprint   %s\n\n", fingerprint);
    printf("Tell Snowflake the public key:\n\n  ALTER USER \"%s\" SET RSA_PUBLIC_KEY = '%s';\n",
           values[KEYGEN_USER].text, buf_text(public_key));
}

static int make(const struct option_value *values, const char *path, struct err *out_error)
{
    struct sf_secret passphrase = {0}, pem = {0};
    struct buf public_key;
    char fingerprint[80];
    uint32_t bits = values[KEYGEN_BITS].text[0] == '4' ? 4096 : values[KEYGEN_BITS].text[0] == '3' ? 3072 : 2048;
    buf_init(&public_key, 16 * 1024);
    bool is_done =
        sf_key_process_init(out_error) && get_passphrase(values, &passphrase, out_error) &&
        sf_keygen(bits, passphrase.text != NULL ? &passphrase : NULL, &pem, &public_key, fingerprint, out_error) &&
        write_file(path, &pem, out_error);
    sf_secret_deinit(&passphrase);
    sf_secret_deinit(&pem);
    if (is_done)
        print_outcome(values, path, &public_key, fingerprint);
    buf_deinit(&public_key);
    if (is_done)
        return EXIT_DONE;
    return command_fail(out_error, out_error->kind == ERR_CONFIG ? EXIT_USAGE : EXIT_FAILED);
}

static int run(const struct command *command, int count, char *const *arguments)
{
    struct option_value values[COMMAND_OPTIONS_MAX];
    const char *path = NULL;
    size_t operand_count = 0;
    int exit_code = EXIT_DONE;
    struct err error = {0};
    if (!command_parse(command, count, arguments, values, &path, 1, &operand_count, &exit_code))
        return exit_code;
    if (path == NULL) {
        err_set(&error, ERR_CONFIG, "usage",
                "keygen needs the FILE that the key goes to; etl-stream help keygen shows how");
        return command_fail(&error, EXIT_USAGE);
    }
    return make(values, path, &error);
}

const struct command command_keygen = {
    .name = "keygen",
    .summary = "make a private key for Snowflake",
    .usage = "keygen FILE [OPTION…]",
    .details = "Writes an RSA key in PEM (PKCS#8, encrypted) to FILE, which must not exist, and prints the statement "
               "that tells\n"
               "Snowflake its public half. The key is made in locked memory and is nowhere else than in that file.\n\n"
               "Example:\n"
               "  etl-stream keygen /etc/etl-stream/key.p8 --user ETL\n",
    .options = options,
    .option_count = KEYGEN_OPTION_COUNT,
    .run = run,
};

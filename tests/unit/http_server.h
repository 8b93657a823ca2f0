// Starts http_server.py for a test, with certificates that are made for the run. For one test program: all static.
#ifndef ETL_TEST_UNIT_HTTP_SERVER_H
#define ETL_TEST_UNIT_HTTP_SERVER_H

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"

struct http_server {
    pid_t process;
    int stdin_fd;
    char directory[64];
    char ca_file[128];        // trusts the server
    char other_ca_file[128];  // trusts the one with the wrong name
    int tls_port;
    int plain_port;
    int wrong_name_port;
    int old_tls_port;
    int silent_port;
};

static void http_server_add_extension(X509 *certificate, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    CHECK(extension != NULL && X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

// Self-signed: its own authority.
static void http_server_make_certificate(const char *certificate_file, const char *key_file, const char *names)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    CHECK(key != NULL && certificate != NULL);
    CHECK(X509_set_version(certificate, 2) == 1);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), (long)getpid());
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    CHECK(X509_set_pubkey(certificate, key) == 1);
    X509_NAME *name = X509_get_subject_name(certificate);
    CHECK(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)names, -1, -1, 0) == 1);
    CHECK(X509_set_issuer_name(certificate, name) == 1);
    http_server_add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE");
    http_server_add_extension(certificate, NID_subject_alt_name, names);
    CHECK(X509_sign(certificate, key, EVP_sha256()) > 0);
    FILE *file = fopen(certificate_file, "w");
    CHECK(file != NULL && PEM_write_X509(file, certificate) == 1 && fclose(file) == 0);
    file = fopen(key_file, "w");
    CHECK(file != NULL && PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(file) == 0);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void http_server_start(struct http_server *server)
{
    *server = (struct http_server){.directory = "/tmp/etl-http-XXXXXX"};
    CHECK(mkdtemp(server->directory) != NULL);
    char key_file[128];
    char other_key_file[128];
    snprintf(server->ca_file, sizeof server->ca_file, "%s/certificate.pem", server->directory);
    snprintf(key_file, sizeof key_file, "%s/key.pem", server->directory);
    snprintf(server->other_ca_file, sizeof server->other_ca_file, "%s/other-certificate.pem", server->directory);
    snprintf(other_key_file, sizeof other_key_file, "%s/other-key.pem", server->directory);
    http_server_make_certificate(server->ca_file, key_file, "IP:127.0.0.1");
    http_server_make_certificate(server->other_ca_file, other_key_file, "DNS:other.test");

    const char *root = getenv("SOURCE_ROOT");
    char script[512];
    snprintf(script, sizeof script, "%s/tests/unit/http_server.py", root != NULL ? root : ".");
    int to_server[2];
    int from_server[2];
    CHECK(pipe2(to_server, O_CLOEXEC) == 0 && pipe2(from_server, O_CLOEXEC) == 0);
    server->process = fork();
    CHECK(server->process >= 0);
    if (server->process == 0) {
        dup2(to_server[0], STDIN_FILENO);
        dup2(from_server[1], STDOUT_FILENO);
        execlp("python3", "python3", script, server->ca_file, key_file, server->other_ca_file, other_key_file,
               (char *)NULL);
        _exit(127);
    }
    close(to_server[0]);
    close(from_server[1]);
    server->stdin_fd = to_server[1];
    FILE *told = fdopen(from_server[0], "r");
    CHECK(told != NULL);
    CHECK(fscanf(told, "%d %d %d %d %d", &server->tls_port, &server->plain_port, &server->wrong_name_port,
                 &server->old_tls_port, &server->silent_port) == 5);
    fclose(told);
}

static void http_server_stop(struct http_server *server)
{
    close(server->stdin_fd);
    kill(server->process, SIGTERM);
    waitpid(server->process, NULL, 0);
    static const char *const files[] = {"certificate.pem", "key.pem", "other-certificate.pem", "other-key.pem"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", server->directory, files[i]);
        unlink(path);
    }
    rmdir(server->directory);
}

#endif

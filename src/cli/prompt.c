#include "cli/prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <termios.h>
#include <unistd.h>

#define TERMINAL "/dev/tty"
#define ANSWER_SIZE_MAX 1024

bool prompt_has_terminal(void)
{
    int fd = open(TERMINAL, O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

bool prompt_is_possible(void)
{
    return isatty(STDIN_FILENO) == 1;
}

// Where no terminal belongs to the process (a container), the one at standard input.
static int open_terminal(void)
{
    int fd = open(TERMINAL, O_RDWR | O_CLOEXEC | O_NOCTTY);
    return fd >= 0 || !prompt_is_possible() ? fd : fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
}

static void write_text(int fd, const char *text)
{
    size_t size = strlen(text);
    while (size > 0) {
        ssize_t count = write(fd, text, size);
        if (count <= 0)
            return;  // nobody can be told
        text += count;
        size -= (size_t)count;
    }
}

// Byte by byte up to the line's end, so that nothing stays in a buffer of ours.
static bool read_line(int fd, struct sf_secret *secret, size_t size_max)
{
    secret->size = 0;
    for (;;) {
        char byte = 0;
        ssize_t count = read(fd, &byte, 1);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        if (byte == '\n' || byte == '\r')
            break;
        if (secret->size == size_max)
            return false;
        secret->text[secret->size++] = byte;
    }
    secret->text[secret->size] = '\0';
    return true;
}

bool prompt_secret(const char *question, struct sf_secret *out_secret, struct err *out_error)
{
    static const char blank[ANSWER_SIZE_MAX];
    struct termios before, silent;
    *out_secret = (struct sf_secret){0};
    int fd = open_terminal();
    if (fd < 0)
        return err_set(out_error, ERR_CONFIG, "no_terminal", "there is no terminal to ask at");
    bool is_read = tcgetattr(fd, &before) == 0 && sf_secret_copy(blank, sizeof blank, out_secret, out_error);
    if (is_read) {
        silent = before;
        silent.c_lflag &= ~(tcflag_t)ECHO;
        silent.c_lflag |= ICANON | ISIG;
        is_read = tcsetattr(fd, TCSAFLUSH, &silent) == 0;  // before the question: what is typed after it counts
        write_text(fd, question);
        is_read = is_read && read_line(fd, out_secret, sizeof blank);
        (void)tcsetattr(fd, TCSAFLUSH, &before);
        write_text(fd, "\n");
    }
    close(fd);
    if (is_read)
        return true;
    sf_secret_deinit(out_secret);
    return err_set(out_error, ERR_CONFIG, "no_answer", "nothing was typed at the terminal, or more than %d characters",
                   ANSWER_SIZE_MAX);
}

bool prompt_secret_or_line(const char *question, struct sf_secret *out_secret, struct err *out_error)
{
    static const char blank[ANSWER_SIZE_MAX];
    *out_secret = (struct sf_secret){0};
    if (prompt_is_possible()) {
        if (!prompt_secret(question, out_secret, out_error))
            return false;
    } else {
        if (!sf_secret_copy(blank, sizeof blank, out_secret, out_error))
            return false;
        (void)read_line(STDIN_FILENO, out_secret, sizeof blank);  // the last line may end without a break
        out_secret->text[out_secret->size] = '\0';
    }
    if (out_secret->size > 0)
        return true;
    sf_secret_deinit(out_secret);
    return err_set(out_error, ERR_CONFIG, "no_answer",
                   "%snothing was given, at a terminal or as a line of standard input", question);
}

bool prompt_yes(const char *question)
{
    char answer[8] = "";
    size_t size = 0;
    fprintf(stderr, "%s [y/N] ", question);
    for (char byte = 0; read(STDIN_FILENO, &byte, 1) == 1 && byte != '\n' && byte != '\r';)
        if (size + 1 < sizeof answer)
            answer[size++] = byte;
    return strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0;
}

#include "cli/prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
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
    int fd = open(TERMINAL, O_RDWR | O_CLOEXEC | O_NOCTTY);
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

#include "pipeline/marks.h"

#include <string.h>

#define FORM_SIZE 128

// The next word from *cursor on, and how long it is; NULL at the end.
static const char *next_word(const char **cursor, size_t *out_size)
{
    const char *word = *cursor + strspn(*cursor, " ");
    *out_size = strcspn(word, " ");
    *cursor = word + *out_size;
    return *out_size > 0 ? word : NULL;
}

static size_t key_size(const char *word, size_t size)
{
    const char *equals = memchr(word, '=', size);
    return equals != NULL ? (size_t)(equals - word) + 1 : size;
}

static const char *find(const char *marks, const char *key, size_t size, size_t *out_size)
{
    const char *word;
    while ((word = next_word(&marks, out_size)) != NULL)
        if (key_size(word, *out_size) == size && memcmp(word, key, size) == 0)
            return word;
    return NULL;
}

bool marks_value(const char *marks, const char *key, char *out, size_t out_size)
{
    size_t size, skip = strlen(key);
    const char *word = find(marks, key, skip, &size);
    if (word == NULL || size - skip >= out_size)
        return false;
    memcpy(out, word + skip, size - skip);
    out[size - skip] = '\0';
    return true;
}

bool marks_have_same_form(const char *known, const char *now)
{
    static const char *const keys[] = {"s=", "i="};
    char then[FORM_SIZE], since[FORM_SIZE];
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (known == NULL || !marks_value(known, keys[i], then, sizeof then) ||
            !marks_value(now, keys[i], since, sizeof since) || strcmp(then, since) != 0)
            return false;
    return true;
}

static bool is_same_value(const char *known, size_t known_size, const char *now, size_t now_size)
{
    // A part that is there already need not be a fresh one any more.
    known_size -= known[known_size - 1] == '+';
    now_size -= now[now_size - 1] == '+';
    // A catalog of before has a partition's file and not its place.
    const char *known_place = memchr(known, '.', known_size), *now_place = memchr(now, '.', now_size);
    if (known[0] == 'p' && (known_place == NULL) != (now_place == NULL)) {
        known_size = known_place != NULL ? (size_t)(known_place - known) : known_size;
        now_size = now_place != NULL ? (size_t)(now_place - now) : now_size;
    }
    return known_size == now_size && memcmp(known, now, now_size) == 0;
}

static bool has_changed(const char *known, const char *now, const char *key)
{
    size_t known_size, now_size;
    const char *a = find(known, key, strlen(key), &known_size), *b = find(now, key, strlen(key), &now_size);
    return a != NULL && b != NULL && !is_same_value(a, known_size, b, now_size);
}

// Some part of that kind went, changed, or came in a way that may have brought rows with it.
static bool have_parts_changed(const char *known, const char *now, char kind)
{
    size_t size, other_size;
    const char *cursor = known, *word;
    while ((word = next_word(&cursor, &size)) != NULL) {
        if (word[0] != kind || word[1] == '=')
            continue;
        const char *other = find(now, word, key_size(word, size), &other_size);
        if (other == NULL || !is_same_value(word, size, other, other_size))
            return true;
    }
    cursor = now;
    while ((word = next_word(&cursor, &size)) != NULL)
        if (word[0] == kind && word[1] != '=' && word[size - 1] != '+' &&
            find(known, word, key_size(word, size), &other_size) == NULL)
            return true;
    return false;
}

// What begins to be sent was not sent before. What ends being sent is missing from now on, which no copy would mend.
// An entry that was written anew and says what it said may have said something else in between; where an option or the owner is
// another one, that is why it was written.
static bool may_have_left_out(const char *known, const char *now, const char **out_why)
{
    size_t known_size, now_size;
    const char *a = find(known, "o=", 2, &known_size), *b = find(now, "o=", 2, &now_size);
    if (a == NULL || b == NULL)
        return false;
    const char *known_end = memchr(a, '.', known_size), *now_end = memchr(b, '.', now_size);
    if (known_end == NULL || now_end == NULL)
        return false;
    for (const char *operation = b + 2; operation < now_end; operation++)
        if (memchr(a, *operation, (size_t)(known_end - a)) == NULL) {
            *out_why = "its publication sends operations that it left out before (publish): changes are missing";
            return true;
        }
    if (!has_changed(known, now, "o="))
        return false;
    known_size = (size_t)((const char *)memrchr(a, '.', known_size) - a);
    now_size = (size_t)((const char *)memrchr(b, '.', now_size) - b);
    if (known_size != now_size || memcmp(a, b, now_size) != 0)
        return false;
    *out_why = "its publication was altered and altered back: changes may be missing in between";
    return true;
}

enum marks_change marks_compare(const char *known, const char *now, const char **out_why)
{
    *out_why = "";
    if (known[strspn(known, " ")] == '\0' || strcmp(known, now) == 0)
        return MARKS_SAME;
    if (has_changed(known, now, "m=")) {
        *out_why =
            "its place, row filter or column list in the publication is another one: changes may be missing in between";
        return MARKS_MEMBERSHIP;
    }
    if (may_have_left_out(known, now, out_why))
        return MARKS_LEFT_OUT;
    if (has_changed(known, now, "i=")) {
        *out_why = "its replica identity or primary key, or a partition's, changed";
        return MARKS_IDENTITY;
    }
    if (have_parts_changed(known, now, 'p')) {
        *out_why = "partitions were attached, detached, truncated or rewritten, which sends no rows";
        return MARKS_PARTITIONS;
    }
    if (have_parts_changed(known, now, 'e')) {
        *out_why = "a label of an enum was renamed, which changes rows without sending them";
        return MARKS_LABELS;
    }
    if (has_changed(known, now, "f=") && has_changed(known, now, "a=")) {
        *out_why = "it was rewritten (a column's type or values changed), which sends no rows";
        return MARKS_REWRITTEN;
    }
    if (has_changed(known, now, "f=") && has_changed(known, now, "u=")) {
        *out_why = "it was written anew as SET UNLOGGED and SET LOGGED do: changes may be missing in between";
        return MARKS_REWRITTEN;
    }
    if (has_changed(known, now, "h=")) {
        *out_why = "it was not a partition in between: changes may be missing";
        return MARKS_MEMBERSHIP;
    }
    if (has_changed(known, now, "d=")) {
        *out_why = "it came from another schema: changes may be missing in between";
        return MARKS_MEMBERSHIP;
    }
    // May be followed in place, so whatever may have left changes out comes before it.
    if (has_changed(known, now, "s=")) {
        *out_why = "its columns or its name changed";
        return MARKS_SHAPE;
    }
    return MARKS_SAME;
}

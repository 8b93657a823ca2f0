#include "encode/datetime.h"

#include <string.h>

#define DAYS_FROM_1970_TO_2000 10957
#define DATE_FIRST (-730119)  // 0001-01-01, days from 2000-01-01
#define DATE_LAST 2921939     // 9999-12-31
#define SECOND_US INT64_C(1000000)

struct date {
    int64_t year;  // astronomical: 0 is 1 BC
    uint32_t month;
    uint32_t day;
};

// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years begin in March, eras have 400 years.
static struct date date_from_days(int64_t days)
{
    int64_t shifted = days + DAYS_FROM_1970_TO_2000 + 719468;
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    uint32_t day_of_era = (uint32_t)(shifted - era * 146097);
    uint32_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint32_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint32_t march_month = (5 * day_of_year + 2) / 153;
    struct date date = {
        .year = era * 400 + year_of_era,
        .month = march_month < 10 ? march_month + 3 : march_month - 9,
        .day = day_of_year - (153 * march_month + 2) / 5 + 1,
    };
    if (date.month <= 2)
        date.year++;
    return date;
}

static int64_t days_from_date(struct date date)
{
    int64_t year = date.month <= 2 ? date.year - 1 : date.year;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t march_month = date.month > 2 ? date.month - 3 : date.month + 9;
    int64_t day_of_year = (153 * march_month + 2) / 5 + date.day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468 - DAYS_FROM_1970_TO_2000;
}

static void split_timestamp(int64_t us, int64_t *out_days, int64_t *out_day_us)
{
    int64_t days = us / DATETIME_DAY_US;
    int64_t day_us = us % DATETIME_DAY_US;
    if (day_us < 0) {
        day_us += DATETIME_DAY_US;
        days--;
    }
    *out_days = days;
    *out_day_us = day_us;
}

bool datetime_date_fits(int32_t days)
{
    return days >= DATE_FIRST && days <= DATE_LAST;
}

bool datetime_timestamp_fits(int64_t us)
{
    return us >= DATE_FIRST * DATETIME_DAY_US && us < (DATE_LAST + 1) * DATETIME_DAY_US;
}

static void put_two(char *out, uint32_t number)
{
    out[0] = (char)('0' + number / 10);
    out[1] = (char)('0' + number % 10);
}

static size_t put_year(char *out, uint64_t year)
{
    if (year <= 9999) {
        put_two(out, (uint32_t)year / 100);
        put_two(out + 2, (uint32_t)year % 100);
        return 4;
    }
    char digits[20];
    size_t count = 0;
    for (; year != 0; year /= 10)
        digits[count++] = (char)('0' + year % 10);
    for (size_t i = 0; i < count; i++)
        out[i] = digits[count - 1 - i];
    return count;
}

static size_t put_date(char *out, struct date date)
{
    size_t size = put_year(out, (uint64_t)(date.year > 0 ? date.year : 1 - date.year));
    out[size] = '-';
    put_two(out + size + 1, date.month);
    out[size + 3] = '-';
    put_two(out + size + 4, date.day);
    return size + 6;
}

static size_t put_time(char *out, int64_t day_us)
{
    uint32_t seconds = (uint32_t)(day_us / SECOND_US);
    put_two(out, seconds / 3600);
    out[2] = ':';
    put_two(out + 3, seconds / 60 % 60);
    out[5] = ':';
    put_two(out + 6, seconds % 60);
    return 8;
}

static size_t put_fraction(char *out, int64_t day_us)
{
    uint32_t fraction = (uint32_t)(day_us % SECOND_US);
    out[0] = '.';
    put_two(out + 1, fraction / 10000);
    put_two(out + 3, fraction / 100 % 100);
    put_two(out + 5, fraction % 100);
    return 7;
}

size_t datetime_format_date(int32_t days, char *out)
{
    return put_date(out, date_from_days(days));
}

size_t datetime_format_time(int64_t us, char *out)
{
    size_t size = put_time(out, us);
    return size + put_fraction(out + size, us);
}

size_t datetime_format_timestamp(int64_t us, bool has_zone, char *out)
{
    int64_t days;
    int64_t day_us;
    split_timestamp(us, &days, &day_us);
    size_t size = put_date(out, date_from_days(days));
    out[size++] = ' ';
    size += datetime_format_time(day_us, out + size);
    if (has_zone)
        out[size++] = 'Z';
    return size;
}

static size_t put_text(char *out, const char *text)
{
    size_t size = strlen(text);
    memcpy(out, text, size);
    return size;
}

size_t datetime_print_date(int32_t days, char *out)
{
    if (days == DATETIME_DATE_INFINITY || days == INT32_MIN)
        return put_text(out, days > 0 ? "infinity" : "-infinity");
    struct date date = date_from_days(days);
    size_t size = put_date(out, date);
    return date.year > 0 ? size : size + put_text(out + size, " BC");
}

size_t datetime_print_time(int64_t us, char *out)
{
    size_t size = put_time(out, us);
    if (us % SECOND_US == 0)
        return size;
    size += put_fraction(out + size, us);
    while (out[size - 1] == '0')
        size--;
    return size;
}

size_t datetime_print_timestamp(int64_t us, bool has_zone, char *out)
{
    if (us == DATETIME_TIMESTAMP_INFINITY || us == INT64_MIN)
        return put_text(out, us > 0 ? "infinity" : "-infinity");
    int64_t days;
    int64_t day_us;
    split_timestamp(us, &days, &day_us);
    struct date date = date_from_days(days);
    size_t size = put_date(out, date);
    out[size++] = ' ';
    size += datetime_print_time(day_us, out + size);
    if (has_zone)
        size += put_text(out + size, "+00");
    if (date.year <= 0)
        size += put_text(out + size, " BC");
    return size;
}

// Cursor over a text. Each reader moves it only when it succeeds.
struct cursor {
    const uint8_t *at;
    const uint8_t *end;
};

static bool read_byte(struct cursor *cursor, uint8_t byte)
{
    if (cursor->at == cursor->end || *cursor->at != byte)
        return false;
    cursor->at++;
    return true;
}

static bool read_word(struct cursor *cursor, const char *word)
{
    size_t size = strlen(word);
    if ((size_t)(cursor->end - cursor->at) < size || memcmp(cursor->at, word, size) != 0)
        return false;
    cursor->at += size;
    return true;
}

static bool read_digits(struct cursor *cursor, size_t digits_min, size_t digits_max, uint32_t *out_number,
                        size_t *out_digits)
{
    uint32_t number = 0;
    size_t digits = 0;
    const uint8_t *at = cursor->at;
    for (; digits < digits_max && at < cursor->end && *at >= '0' && *at <= '9'; at++, digits++)
        number = number * 10 + (uint32_t)(*at - '0');
    if (digits < digits_min)
        return false;
    cursor->at = at;
    *out_number = number;
    if (out_digits != NULL)
        *out_digits = digits;
    return true;
}

static bool read_two(struct cursor *cursor, uint32_t number_max, uint32_t *out_number)
{
    return read_digits(cursor, 2, 2, out_number, NULL) && *out_number <= number_max;
}

// Y{4,7}-MM-DD; whether BC follows is told at the text's end, so the year is still positive.
static bool read_date(struct cursor *cursor, struct date *out_date)
{
    uint32_t year;
    if (!read_digits(cursor, 4, 7, &year, NULL) || year == 0 || !read_byte(cursor, '-') ||
        !read_two(cursor, 12, &out_date->month) || out_date->month == 0 || !read_byte(cursor, '-') ||
        !read_two(cursor, 31, &out_date->day) || out_date->day == 0)
        return false;
    out_date->year = year;
    return true;
}

// HH:MM:SS[.f{1,6}]
static bool read_time(struct cursor *cursor, int64_t *out_us)
{
    uint32_t hour;
    uint32_t minute;
    uint32_t second;
    uint32_t fraction = 0;
    if (!read_two(cursor, 24, &hour) || !read_byte(cursor, ':') || !read_two(cursor, 59, &minute) ||
        !read_byte(cursor, ':') || !read_two(cursor, 59, &second))
        return false;
    if (read_byte(cursor, '.')) {
        size_t digits;
        if (!read_digits(cursor, 1, 6, &fraction, &digits))
            return false;
        for (; digits < 6; digits++)
            fraction *= 10;
    }
    *out_us = ((int64_t)hour * 3600 + minute * 60 + second) * SECOND_US + fraction;
    return *out_us <= DATETIME_DAY_US;
}

// +HH[:MM[:SS]]: what local time is ahead of UTC
static bool read_zone(struct cursor *cursor, int64_t *out_us)
{
    uint32_t hour;
    uint32_t minute = 0;
    uint32_t second = 0;
    bool is_behind = read_byte(cursor, '-');
    if (!is_behind && !read_byte(cursor, '+'))
        return false;
    if (!read_two(cursor, 15, &hour))
        return false;
    if (read_byte(cursor, ':')) {
        if (!read_two(cursor, 59, &minute))
            return false;
        if (read_byte(cursor, ':') && !read_two(cursor, 59, &second))
            return false;
    }
    int64_t us = ((int64_t)hour * 3600 + minute * 60 + second) * SECOND_US;
    *out_us = is_behind ? -us : us;
    return true;
}

// The era and the end; the day must exist in its month.
static bool read_end(struct cursor *cursor, struct date *date, int64_t *out_days)
{
    if (read_word(cursor, " BC"))
        date->year = 1 - date->year;
    int64_t days = days_from_date(*date);
    struct date again = date_from_days(days);
    *out_days = days;
    return cursor->at == cursor->end && again.month == date->month && again.day == date->day;
}

static bool is_word(const uint8_t *text, size_t size, const char *word)
{
    return size == strlen(word) && memcmp(text, word, size) == 0;
}

bool datetime_parse_date(const uint8_t *text, size_t size, int32_t *out_days)
{
    if (is_word(text, size, "infinity") || is_word(text, size, "-infinity")) {
        *out_days = text[0] == '-' ? INT32_MIN : DATETIME_DATE_INFINITY;
        return true;
    }
    struct cursor cursor = {.at = text, .end = text + size};
    struct date date;
    int64_t days;
    if (!read_date(&cursor, &date) || !read_end(&cursor, &date, &days) || days <= INT32_MIN || days >= INT32_MAX)
        return false;
    *out_days = (int32_t)days;
    return true;
}

bool datetime_parse_time(const uint8_t *text, size_t size, int64_t *out_us)
{
    struct cursor cursor = {.at = text, .end = text + size};
    return read_time(&cursor, out_us) && cursor.at == cursor.end;
}

bool datetime_parse_timestamp(const uint8_t *text, size_t size, bool has_zone, int64_t *out_us)
{
    if (is_word(text, size, "infinity") || is_word(text, size, "-infinity")) {
        *out_us = text[0] == '-' ? INT64_MIN : DATETIME_TIMESTAMP_INFINITY;
        return true;
    }
    struct cursor cursor = {.at = text, .end = text + size};
    struct date date;
    int64_t day_us;
    int64_t ahead_us = 0;
    int64_t days;
    if (!read_date(&cursor, &date) || !read_byte(&cursor, ' ') || !read_time(&cursor, &day_us) ||
        (has_zone && !read_zone(&cursor, &ahead_us)) || !read_end(&cursor, &date, &days))
        return false;
    // PostgreSQL's own range ends in 294276; a text of seven digits could leave 64 bits.
    if (days < -2500000 || days > 106751985)
        return false;
    *out_us = days * DATETIME_DAY_US + day_us - ahead_us;
    return true;
}

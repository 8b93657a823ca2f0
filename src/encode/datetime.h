// Dates and times: PostgreSQL's binary form and its ISO text, to and from days and microseconds since 2000-01-01.
#ifndef ETL_ENCODE_DATETIME_H
#define ETL_ENCODE_DATETIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DATETIME_TEXT_SIZE_MAX 64
#define DATETIME_DAY_US INT64_C(86400000000)
#define DATETIME_DATE_INFINITY INT32_MAX  // and INT32_MIN for -infinity
#define DATETIME_TIMESTAMP_INFINITY INT64_MAX

// Snowflake's range, years 0001 to 9999.
bool datetime_date_fits(int32_t days);
bool datetime_timestamp_fits(int64_t us);

// Only for what fits. Each returns the size; no NUL. Always six digits of fraction.
size_t datetime_format_date(int32_t days, char *out);                    // 2026-11-23
size_t datetime_format_time(int64_t us, char *out);                      // 22:30:00.000000
size_t datetime_format_timestamp(int64_t us, bool has_zone, char *out);  // 2026-11-23 22:30:00.000000[Z]

// As PostgreSQL prints them with DateStyle ISO and TimeZone UTC, whatever the value: "infinity", "0044-03-15 BC".
size_t datetime_print_date(int32_t days, char *out);
size_t datetime_print_time(int64_t us, char *out);
size_t datetime_print_timestamp(int64_t us, bool has_zone, char *out);

// PostgreSQL's ISO text; strict. False if it is anything else.
bool datetime_parse_date(const uint8_t *text, size_t size, int32_t *out_days);
bool datetime_parse_time(const uint8_t *text, size_t size, int64_t *out_us);  // 24:00:00 is allowed
bool datetime_parse_timestamp(const uint8_t *text, size_t size, bool has_zone, int64_t *out_us);

#endif

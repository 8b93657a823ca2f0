// Floats as PostgreSQL (12 and newer) prints them: the shortest decimal that reads back as the same number.
#ifndef ETL_ENCODE_FLOAT_TEXT_H
#define ETL_ENCODE_FLOAT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLOAT_TEXT_SIZE_MAX 32

// value = digits * 10^exponent; digits has no trailing zeros unless it is 0.
struct float_decimal {
    uint64_t digits;
    int exponent;
};

// For finite numbers; the sign is ignored.
struct float_decimal float8_shortest(double number);
struct float_decimal float4_shortest(float number);
// Writes "1.5", "-0", "1e+20", "NaN", "Infinity", "-Infinity"; returns the size, no NUL.
size_t float8_format(double number, char out[FLOAT_TEXT_SIZE_MAX]);
size_t float4_format(float number, char out[FLOAT_TEXT_SIZE_MAX]);

#endif

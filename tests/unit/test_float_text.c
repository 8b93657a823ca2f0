#include <math.h>
#include <time.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "encode/float_powers.h"
#include "encode/float_text.h"

static uint64_t random_state;

static uint64_t random_next(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(0x2545F4914F6CDD1D);
}

static double double_of(uint64_t bits)
{
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static float float_of(uint32_t bits)
{
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static const char *text8(double number)
{
    static char text[FLOAT_TEXT_SIZE_MAX + 1];
    text[float8_format(number, text)] = '\0';
    return text;
}

static const char *text4(float number)
{
    static char text[FLOAT_TEXT_SIZE_MAX + 1];
    text[float4_format(number, text)] = '\0';
    return text;
}

static void forms_are_postgresqls(void **state)
{
    (void)state;
    assert_string_equal(text8(0), "0");
    assert_string_equal(text8(-0.0), "-0");
    assert_string_equal(text8(1), "1");
    assert_string_equal(text8(-1200), "-1200");
    assert_string_equal(text8(0.1), "0.1");
    assert_string_equal(text8(1.0 / 3), "0.3333333333333333");
    assert_string_equal(text8(123456.789), "123456.789");
    assert_string_equal(text8(1e14), "100000000000000");
    assert_string_equal(text8(1e15), "1e+15");
    assert_string_equal(text8(1e-4), "0.0001");
    assert_string_equal(text8(1.25e-5), "1.25e-05");
    assert_string_equal(text8(5e-324), "5e-324");
    assert_string_equal(text8(1.7976931348623157e308), "1.7976931348623157e+308");
    assert_string_equal(text8(2.2250738585072014e-308), "2.2250738585072014e-308");
    assert_string_equal(text8(1e23), "9.999999999999999e+22");  // the shorter one lies between two doubles
    assert_string_equal(text8((double)NAN), "NaN");
    assert_string_equal(text8((double)INFINITY), "Infinity");
    assert_string_equal(text8((double)-INFINITY), "-Infinity");
    assert_string_equal(text4(0.1F), "0.1");
    assert_string_equal(text4(1e6F), "1e+06");
    assert_string_equal(text4(999999), "999999");
    assert_string_equal(text4(3.4028235e38F), "3.4028235e+38");
    assert_string_equal(text4(1e-45F), "1e-45");
    assert_string_equal(text4((float)NAN), "NaN");
}

static void check_double(double number)
{
    char text[FLOAT_TEXT_SIZE_MAX + 1];
    text[float8_format(number, text)] = '\0';
    double again = strtod(text, NULL);
    if (memcmp(&number, &again, sizeof number) != 0)
        fail_msg("%a became %s (seed %s)", number, text, getenv("FLOAT_SEED"));
}

// No decimal with a digit less reads back as the same number, unless it lies on the edge between two numbers: PostgreSQL leaves ties out.
static void check_shortest(double number)
{
    char text[64];
    struct float_decimal decimal = float8_shortest(number);
    int digits = snprintf(NULL, 0, "%llu", (unsigned long long)decimal.digits);
    if (digits < 2)
        return;
    snprintf(text, sizeof text, "%.*e", digits - 2, number);
    double shorter = strtod(text, NULL);
    if (shorter != fabs(number) && shorter != number)
        return;
    long double middle = ((long double)number + (long double)nextafter(number, (double)INFINITY)) / 2;
    long double other = ((long double)number + (long double)nextafter(number, (double)-INFINITY)) / 2;
    long double exact = strtold(text, NULL);
    if (exact != middle && exact != other)
        fail_msg("%a: %s is shorter than %llu", number, text, (unsigned long long)decimal.digits);
}

static void doubles_read_back_the_same(void **state)
{
    (void)state;
    long count = getenv("FLOAT_COUNT") != NULL ? strtol(getenv("FLOAT_COUNT"), NULL, 10) : 2000000;
    for (long i = 0; i < count; i++) {
        double number = double_of(random_next());
        if (i % 3 == 1)
            number = (double)(int64_t)(random_next() % 1000000000000) / pow(10, (double)(random_next() % 12));
        if (!isfinite(number))
            continue;
        check_double(number);
        if (i % 16 == 0)
            check_shortest(number);
    }
}

// Powers of two have a closer lower neighbour; subnormals have fewer bits; both ends of each exponent.
static void edges_read_back_the_same(void **state)
{
    (void)state;
    for (uint64_t exponent = 0; exponent < 2047; exponent++) {
        for (uint64_t fraction = 0; fraction < 4; fraction++) {
            check_double(double_of(exponent << 52 | fraction));
            check_double(double_of(exponent << 52 | (UINT64_C(0xFFFFFFFFFFFFF) - fraction)));
        }
    }
    for (int exponent = -323; exponent <= 308; exponent++) {
        char text[32];
        snprintf(text, sizeof text, "1e%d", exponent);
        check_double(strtod(text, NULL));
    }
    for (uint64_t number = 1; number < 100000; number++)
        check_double((double)(number * UINT64_C(90071992547)));
}

static void floats_read_back_the_same(void **state)
{
    (void)state;
    char text[FLOAT_TEXT_SIZE_MAX + 1];
    for (uint64_t bits = 0; bits < UINT64_C(1) << 32; bits += 1999) {
        float number = float_of((uint32_t)bits);
        if (!isfinite(number))
            continue;
        text[float4_format(number, text)] = '\0';
        float again = strtof(text, NULL);
        assert_memory_equal(&number, &again, sizeof number);
        assert_true(strlen(text) <= 15);
    }
}

static void powers_double_and_halve_by_ten(void **state)
{
    (void)state;
    // 10^k * 10 = 10^(k+1) within the rounding of the last place, in 128 bits that are shifted by 3 or 4.
    for (int k = FLOAT_POWER_FIRST; k < FLOAT_POWER_LAST; k++) {
        struct float_power power = float_powers[k - FLOAT_POWER_FIRST];
        struct float_power next = float_powers[k + 1 - FLOAT_POWER_FIRST];
        assert_true(power.high >> 63 == 1);
        __uint128_t wide = ((__uint128_t)power.high << 64 | power.low) >> 4;
        __uint128_t tenfold = wide * 10;
        if ((tenfold + 512) >> 127 == 0)
            tenfold <<= 1;
        __uint128_t expected = (__uint128_t)next.high << 64 | next.low;
        __uint128_t difference = tenfold > expected ? tenfold - expected : expected - tenfold;
        assert_true(difference < 512);  // four bits were shifted out above
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_are_postgresqls),          cmocka_unit_test(doubles_read_back_the_same),
        cmocka_unit_test(edges_read_back_the_same),       cmocka_unit_test(floats_read_back_the_same),
        cmocka_unit_test(powers_double_and_halve_by_ten),
    };
    char seed[24];
    if (getenv("FLOAT_SEED") == NULL) {
        snprintf(seed, sizeof seed, "%lld", getenv("CI") != NULL ? 1795707344LL : (long long)time(NULL));
        setenv("FLOAT_SEED", seed, 1);
    }
    random_state = strtoull(getenv("FLOAT_SEED"), NULL, 10) | 1;
    printf("FLOAT_SEED=%s\n", getenv("FLOAT_SEED"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}

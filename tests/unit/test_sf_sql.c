// Statements: the request, results, polling, retries under one request id, and what Snowflake's errors become.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_snowflake.h"
#include "sinks/snowflake/sf_sql.h"

struct outcome {
    uint32_t done;
    struct err error;
    bool has_result;
    size_t rows, columns;
    char first[64];
    int name_column;
    struct sf_sql *again;  // runs another statement inside on_done
};

static const struct sf_sql_options quick = {.timeout_s = 30};
static const struct sf_sql_options slow = {.timeout_s = 600, .needs_warehouse = true, .query_tag = "a \"tag\""};

static void on_done(void *context, const struct sf_sql_result *result, const struct err *error)
{
    struct outcome *outcome = context;
    outcome->done++;
    outcome->has_result = result != NULL;
    outcome->error = (struct err){0};
    if (error != NULL)
        outcome->error = *error;
    if (result != NULL) {
        outcome->rows = result->row_count;
        outcome->columns = result->column_count;
        const char *first = sf_sql_value(result, 0, 0);
        snprintf(outcome->first, sizeof outcome->first, "%s", first == NULL ? "(null)" : first);
        outcome->name_column = sf_sql_column(result, "Name");
        assert_null(sf_sql_value(result, 99, 0));
        assert_null(sf_sql_value(result, 0, 99));
    }
    struct sf_sql *again = outcome->again;
    outcome->again = NULL;
    if (again != NULL)
        assert_true(sf_sql_run(again, "SELECT 2", &quick, on_done, outcome, &outcome->error));
}

static struct fake_snowflake fake;
static struct sf_sql *sql;
static struct outcome outcome;

static int set_up(void **state)
{
    (void)state;
    fake_snowflake_init(&fake, "?role=r&warehouse=wh");
    sql = sf_sql_new(fake.loop, fake.http, fake.auth, &fake.config);
    outcome = (struct outcome){0};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sf_sql_free(sql);
    fake_snowflake_deinit(&fake);
    return 0;
}

static void run(const char *statement, const struct sf_sql_options *options)
{
    struct err error = {0};
    assert_true(sf_sql_run(sql, statement, options, on_done, &outcome, &error));
    assert_true(sf_sql_is_busy(sql));
}

static const char result_text[] =
    "{\"code\":\"090001\",\"sqlState\":\"00000\",\"statementHandle\":\"h-1\",\"resultSetMetaData\":{\"numRows\":2,"
    "\"partitionInfo\":[{\"rowCount\":2}],\"rowType\":[{\"name\":\"created_on\"},{\"name\":\"name\"}]},"
    "\"data\":[[\"x\",\"T\"],[null,\"U\"]]}";

static void test_request_and_result(void **state)
{
    (void)state;
    run("SELECT 'a\"b\\c\n\x01' -- é", &quick);
    struct fake_request *request = expect(&fake, "POST", "https://org-acc.snowflakecomputing.com/api/v2/statements?");
    assert_int_equal(strlen(parameter_of(request, "requestId")), 36);
    assert_string_equal(parameter_of(request, "async"), "");
    assert_string_equal(parameter_of(request, "retry"), "");
    assert_non_null(strstr(request->headers, "X-Snowflake-Authorization-Token-Type: KEYPAIR_JWT\n"));
    assert_non_null(strstr(request->headers, "Content-Type: application/json\n"));
    json_t *body = json_loads((const char *)request->body, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(body, "statement")), "SELECT 'a\"b\\c\n\x01' -- é");
    assert_int_equal(json_integer_value(json_object_get(body, "timeout")), 30);
    assert_string_equal(json_string_value(json_object_get(body, "database")), "DB");
    assert_string_equal(json_string_value(json_object_get(body, "role")), "R");
    assert_null(json_object_get(body, "warehouse"));  // it might wake
    json_decref(body);
    fake_answer(fake.http, 200, result_text);
    assert_int_equal(outcome.done, 1);
    assert_true(outcome.has_result);
    assert_int_equal(outcome.rows, 2);
    assert_int_equal(outcome.columns, 2);
    assert_string_equal(outcome.first, "x");
    assert_int_equal(outcome.name_column, 1);
    assert_false(sf_sql_is_busy(sql));
}

static void test_long_statement_is_submitted_and_polled(void **state)
{
    (void)state;
    run("CALL long()", &slow);
    struct fake_request *request = expect(&fake, "POST", "/api/v2/statements?");
    assert_string_equal(parameter_of(request, "async"), "true");
    json_t *body = json_loads((const char *)request->body, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(body, "warehouse")), "WH");
    assert_string_equal(json_string_value(json_object_get(json_object_get(body, "parameters"), "ROWS_PER_RESULTSET")),
                        "0");
    assert_string_equal(json_string_value(json_object_get(json_object_get(body, "parameters"), "QUERY_TAG")),
                        "a \"tag\"");
    json_decref(body);
    fake_answer(fake.http, 202, "{\"code\":\"333334\",\"statementHandle\":\"h 1\"}");
    for (int i = 0; i < 5; i++) {
        expect_nothing(&fake);
        fake_advance_ms(fake.loop, 2000);
        request = expect(&fake, "GET", "/api/v2/statements/h%201?requestId=");
        assert_int_equal(request->body_size, 0);
        fake_answer(fake.http, 202, "{\"code\":\"333334\",\"statementHandle\":\"h 1\"}");
    }
    fake_advance_ms(fake.loop, 2000);
    fake_answer(fake.http, 503, "");  // a poll that fails is repeated, the statement is not
    fake_advance_ms(fake.loop, 31000);
    expect(&fake, "GET", "/api/v2/statements/h%201");
    assert_int_equal(sf_sql_tries(sql), 1);
    fake_answer(fake.http, 200, result_text);
    assert_int_equal(outcome.done, 1);
    assert_true(outcome.has_result);
}

static void test_ambiguous_failure_is_retried_under_the_same_id(void **state)
{
    (void)state;
    run("MERGE", &quick);
    char id[64];
    snprintf(id, sizeof id, "%s", parameter_of(fake_oldest(fake.http), "requestId"));
    for (int i = 0; i < 6; i++) {
        static const uint32_t statuses[] = {429, 500, 503, 504, 408};
        if (i < 5)
            fake_answer(fake.http, statuses[i], "<html>");
        else
            fake_fail(fake.http, ERR_TRANSIENT, "reset");
        expect_nothing(&fake);
        fake_advance_ms(fake.loop, 31000);
        struct fake_request *request = expect(&fake, "POST", "/api/v2/statements?");
        assert_string_equal(parameter_of(request, "requestId"), id);
        assert_string_equal(parameter_of(request, "retry"), "true");
        assert_int_equal(sf_sql_tries(sql), i + 1);
    }
    fake_answer(fake.http, 200, result_text);
    assert_int_equal(outcome.done, 1);
    run("MERGE", &quick);
    assert_string_not_equal(parameter_of(fake_oldest(fake.http), "requestId"), id);
    assert_string_equal(parameter_of(fake_oldest(fake.http), "retry"), "");
}

static void test_tries_have_a_limit_where_one_is_set(void **state)
{
    (void)state;
    const struct sf_sql_options limited = {.timeout_s = 10, .tries_max = 2};
    run("SELECT 1", &limited);
    fake_fail(fake.http, ERR_TRANSIENT, "connection refused");
    assert_int_equal(outcome.done, 0);
    fake_advance_ms(fake.loop, 31000);
    expect(&fake, "POST", "/api/v2/statements?");
    fake_fail(fake.http, ERR_TRANSIENT, "connection refused");
    assert_int_equal(outcome.done, 1);
    assert_false(outcome.has_result);
    assert_false(sf_sql_is_busy(sql));
    fake_advance_ms(fake.loop, 31000);
    expect_nothing(&fake);
}

static void fail_with(uint32_t status, const char *body)
{
    outcome.done = 0;
    run("X", &slow);
    fake_answer(fake.http, status, body);
    assert_int_equal(outcome.done, 1);
    assert_false(outcome.has_result);
    assert_false(sf_sql_is_busy(sql));
}

static void test_errors_of_statements(void **state)
{
    (void)state;
    struct {
        const char *code, *sql_state, *message;
        enum err_kind kind;
        const char *wanted_code;
    } cases[] = {
        {"000606", "57P03", "No active warehouse selected in the current session.", ERR_CONFIG, "000606"},
        {"002003", "42S02", "Table 'X' does not exist or not authorized.", ERR_CONFIG, "002003"},
        {"003001", "42501", "Insufficient privileges", ERR_CONFIG, "003001"},
        {"100090", "42P18", "Duplicate row detected during DML action", ERR_DATA, "100090"},
        {"100038", "22018", "Numeric value 'x' is not recognized", ERR_DATA, "100038"},
        {"001003", "42000", "syntax error line 1", ERR_DATA, "001003"},
        {"000625", "57014", "Statement was aborted: lock", ERR_TRANSIENT, "000625"},
        {"000603", "XX000", "SQL execution internal error", ERR_TRANSIENT, "000603"},
        // Inside a block a statement's error keeps its own code.
        {"002003", "42S02",
         "Uncaught exception of type 'STATEMENT_ERROR' on line 3 at position 2 : Table 'X' does not exist", ERR_CONFIG,
         "002003"},
        {"-20001", "P0001", "Uncaught exception of type 'ETL_FENCED' on line 9 at position 4 : etl-stream: other",
         ERR_FENCED, SF_SQL_CODE_FENCED},
        {"-20002", "P0001", "Uncaught exception of type 'ETL_BEHIND' on line 9 at position 4 : etl-stream: rows",
         ERR_TRANSIENT, SF_SQL_CODE_BEHIND},
        // By type or by number, whichever a server of this day gives.
        {"100132", "P0000", "JavaScript: Uncaught exception of type 'ETL_FENCED' on line 9", ERR_FENCED,
         SF_SQL_CODE_FENCED},
        {"020002", "P0001", "etl-stream: rows are missing", ERR_TRANSIENT, SF_SQL_CODE_BEHIND},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char body[512];
        snprintf(body, sizeof body,
                 "{\"code\":\"%s\",\"sqlState\":\"%s\",\"message\":\"%s\",\"statementHandle\":\"h\"}", cases[i].code,
                 cases[i].sql_state, cases[i].message);
        fail_with(422, body);
        if (outcome.error.kind != cases[i].kind || strcmp(outcome.error.code, cases[i].wanted_code) != 0)
            fail_msg("%s: %s %s", cases[i].message, err_kind_name(outcome.error.kind), outcome.error.code);
        assert_non_null(strstr(outcome.error.text, cases[i].message));
    }
}

static void test_other_failures(void **state)
{
    (void)state;
    fail_with(408, "{\"code\":\"000630\",\"sqlState\":\"57014\",\"message\":\"timeout\",\"statementHandle\":\"h\"}");
    assert_int_equal(outcome.error.kind, ERR_TRANSIENT);
    assert_string_equal(outcome.error.code, "000630");
    fail_with(403, "{\"code\":\"390189\",\"message\":\"role\"}");
    assert_int_equal(outcome.error.kind, ERR_CONFIG);
    fail_with(400, "{\"code\":\"391918\",\"message\":\"Empty SQL\"}");
    assert_int_equal(outcome.error.kind, ERR_DATA);
    fail_with(404, "nothing here");
    assert_int_equal(outcome.error.kind, ERR_CONFIG);
    fail_with(200, "{\"resultSetMetaData\":{\"partitionInfo\":[{},{}],\"rowType\":[]},\"data\":[]}");
    assert_int_equal(outcome.error.kind, ERR_DATA);
    outcome.done = 0;
    run("X", &slow);
    fake_fail(fake.http, ERR_CONFIG, "the certificate is not trusted");
    assert_int_equal(outcome.done, 1);
    assert_int_equal(outcome.error.kind, ERR_CONFIG);
}

static void test_401_is_tried_once_more(void **state)
{
    (void)state;
    run("X", &quick);
    char id[64];
    snprintf(id, sizeof id, "%s", parameter_of(fake_oldest(fake.http), "requestId"));
    fake_answer(fake.http, 401, "{\"code\":\"390144\",\"message\":\"JWT token is invalid.\"}");
    assert_string_equal(parameter_of(expect(&fake, "POST", "/statements"), "requestId"), id);
    fake_answer(fake.http, 401, "{\"code\":\"390144\",\"message\":\"JWT token is invalid.\"}");
    assert_int_equal(outcome.done, 1);
    assert_int_equal(outcome.error.kind, ERR_CONFIG);
    assert_non_null(strstr(outcome.error.text, "RSA_PUBLIC_KEY_FP"));
}

static void test_answer_that_is_cut_is_asked_for_again(void **state)
{
    (void)state;
    run("X", &quick);
    fake_answer(fake.http, 200, "{\"data\":[[");
    fake_advance_ms(fake.loop, 31000);
    assert_string_equal(parameter_of(expect(&fake, "POST", "/statements"), "retry"), "true");
    fake_answer(fake.http, 202, "{}");  // no handle to poll by
    fake_advance_ms(fake.loop, 31000);
    fake_answer(fake.http, 200, result_text);
    assert_int_equal(outcome.done, 1);
    assert_true(outcome.has_result);
}

static void test_statement_in_the_callback_and_free_while_busy(void **state)
{
    (void)state;
    outcome.again = sql;
    run("SELECT 1", &quick);
    fake_answer(fake.http, 200, result_text);
    assert_int_equal(outcome.done, 1);
    assert_true(sf_sql_is_busy(sql));
    fake_answer(fake.http, 200, result_text);
    assert_int_equal(outcome.done, 2);
    fake.http->is_refusing = true;  // what fails inside is told later
    run("SELECT 1", &quick);
    assert_int_equal(outcome.done, 2);
    fake_settle(fake.loop);
    assert_int_equal(outcome.done, 3);
    assert_int_equal(outcome.error.kind, ERR_INTERNAL);
    fake.http->is_refusing = false;
    run("SELECT 1", &quick);
}

static void test_a_megabyte_of_text(void **state)
{
    (void)state;
    size_t size = 1000000;
    char *text = malloc(size + 1);
    memset(text, 'x', size);
    text[size] = '\0';
    run(text, &slow);
    assert_true(fake_oldest(fake.http)->body_size > size);
    free(text);
    fake_answer(fake.http, 200, result_text);
    assert_int_equal(outcome.done, 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_request_and_result),
        CASE(test_long_statement_is_submitted_and_polled),
        CASE(test_ambiguous_failure_is_retried_under_the_same_id),
        CASE(test_tries_have_a_limit_where_one_is_set),
        CASE(test_errors_of_statements),
        CASE(test_other_failures),
        CASE(test_401_is_tried_once_more),
        CASE(test_answer_that_is_cut_is_asked_for_again),
        CASE(test_statement_in_the_callback_and_free_while_busy),
        CASE(test_a_megabyte_of_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

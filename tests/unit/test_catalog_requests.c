// What a service asks for and is told, in both catalogs: changes, commands, claims.
#include "catalog/catalog.h"
#include "catalog_fixture.h"

// --- a service's requests --------------------------------------------------------------------------------------------

static struct catalog_request *ask(struct catalog *catalog, enum catalog_request_kind kind, const char *pipeline)
{
    struct err ignored = {0};
    struct catalog_request *request = catalog_request_new(kind, pipeline);
    catalog_ask_and_wait(catalog, request, &ignored);
    return request;
}

static void wait_for_news(struct fixture *fixture, enum catalog_request_kind kind)
{
    for (int i = 0; i < WAIT_TURNS_MAX; i++) {
        for (uint32_t k = 0; k < fixture->told_count; k++)
            if (fixture->told[k]->kind == kind)
                return;
        loop_turn(fixture->loop, WAIT_TURN_US);
    }
    fail_msg("the news did not come");
}

static void forget_news(struct fixture *fixture)
{
    for (uint32_t i = 0; i < fixture->told_count; i++)
        catalog_request_free(fixture->told[i]);
    fixture->told_count = 0;
}

static void test_a_service_is_told_of_changes_and_asks(void **state)
{
    struct fixture *fixture = *state;
    struct catalog *service = start_service(fixture), *editor = open_as(fixture, CATALOG_EDITOR);
    struct catalog_request *request = ask(service, CATALOG_ASK_CONFIG, NULL);
    assert_string_equal(request->error.text, "");
    assert_int_equal(request->config->counts[CATALOG_SOURCE], 0);
    catalog_request_free(request);
    forget_news(fixture);
    edit(editor, all_three, 3);
    wait_for_news(fixture, CATALOG_TOLD_CHANGED);
    request = ask(service, CATALOG_ASK_CONFIG, NULL);
    assert_int_equal(request->config->counts[CATALOG_SOURCE], 1);
    catalog_request_free(request);
    catalog_close(editor);
    catalog_close(service);
}

// As the HTTP side has it, from within the service.
static struct catalog_request *control(struct catalog *catalog, const char *pipeline, const char *word)
{
    struct err ignored = {0};
    struct catalog_request *request = catalog_request_new(CATALOG_ASK_CONTROL, pipeline);
    (void)snprintf(request->word, sizeof request->word, "%s", word);
    catalog_ask_and_wait(catalog, request, &ignored);
    return request;
}

static bool is_wanted(struct catalog *catalog, const char *pipeline)
{
    struct catalog_request *request = ask(catalog, CATALOG_ASK_CONFIG, NULL);
    const struct catalog_object *object = catalog_config_find(request->config, CATALOG_PIPELINE, pipeline);
    assert_non_null(object);
    bool is_started = object->is_wanted;
    catalog_request_free(request);
    return is_started;
}

static void test_a_service_controls_what_it_runs(void **state)
{
    struct fixture *fixture = *state;
    struct catalog *service = start_service(fixture), *editor = open_as(fixture, CATALOG_EDITOR);
    edit(editor, all_three, 3);
    const char *name = all_three[2].name;
    catalog_request_free(control(service, name, "pause"));
    struct catalog_request *request = control(service, name, "pause");
    assert_true(request->was_so);
    assert_int_equal(request->command_id, 0);  // nothing is left to do
    catalog_request_free(request);
    assert_false(is_wanted(service, name));
    forget_news(fixture);
    request = control(service, name, "start");
    assert_string_equal(request->error.text, "");
    assert_false(request->was_so);
    assert_int_equal(request->command_id, 0);  // the configuration says it
    catalog_request_free(request);
    assert_true(is_wanted(service, name));
    wait_for_news(fixture, CATALOG_TOLD_CHANGED);
    // Started already: it is told to try at once.
    request = control(service, name, "start");
    assert_true(request->was_so);
    assert_true(request->command_id != 0);
    int64_t id = request->command_id;
    catalog_request_free(request);
    struct catalog_request *look = catalog_request_new(CATALOG_ASK_COMMAND, name);
    struct err error = {0};
    look->command_id = id;
    assert_true(catalog_ask_and_wait(service, look, &error));
    assert_int_equal(look->command_state, CATALOG_COMMAND_WAITING);
    request = ask(service, CATALOG_ASK_COMMANDS, name);
    assert_int_equal(request->command_count, 1);
    assert_int_equal(request->commands[0].id, id);
    assert_string_equal(request->commands[0].word, "start");
    catalog_request_free(request);
    struct catalog_request *answer = catalog_request_new(CATALOG_ASK_ANSWER, "");
    answer->command_id = id;
    answer->has_failed = true;
    (void)snprintf(answer->text, sizeof answer->text, "no");
    assert_true(catalog_ask_and_wait(service, answer, &error));
    catalog_request_free(answer);
    assert_true(catalog_ask_and_wait(service, look, &error));
    assert_int_equal(look->command_state, CATALOG_COMMAND_FAILED);
    assert_string_equal(look->text, "no");
    catalog_request_free(look);
    request = control(service, "nobody", "pause");
    assert_int_equal(request->error.kind, ERR_CONFIG);
    assert_non_null(strstr(request->error.text, "there is no pipeline \"nobody\""));
    catalog_request_free(request);
    catalog_close(editor);
    catalog_close(service);
}

static void test_a_command_is_taken_once_and_answered(void **state)
{
    struct fixture *fixture = *state;
    struct err error = {0};
    int64_t first = 0, second = 0, other = 0;
    char text[ERR_TEXT_SIZE];
    enum catalog_command_state command_state = CATALOG_COMMAND_DONE;
    bool is_taken_back = false;
    struct catalog *service = start_service(fixture), *editor = open_as(fixture, CATALOG_EDITOR);
    assert_true(catalog_command_add(editor, "p", "resync", "{\"tables\":[\"it's\"]}", &first, &error));
    assert_true(catalog_command_add(editor, "p", "reload", "{}", &second, &error));
    assert_true(catalog_command_add(editor, "q", "resync", "{}", &other, &error));
    wait_for_news(fixture, CATALOG_TOLD_CHANGED);
    assert_true(catalog_command_withdraw(editor, second, &is_taken_back, &error));
    assert_true(is_taken_back);
    // One question tells for which pipelines something waits, and takes nothing.
    struct catalog_request *request = ask(service, CATALOG_ASK_WAITING, "");
    assert_string_equal(request->error.text, "");
    assert_int_equal(request->command_count, 2);
    assert_int_equal(request->commands[0].pipeline[0] + request->commands[1].pipeline[0], 'p' + 'q');
    catalog_request_free(request);
    request = ask(service, CATALOG_ASK_COMMANDS, "p");
    assert_string_equal(request->error.text, "");
    assert_int_equal(request->command_count, 1);
    assert_int_equal(request->commands[0].id, first);
    assert_string_equal(request->commands[0].word, "resync");
    assert_string_equal(request->commands[0].arguments, "{\"tables\":[\"it's\"]}");
    catalog_request_free(request);
    request = ask(service, CATALOG_ASK_COMMANDS, "p");
    assert_int_equal(request->command_count, 0);
    catalog_request_free(request);
    assert_true(catalog_command_look(editor, first, &command_state, text, &error));
    assert_int_equal(command_state, CATALOG_COMMAND_TAKEN);
    assert_true(catalog_command_withdraw(editor, first, &is_taken_back, &error));
    assert_false(is_taken_back);
    struct catalog_request *answer = catalog_request_new(CATALOG_ASK_ANSWER, "p");
    answer->command_id = first;
    answer->has_failed = true;
    (void)snprintf(answer->text, sizeof answer->text, "no such table");
    assert_true(catalog_ask_and_wait(service, answer, &error));
    catalog_request_free(answer);
    assert_true(catalog_command_look(editor, first, &command_state, text, &error));
    assert_int_equal(command_state, CATALOG_COMMAND_FAILED);
    assert_string_equal(text, "no such table");
    request = ask(service, CATALOG_ASK_COMMANDS, "");
    assert_int_equal(request->command_count, 1);
    assert_int_equal(request->commands[0].id, other);
    catalog_request_free(request);
    catalog_close(editor);
    catalog_close(service);
}

static void test_old_commands_go(void **state)
{
    struct fixture *fixture = *state;
    struct err error = {0};
    int64_t id = 0;
    struct catalog *editor = open_as(fixture, CATALOG_EDITOR);
    assert_true(catalog_command_add(editor, "p", "resync", "{}", &id, &error));
    run_sql(fixture, "UPDATE etl_commands SET made_ms = 1");
    assert_true(catalog_command_add(editor, "p", "reload", "{}", &id, &error));
    catalog_close(editor);
    assert_string_equal(ask_sql(fixture, "SELECT count(*) FROM etl_commands"), "1");
}

static void test_forgotten_is_gone(void **state)
{
    struct fixture *fixture = *state;
    struct catalog *service = start_service(fixture);
    struct catalog_save *save = sample_save();
    save_and_wait(fixture, service, save);
    catalog_save_free(save);
    struct catalog_request *request = ask(service, CATALOG_ASK_KNOWN, "p");
    assert_true(request->known.is_found);
    assert_int_equal(request->known.channel_count, 2);
    catalog_request_free(request);
    catalog_request_free(ask(service, CATALOG_ASK_FORGET, "p"));
    request = ask(service, CATALOG_ASK_KNOWN, "p");
    assert_false(request->known.is_found);
    assert_int_equal(request->known.table_count, 0);
    catalog_request_free(request);
    catalog_close(service);
}

static void save_status(struct fixture *fixture, struct catalog *service, const char *pipeline, const char *json)
{
    struct catalog_save *save = catalog_save_new(0, 0);
    (void)snprintf(save->pipeline.name, sizeof save->pipeline.name, "%s", pipeline);
    save->status_json = strdup(json);
    save_and_wait(fixture, service, save);
    assert_string_equal(save->error.text, "");
    catalog_save_free(save);
}

static void test_a_pipeline_whose_row_was_deleted_is_given_out_once(void **state)
{
    struct fixture *fixture = *state;
    struct catalog *service = start_service(fixture), *editor = open_as(fixture, CATALOG_EDITOR);
    edit(editor, all_three, 3);
    catalog_close(editor);
    struct catalog_save *save = sample_save();
    save_and_wait(fixture, service, save);
    catalog_save_free(save);
    save_status(fixture, service, "p", "{\"pipeline\":\"p\",\"takes_commands\":true,\"tables\":[]}");
    save_status(fixture, service, "shop-sf", "{\"takes_commands\":true}");  // configured
    save_status(fixture, service, "alone", "{\"error\":\"\\\"takes_commands\\\":true\",\"takes_commands\":false}");
    save_status(fixture, service, "q", "{\"takes_commands\":true}");  // never ran
    catalog_request_free(ask(service, CATALOG_ASK_CLAIM, "q"));
    struct catalog_request *request = ask(service, CATALOG_ASK_LEFT, "");
    assert_string_equal(request->error.text, "");
    assert_string_equal(request->pipeline, "p");
    assert_true(request->known.is_found);
    assert_string_equal(request->known.pipeline.slot, "etl_p");
    assert_true(request->was_so);
    catalog_request_free(request);
    if (fixture->location.is_postgres) {
        request = ask(service, CATALOG_ASK_LEFT, "");  // it is run still
        assert_string_equal(request->error.text, "");
        assert_string_equal(request->pipeline, "");
        assert_false(request->was_so);
        catalog_request_free(request);
    }
    catalog_request_free(ask(service, CATALOG_ASK_RELEASE, "q"));
    request = ask(service, CATALOG_ASK_LEFT, "");
    assert_string_equal(request->pipeline, "q");
    assert_false(request->known.is_found);
    assert_false(request->was_so);
    catalog_request_free(request);
    request = ask(service, CATALOG_ASK_LEFT, "");
    assert_string_equal(request->error.text, "");
    assert_string_equal(request->pipeline, "");
    catalog_request_free(request);
    // What it did stays known, for a row that is inserted again.
    request = ask(service, CATALOG_ASK_KNOWN, "p");
    assert_true(request->known.is_found);
    catalog_request_free(request);
    // By the cascade of its source; in SQLite, where nobody asked for it, its row stays and is none.
    run_sql(fixture,
            fixture->location.is_postgres ? "DELETE FROM sources" : "PRAGMA foreign_keys = OFF; DELETE FROM sources");
    request = ask(service, CATALOG_ASK_LEFT, "");
    assert_string_equal(request->error.text, "");
    assert_string_equal(request->pipeline, "shop-sf");
    catalog_request_free(request);
    catalog_close(service);
    assert_string_equal(ask_sql(fixture, "SELECT pipeline FROM etl_status"), "alone");
}

static void test_a_save_of_many_tables_is_whole(void **state)
{
    struct fixture *fixture = *state;
    enum { TABLES = 333 };
    struct catalog *service = start_service(fixture);
    struct catalog_save *sample = sample_save(), *save = catalog_save_new(TABLES, TABLES);
    save->pipeline = sample->pipeline;
    save->has_pipeline = true;
    for (uint32_t i = 0; i < TABLES; i++) {
        save->tables[i] = sample->tables[0];
        save->channels[i] = sample->channels[0];
        (void)snprintf(save->tables[i].table_name, sizeof save->tables[i].table_name, "t%03u", i);
        (void)snprintf(save->channels[i].name, sizeof save->channels[i].name, "c%03u", i);
        save->tables[i].copied_rows = i;
        save->channels[i].table_oid = i;
    }
    save_and_wait(fixture, service, save);
    assert_string_equal(save->error.text, "");
    struct catalog_request *request = ask(service, CATALOG_ASK_KNOWN, "p");
    assert_int_equal(request->known.table_count, TABLES);
    assert_int_equal(request->known.channel_count, TABLES);
    for (uint32_t i = 0; i < TABLES; i++) {
        assert_int_equal(request->known.tables[i].copied_rows, i);
        assert_int_equal(request->known.channels[i].table_oid, i);
    }
    catalog_request_free(request);
    catalog_save_free(sample);
    catalog_save_free(save);
    catalog_close(service);
}

static void on_one_reply(void *context, void *message)
{
    uint32_t *reply_count = context;
    (void)message;
    ++*reply_count;
}

static void test_a_pipeline_is_claimed_by_one_service(void **state)
{
    struct fixture *fixture = *state;
    struct catalog *first = start_service(fixture);
    struct catalog_request *request = ask(first, CATALOG_ASK_CLAIM, "p");
    assert_string_equal(request->error.text, "");
    uint64_t claim = request->claim;
    catalog_request_free(request);
    struct catalog *reader = open_as(fixture, CATALOG_READER);
    assert_true(catalog_is_claimed(reader, "p"));
    assert_int_equal(catalog_is_claimed(reader, "q"), !fixture->location.is_postgres);
    catalog_close(reader);
    if (!fixture->location.is_postgres) {
        catalog_close(first);
        return;
    }
    struct catalog *second = start_service(fixture);
    request = ask(second, CATALOG_ASK_CLAIM, "p");
    assert_int_equal(request->error.kind, ERR_FENCED);
    assert_non_null(strstr(request->error.text, "pipeline \"p\" runs in another process: process "));
    catalog_request_free(request);
    struct catalog_save *save = sample_save();
    save->claim = claim;
    save_and_wait(fixture, first, save);
    assert_string_equal(save->error.text, "");
    catalog_save_free(save);

    catalog_request_free(ask(first, CATALOG_ASK_RELEASE, "p"));
    request = ask(second, CATALOG_ASK_CLAIM, "p");
    assert_string_equal(request->error.text, "");
    assert_true(request->claim > claim);
    catalog_request_free(request);
    save = sample_save();
    save->claim = claim;
    save->pipeline.floor_lsn = 1;
    save_and_wait(fixture, first, save);
    assert_int_equal(save->error.kind, ERR_FENCED);
    catalog_save_free(save);
    request = ask(second, CATALOG_ASK_KNOWN, "p");
    assert_int_equal(request->known.pipeline.floor_lsn, UINT64_MAX - 1);
    catalog_request_free(request);

    // What is saved together with it is saved all the same.
    enum { SAVES = 150, FENCED = 70 };
    struct catalog_save *saves[SAVES];
    struct err error = {0};
    uint32_t reply_count = 0;
    struct mailbox *replies = mailbox_new(fixture->loop, SAVES, on_one_reply, &reply_count, &error);
    assert_non_null(replies);
    for (uint32_t i = 0; i < SAVES; i++) {
        saves[i] = sample_save();
        saves[i]->reply_to = replies;
        (void)snprintf(saves[i]->pipeline.name, sizeof saves[i]->pipeline.name, i == FENCED ? "p" : "p%" PRIu32, i);
        saves[i]->claim = i == FENCED ? claim : 0;
        saves[i]->pipeline.floor_lsn = i + 1;
    }
    for (uint32_t i = 0; i < SAVES; i++)
        assert_true(catalog_send(first, saves[i]));
    for (int i = 0; i < WAIT_TURNS_MAX && reply_count < SAVES; i++)
        loop_turn(fixture->loop, WAIT_TURN_US);
    assert_int_equal(reply_count, SAVES);
    for (uint32_t i = 0; i < SAVES; i++) {
        assert_int_equal(saves[i]->error.kind, i == FENCED ? ERR_FENCED : 0);
        request = ask(second, CATALOG_ASK_KNOWN, saves[i]->pipeline.name);
        assert_int_equal(request->known.pipeline.floor_lsn, i == FENCED ? UINT64_MAX - 1 : i + 1);
        catalog_request_free(request);
        catalog_save_free(saves[i]);
    }
    catalog_close(first);
    catalog_close(second);
    mailbox_free(replies, discard);
}

static struct catalog_request *save_row(const struct fixture *fixture, struct catalog *catalog, uint64_t claim,
                                        const char *name, const char *json)
{
    (void)fixture;
    struct err error = {0};
    struct catalog_request *request = catalog_request_new(CATALOG_ASK_WATCH_SAVE, CATALOG_WATCH_SCOPE);
    request->claim = claim;
    catalog_request_add_row(request, "source", name, json, NULL, 0);
    catalog_ask_and_wait(catalog, request, &error);
    return request;
}

static void see_row(void *context, const char *scope, const struct catalog_watch_row *row)
{
    assert_string_equal(scope, CATALOG_WATCH_SCOPE);
    assert_true(row->seen_ms > 0 && strncmp(row->process, "process ", 8) == 0);
    (void)snprintf(context, 256, "%s %s %s", row->kind, row->name, row->json);
}

static void test_what_the_monitor_keeps_is_the_claims(void **state)
{
    struct fixture *fixture = *state;
    struct err error = {0};
    uint64_t before_us = clock_system.monotonic_us(clock_system.context);
    struct catalog *service = start_service(fixture);
    struct catalog_request *request = ask(service, CATALOG_ASK_CLAIM, CATALOG_WATCH_SCOPE);
    uint64_t claim = request->claim, after_us = clock_system.monotonic_us(clock_system.context);
    assert_true(request->sure_until_us > before_us);
    assert_true(!fixture->location.is_postgres || request->sure_until_us <= after_us + 10000000);
    catalog_request_free(request);
    catalog_request_free(save_row(fixture, service, claim, "a", "{}"));
    catalog_request_free(save_row(fixture, service, claim, "b", "{\"it's\": 1}"));
    request = save_row(fixture, service, claim, "a", NULL);
    assert_string_equal(request->error.text, "");
    catalog_request_free(request);
    request = ask(service, CATALOG_ASK_WATCH_LOAD, CATALOG_WATCH_SCOPE);
    assert_int_equal(request->row_count, 1);
    assert_string_equal(request->rows[0].name, "b");
    assert_string_equal(request->rows[0].json, "{\"it's\": 1}");
    catalog_request_free(request);
    if (fixture->location.is_postgres) {
        run_sql(fixture, "UPDATE etl_claims SET claim = claim + 1");
        request = save_row(fixture, service, claim, "b", "{}");
        assert_int_equal(request->error.kind, ERR_FENCED);
        catalog_request_free(request);
        // Of pipelines that others run, what is not known already.
        run_sql(
            fixture,
            "INSERT INTO etl_claims VALUES ('p', 1, 'process 1 on other', 0, 0), ('q', 1, 'process 1 on other', 0, 0);"
            "INSERT INTO etl_status VALUES ('p', '{}', 5), ('q', '{\"a\": 1}', 6)");
        request = catalog_request_new(CATALOG_ASK_STATUSES, "");
        request->arguments = strdup("{\"p\": \"5\", \"q\": \"5\"}");
        catalog_ask_and_wait(service, request, &error);
        assert_string_equal(request->error.text, "");
        assert_int_equal(request->row_count, 1);
        assert_string_equal(request->rows[0].name, "q");
        assert_int_equal(request->rows[0].seen_ms, 6);
        catalog_request_free(request);
    }
    catalog_close(service);
    struct catalog *reader = open_as(fixture, CATALOG_READER);
    char seen[256] = "";
    assert_true(catalog_each_watched(reader, see_row, seen, &error));
    assert_string_equal(seen, "source b {\"it's\": 1}");
    catalog_close(reader);
}

// The server ends the sessions; as after a restart everything goes on, and the claim with it.
static void test_a_broken_connection_comes_back(void **state)
{
    struct fixture *fixture = *state;
    if (!fixture->location.is_postgres)
        return;
    struct catalog *service = start_service(fixture);
    struct catalog_request *request = ask(service, CATALOG_ASK_CLAIM, "p");
    uint64_t claim = request->claim;
    catalog_request_free(request);
    run_sql(fixture, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = "
                     "'etl-stream catalog' AND pid <> pg_backend_pid() AND datname = current_database()");
    struct catalog_save *save = NULL;
    for (int i = 0; i < WAIT_TURNS_MAX; i++) {
        save = sample_save();
        save->claim = claim;
        save_and_wait(fixture, service, save);
        if (!err_is_set(&save->error))
            break;
        assert_int_equal(save->error.kind, ERR_TRANSIENT);
        catalog_save_free(save);
        save = NULL;
        loop_turn(fixture->loop, WAIT_TURN_US);
    }
    assert_non_null(save);
    catalog_save_free(save);
    for (int i = 0; i < WAIT_TURNS_MAX &&
                    strcmp(ask_sql(fixture, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "2") != 0;
         i++)
        loop_turn(fixture->loop, WAIT_TURN_US);
    request = ask(service, CATALOG_ASK_CLAIM, "p");
    assert_string_equal(request->error.text, "");
    assert_int_equal(request->claim, claim);
    catalog_request_free(request);
    wait_for_news(fixture, CATALOG_TOLD_CHANGED);
    for (uint32_t i = 0; i < fixture->told_count; i++)
        assert_int_equal(fixture->told[i]->kind, CATALOG_TOLD_CHANGED);
    catalog_close(service);
}

// Somebody else was quicker.
static void test_a_claim_that_was_taken_meanwhile_is_lost(void **state)
{
    struct fixture *fixture = *state;
    if (!fixture->location.is_postgres)
        return;
    struct catalog *service = start_service(fixture);
    catalog_request_free(ask(service, CATALOG_ASK_CLAIM, "p"));
    run_sql(fixture, "UPDATE etl_claims SET claim = claim + 1;"
                     "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = "
                     "'etl-stream catalog' AND pid <> pg_backend_pid() AND datname = current_database()");
    wait_for_news(fixture, CATALOG_TOLD_CLAIM_LOST);
    catalog_close(service);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_service_is_told_of_changes_and_asks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_service_controls_what_it_runs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_command_is_taken_once_and_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_old_commands_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_forgotten_is_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_pipeline_whose_row_was_deleted_is_given_out_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_save_of_many_tables_is_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_pipeline_is_claimed_by_one_service, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_the_monitor_keeps_is_the_claims, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_broken_connection_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_claim_that_was_taken_meanwhile_is_lost, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

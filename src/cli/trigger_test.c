/* Words of triggers: what they become, how they are written, and what is said of wrong ones. */
#include "trigger.h"

#include <stdio.h>
#include <string.h>

#include <synor/base/test.h>

/* `written`: how it is written then; NULL: as it is. */
static void
check_word(const char *word, const char *want, const char *written)
{
    SYN_JSON(trigger);
    SYN_BUF(text);
    SYN_BUF(again);
    struct syn_err err;

    assert_done(syn_cli_trigger_parse(word, &trigger, &err), &err);
    assert_done(syn_json_write(trigger, &text, &err), &err);
    assert_string_equal(syn_buf_text(&text), want);
    syn_cli_trigger_write(trigger, &again);
    assert_string_equal(syn_buf_text(&again), written != NULL ? written : word);
}

static void
words_become_triggers(void **state)
{
    static const struct {
        const char *word, *want, *written; /* NULL: as the word */
    } rows[] = {
        {"http:/api/{id}", "{\"path\":\"/api/{id}\",\"type\":\"http\"}", NULL},
        {"http:GET,post:/api",
         "{\"methods\":[\"GET\",\"POST\"],\"path\":\"/api\",\"type\":\"http\"}",
         "http:GET,POST:/api"},
        {"http:API.example.org/v1",
         "{\"host\":\"api.example.org\",\"path\":\"/v1\",\"type\":\"http\"}",
         "http:api.example.org/v1"},
        {"http:GET:a.b/",
         "{\"host\":\"a.b\",\"methods\":[\"GET\"],\"path\":\"/\",\"type\":\"http\"}", NULL},
        {"http:/a:b", "{\"path\":\"/a:b\",\"type\":\"http\"}", NULL},
        {"http:/x,auth=key", "{\"auth\":\"key\",\"path\":\"/x\",\"type\":\"http\"}", NULL},
        {"http:/x,cors=*,auth=none",
         "{\"auth\":\"none\",\"cors\":{\"origins\":[\"*\"]},\"path\":\"/x\",\"type\":\"http\"}",
         "http:/x,auth=none,cors=*"},
        {"http:/x,cors=*", "{\"cors\":{\"origins\":[\"*\"]},\"path\":\"/x\",\"type\":\"http\"}",
         NULL},
        {"http:/x,cors=https://a.b,cors=https://c.d,cors-header=x-key,cors-age=10m",
         "{\"cors\":{\"headers\":[\"x-key\"],\"max_age_s\":600,\"origins\":[\"https://"
         "a.b\",\"https://c.d\"]},\"path\":\"/x\",\"type\":\"http\"}",
         "http:/x,cors=https://a.b,cors=https://c.d,cors-header=x-key,cors-age=600s"},
        {"http:/x,cors=https://a.b,cors-credentials=true",
         "{\"cors\":{\"credentials\":true,\"origins\":[\"https://a.b\"]},\"path\":\"/"
         "x\",\"type\":\"http\"}",
         NULL},
        {"schedule:0 8 * * mon-fri", "{\"cron\":\"0 8 * * mon-fri\",\"type\":\"schedule\"}", NULL},
        {"schedule:0 8,12,18 * * *,zone=Europe/Berlin,missed=once",
         "{\"cron\":\"0 8,12,18 * * "
         "*\",\"missed\":\"once\",\"type\":\"schedule\",\"zone\":\"Europe/Berlin\"}",
         NULL},
        {"schedule:@daily,payload={\"a\": [1, 2], \"zone=\": 3}",
         "{\"cron\":\"@daily\",\"payload\":{\"a\":[1,2],\"zone=\":3},\"type\":\"schedule\"}",
         "schedule:@daily,payload={\"a\":[1,2],\"zone=\":3}"},
        {"queue:orders", "{\"queue\":\"orders\",\"type\":\"queue\"}", NULL},
        {"queue:orders,batch=10", "{\"batch\":10,\"queue\":\"orders\",\"type\":\"queue\"}", NULL},
        {"storage:photos/", "{\"prefix\":\"photos/\",\"type\":\"storage\"}", NULL},
        {"storage", "{\"prefix\":\"\",\"type\":\"storage\"}", "storage:"},
        {"storage:photos/,events=put,events=delete",
         "{\"events\":[\"put\",\"delete\"],\"prefix\":\"photos/\",\"type\":\"storage\"}", NULL},
        {"ledger", "{\"type\":\"ledger\"}", NULL},
        {"ledger:transfer,settle", "{\"events\":[\"transfer\",\"settle\"],\"type\":\"ledger\"}",
         NULL},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        check_word(rows[i].word, rows[i].want, rows[i].written);
}

static void
signed_routes_become_triggers(void **state)
{
    static const struct {
        const char *word, *want, *written; /* NULL: as the word */
    } rows[] = {
        {"http:POST:/h,hmac=github",
         "{\"hmac\":{\"secret\":\"github\"},\"methods\":[\"POST\"],\"path\":\"/"
         "h\",\"type\":\"http\"}",
         NULL},
        {"http:/h,hmac-scheme=body,hmac-prefix=sha256=,hmac=a,hmac-header=x-sign",
         "{\"hmac\":{\"header\":\"x-sign\",\"prefix\":\"sha256=\",\"scheme\":\"body\",\"secret\":"
         "\"a\"},"
         "\"path\":\"/h\",\"type\":\"http\"}",
         "http:/h,hmac=a,hmac-scheme=body,hmac-header=x-sign,hmac-prefix=sha256="},
        {"http:/h,hmac=a,hmac-scheme=stripe,hmac-tolerance=2m",
         "{\"hmac\":{\"scheme\":\"stripe\",\"secret\":\"a\",\"tolerance_s\":120},\"path\":\"/h\","
         "\"type\":\"http\"}",
         "http:/h,hmac=a,hmac-scheme=stripe,hmac-tolerance=120s"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        check_word(rows[i].word, rows[i].want, rows[i].written);
}

static void
wrong_words_are_explained(void **state)
{
    static const struct {
        const char *word, *said; /* a part of what is said */
    } rows[] = {
        {"", "is no trigger: http:/path, schedule:CRON, queue:NAME, storage:PREFIX or ledger"},
        {"ftp:/x", "\"ftp:/x\" is no trigger"},
        {"http", "neither a path"},
        {"http:", "neither a path"},
        {"http:api/x", "\"api\" is neither a path, which begins with /, nor a host"},
        {"http:api.example.org", "a path is missing"},
        {"http:GET,:/x", "are no methods"},
        {"http::/x", "are no methods"},
        {"http:G3T:/x", "\"G3T\" is no method"},
        {"http:/x,cors", "\"cors\" is not OPTION=VALUE"},
        {"http:/x,cors=", "is not OPTION=VALUE"},
        {"http:/x,tls=1", "http has no option \"tls\": auth="},
        {"http:/x,auth=basic", "auth: \"basic\" is neither key, token nor none"},
        {"http:/x,hmac-scheme=body", "hmac=SECRET is missing"},
        {"http:/x,hmac=a,hmac-kind=1", "http has no option \"hmac-kind\": hmac=SECRET, "},
        {"http:/x,hmac=a,hmac-tolerance=1500ms", "hmac-tolerance: \"1500ms\": whole seconds"},
        {"http:/x,cors=*,cors-credentials=1", "\"1\" is not true"},
        {"http:/x,cors-age=10m", "cors=ORIGIN is missing"},
        {"http:/x,cors=*,cors-age=5ms", "cors-age: \"5ms\": whole seconds"},
        {"schedule:", "schedule: expected"},
        {"schedule:every day", "schedule: "},
        {"schedule:@daily,missed=all", "missed: \"all\" is neither skip nor once"},
        {"schedule:@daily,payload={", "payload: "},
        {"schedule:@daily,zone=UTC,at=1", "schedule has no option \"at\""},
        {"queue:", "is no name of a queue"},
        {"queue:My Queue", "is no name of a queue"},
        {"queue:a,batch=0", "batch: "},
        {"queue:a,size=1", "queue has no option \"size\": batch= there is"},
        {"storage:a,batch=1", "storage has no option \"batch\": events= there is"},
        {"storage:a,events", "\"events\" is not OPTION=VALUE"},
        {"ledger:transfer,", "an event is missing"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        SYN_JSON(trigger);
        struct syn_err err;

        assert_int_equal(syn_cli_trigger_parse(rows[i].word, &trigger, &err), SYN_E_INVALID);
        assert_null(trigger);
        if (strstr(err.msg, rows[i].said) == NULL)
            fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].word, err.msg, rows[i].said);
    }
}

static void
a_part_has_an_end(void **state)
{
    SYN_JSON(trigger);
    SYN_BUF(word);
    struct syn_err err;

    (void)state;
    syn_buf_adds(&word, "http:/");
    for (size_t i = 0; i < 4096; i++)
        syn_buf_addc(&word, 'a');
    assert_int_equal(syn_cli_trigger_parse(syn_buf_text(&word), &trigger, &err), SYN_E_INVALID);
    assert_non_null(strstr(err.msg, "longer than"));
}

static void
what_is_not_known_is_named(void **state)
{
    SYN_JSON(trigger);
    SYN_BUF(word);
    struct syn_err err;

    (void)state;
    assert_done(syn_json_pack(&trigger, &err, "{s:s, s:s}", "type", "webhook", "name", "x"), &err);
    syn_cli_trigger_write(trigger, &word);
    assert_string_equal(syn_buf_text(&word), "webhook:...");
}

static void
warm_ups_are_words_too(void **state)
{
    static const struct {
        const char *word, *want, *written;
    } rows[] = {
        {"@hourly", "{\"cron\":\"@hourly\"}", "@hourly"},
        {"0 9,17 * * 1-5,zone=Europe/Berlin,for=90m,instances=3",
         "{\"cron\":\"0 9,17 * * 1-5\",\"for_ms\":5400000,\"instances\":3,\"zone\":"
         "\"Europe/Berlin\"}",
         "0 9,17 * * 1-5,zone=Europe/Berlin,for=90m,instances=3"},
    };
    static const struct {
        const char *word, *says;
    } wrong[] = {
        {"", "expected"},
        {"daily", "daily"},
        {"@daily,until=1h", "a warm-up has no option \"until\": zone=, for= and instances="},
        {"@daily,for=soon", "for"},
        {"@daily,instances=0", "instances"},
        {"@daily,zone", "@daily,zone"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        SYN_JSON(warmup);
        SYN_BUF(text);
        struct syn_err err = {0};

        assert_done(syn_cli_warmup_parse(rows[i].word, &warmup, &err), &err);
        assert_done(syn_json_write(warmup, &text, &err), &err);
        assert_string_equal(syn_buf_text(&text), rows[i].want);
        syn_buf_clear(&text);
        syn_cli_warmup_write(warmup, &text);
        assert_string_equal(syn_buf_text(&text), rows[i].written);
    }
    for (size_t i = 0; i < SYN_LEN(wrong); i++) {
        SYN_JSON(warmup);
        struct syn_err err = {0};

        assert_int_equal(syn_cli_warmup_parse(wrong[i].word, &warmup, &err), SYN_E_INVALID);
        if (strstr(err.msg, wrong[i].says) == NULL)
            fail_msg("%s: %s", wrong[i].word, err.msg);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_become_triggers),
        cmocka_unit_test(signed_routes_become_triggers),
        cmocka_unit_test(wrong_words_are_explained),
        cmocka_unit_test(a_part_has_an_end),
        cmocka_unit_test(what_is_not_known_is_named),
        cmocka_unit_test(warm_ups_are_words_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

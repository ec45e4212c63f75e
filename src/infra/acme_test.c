#include <synor/base/test.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/acme.h>

#define MINUTE_MS (INT64_C(60) * 1000)
#define HOUR_MS   (60 * MINUTE_MS)
#define DAY_MS    (24 * HOUR_MS)

static void
thumbprints_are_those_of_rfc_7638(void **state)
{
    /* Reckoned apart from this code. */
    static const char known[] = "-----BEGIN EC PRIVATE KEY-----\n"
                                "MHcCAQEEIDgf7Spn40248RlL1TK6lG/YGQjCr05GMZ8klttwnq0yoAoGCCqGSM49\n"
                                "AwEHoUQDQgAECVhCf7IPG6z61Uuxga13C1lFpBdniUF4V8siFuW8baKfQEI79FZ1\n"
                                "S6GeODqa/zGB1eKH39H4NvJ/8E4BuRxsaw==\n"
                                "-----END EC PRIVATE KEY-----\n";
    char thumbprint[SYN_ACME_THUMBPRINT_SIZE], other[SYN_ACME_THUMBPRINT_SIZE];
    struct syn_err err;
    char *key;

    (void)state;
    assert_done(syn_acme_thumbprint(known, thumbprint, &err), &err);
    assert_string_equal(thumbprint, "YmIRCJ17cPU6EL4qvFl33HqqY2yz_VDa11BKANu8W0A");
    assert_code(syn_acme_thumbprint("no key", thumbprint, &err), SYN_E_CORRUPT, &err);
    assert_done(syn_acme_key_new(&key, &err), &err);
    assert_true(syn_str_starts(key, "-----BEGIN EC PRIVATE KEY-----\n"));
    assert_done(syn_acme_thumbprint(key, other, &err), &err);
    assert_int_equal(strlen(other), 43);
    assert_string_not_equal(other, thumbprint);
    syn_free(key);
}

static void
hosts_that_can_prove_themselves(void **state)
{
    static const char *const good[] = {"a.example", "a-b.c.example", "1.example", "xn--a.example"};
    static const char *const bad[] = {"",        "example",    "*.a.example", "A.example",
                                      "1.2.3.4", "a..example", ".a.example",  "a.example.",
                                      "-a.b",    "a-.b",       "a.b/c",       "a.1",
                                      "::1",     "a_b.example"};
    char label[80];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(good); i++)
        assert_true(syn_acme_host_ok(good[i]));
    for (size_t i = 0; i < SYN_LEN(bad); i++)
        assert_false(syn_acme_host_ok(bad[i]));
    memset(label, 'a', 64);
    memcpy(label + 64, ".b", 3);
    assert_false(syn_acme_host_ok(label));
    assert_true(syn_acme_host_ok(label + 1));
}

static void
directories_are_checked(void **state)
{
    static const struct {
        const char *url, *contact, *ca, *blamed; /* NULL: nothing */
    } rows[] = {
        {"https://acme.example/directory", "ops@example.com", NULL, NULL},
        {"https://[::1]:14000/dir", "mailto:ops@example.com", "/dev/null", NULL},
        {"https://acme.example", "o.p-s+x_1@example.com", NULL, NULL},
        {"http://acme.example/directory", "ops@example.com", NULL, "--acme-directory"},
        {"https://", "ops@example.com", NULL, "--acme-directory"},
        {"https:///directory", "ops@example.com", NULL, "--acme-directory"},
        {"https://../x", "ops@example.com", NULL, "--acme-directory"},
        {"https://a b/x", "ops@example.com", NULL, "--acme-directory"},
        {"https://user@acme.example/x", "ops@example.com", NULL, "--acme-directory"},
        {"https://acme.example/x", NULL, NULL, "--acme-contact"},
        {"https://acme.example/x", "ops", NULL, "--acme-contact"},
        {"https://acme.example/x", "../ops@x", NULL, "--acme-contact"},
        {"https://acme.example/x", "a@b@c", NULL, "--acme-contact"},
        {"https://acme.example/x", "a/b@c", NULL, "--acme-contact"},
        {"https://acme.example/x", "-a@c", NULL, "--acme-contact"},
        {"https://acme.example/x", "ops@example.com", "/nowhere/ca.pem", "--acme-ca"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        const struct syn_acme_directory directory = {
            .url = rows[i].url, .contact = rows[i].contact, .ca_file = rows[i].ca};
        struct syn_err err = {0};
        int rc = syn_acme_check(&directory, &err);

        if (rows[i].blamed == NULL)
            assert_done(rc, &err);
        else if (rc >= 0 || !syn_str_starts(err.msg, rows[i].blamed))
            fail_msg("%s %s: %s", rows[i].url, rows[i].contact, err.msg);
    }
}

static void
what_lego_says_is_a_sentence(void **state)
{
    static const struct {
        const char *said, *reason;
    } rows[] = {
        {"", "lego ended and said nothing"},
        {"2026/11/29 23:11:48 [INFO] acme: Registering account\n", "lego ended and said nothing"},
        {"2026/11/29 23:11:47 [INFO] [a.example] acme: Trying to solve HTTP-01\n"
         "2026/11/29 23:11:48 Could not obtain certificates:\n"
         "\terror: one or more domains had a problem:\n"
         "[a.example] acme: error: 400 :: urn:ietf:params:acme:error:connection :: Get "
         "\"http://a.example/x\": dial tcp: connection refused\n",
         "connection: Get \"http://a.example/x\": dial tcp: connection refused"},
        {"2026/11/29 23:11:48 Could not create client: get directory at 'https://a/': refused\n",
         "Could not create client: get directory at 'https://a/': refused"},
        {"2026/11/29 23:11:48 Could not obtain certificates:\n"
         "\tacme: error: 429 :: POST :: https://a/order :: "
         "urn:ietf:params:acme:error:rateLimited :: too many certificates\n\n",
         "rateLimited: too many certificates"},
        {"\tsaid\001 \033[31mred\377", "said? ?[31mred?"},
        {"2026/11/29", "2026/11/29"},
        {"2026/11/29 23:11:48 ", "lego ended and said nothing"},
        {"urn:ietf:params:acme:error:", "lego ended and said nothing"},
        {"a :: ", "a: "},
    };
    char reason[SYN_ACME_REASON_MAX], said[2 * SYN_ACME_REASON_MAX];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        syn_acme_reason(rows[i].said, reason);
        assert_string_equal(reason, rows[i].reason);
    }
    memset(said, 'x', sizeof(said) - 1);
    said[sizeof(said) - 1] = '\0';
    syn_acme_reason(said, reason);
    assert_int_equal(strlen(reason), SYN_ACME_REASON_MAX - 1);
}

/* --- orders, with programs that stand in for lego --------------------------------------------- */

struct stand {
    char program[512], scratch[512], *key;
    struct syn_acme_directory directory;
    struct syn_acme_order order;
};

static void
stand_up(struct stand *stand, const char *name, const char *script)
{
    struct syn_err err;
    FILE *file;

    (void)snprintf(stand->program, sizeof(stand->program), "%s/%s", syn_test_dir(), name);
    (void)snprintf(stand->scratch, sizeof(stand->scratch), "%s/%s.order", syn_test_dir(), name);
    file = fopen(stand->program, "we");
    assert_non_null(file);
    assert_true(fprintf(file, "#!/bin/sh\n%s", script) > 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(stand->program, 0700), 0);
    assert_done(syn_acme_key_new(&stand->key, &err), &err);
    stand->directory = (struct syn_acme_directory){
        .url = "https://127.0.0.1:1/dir", .contact = "mailto:a@b.c", .program = stand->program};
    stand->order = (struct syn_acme_order){.directory = &stand->directory,
                                           .account_key = stand->key,
                                           .host = "a.example",
                                           .scratch = stand->scratch,
                                           .stop_fd = -1};
}

static void
orders_that_fail_say_why(void **state)
{
    static const struct {
        const char *script;
        int code;
        const char *message;
    } rows[] = {
        {"echo '2026/11/29 23:11:48 it went wrong' >&2; exit 1\n", SYN_E_UNAVAILABLE,
         "it went wrong"},
        {"exit 0\n", SYN_E_UNAVAILABLE, "what the directory gave"},
        {"mkdir $7/certificates; (umask 077; echo nothing > $7/certificates/a.example.crt)\n",
         SYN_E_UNAVAILABLE, "what the directory gave"},
        /* The account is where lego looks for it, and nobody else can read it. */
        {"key=$7/accounts/127.0.0.1_1/a@b.c/keys/a@b.c.key\n"
         "echo \"$(stat -c %a $key) $(head -n 1 $key) $(head -n 1 $9) $2 $5\" >&2; exit 1\n",
         SYN_E_UNAVAILABLE,
         "600 -----BEGIN EC PRIVATE KEY----- -----BEGIN CERTIFICATE REQUEST----- "
         "https://127.0.0.1:1/dir a@b.c"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct stand stand;
        struct syn_err err;
        char name[16], *pem = NULL;

        (void)snprintf(name, sizeof(name), "lego%zu", i);
        stand_up(&stand, name, rows[i].script);
        assert_code(syn_acme_obtain(&stand.order, &pem, &err), rows[i].code, &err);
        if (strstr(err.msg, rows[i].message) == NULL)
            fail_msg("%zu: %s", i, err.msg);
        assert_int_equal(access(stand.scratch, F_OK), -1);
        syn_free(stand.key);
    }
}

static void
an_order_can_be_given_up(void **state)
{
    struct stand stand;
    struct syn_err err;
    char *pem = NULL;

    (void)state;
    stand_up(&stand, "slow", "exec sleep 600\n");
    stand.order.stop_fd = eventfd(1, EFD_CLOEXEC);
    assert_true(stand.order.stop_fd >= 0);
    assert_code(syn_acme_obtain(&stand.order, &pem, &err), SYN_E_CANCELED, &err);
    assert_int_equal(access(stand.scratch, F_OK), -1);
    stand.directory.program = "/nowhere/lego";
    assert_code(syn_acme_obtain(&stand.order, &pem, &err), SYN_E_NOTFOUND, &err);
    assert_int_equal(close(stand.order.stop_fd), 0);
    syn_free(stand.key);
}

/* --- when, on a clock that jumps -------------------------------------------------------------- */

/* Go on in time until an attempt is due, a minute at a time. */
static int64_t
walk(const struct syn_acme_history *history, int64_t now_ms)
{
    while (syn_acme_due_ms(history, now_ms) > now_ms)
        now_ms += MINUTE_MS;
    return now_ms;
}

static void
renewal_is_at_two_thirds(void **state)
{
    const int64_t start = 1000 * DAY_MS;
    struct syn_acme_history history = {0};

    (void)state;
    assert_true(syn_acme_due_ms(&history, start) <= start);
    history = (struct syn_acme_history){.from_ms = start, .until_ms = start + 90 * DAY_MS};
    assert_int_equal(walk(&history, start), start + 60 * DAY_MS);
    /* The clock jumps past it, past the end, and back to before it was made. */
    assert_true(syn_acme_due_ms(&history, start + 61 * DAY_MS) <= start + 61 * DAY_MS);
    assert_true(syn_acme_due_ms(&history, start + 400 * DAY_MS) <= start + 400 * DAY_MS);
    assert_int_equal(syn_acme_due_ms(&history, start - 400 * DAY_MS), start + 60 * DAY_MS);
    history.until_ms = start + 6 * DAY_MS;
    assert_int_equal(walk(&history, start), start + 4 * DAY_MS);
    history.until_ms = start; /* of no life: at once */
    assert_true(syn_acme_due_ms(&history, start) <= start);
}

static void
failures_are_answered_with_patience(void **state)
{
    static const int64_t minutes[] = {2, 4, 8, 16, 32, 64, 128, 256, 512, 720, 720, 720};
    const int64_t start = 1000 * DAY_MS;
    struct syn_acme_history history = {0};
    int64_t now_ms = start;
    unsigned first_hour = 0, month = 0;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(minutes); i++) {
        history.failures++;
        history.failed_ms = now_ms;
        now_ms = walk(&history, now_ms);
        assert_int_equal(now_ms - history.failed_ms, minutes[i] * MINUTE_MS);
    }
    /* A directory of our days stops listening at five failures an hour. */
    history = (struct syn_acme_history){.failed_ms = start};
    for (now_ms = start; now_ms < start + 30 * DAY_MS; now_ms = walk(&history, now_ms)) {
        history.failures++;
        history.failed_ms = now_ms;
        first_hour += now_ms < start + HOUR_MS;
        month++;
    }
    assert_int_equal(first_hour, 5);
    assert_in_range(month, 60, 70);
    /* One failure does not bring a renewal forward, and the clock set back does not stop it. */
    history = (struct syn_acme_history){
        .from_ms = start, .until_ms = start + 90 * DAY_MS, .failures = 1, .failed_ms = start};
    assert_int_equal(walk(&history, start), start + 60 * DAY_MS);
    history = (struct syn_acme_history){.failures = 20, .failed_ms = start};
    assert_true(syn_acme_due_ms(&history, start - DAY_MS) <= start - DAY_MS);
    history.failures = UINT32_MAX;
    assert_int_equal(walk(&history, start), start + 12 * HOUR_MS);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thumbprints_are_those_of_rfc_7638),
        cmocka_unit_test(hosts_that_can_prove_themselves),
        cmocka_unit_test(directories_are_checked),
        cmocka_unit_test(what_lego_says_is_a_sentence),
        cmocka_unit_test(orders_that_fail_say_why),
        cmocka_unit_test(an_order_can_be_given_up),
        cmocka_unit_test(renewal_is_at_two_thirds),
        cmocka_unit_test(failures_are_answered_with_patience),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

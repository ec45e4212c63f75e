/* The API client against the HTTP server, over sockets, TCP and TLS. */
#include "http_testing.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/buf.h>
#include <synor/base/world.h>
#include <synor/client.h>
#include <synor/infra/tls_cert.h>

static struct syn_client *
connect_to(const struct site *site, const char *token, unsigned retries)
{
    struct syn_client_options options = {
        .target = site->socket_path, .token = token, .retries_max = retries};
    struct syn_client *client = NULL;
    struct syn_err err;

    assert_done(syn_client_new(&options, &client, &err), &err);
    return client;
}

static void
test_call(void **state)
{
    struct site *site = site_start(false, NULL);
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = connect_to(site, NULL, 0);
    SYN_JSON(body);
    SYN_JSON(answer);
    struct syn_err err;
    struct syn_call call = {.method = "POST", .path = "/items/a%20b?limit=7"};

    (void)state;
    body = json_pack("{s:i}", "count", 3);
    call.body = body;
    assert_done(syn_client_call(client, &call, &answer, &err), &err);
    assert_string_equal(syn_json_str(answer, "id", ""), "a b");
    assert_int_equal(json_integer_value(syn_json_at(answer, "body.count")), 3);
    assert_int_equal(json_integer_value(syn_json_at(answer, "query.limit")), 7);
    assert_null(syn_client_error(client));

    call = (struct syn_call){.method = "GET", .path = "/hello"};
    assert_code(syn_client_call(client, &call, NULL, &err), SYN_E_CORRUPT, &err);
    call.path = "no-slash";
    assert_code(syn_client_call(client, &call, NULL, &err), SYN_E_INVALID, &err);
    site_end(site);
}

/* Every code of the table arrives as itself, with hint and details. */
static void
test_error_codes(void **state)
{
    struct site *site = site_start(false, NULL);
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = connect_to(site, NULL, 0);
    size_t count = 0;
    const struct syn_err_info *table = syn_err_table(&count);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        struct syn_call call = {.method = "GET"};
        struct syn_err err;
        char path[128];

        (void)snprintf(path, sizeof(path), "/fail/%s", table[i].wire);
        call.path = path;
        assert_code(syn_client_call(client, &call, NULL, &err), table[i].code, &err);
        assert_string_equal(err.msg, "as asked");
        assert_string_equal(syn_json_str(syn_client_error(client), "hint", ""), "try \"again\"");
        assert_int_equal(
            json_integer_value(syn_json_at(syn_client_error(client), "details.received_bytes")), 7);
    }
    site_end(site);
}

static void
test_token(void **state)
{
    static const struct {
        const char *token;
        int rc;
    } rows[] = {
        {NULL, SYN_E_UNAUTHENTICATED}, {"wrong", SYN_E_FORBIDDEN}, {"sesame", SYN_E_CORRUPT}};
    struct site *site = site_start(false, NULL);

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        SYN_SCOPED(syn_client_free_scope)
        struct syn_client *client = connect_to(site, rows[i].token, 0);
        const struct syn_call call = {.method = "GET", .path = "/private"};
        struct syn_err err;

        /* The right token gets through to an answer that is text, not JSON. */
        assert_code(syn_client_call(client, &call, NULL, &err), rows[i].rc, &err);
    }
    site_end(site);
}

static void
test_options_refused(void **state)
{
    static const struct syn_client_options rows[] = {
        {.target = NULL},
        {.target = "ftp://x"},
        {.target = "localhost:80"},
        {.target = "/x", .fingerprint = "abc"},
        {.target = "/x", .token = "a\nb"},
    };
    struct syn_client *client = NULL;
    struct syn_err err;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        assert_code(syn_client_new(&rows[i], &client, &err), SYN_E_INVALID, &err);
    assert_null(client);
}

static void
test_unreachable_and_retries(void **state)
{
    struct syn_client_options options = {.target = "/nonexistent/synor.sock", .retries_max = 2};
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
    const struct syn_call call = {.method = "POST", .path = "/hello"};
    int64_t began = syn_mono_ms(syn_world_system());
    struct syn_err err;

    (void)state;
    assert_done(syn_client_new(&options, &client, &err), &err);
    assert_code(syn_client_call(client, &call, NULL, &err), SYN_E_UNAVAILABLE, &err);
    /* Two pauses, each at least three quarters of 100 and 200 ms. */
    assert_true(syn_mono_ms(syn_world_system()) - began >= 225);
}

static void
note_progress(void *arg, int64_t done, int64_t total)
{
    (void)total;
    *(int64_t *)arg = done;
}

static void
test_upload_and_download(void **state)
{
    struct site *site = site_start(false, NULL);
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = connect_to(site, NULL, 0);
    struct syn_transfer transfer = {.path = "/upload", .len = SITE_FILE_BYTES};
    SYN_JSON(answer);
    static char back[SITE_FILE_BYTES];
    int64_t done = 0;
    int64_t received = 0;
    struct syn_err err;
    char path[512];
    int fd;

    (void)state;
    transfer.fd = open(site->file_path, O_RDONLY | O_CLOEXEC);
    transfer.progress = note_progress;
    transfer.progress_arg = &done;
    assert_done(syn_client_upload(client, &transfer, &answer, &err), &err);
    assert_int_equal(syn_json_i64(answer, "received_bytes", 0), SITE_FILE_BYTES);
    assert_int_equal(done, SITE_FILE_BYTES);
    /* The rest of it, from where it stopped. */
    transfer.path = "/upload?offset=200000";
    transfer.offset = 200000;
    transfer.len = 100000;
    answer = (json_decref(answer), NULL);
    assert_done(syn_client_upload(client, &transfer, &answer, &err), &err);
    assert_int_equal(syn_json_i64(answer, "received_bytes", 0), 100000);
    (void)close(transfer.fd);
    fd = open(site->upload_path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, back, sizeof(back), 0), sizeof(back));
    assert_memory_equal(back, site_big, sizeof(back));
    (void)close(fd);
    /* Refused before the body: the answer is what counts. */
    transfer.path = "/upload?offset=400000";
    transfer.fd = open(site->file_path, O_RDONLY | O_CLOEXEC);
    transfer.offset = 0;
    transfer.len = SITE_FILE_BYTES;
    assert_code(syn_client_upload(client, &transfer, NULL, &err), SYN_E_CONFLICT, &err);
    (void)close(transfer.fd);

    (void)snprintf(path, sizeof(path), "%s/download", syn_test_dir());
    memset(back, 0, sizeof(back));
    transfer =
        (struct syn_transfer){.path = "/file", .progress = note_progress, .progress_arg = &done};
    transfer.fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(transfer.fd, site_big, 1000), 1000);
    transfer.offset = 1000;
    assert_done(syn_client_download(client, &transfer, &received, &err), &err);
    assert_int_equal(received, SITE_FILE_BYTES - 1000);
    assert_int_equal(pread(transfer.fd, back, sizeof(back), 0), sizeof(back));
    assert_memory_equal(back, site_big, sizeof(back));
    /* A server that cannot resume must not spoil the file. */
    transfer.path = "/pull/known";
    assert_code(syn_client_download(client, &transfer, &received, &err), SYN_E_CORRUPT, &err);
    assert_int_equal(received, 0);
    /* A body that breaks off is no success. */
    transfer.path = "/pull/broken";
    transfer.offset = 0;
    assert_code(syn_client_download(client, &transfer, &received, &err), SYN_E_UNAVAILABLE, &err);
    assert_true(received > 0);
    (void)close(transfer.fd);
    site_end(site);
}

static int
refuse_second(void *arg, const void *data, size_t len, struct syn_err *err)
{
    int *calls = arg;

    (void)data;
    assert_true(len > 0);
    return (*calls)++ == 0 ? SYN_OK : SYN_FAIL(err, SYN_E_NOSPACE, "enough");
}

static void
test_read_sink(void **state)
{
    struct site *site = site_start(false, NULL);
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = connect_to(site, NULL, 0);
    struct syn_err err;
    int calls = 0;

    (void)state;
    assert_code(syn_client_read(client, "/big", refuse_second, &calls, &err), SYN_E_NOSPACE, &err);
    assert_int_equal(calls, 2);
    site_end(site);
}

struct told {
    struct syn_buf body;
    char type[64];
};

static int
keep_body(void *arg, const void *data, size_t len, struct syn_err *err)
{
    struct told *told = arg;

    syn_buf_add(&told->body, data, len);
    return syn_buf_ok(&told->body, err);
}

static void
keep_type(void *arg, const char *name, const char *value)
{
    struct told *told = arg;

    if (strcmp(name, "content-type") == 0)
        (void)snprintf(told->type, sizeof(told->type), "%s", value);
}

/* What is passed on is no error, whatever its status is; what is not is the API's. */
static void
test_raw(void **state)
{
    static const char *const headers[] = {"X-Empty", "", "X-One", "1", NULL};
    static const char *const broken[] = {"X-One", "1\r\nX-Two: 2", NULL};
    struct site *site = site_start(false, NULL);
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = connect_to(site, NULL, 0);
    struct told told = {0};
    struct syn_raw_call call = {.method = "POST",
                                .path = "/items/x",
                                .headers = headers,
                                .body = "{\"count\":3}",
                                .body_len = 11,
                                .on_header = keep_type,
                                .sink = keep_body,
                                .arg = &told};
    struct syn_err err;
    int status = 0;

    (void)state;
    assert_done(syn_client_raw(client, &call, &status, &err), &err);
    assert_int_equal(status, 201);
    assert_non_null(strstr(syn_buf_text(&told.body), "\"count\":3"));
    assert_string_equal(told.type, "application/json");

    call = (struct syn_raw_call){
        .method = "GET", .path = "/fail/not-found", .sink = keep_body, .arg = &told};
    syn_buf_clear(&told.body);
    assert_code(syn_client_raw(client, &call, &status, &err), SYN_E_NOTFOUND, &err);
    assert_int_equal(told.body.len, 0);
    call.passed = "content-type";
    assert_done(syn_client_raw(client, &call, &status, &err), &err);
    assert_int_equal(status, 404);
    assert_non_null(strstr(syn_buf_text(&told.body), "as asked"));

    call.headers = broken;
    assert_code(syn_client_raw(client, &call, &status, &err), SYN_E_INVALID, &err);
    syn_buf_fini(&told.body);
    site_end(site);
}

struct seen {
    int events;
    char text[256];
};

static int
on_event(void *arg, const struct syn_event *event, struct syn_err *err)
{
    struct seen *seen = arg;
    size_t at = strlen(seen->text);

    (void)err;
    seen->events++;
    (void)snprintf(seen->text + at, sizeof(seen->text) - at, "%s|%s|%s;", event->id, event->name,
                   event->data);
    return seen->events == 4 ? SYN_CLIENT_STOP : SYN_OK;
}

/* The site sends two events and hangs up; the second shows the Last-Event-ID that it was given. */
static void
test_follow(void **state)
{
    struct site *site = site_start(false, NULL);
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = connect_to(site, NULL, 3);
    struct seen seen = {0, ""};
    struct syn_err err;

    (void)state;
    assert_done(syn_client_follow(client, "/events?mode=three", NULL, on_event, &seen, &err), &err);
    assert_string_equal(seen.text, "1|log|one\ntwo;1|message|none;1|log|one\ntwo;1|message|1;");
    assert_code(syn_client_follow(client, "/nowhere", NULL, on_event, &seen, &err), SYN_E_NOTFOUND,
                &err);
    site_end(site);
}

static void *
cancel_soon(void *arg)
{
    const struct timespec pause = {0, 100000000};

    (void)nanosleep(&pause, NULL);
    syn_client_cancel(arg);
    return NULL;
}

static void
test_cancel(void **state)
{
    static const char *const paths[] = {"/park", "/events?mode=quiet"};
    struct site *site = site_start(false, NULL);

    (void)state;
    for (size_t i = 0; i < SYN_LEN(paths); i++) {
        SYN_SCOPED(syn_client_free_scope) struct syn_client *client = connect_to(site, NULL, 3);
        const struct syn_call call = {.method = "GET", .path = paths[i]};
        int64_t began = syn_mono_ms(syn_world_system());
        struct seen seen = {0, ""};
        struct syn_err err;
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, cancel_soon, client), 0);
        if (i == 0)
            assert_code(syn_client_call(client, &call, NULL, &err), SYN_E_CANCELED, &err);
        else
            assert_code(syn_client_follow(client, paths[i], NULL, on_event, &seen, &err),
                        SYN_E_CANCELED, &err);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_true(syn_mono_ms(syn_world_system()) - began < 20000);
        assert_code(syn_client_call(client, &call, NULL, &err), SYN_E_CANCELED, &err);
    }
    site_end(site);
}

static void
test_tls_pin(void **state)
{
    struct site *site = site_start(true, NULL);
    char fingerprint[SYN_TLS_FINGERPRINT_SIZE];
    char wrong[SYN_TLS_FINGERPRINT_SIZE];
    char url[64];
    const char *pins[] = {fingerprint, wrong, NULL, NULL};
    const char *authorities[] = {NULL, NULL, NULL, site->cert_path};
    const int want[] = {0, SYN_E_FORBIDDEN, SYN_E_FORBIDDEN, 0};
    struct syn_err err;

    (void)state;
    assert_done(syn_tls_cert_fingerprint(site->cert_path, fingerprint, &err), &err);
    memcpy(wrong, fingerprint, sizeof(wrong));
    wrong[0] = wrong[0] == 'a' ? 'b' : 'a';
    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%u", (unsigned)site->port);
    for (size_t i = 0; i < SYN_LEN(want); i++) {
        struct syn_client_options options = {
            .target = url, .fingerprint = pins[i], .ca_path = authorities[i]};
        SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
        const struct syn_call call = {.method = "GET", .path = "/fail/conflict"};
        int rc;

        assert_done(syn_client_new(&options, &client, &err), &err);
        rc = syn_client_call(client, &call, NULL, &err);
        assert_code(rc, want[i] == 0 ? SYN_E_CONFLICT : want[i], &err);
    }
    site_end(site);
}

static void
test_escape(void **state)
{
    SYN_BUF(out);

    (void)state;
    syn_client_escape(&out, "a/b c\xC3\xA4~&=");
    assert_string_equal(syn_buf_text(&out), "a%2Fb%20c%C3%A4~%26%3D");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call),
        cmocka_unit_test(test_error_codes),
        cmocka_unit_test(test_token),
        cmocka_unit_test(test_options_refused),
        cmocka_unit_test(test_unreachable_and_retries),
        cmocka_unit_test(test_upload_and_download),
        cmocka_unit_test(test_read_sink),
        cmocka_unit_test(test_raw),
        cmocka_unit_test(test_follow),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_tls_pin),
        cmocka_unit_test(test_escape),
    };

    return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}

/* Rounds against a server of our own that answers what a row says. */
#include "scrape_priv.h"

#include <synor/base/test.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/mem.h>

static int listener;
static uint16_t port;

static int
setup(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);

    (void)state;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    port = ntohs(address.sin_port);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    return close(listener);
}

/* What is wanted: "NAME PATH SERIES", separated by lines. */
static json_t *
wanted(const char *const rows[][3], size_t count)
{
    json_t *list = json_array(), *doc;

    for (size_t i = 0; i < count; i++)
        assert_int_equal(json_array_append_new(list, json_pack("{s:s, s:i, s:s, s:s}", "metric",
                                                               rows[i][0], "port", 0, "path",
                                                               rows[i][1], "series", rows[i][2])),
                         0);
    doc = json_pack("{s:i, s:o}", "every_ms", 2000, "metrics", list);
    assert_non_null(doc);
    return doc;
}

/* Take the one connection, check what it asks for, answer, and close. */
static void
serve(struct agt_scrape *scrape, const char *path, const char *answer, int64_t now_ms,
      json_t **ret_round)
{
    char request[1024] = "", line[128];
    int fd = accept(listener, NULL, NULL);
    size_t len = 0;
    struct syn_err err;

    assert_true(fd >= 0);
    while (strstr(request, "\r\n\r\n") == NULL) {
        ssize_t got;

        assert_done(agt_scrape_turn(scrape, "127.0.0.1", now_ms, ret_round, &err), &err);
        got = recv(fd, request + len, sizeof(request) - 1 - len, MSG_DONTWAIT);
        len += got > 0 ? (size_t)got : 0;
        request[len] = '\0';
    }
    (void)snprintf(line, sizeof(line), "GET %s HTTP/1.0\r\n", path);
    assert_ptr_equal(strstr(request, line), request);
    assert_int_equal(write(fd, answer, strlen(answer)), (ssize_t)strlen(answer));
    (void)close(fd);
}

static void
turn_once(struct agt_scrape *scrape, int64_t now_ms, json_t **ret_round)
{
    struct pollfd ready = agt_scrape_fd(scrape);
    struct syn_err err;

    (void)poll(&ready, 1, 10);
    assert_done(agt_scrape_turn(scrape, "127.0.0.1", now_ms, ret_round, &err), &err);
}

/* One round whose questions are answered so, in this order. */
static json_t *
round_of(struct agt_scrape *scrape, const char *const answers[][2], size_t count, int64_t now_ms)
{
    json_t *round = NULL;
    struct syn_err err;

    assert_done(agt_scrape_turn(scrape, "127.0.0.1", now_ms, &round, &err), &err);
    for (size_t i = 0; i < count; i++) {
        assert_null(round);
        serve(scrape, answers[i][0], answers[i][1], now_ms, &round);
        for (int k = 0, before = agt_scrape_fd(scrape).fd; k < 6000 && round == NULL; k++) {
            struct pollfd next;

            turn_once(scrape, now_ms, &round);
            next = agt_scrape_fd(scrape);
            if (i + 1 < count && (next.events == POLLOUT || next.fd != before))
                break; /* the next question */
        }
    }
    assert_non_null(round);
    return round;
}

static void
assert_number(const json_t *round, const char *name, double want)
{
    const json_t *number = json_object_get(json_object_get(round, "metrics"), name);

    if (number == NULL)
        fail_msg("%s is not known: %s", name,
                 syn_json_str(json_object_get(round, "trouble"), name, "no trouble told"));
    assert_true(json_real_value(number) >= want && json_real_value(number) <= want);
}

static void
assert_trouble(const json_t *round, const char *name, const char *says)
{
    const char *said = syn_json_str(json_object_get(round, "trouble"), name, "");

    assert_null(json_object_get(json_object_get(round, "metrics"), name));
    if (strstr(said, says) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", said, says);
}

#define OK(text) "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" text

static void
test_rounds(void **state)
{
    static const char *const rows[][3] = {
        {"custom:jobs", "/metrics", "jobs{queue=\"mail\"}"},
        {"custom:done", "/more", "done_total"},
        {"custom:all", "/metrics", "jobs"},
        {"custom:none", "/metrics", "none"},
    };
    static const char *const first[][2] = {
        {"/metrics", OK("jobs{queue=\"mail\"} 3\njobs{queue=\"x\"} -4.5\n")},
        {"/more", OK("# TYPE done_total counter\ndone_total 100\n")},
    };
    static const char *const second[][2] = {
        {"/metrics", OK("jobs{queue=\"mail\"} +Inf\n")},
        {"/more", OK("# TYPE done_total counter\ndone_total 130\n")},
    };
    static const char *const third[][2] = {
        {"/metrics", "HTTP/1.1 404 Not Found\r\n\r\njobs 1\n"},
        {"/more", OK("# TYPE done_total counter\ndone_total 7\n")}, /* it began again */
    };
    SYN_JSON(want);
    SYN_JSON(one);
    SYN_JSON(two);
    SYN_JSON(three);
    json_t *nothing = NULL;
    struct agt_scrape *scrape = NULL;
    struct syn_err err;

    (void)state;
    want = wanted(rows, SYN_LEN(rows));
    assert_done(agt_scrape_want(&scrape, want, port, &err), &err);
    one = round_of(scrape, first, SYN_LEN(first), 1000);
    assert_number(one, "custom:jobs", 3);
    assert_number(one, "custom:all", 0); /* -1.5: there are no loads below nothing */
    assert_trouble(one, "custom:none", "no such series");
    assert_null(json_object_get(json_object_get(one, "metrics"), "custom:done"));
    /* Not before it is time, and what is wanted still goes on. */
    assert_done(agt_scrape_want(&scrape, want, port, &err), &err);
    assert_done(agt_scrape_turn(scrape, "127.0.0.1", 2999, &nothing, &err), &err);
    assert_int_equal(agt_scrape_fd(scrape).fd, -1);
    assert_int_equal(agt_scrape_pause_ms(scrape, 2999), 1);
    two = round_of(scrape, second, SYN_LEN(second), 3000);
    assert_number(two, "custom:jobs", 1e12);
    assert_number(two, "custom:done", 15);
    three = round_of(scrape, third, SYN_LEN(third), 5000);
    assert_trouble(three, "custom:jobs", "it answers 404");
    assert_null(json_object_get(json_object_get(three, "metrics"), "custom:done"));
    assert_null(json_object_get(json_object_get(three, "trouble"), "custom:done"));
    assert_done(agt_scrape_want(&scrape, NULL, port, &err), &err);
    assert_null(scrape);
}

static void
test_answers_that_are_none(void **state)
{
    static const char *const row[][3] = {{"custom:up", "/metrics", "up"}};
    static const struct {
        const char *answer, *says;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nup 1\n", "broke off"},
        {"HTTP/1.1 200 OK\r\ncontent-length:  5\r\n\r\nup 1\n", NULL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nup 1\n\r\n0\r\n\r\n", "chunks"},
        {"HTTP/1.1 200 OK\r\nUp: 1\r\n", "no end"},
        {"HTTP/1.1 204 No Content\r\n\r\n", "204"},
        {"up 1\n", "something else than HTTP/1"},
        {"", "something else than HTTP/1"},
        {OK("up 1x\n"), "line 1"},
        {OK(""), "no such series"},
    };
    SYN_JSON(want);
    struct agt_scrape *scrape = NULL;
    int64_t now_ms = 1000;
    struct syn_err err;

    (void)state;
    want = wanted(row, 1);
    assert_done(agt_scrape_want(&scrape, want, port, &err), &err);
    for (size_t i = 0; i < SYN_LEN(rows); i++, now_ms += 2000) {
        const char *const answer[][2] = {{"/metrics", rows[i].answer}};
        SYN_JSON(round);

        round = round_of(scrape, answer, 1, now_ms);
        if (rows[i].says == NULL)
            assert_number(round, "custom:up", 1);
        else
            assert_trouble(round, "custom:up", rows[i].says);
    }
    (void)agt_scrape_free(scrape);
}

/* Nobody there, one who says nothing, one who says too much. */
static void
test_strangers(void **state)
{
    static const char *const row[][3] = {{"custom:up", "/metrics", "up"}};
    static char flood[1 << 16];
    SYN_JSON(want);
    SYN_JSON(silent);
    SYN_JSON(loud);
    SYN_JSON(nowhere);
    struct agt_scrape *scrape = NULL;
    struct syn_err err;
    int fd;

    (void)state;
    memset(flood, '\n', sizeof(flood));
    want = wanted(row, 1);
    assert_done(agt_scrape_want(&scrape, want, port, &err), &err);
    assert_done(agt_scrape_turn(scrape, "127.0.0.1", 1000, &silent, &err), &err);
    fd = accept(listener, NULL, NULL);
    assert_done(agt_scrape_turn(scrape, "127.0.0.1", 5999, &silent, &err), &err);
    assert_null(silent);
    assert_done(agt_scrape_turn(scrape, "127.0.0.1", 6000, &silent, &err), &err);
    assert_trouble(silent, "custom:up", "no answer within its time");
    (void)close(fd);
    assert_done(agt_scrape_turn(scrape, "127.0.0.1", 9000, &loud, &err), &err);
    fd = accept(listener, NULL, NULL);
    for (int i = 0; i < 100000 && loud == NULL; i++) {
        (void)!send(fd, flood, sizeof(flood), MSG_DONTWAIT | MSG_NOSIGNAL);
        assert_done(agt_scrape_turn(scrape, "127.0.0.1", 9000, &loud, &err), &err);
    }
    assert_trouble(loud, "custom:up", "more than");
    (void)close(fd);
    assert_done(agt_scrape_turn(scrape, "", 20000, &nowhere, &err), &err);
    assert_trouble(nowhere, "custom:up", "no address");
    (void)agt_scrape_free(scrape);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rounds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answers_that_are_none, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strangers, setup, teardown),
    };

    return cmocka_run_group_tests_name("scrape", tests, NULL, NULL);
}

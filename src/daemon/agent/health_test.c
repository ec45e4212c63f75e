/* The machine of health by itself, and its checks against sockets that answer as they are told. */
#include "health_priv.h"
#include "probe_priv.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

#include <synor/infra/grpc_testing.h>

static const struct agt_health_rules rules = {.checked = true,
                                              .interval_ms = 1000,
                                              .healthy = 2,
                                              .unhealthy = 3,
                                              .lost = 6,
                                              .start_ms = 10000};

/* What has become ready is heard of before a sixteenth more of the time that it took has gone. */
static void
test_starts_fast_and_slows_down(void **state)
{
    struct agt_health_rules slow = rules;
    struct agt_health health;
    int64_t now = 100, last = 0;
    unsigned checks = 0;

    (void)state;
    slow.start_ms = 30000;
    agt_health_init(&health, &slow, now);
    assert_true(agt_health_due(&health, now));
    while (!agt_health_lost(&health, now)) {
        assert_false(health.ready);
        if (agt_health_due(&health, now)) {
            assert_false(agt_health_take(&health, false, now));
            assert_true(health.due_ms - now >= last);
            last = health.due_ms - now;
            assert_true(last <= SYN_MAX((now - 100) / 16, AGT_HEALTH_FIRST_MS));
            checks++;
        }
        now++;
    }
    assert_int_equal(now, 100 + slow.start_ms);
    assert_int_equal(last, rules.interval_ms);
    assert_true(checks > 60 && checks < 130);
}

static void
test_ready_not_ready_lost(void **state)
{
    struct agt_health health;

    (void)state;
    agt_health_init(&health, &rules, 0);
    assert_false(agt_health_take(&health, true, 10));
    assert_true(agt_health_take(&health, true, 20));
    assert_true(health.ready);
    assert_int_equal(health.due_ms, 20 + rules.interval_ms);
    assert_false(agt_health_lost(&health, 1000000)); /* the time to start is over, and was enough */
    assert_false(agt_health_take(&health, false, 30));
    assert_false(agt_health_take(&health, false, 40));
    assert_true(agt_health_take(&health, false, 50));
    assert_false(health.ready);
    assert_false(agt_health_take(&health, true, 60)); /* one answer is not enough */
    assert_true(agt_health_take(&health, true, 70));
    for (int i = 0; i < 6; i++) {
        assert_false(agt_health_lost(&health, 80));
        (void)agt_health_take(&health, false, 80 + i);
    }
    assert_true(agt_health_lost(&health, 90));
}

/* Of three questions each machine has its part of the rules. */
static void
test_parts_of_the_rules(void **state)
{
    static const struct agt_health_rules readiness = {
        .checked = true, .interval_ms = 1000, .healthy = 1, .unhealthy = 2};
    static const struct agt_health_rules liveness = {
        .checked = true, .interval_ms = 1000, .healthy = 1, .unhealthy = 1, .lost = 3};
    struct agt_health health;

    (void)state;
    agt_health_init(&health, &readiness, 0);
    for (int i = 0; i < 100; i++)
        (void)agt_health_take(&health, false, i);
    assert_false(agt_health_lost(&health, INT64_MAX)); /* it may take as long as it likes */
    assert_true(agt_health_take(&health, true, 100));
    for (int i = 0; i < 100; i++)
        (void)agt_health_take(&health, false, i);
    assert_false(health.ready);
    assert_false(agt_health_lost(&health, INT64_MAX)); /* nor does it ever end it */
    agt_health_init(&health, &liveness, 0);
    for (int i = 0; i < 3; i++) {
        assert_false(agt_health_lost(&health, 20));
        (void)agt_health_take(&health, false, 20);
        assert_int_equal(health.due_ms, 20 + liveness.interval_ms);
    }
    assert_true(agt_health_lost(&health, 20)); /* also one that never passed */
}

static void
test_unchecked_is_well_while_it_runs(void **state)
{
    const struct agt_health_rules none = {.checked = false};
    struct agt_health health;

    (void)state;
    agt_health_init(&health, &none, 0);
    assert_true(health.ready);
    assert_false(agt_health_due(&health, INT64_MAX));
    assert_false(agt_health_lost(&health, INT64_MAX));
}

/* --- probes ----------------------------------------------------------------------------------- */

static int
listen_on(uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

/* Turn it until it is over; time stands still, so only the other side decides. */
static enum agt_probe_state
settle(struct agt_probe *probe, int64_t now_ms)
{
    enum agt_probe_state state = AGT_PROBE_RUNS;

    for (int i = 0; i < 6000 && state == AGT_PROBE_RUNS; i++) {
        struct pollfd ready = {.fd = probe->fd, .events = probe->events};

        (void)poll(&ready, 1, 10);
        state = agt_probe_turn(probe, now_ms);
    }
    return state;
}

/* What a check gives when it is answered with this; the request it sent into `request`. */
static enum agt_probe_state
ask(const char *answer, const char *host, const char *headers, char *request, size_t cap)
{
    uint16_t port;
    int listener = listen_on(&port);
    struct agt_probe probe = AGT_PROBE_INIT;
    const struct agt_probe_target target = {
        .address = "127.0.0.1", .port = port, .path = "/health", .host = host, .headers = headers};
    enum agt_probe_state state = agt_probe_begin(&probe, &target, 0, 1000);
    size_t len = 0;
    int fd;

    assert_int_equal(state, AGT_PROBE_RUNS);
    fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    while (len + 1 < cap && (len < 4 || memcmp(request + len - 4, "\r\n\r\n", 4) != 0)) {
        ssize_t got;

        (void)agt_probe_turn(&probe, 0);
        got = recv(fd, request + len, cap - 1 - len, MSG_DONTWAIT);
        if (got > 0)
            len += (size_t)got;
    }
    request[len] = '\0';
    assert_int_equal(write(fd, answer, strlen(answer)), (ssize_t)strlen(answer));
    (void)close(fd);
    state = settle(&probe, 0);
    assert_true(probe.message[0] != '\0');
    assert_int_equal(probe.fd, -1);
    (void)close(listener);
    return state;
}

static void
test_http_answers(void **state)
{
    static const struct {
        const char *answer;
        enum agt_probe_state state;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\n\r\n", AGT_PROBE_PASSED},
        {"HTTP/1.0 204 No Content\r\n\r\n", AGT_PROBE_PASSED},
        {"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", AGT_PROBE_PASSED},
        {"HTTP/1.1 500 No\r\n\r\n", AGT_PROBE_FAILED},
        {"HTTP/1.1 404 Not Found\r\n\r\n", AGT_PROBE_FAILED},
        {"HTTP/1.1 2x0 OK\r\n\r\n", AGT_PROBE_FAILED},
        {"HTTP/2 200\r\n\r\n", AGT_PROBE_FAILED},
        {"SSH-2.0-OpenSSH\r\n", AGT_PROBE_FAILED},
        {"HTTP/1.1 2", AGT_PROBE_FAILED},
        {"", AGT_PROBE_FAILED},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        char request[AGT_PROBE_REQUEST_MAX] = "";

        if (ask(rows[i].answer, NULL, NULL, request, sizeof(request)) != rows[i].state)
            fail_msg("\"%s\" is judged wrongly", rows[i].answer);
        assert_ptr_equal(strstr(request, "GET /health HTTP/1.1\r\nHost: 127.0.0.1:"), request);
    }
}

static void
test_requests_have_what_is_said(void **state)
{
    char request[AGT_PROBE_REQUEST_MAX] = "";

    (void)state;
    assert_int_equal(
        ask("HTTP/1.1 200 OK\r\n\r\n", "a.example", "X-A: b\r\n", request, sizeof(request)),
        AGT_PROBE_PASSED);
    assert_string_equal(request, "GET /health HTTP/1.1\r\nHost: a.example\r\n"
                                 "User-Agent: synor-health\r\nX-A: b\r\n"
                                 "Connection: close\r\n\r\n");
}

static void
test_silence_and_refusal(void **state)
{
    uint16_t port;
    int listener = listen_on(&port);
    struct agt_probe probe = AGT_PROBE_INIT;
    const struct agt_probe_target http = {.address = "127.0.0.1", .port = port, .path = "/"},
                                  tcp = {.address = "127.0.0.1", .port = port},
                                  nowhere = {.address = "", .port = port};

    (void)state;
    assert_int_equal(agt_probe_begin(&probe, &http, 0, 1000), AGT_PROBE_RUNS);
    assert_int_equal(agt_probe_turn(&probe, 999), AGT_PROBE_RUNS);
    assert_int_equal(settle(&probe, 1000), AGT_PROBE_FAILED);
    assert_int_equal(agt_probe_turn(&probe, 1001), AGT_PROBE_NONE);
    assert_int_equal(agt_probe_begin(&probe, &tcp, 0, 1000), AGT_PROBE_RUNS);
    assert_int_equal(settle(&probe, 0), AGT_PROBE_PASSED);
    (void)close(listener);
    if (agt_probe_begin(&probe, &tcp, 0, 1000) == AGT_PROBE_RUNS)
        assert_int_equal(settle(&probe, 0), AGT_PROBE_FAILED);
    assert_int_equal(agt_probe_begin(&probe, &nowhere, 0, 1000), AGT_PROBE_FAILED);
}

static void
test_grpc_answers(void **state)
{
    static const struct {
        const char *service;
        enum agt_probe_state state;
        const char *says;
    } rows[] = {
        {"", AGT_PROBE_PASSED, "SERVING"},
        {"down", AGT_PROBE_FAILED, "NOT_SERVING"},
        {"nobody", AGT_PROBE_FAILED, "no such thing"},
    };
    struct grpc_server *server = grpc_server_start(NULL);
    const char *address = grpc_server_address(server);
    struct agt_probe_target target = {.address = "127.0.0.1", .grpc_service = "stall"};
    struct agt_probe probe = AGT_PROBE_INIT;
    int64_t port = 0;

    (void)state;
    assert_int_equal(syn_parse_i64(strrchr(address, ':') + 1, 1, 65535, "port", &port, NULL), 0);
    target.port = (uint16_t)port;
    /* No answer, and none by its deadline; then one that is given up. */
    assert_int_equal(agt_probe_begin(&probe, &target, 0, 1000), AGT_PROBE_RUNS);
    for (int i = 0; i < 6000 && probe.call == NULL; i++) {
        struct pollfd ready = {.fd = probe.fd, .events = probe.events};

        (void)poll(&ready, 1, 10);
        assert_int_equal(agt_probe_turn(&probe, 999), AGT_PROBE_RUNS);
    }
    assert_int_equal(agt_probe_turn(&probe, 1000), AGT_PROBE_FAILED);
    assert_int_equal(agt_probe_begin(&probe, &target, 0, 1000), AGT_PROBE_RUNS);
    agt_probe_end(&probe);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        target.grpc_service = rows[i].service;
        assert_int_equal(agt_probe_begin(&probe, &target, 0, 1000), AGT_PROBE_RUNS);
        assert_int_equal(settle(&probe, 0), rows[i].state);
        assert_non_null(strstr(probe.message, rows[i].says));
        assert_int_equal(probe.fd, -1);
    }
    grpc_server_stop(server);
}

/* Who speaks something else than gRPC is not well. */
static void
test_grpc_is_not_http(void **state)
{
    uint16_t port;
    int listener = listen_on(&port), fd;
    const struct agt_probe_target target = {
        .address = "127.0.0.1", .port = port, .grpc_service = ""};
    struct agt_probe probe = AGT_PROBE_INIT;
    static const char answer[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";

    (void)state;
    assert_int_equal(agt_probe_begin(&probe, &target, 0, 1000), AGT_PROBE_RUNS);
    fd = accept(listener, NULL, NULL);
    assert_int_equal(write(fd, answer, sizeof(answer) - 1), sizeof(answer) - 1);
    assert_int_equal(settle(&probe, 0), AGT_PROBE_FAILED);
    assert_true(probe.message[0] != '\0');
    (void)close(fd);
    (void)close(listener);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starts_fast_and_slows_down),
        cmocka_unit_test(test_ready_not_ready_lost),
        cmocka_unit_test(test_parts_of_the_rules),
        cmocka_unit_test(test_unchecked_is_well_while_it_runs),
        cmocka_unit_test(test_http_answers),
        cmocka_unit_test(test_requests_have_what_is_said),
        cmocka_unit_test(test_silence_and_refusal),
        cmocka_unit_test(test_grpc_answers),
        cmocka_unit_test(test_grpc_is_not_http),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

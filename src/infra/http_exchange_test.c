/* One request, one answer, for everything that the protocol may bring. */
#include "http_testing.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/str.h>

/* --- tests --------------------------------------------------------------------------------------
 */

static const struct {
    const char *request;
    const char *want[3];
} exchanges[] = {
    {"GET /hello" END, {"HTTP/1.1 200 OK\r\n", "content-length: 5\r\n", "\r\n\r\nhello"}},
    {"GET /hello HTTP/1.0\r\n\r\n", {"HTTP/1.1 200 OK", "connection: close", "\r\n\r\nhello"}},
    {"HEAD /hello" END, {"HTTP/1.1 200 OK\r\n", "content-length: 5\r\n"}},
    {"GET /helo" END, {"HTTP/1.1 404", "\"code\":\"not-found\"", "did you mean /hello?"}},
    {"GET /" END, {"HTTP/1.1 404"}},
    {"PUT /hello" HEAD "Content-Length: 0\r\n\r\n",
     {"HTTP/1.1 405", "allow: GET, HEAD\r\n", "method-not-allowed"}},
    {"BREW /hello" END, {"HTTP/1.1 405"}},
    {"GET /items/x" END, {"HTTP/1.1 405", "allow: POST, DELETE\r\n"}},
    {"GET /hello?x=1" END, {"HTTP/1.1 400", "takes no query parameter"}},
    {"GET /hello/" END, {"HTTP/1.1 400", "empty segment"}},
    {"GET //hello" END, {"HTTP/1.1 400"}},
    {"GET /a/../hello" END, {"HTTP/1.1 400", "dot segment"}},
    {"GET /a/%2e%2e/hello" END, {"HTTP/1.1 400", "dot segment"}},
    {"GET /files/a%2fb" END, {"HTTP/1.1 400", "encoded slash"}},
    {"GET /files/a%zz" END, {"HTTP/1.1 400", "percent"}},
    {"GET /files/a%4" END, {"HTTP/1.1 400", "percent"}},
    {"GET /files/a%00" END, {"HTTP/1.1 400", "percent"}},
    {"GET /files/a%ff" END, {"HTTP/1.1 400", "percent"}},
    {"GET /files/a/b%20c/%C3%A4" END, {"HTTP/1.1 200", "\r\n\r\na/b c/\xC3\xA4"}},
    {"GET http://x/hello" END, {"HTTP/1.1 400"}},
    {"GET /hello HTTP/2.0\r\nHost: x\r\n\r\n", {"HTTP/1.1 501", "unsupported"}},
    {"GET /hello HTTP/1.1\r\n\r\n", {"HTTP/1.1 400", "no Host"}},
    {"GET /hello HTTP/1.1\nHost: x\n\r\n\r\n", {"HTTP/1.1 400"}},
    {"GET /hello HTTP/1.1\r\nHost : x\r\n\r\n", {"HTTP/1.1 400"}},
    {"GET /hello HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", {"HTTP/1.1 400"}},
    {"GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", {"HTTP/1.1 400"}},
    {"GET /hello HTTP/1.1\r\nHost: x\r\nA: \x01\r\n\r\n", {"HTTP/1.1 400", "control character"}},
    {"garbage\r\n\r\n", {"HTTP/1.1 400", "\"code\":\"invalid\""}},
    {"POST /echo" HEAD "Content-Length: 3\r\n\r\nabc", {"HTTP/1.1 200", "\r\n\r\nabc"}},
    {"POST /echo" HEAD "Content-Length: +3\r\n\r\nabc", {"HTTP/1.1 400"}},
    {"POST /echo" HEAD "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", {"HTTP/1.1 400"}},
    {"POST /echo" HEAD "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
     {"HTTP/1.1 400"}},
    {"POST /echo" HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n", {"HTTP/1.1 501"}},
    {"POST /echo" HEAD "Content-Length: 2000000\r\n\r\n", {"HTTP/1.1 413", "too-large"}},
    {"POST /echo" HEAD "Content-Length: 99999999999999999999\r\n\r\n", {"HTTP/1.1 400"}},
    {"POST /echo" HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
     {"HTTP/1.1 200", "content-length: 5", "\r\n\r\nabcde"}},
    {"POST /echo" HEAD "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
     {"HTTP/1.1 400", "chunked"}},
    {"POST /echo" HEAD "Transfer-Encoding: chunked\r\n\r\n-1\r\n", {"HTTP/1.1 400"}},
    {"POST /echo" HEAD "Transfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n", {"HTTP/1.1 413", NULL}},
    {"POST /echo" HEAD "\r\n", {"HTTP/1.1 200", "content-length: 0"}},
    {"GET /hello" HEAD "Content-Length: 3\r\n\r\nabc", {"HTTP/1.1 413", "takes no body"}},
    {"POST /items/a?limit=7&follow=true" HEAD "Content-Length: 11\r\n\r\n{\"count\":3}",
     {"HTTP/1.1 201 Created", "\"body\":{\"count\":3,\"name\":\"none\"}",
      "\"query\":{\"follow\":true,\"limit\":7}"}},
    {"POST /items/a" HEAD "Content-Length: 11\r\n\r\n{\"count\":0}",
     {"HTTP/1.1 400", "body.count"}},
    {"POST /items/a" HEAD "Content-Length: 11\r\n\r\n{\"conut\":3}", {"HTTP/1.1 400", "conut"}},
    {"POST /items/a" HEAD "Content-Length: 3\r\n\r\n{]}", {"HTTP/1.1 400", "body"}},
    {"POST /items/a?limit=0" HEAD "Content-Length: 11\r\n\r\n{\"count\":3}",
     {"HTTP/1.1 400", "limit"}},
    {"POST /items/a?limit=x" HEAD "Content-Length: 11\r\n\r\n{\"count\":3}",
     {"HTTP/1.1 400", "limit"}},
    {"POST /items/a?limit=1&limit=2" HEAD "Content-Length: 11\r\n\r\n{\"count\":3}",
     {"HTTP/1.1 400", "repeated"}},
    {"GET /fail/conflict" END,
     {"HTTP/1.1 409", "\"details\":{\"received_bytes\":7}", "\"hint\":\"try \\\"again\\\"\""}},
    {"GET /fail/unavailable" END,
     {"HTTP/1.1 503", "retry-after: 1\r\n", "\"message\":\"as asked\""}},
    {"GET /private" END,
     {"HTTP/1.1 401", "www-authenticate: Bearer\r\n", "\"code\":\"unauthenticated\""}},
    {"GET /private" HEAD "Authorization: Bearer x\r\n\r\n", {"HTTP/1.1 403"}},
    {"GET /private" HEAD "Authorization: bearer sesame\r\n\r\n", {"HTTP/1.1 200"}},
    {"GET /private" HEAD "Authorization: Bearer sesame\r\nAuthorization: Bearer x\r\n\r\n",
     {"HTTP/1.1 400"}},
    {"GET /tagged" END, {"HTTP/1.1 200", "etag: \"rev-7\"\r\n", "seven"}},
    {"GET /tagged" HEAD "If-None-Match: \"rev-7\"\r\n\r\n", {"HTTP/1.1 304 Not Modified"}},
    {"GET /tagged" HEAD "If-None-Match: \"rev-6\"\r\n\r\n", {"HTTP/1.1 200"}},
    {"GET /file" HEAD "Range: bytes=0-0\r\n\r\n",
     {"HTTP/1.1 206", "content-range: bytes 0-0/300000\r\n", "content-length: 1\r\n"}},
    {"GET /file" HEAD "Range: bytes=-5\r\n\r\n",
     {"HTTP/1.1 206", "content-range: bytes 299995-299999/300000"}},
    {"GET /file" HEAD "Range: bytes=300000-\r\n\r\n",
     {"HTTP/1.1 416", "content-range: bytes */300000"}},
    {"HEAD /file" END, {"HTTP/1.1 200", "content-length: 300000\r\n"}},
    {"HEAD /pull/unknown" END, {"HTTP/1.1 200"}},
    {"PUT /upload" HEAD "\r\n", {"HTTP/1.1 411"}},
    {"PUT /upload?offset=400000" HEAD "Content-Length: 5\r\n\r\nhello", {"HTTP/1.1 409"}},
    {"GET /whoami" END, {"unix=0", "address=127.0.0.1 secure=0"}},
    {"GET /slow" END, {"HTTP/1.1 200", "hello"}},
    {"GET /events?mode=fail" END, {"HTTP/1.1 404"}},
    {"GET /events?mode=three" HEAD "Last-Event-ID: 41\r\n\r\n",
     {"content-type: text/event-stream\r\n", "id: 1\nevent: log\ndata: one\ndata: two\n\n",
      "data: 41\n\n"}},
};

static void
test_exchanges(void **state)
{
    struct site *site = site_start(false, NULL);
    static char answer[SITE_ANSWER_SIZE];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(exchanges); i++) {
        int fd = site_dial(site);

        site_say(fd, exchanges[i].request, strlen(exchanges[i].request));
        (void)site_hear_all(fd, answer, sizeof(answer));
        (void)close(fd);
        for (size_t k = 0; k < 3 && exchanges[i].want[k] != NULL; k++) {
            if (strstr(answer, exchanges[i].want[k]) == NULL)
                fail_msg("row %zu: %s\nno \"%s\" in:\n%s", i, exchanges[i].request,
                         exchanges[i].want[k], answer);
        }
        if (strncmp(exchanges[i].request, "HEAD", 4) == 0)
            assert_true(syn_str_ends(answer, "\r\n\r\n"));
    }
    site_end(site);
}

/* The same exchanges a byte at a time: nothing may depend on how packets are cut. */
static void
test_exchanges_by_byte(void **state)
{
    struct site *site = site_start(false, NULL);
    static char answer[SITE_ANSWER_SIZE];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(exchanges); i++) {
        int fd = site_dial(site);
        const int on = 1;

        assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
        for (const char *at = exchanges[i].request; *at != '\0'; at++) {
            if (send(fd, at, 1, MSG_NOSIGNAL) != 1)
                break; /* refused already */
        }
        (void)site_hear_all(fd, answer, sizeof(answer));
        (void)close(fd);
        site_assert_holds(answer, exchanges[i].want[0]);
    }
    site_end(site);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchanges),
        cmocka_unit_test(test_exchanges_by_byte),
    };

    return cmocka_run_group_tests_name("http_exchange", tests, NULL, NULL);
}

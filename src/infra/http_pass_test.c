/* A server that serves all alike, over real sockets: its handler passes on what it is asked to. */
#include "http_house_testing.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static void
test_as_sent(void **state)
{
    static char answer[SITE_ANSWER_SIZE];
    struct house *house = house_start(0);
    int fd = house_dial(house);

    (void)state;
    site_ask(fd, "OPTIONS /a%2F//b?x=1&x=2 HTTP/1.1\r\nHost: x\r\nA: 1\r\nA: 2\r\n\r\n");
    site_hear_until(fd, answer, sizeof(answer), "[a=2]");
    site_assert_holds(answer, "HTTP/1.1 299 Status\r\n");
    site_assert_holds(answer, "OPTIONS /a%2F//b?x=1&x=2 8 [host=x][a=1][a=2]");
    site_assert_holds(answer, "x-request-id: ");
    site_assert_holds(answer, "\r\ndate: yesterday\r\n");
    assert_null(strstr(answer, "cache-control"));
    assert_null(strstr(strstr(answer, "date: ") + 1, "\r\ndate: "));
    site_ask(fd, "HEAD /b HTTP/1.1\r\nHost: x\r\n\r\nPOST /c" HEAD "Content-Length: 2\r\n\r\nhi");
    (void)site_hear_all(fd, answer, sizeof(answer));
    (void)close(fd);
    assert_null(strstr(answer, "HEAD /b"));
    site_assert_holds(answer, "[content-length=2]hi");
    house_end(house);
}

static void
test_by_its_head(void **state)
{
    static char answer[SITE_ANSWER_SIZE];
    struct house *house = house_start(0);
    int fd = house_dial(house);

    (void)state;
    site_ask(fd, "POST /small" HEAD "Content-Length: 5\r\n\r\n");
    (void)site_hear_all(fd, answer, sizeof(answer));
    (void)close(fd);
    site_assert_holds(answer, "HTTP/1.1 413 ");
    site_assert_holds(answer, "5 bytes; 4 are taken");
    fd = house_dial(house);
    site_ask(fd, "GET /refused" END);
    (void)site_hear_all(fd, answer, sizeof(answer));
    (void)close(fd);
    site_assert_holds(answer, "HTTP/1.1 502 ");
    site_assert_holds(answer, "refused by its head");
    site_assert_holds(answer, "x-request-id: ");
    house_end(house);
}

/* Bodies of all requests together. */
static void
test_bodies(void **state)
{
    static char answer[SITE_ANSWER_SIZE];
    static const char *const heads[] = {"Content-Length: 200000\r\n\r\n",
                                        "Transfer-Encoding: chunked\r\n\r\n30d40\r\n"};
    struct pollfd polls[2] = {{.events = POLLIN}, {.events = POLLIN}};
    struct house *house = house_start(0);
    int first;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(heads); i++) {
        SYN_BUF(request);
        int fd;

        first = house_dial(house);
        syn_buf_addf(&request, "POST /b" HEAD "%s", heads[i]);
        site_say(first, request.data, request.len);
        site_say(first, site_big, 190000);
        fd = house_dial(house);
        site_say(fd, request.data, request.len);
        site_say(fd, site_big, 190000);
        /* Whichever is the second to come so far. */
        polls[0].fd = fd;
        polls[1].fd = first;
        assert_true(poll(polls, 2, SITE_WAIT_MS) > 0);
        (void)site_hear_all(polls[0].revents != 0 ? fd : first, answer, sizeof(answer));
        site_assert_holds(answer, "HTTP/1.1 503 ");
        site_assert_holds(answer, "too many large requests");
        (void)close(fd);
        (void)close(first);
        fd = house_dial(house); /* what they had is there again */
        site_ask(fd, "POST /b" HEAD "Content-Length: 2\r\n\r\nhi");
        (void)site_hear_all(fd, answer, sizeof(answer));
        site_assert_holds(answer, "[content-length=2]hi");
        (void)close(fd);
    }
    house_end(house);
}

static void
test_push(void **state)
{
    static const char *const requests[] = {"GET /push/little" END, "GET /push/little-known" END,
                                           "GET /push" END, "GET /push/known" END};
    static char answer[HOUSE_PUSH_BYTES + SITE_ANSWER_SIZE];
    struct house *house = house_start(0);

    (void)state;
    for (size_t i = 0; i < SYN_LEN(requests); i++) {
        bool known = strstr(requests[i], "known") != NULL;
        size_t want = i < 2 ? 1000 : HOUSE_PUSH_BYTES;
        int fd = house_dial(house);
        size_t len;

        site_ask(fd, requests[i]);
        if (i >= 2) /* nobody reads: it stops by itself */
            house_wait(house, &house->full, (int)i - 1);
        len = site_hear_all(fd, answer, sizeof(answer));
        (void)close(fd);
        site_assert_holds(answer, known ? "content-length: " : "transfer-encoding: chunked");
        assert_true(len > want);
        assert_memory_equal(strstr(answer, "\r\n\r\n") + 4 +
                                (known   ? 0
                                 : i < 2 ? 5
                                         : 6),
                            site_big, 1000);
        if (!known)
            assert_memory_equal(answer + len - 7, "\r\n0\r\n\r\n", 7);
        house_wait(house, &house->ended, (int)i + 1);
    }
    assert_int_equal(house->gone, 0);
    house_end(house);
}

static void
test_gone(void **state)
{
    struct house *house = house_start(0);
    struct linger hard = {.l_onoff = 1};
    int fd = house_dial(house);

    (void)state;
    site_ask(fd, "GET /park HTTP/1.1\r\nHost: x\r\n\r\n"); /* an end of its side */
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    house_wait(house, &house->gone, 1);
    (void)close(fd);
    fd = house_dial(house); /* one that had sent the next request ahead, and resets */
    site_ask(fd, "GET /park HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\n");
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    (void)close(fd);
    house_wait(house, &house->gone, 2);
    fd = house_dial(house); /* in the middle of a body that it does not read */
    site_ask(fd, "GET /push HTTP/1.1\r\nHost: x\r\n\r\n");
    house_wait(house, &house->full, 1);
    house_wait(house, &house->gone, 3); /* too slow, then */
    (void)close(fd);
    house_end(house);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_sent), cmocka_unit_test(test_by_its_head),
        cmocka_unit_test(test_bodies),  cmocka_unit_test(test_push),
        cmocka_unit_test(test_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

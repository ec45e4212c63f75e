/* Webhooks on their way out, to servers that answer, redirect, say too much or nothing. */
#include <arpa/inet.h>
#include <pthread.h>
#include <unistd.h>

#include <synor/base/test.h>

#include <synor/base/str.h>
#include <synor/infra/webhook_post.h>

/* One connection is taken, its request read, and this said; NULL: nothing, until the end. */
struct receiver {
    pthread_t thread;
    int fd;
    const char *says;
    size_t padding; /* bytes behind it */
    char got[4096];
    char url[64];
};

static void *
receive(void *arg)
{
    static const char filler[1024];
    struct receiver *receiver = arg;
    size_t len = 0;
    ssize_t n = 1;
    int fd = accept(receiver->fd, NULL, NULL);

    if (fd < 0) /* it was shut down */
        return NULL;
    while (n > 0 && strstr(receiver->got, "{}") == NULL) {
        n = read(fd, receiver->got + len, sizeof(receiver->got) - 1 - len);
        len += n > 0 ? (size_t)n : 0;
    }
    if (receiver->says != NULL)
        n = write(fd, receiver->says, strlen(receiver->says));
    for (size_t left = receiver->padding; n > 0 && left > 0; left -= SYN_MIN(left, sizeof(filler)))
        n = send(fd, filler, SYN_MIN(left, sizeof(filler)), MSG_NOSIGNAL);
    while (receiver->says == NULL && read(fd, receiver->got, 1) > 0)
        continue; /* it is the other side that gives up */
    (void)close(fd);
    return NULL;
}

static void
open_receiver(struct receiver *receiver, const char *says)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(at);

    *receiver = (struct receiver){.fd = socket(AF_INET, SOCK_STREAM, 0), .says = says};
    assert_true(receiver->fd >= 0);
    assert_int_equal(bind(receiver->fd, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(receiver->fd, 4), 0);
    assert_int_equal(getsockname(receiver->fd, (struct sockaddr *)&at, &size), 0);
    (void)snprintf(receiver->url, sizeof(receiver->url), "http://127.0.0.1:%u/hook",
                   (unsigned)ntohs(at.sin_port));
}

static int
send_to(struct receiver *receiver, struct syn_webhook_post *post, struct syn_webhook_answer *answer,
        struct syn_err *err)
{
    int rc;

    assert_int_equal(pthread_create(&receiver->thread, NULL, receive, receiver), 0);
    post->url = receiver->url;
    rc = syn_webhook_send(post, answer, err);
    (void)shutdown(receiver->fd, SHUT_RDWR);
    assert_int_equal(pthread_join(receiver->thread, NULL), 0);
    (void)close(receiver->fd);
    return rc;
}

static struct syn_webhook_post
a_post(void)
{
    return (struct syn_webhook_post){.id = "call-1",
                                     .secret = "sesame",
                                     .body = "{}",
                                     .body_len = 2,
                                     .at_s = 1700000000,
                                     .private_ok = true};
}

static void
test_what_is_sent(void **state)
{
    struct syn_webhook_post post = a_post();
    struct syn_webhook_answer answer;
    struct receiver receiver;
    char signature[SYN_WEBHOOK_SIGNATURE_SIZE];
    struct syn_err err;

    (void)state;
    open_receiver(&receiver, "HTTP/1.1 503 x\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
    assert_done(send_to(&receiver, &post, &answer, &err), &err);
    assert_int_equal(answer.status, 503);
    assert_int_equal(answer.after_ms, 7000);
    syn_webhook_sign("sesame", "call-1", 1700000000, "{}", 2, signature);
    assert_non_null(strstr(receiver.got, "POST /hook HTTP/1.1\r\n"));
    assert_non_null(strstr(receiver.got, "webhook-id: call-1\r\n"));
    assert_non_null(strstr(receiver.got, "webhook-timestamp: 1700000000\r\n"));
    assert_non_null(strstr(receiver.got, signature));
    assert_null(strstr(receiver.got, "sesame"));
    post.secret = NULL;
    open_receiver(&receiver, "HTTP/1.1 204 x\r\n\r\n");
    assert_done(send_to(&receiver, &post, &answer, &err), &err);
    assert_int_equal(answer.status, 204);
    assert_null(strstr(receiver.got, "webhook-signature"));
}

static void
test_bounds(void **state)
{
    struct syn_webhook_post post = a_post();
    struct syn_webhook_answer answer;
    struct receiver receiver;
    atomic_bool cancel = true;
    struct syn_err err;

    (void)state;
    /* A redirection is an answer. */
    open_receiver(&receiver, "HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:1/\r\n"
                             "Content-Length: 0\r\n\r\n");
    assert_done(send_to(&receiver, &post, &answer, &err), &err);
    assert_int_equal(answer.status, 302);
    /* So is one whose body nobody will read. */
    open_receiver(&receiver, "HTTP/1.1 200 x\r\nContent-Length: 99999999\r\n\r\n");
    receiver.padding = (size_t)1 << 20;
    assert_done(send_to(&receiver, &post, &answer, &err), &err);
    assert_int_equal(answer.status, 200);
    open_receiver(&receiver, NULL);
    post.total_ms = 50;
    assert_int_equal(send_to(&receiver, &post, &answer, &err), SYN_E_TIMEOUT);
    open_receiver(&receiver, "no HTTP\r\n\r\n");
    assert_int_equal(send_to(&receiver, &post, &answer, &err), SYN_E_UNAVAILABLE);
    open_receiver(&receiver, NULL);
    post.cancel = &cancel;
    assert_int_equal(send_to(&receiver, &post, &answer, &err), SYN_E_CANCELED);
    post.cancel = NULL;
    /* Without leave neither this machine is called nor plain HTTP spoken. */
    open_receiver(&receiver, NULL);
    post.private_ok = false;
    assert_int_equal(send_to(&receiver, &post, &answer, &err), SYN_E_INVALID);
    post.url = "https://127.0.0.1:9/";
    assert_int_equal(syn_webhook_send(&post, &answer, &err), SYN_E_FORBIDDEN);
    assert_non_null(strstr(err.msg, "--webhook-private"));
    post.private_ok = true;
    post.url = "https://169.254.169.254/latest/meta-data";
    assert_int_equal(syn_webhook_send(&post, &answer, &err), SYN_E_FORBIDDEN);
}

static void
test_addresses(void **state)
{
    static const struct {
        const char *text;
        bool open, inside; /* without and with leave for private networks */
    } rows[] = {
        {"93.184.216.34", true, true},
        {"10.1.2.3", false, true},
        {"127.0.0.1", false, true},
        {"172.31.0.1", false, true},
        {"172.32.0.1", true, true},
        {"192.168.9.9", false, true},
        {"100.64.0.1", false, true},
        {"169.254.169.254", false, false},
        {"0.0.0.0", false, false},
        {"224.0.0.1", false, false},
        {"255.255.255.255", false, false},
        {"2606:4700::1", true, true},
        {"::1", false, true},
        {"fd12::1", false, true},
        {"fd00:ec2::254", false, false},
        {"fe80::1", false, false},
        {"::", false, false},
        {"::ffff:10.0.0.1", false, true},
        {"::ffff:169.254.169.254", false, false},
        {"64:ff9b::169.254.169.254", false, false},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct sockaddr_in6 six = {.sin6_family = AF_INET6};
        struct sockaddr_in four = {.sin_family = AF_INET};
        bool is_four = inet_pton(AF_INET, rows[i].text, &four.sin_addr) == 1;
        const struct sockaddr *address =
            is_four ? (struct sockaddr *)&four : (struct sockaddr *)&six;

        assert_true(is_four || inet_pton(AF_INET6, rows[i].text, &six.sin6_addr) == 1);
        if (syn_webhook_address_ok(address, false) != rows[i].open ||
            syn_webhook_address_ok(address, true) != rows[i].inside)
            fail_msg("%s", rows[i].text);
    }
}

static void
test_urls(void **state)
{
    static const char *const bad[] = {"",
                                      "ftp://a.example/",
                                      "https://",
                                      "https://a.example:99999/",
                                      "https://me:secret@a.example/",
                                      "https://me@a.example/",
                                      "https://a.example/#x",
                                      "https://a b/"};
    struct syn_err err;

    (void)state;
    assert_done(syn_webhook_url_check("https://a.example/x?y=z", false, &err), &err);
    assert_done(syn_webhook_url_check("http://a.example:8080/x", true, &err), &err);
    assert_int_equal(syn_webhook_url_check("http://a.example/x", false, &err), SYN_E_INVALID);
    for (size_t i = 0; i < SYN_LEN(bad); i++)
        if (syn_webhook_url_check(bad[i], true, &err) != SYN_E_INVALID)
            fail_msg("%s", bad[i]);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_sent),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_urls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

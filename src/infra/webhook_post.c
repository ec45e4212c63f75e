#include <synor/infra/webhook_post.h>

#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>

#include <curl/curl.h>

#include <synor/base/buf.h>
#include <synor/base/str.h>

#include "oci_registry_priv.h"

#define CONNECT_MS 5000
#define TOTAL_MS   INT64_C(10000)
#define ANSWER_MAX ((size_t)64 << 10)

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void
curl_start(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* --- where it may go -------------------------------------------------------------------------- */

/* Private networks (RFC 1918, 6598), this machine. */
static bool
private4(const uint8_t a[4])
{
    return a[0] == 10 || a[0] == 127 || (a[0] == 172 && (a[1] & 0xF0) == 16) ||
           (a[0] == 192 && a[1] == 168) || (a[0] == 100 && (a[1] & 0xC0) == 64);
}

/* fd00:ec2::/32 is where a cloud serves credentials, as 169.254.169.254. */
static bool
private6(const uint8_t a[16])
{
    static const uint8_t one[16] = {[15] = 1}, mapped[12] = {[10] = 0xFF, [11] = 0xFF};
    static const uint8_t cloud[4] = {0xFD, 0x00, 0x0E, 0xC2};

    if (memcmp(a, mapped, sizeof(mapped)) == 0)
        return private4(a + 12);
    return memcmp(a, one, sizeof(one)) == 0 ||
           ((a[0] & 0xFE) == 0xFC && memcmp(a, cloud, sizeof(cloud)) != 0);
}

bool
syn_webhook_address_ok(const struct sockaddr *address, bool private_ok)
{
    const void *at = address;

    if (syn_oci_address_public(address))
        return true;
    if (!private_ok)
        return false;
    if (address->sa_family == AF_INET)
        return private4((const uint8_t *)&((const struct sockaddr_in *)at)->sin_addr);
    return address->sa_family == AF_INET6 &&
           private6(((const struct sockaddr_in6 *)at)->sin6_addr.s6_addr);
}

static void
url_scope(CURLU **slot)
{
    curl_url_cleanup(*slot);
}

static bool
has_part(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    bool has = curl_url_get(url, part, &text, 0) == CURLUE_OK;

    curl_free(text);
    return has;
}

int
syn_webhook_url_check(const char *url, bool private_ok, struct syn_err *err)
{
    SYN_SCOPED(url_scope) CURLU *parsed = curl_url();
    bool plain = syn_str_starts(url, "http://");

    if (parsed == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a URL");
    if (plain && !private_ok)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "\"%.80s\": https:// alone is taken here (synor up --webhook-private takes "
                        "http:// as well, to private networks)",
                        url);
    if ((!plain && !syn_str_starts(url, "https://")) || strlen(url) > SYN_WEBHOOK_URL_MAX ||
        curl_url_set(parsed, CURLUPART_URL, url, 0) != CURLUE_OK)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "\"%.80s\" is no URL such as https://hooks.example/done", url);
    if (has_part(parsed, CURLUPART_USER) || has_part(parsed, CURLUPART_PASSWORD) ||
        has_part(parsed, CURLUPART_FRAGMENT))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "a URL with a name and password, or a fragment, is not taken");
    return SYN_OK;
}

/* --- sending ---------------------------------------------------------------------------------- */

struct sending {
    const struct syn_webhook_post *post;
    bool plain, refused;
    size_t bytes; /* of the answer's body */
};

static curl_socket_t
open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct sending *sending = arg;
    bool ok = syn_webhook_address_ok(&address->addr, sending->post->private_ok);

    (void)purpose;
    /* Nobody on the way to the internet is to read it. */
    if (sending->plain && syn_oci_address_public(&address->addr))
        ok = false;
    if (!ok) {
        sending->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t
on_body(const char *data, size_t size, size_t count, void *arg)
{
    struct sending *sending = arg;

    (void)data;
    sending->bytes += size * count;
    return sending->bytes <= ANSWER_MAX ? size * count : 0;
}

static int
on_progress(void *arg, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up)
{
    const struct sending *sending = arg;

    (void)total;
    (void)now;
    (void)up_total;
    (void)up;
    return sending->post->cancel != NULL && atomic_load(sending->post->cancel);
}

static int
add_header(struct curl_slist **list, const char *name, const char *value, struct syn_err *err)
{
    struct curl_slist *longer;
    SYN_BUF(line);
    int rc;

    syn_buf_addf(&line, value[0] != '\0' ? "%s: %s" : "%s:%s", name, value);
    rc = syn_buf_ok(&line, err);
    if (rc < 0)
        return rc;
    longer = curl_slist_append(*list, syn_buf_text(&line));
    if (longer == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a webhook");
    *list = longer;
    return SYN_OK;
}

static int
make_headers(const struct syn_webhook_post *post, struct curl_slist **list, struct syn_err *err)
{
    char signature[SYN_WEBHOOK_SIGNATURE_SIZE], at[24];
    int rc;

    (void)snprintf(at, sizeof(at), "%" PRId64, post->at_s);
    rc = add_header(list, "content-type", "application/json", err);
    if (rc == SYN_OK)
        rc = add_header(list, "expect", "", err);
    if (rc == SYN_OK)
        rc = add_header(list, "webhook-id", post->id, err);
    if (rc == SYN_OK)
        rc = add_header(list, "webhook-timestamp", at, err);
    if (rc < 0 || post->secret == NULL)
        return rc;
    syn_webhook_sign(post->secret, post->id, post->at_s, post->body, post->body_len, signature);
    return add_header(list, "webhook-signature", signature, err);
}

static void
set_options(CURL *easy, struct sending *sending, struct curl_slist *headers)
{
    const struct syn_webhook_post *post = sending->post;

    (void)curl_easy_setopt(easy, CURLOPT_URL, post->url);
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, sending->plain ? "http" : "https");
    (void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "synor/" SYN_VERSION);
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(easy, CURLOPT_POST, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, post->body);
    (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)post->body_len);
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
                           (long)(post->total_ms > 0 ? post->total_ms : TOTAL_MS));
    (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, sending);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, sending);
    (void)curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(easy, CURLOPT_XFERINFODATA, sending);
}

/* An answer that says too much is one, too: what counts came before. */
static int
outcome(const struct sending *sending, CURLcode code, struct syn_err *err)
{
    if (sending->refused)
        return SYN_FAIL(err, SYN_E_FORBIDDEN,
                        "its address is one that the platform does not call: %s",
                        sending->post->private_ok
                            ? "link-local, or without TLS outside of private networks"
                            : "private, or this machine (synor up --webhook-private allows them)");
    switch ((int)code) {
    case CURLE_OUT_OF_MEMORY:
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a webhook");
    case CURLE_ABORTED_BY_CALLBACK:
        return SYN_FAIL(err, SYN_E_CANCELED, "canceled");
    case CURLE_OPERATION_TIMEDOUT:
        return SYN_FAIL(err, SYN_E_TIMEOUT, "it does not answer in time");
    case CURLE_PEER_FAILED_VERIFICATION:
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "its certificate is not trusted");
    default:
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s", curl_easy_strerror(code));
    }
}

static void
easy_scope(CURL **slot)
{
    if (*slot != NULL)
        curl_easy_cleanup(*slot);
}

int
syn_webhook_send(const struct syn_webhook_post *post, struct syn_webhook_answer *ret,
                 struct syn_err *err)
{
    struct sending sending = {.post = post, .plain = syn_str_starts(post->url, "http://")};
    struct curl_slist *headers = NULL;
    curl_off_t after_s = 0;
    long status = 0;
    CURLcode code = CURLE_OK;
    int rc = syn_webhook_url_check(post->url, post->private_ok, err);

    if (rc < 0)
        return rc;
    (void)pthread_once(&curl_once, curl_start);

    SYN_SCOPED(easy_scope) CURL *easy = curl_easy_init();

    if (easy == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a webhook");
    rc = make_headers(post, &headers, err);
    if (rc == SYN_OK) {
        set_options(easy, &sending, headers);
        code = curl_easy_perform(easy);
    }
    curl_slist_free_all(headers);
    if (rc < 0)
        return rc;
    if (code != CURLE_OK && sending.bytes <= ANSWER_MAX)
        return outcome(&sending, code, err);
    (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &after_s);
    *ret = (struct syn_webhook_answer){(int)status, (int64_t)SYN_MIN(after_s, 86400) * 1000};
    return SYN_OK;
}

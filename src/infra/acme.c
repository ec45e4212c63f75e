/* One order is one run of lego in a folder of its own:
 *
 *   accounts/HOST_PORT/CONTACT/keys/CONTACT.key   the account's key, where lego looks for it
 *   csr.pem                                       for a key that is made here and never leaves
 *   web/                                          where lego lays the challenge, which nobody reads
 *   said                                          what it says
 *   certificates/HOST.crt                         what comes of it
 *
 * Nothing of it is kept: lego finds the account by its key, which a directory knows. */
#include <synor/infra/acme.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/buf.h>
#include <synor/base/child.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/tree.h>
#include <synor/infra/balancer.h>
#include <synor/infra/crypto.h>
#include <synor/infra/secret_file.h>

#define ORDER_MAX_MS   300000
#define SAID_MAX       ((size_t)16 << 10) /* of its last words */
#define HOST_MAX       253
#define POINT_LEN      65 /* 4, x, y */
#define BACKOFF_MIN_MS (INT64_C(2) * 60 * 1000)
#define BACKOFF_MAX_MS (INT64_C(12) * 3600 * 1000)
#define BACKOFF_STEPS  9 /* doublings until the most */
#define PATH_SIZE      4096

#define DIGITS   "0123456789"
#define SMALL    "abcdefghijklmnopqrstuvwxyz"
#define CAPITALS "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

static void
pkey_scope(EVP_PKEY **slot)
{
    EVP_PKEY_free(*slot);
    ERR_clear_error();
}

static void
bio_scope(BIO **slot)
{
    BIO_free_all(*slot);
}

static void
req_scope(X509_REQ **slot)
{
    X509_REQ_free(*slot);
}

/* --- what is given ---------------------------------------------------------------------------- */

int
syn_acme_find(char *ret_path, size_t size, struct syn_err *err)
{
    static const char *const paths[] = {"/usr/local/bin/lego", "/usr/bin/lego"};

    for (size_t i = 0; i < SYN_LEN(paths); i++)
        if (access(paths[i], X_OK) == 0)
            return syn_str_copy(ret_path, size, paths[i])
                       ? SYN_OK
                       : SYN_FAIL(err, SYN_E_TOOBIG, "the path of lego is too long");
    return SYN_FAIL(err, SYN_E_NOTFOUND,
                    "there is no lego on this machine, which gets certificates: apt-get install "
                    "lego");
}

static const char *
contact_of(const struct syn_acme_directory *directory)
{
    const char *contact = directory->contact != NULL ? directory->contact : "";

    return syn_str_starts(contact, "mailto:") ? contact + strlen("mailto:") : contact;
}

/* It is a folder's name for lego. */
static bool
contact_ok(const char *contact)
{
    const char *at = strchr(contact, '@');
    size_t len = strlen(contact);

    return at != NULL && at != contact && at[1] != '\0' && strchr(at + 1, '@') == NULL &&
           len <= SYN_ACME_CONTACT_MAX && strchr(".-", contact[0]) == NULL &&
           strspn(contact, SMALL CAPITALS DIGITS "@.-_+") == len;
}

/* Host and port of an https URL as lego calls its folder: "127.0.0.1_14000". */
static bool
authority_of(const char *url, char *ret, size_t size)
{
    static const char scheme[] = "https://";
    size_t len;

    if (!syn_str_starts(url, scheme) || strlen(url) > SYN_ACME_URL_MAX)
        return false;
    for (const char *c = url; *c != '\0'; c++)
        if (*c <= ' ' || *c >= 0x7f)
            return false;
    url += strlen(scheme);
    len = strspn(url, SMALL CAPITALS DIGITS ".-:[]");
    if (len == 0 || len >= size || url[0] == '.' || (url[len] != '/' && url[len] != '\0'))
        return false;
    memcpy(ret, url, len);
    ret[len] = '\0';
    for (char *c = ret; *c != '\0'; c++)
        if (*c == ':')
            *c = '_';
    return true;
}

int
syn_acme_check(const struct syn_acme_directory *directory, struct syn_err *err)
{
    char authority[SYN_ACME_URL_MAX + 1];

    if (!authority_of(directory->url, authority, sizeof(authority)))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "--acme-directory: expected a URL such as "
                        "https://acme.example/directory; got \"%.100s\"",
                        directory->url);
    if (!contact_ok(contact_of(directory)))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "--acme-contact: expected an address such as ops@example.com, which the "
                        "directory tells of what it does; got \"%.100s\"",
                        contact_of(directory));
    if (directory->ca_file != NULL && access(directory->ca_file, R_OK) < 0)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "--acme-ca: cannot read %.150s", directory->ca_file);
    return SYN_OK;
}

bool
syn_acme_host_ok(const char *host)
{
    size_t len = strlen(host), start = 0;
    bool letter = false;
    uint8_t bin[16];

    if (len == 0 || len > HOST_MAX || strchr(host, '.') == NULL ||
        strspn(host, SMALL DIGITS "-.") != len || inet_pton(AF_INET, host, bin) == 1)
        return false;
    for (size_t i = 0; i <= len; i++) {
        if (host[i] != '.' && host[i] != '\0') {
            letter = letter || host[i] > '9';
            continue;
        }
        if (i == start || i - start > 63 || host[start] == '-' || host[i - 1] == '-')
            return false;
        if (host[i] == '\0')
            return letter; /* the last part is no number */
        start = i + 1;
        letter = false;
    }
    return false;
}

/* --- keys ------------------------------------------------------------------------------------- */

static int
bio_text(BIO *bio, char **ret, struct syn_err *err)
{
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);

    *ret = len > 0 ? syn_strndup(data, (size_t)len) : NULL;
    return *ret != NULL ? SYN_OK : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a key");
}

/* lego reads the form of its own alone ("EC PRIVATE KEY"). */
static int
key_text(EVP_PKEY *key, char **ret, struct syn_err *err)
{
    SYN_SCOPED(bio_scope) BIO *out = BIO_new(BIO_s_secmem());

    if (out == NULL ||
        PEM_write_bio_PrivateKey_traditional(out, key, NULL, NULL, 0, NULL, NULL) != 1)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a key");
    return bio_text(out, ret, err);
}

int
syn_acme_key_new(char **ret_pem, struct syn_err *err)
{
    SYN_SCOPED(pkey_scope) EVP_PKEY *key = EVP_EC_gen("P-256");

    return key != NULL ? key_text(key, ret_pem, err)
                       : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a key");
}

int
syn_acme_thumbprint(const char *key_pem, char ret[SYN_ACME_THUMBPRINT_SIZE], struct syn_err *err)
{
    SYN_SCOPED(bio_scope) BIO *in = BIO_new_mem_buf(key_pem, -1);
    SYN_SCOPED(pkey_scope) EVP_PKEY *key = NULL;
    char x[SYN_BASE64_SIZE(32)], y[SYN_BASE64_SIZE(32)], jwk[160];
    uint8_t point[POINT_LEN], digest[SYN_SHA256_LEN];
    size_t len = 0;

    if (in == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a key");
    key = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
    if (key == NULL ||
        EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &len) !=
            1 ||
        len != POINT_LEN || point[0] != 4)
        return SYN_FAIL(err, SYN_E_CORRUPT, "the key of the ACME account is none");
    syn_base64_encode(SYN_BASE64_URL, point + 1, 32, x);
    syn_base64_encode(SYN_BASE64_URL, point + 33, 32, y);
    /* RFC 7638: these members, in this order, without blanks. */
    (void)snprintf(jwk, sizeof(jwk), "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}",
                   x, y);
    syn_sha256(jwk, strlen(jwk), digest);
    syn_base64_encode(SYN_BASE64_URL, digest, sizeof(digest), ret);
    return SYN_OK;
}

/* A request for the host, signed by its key. */
static int
request_text(EVP_PKEY *key, const char *host, char **ret, struct syn_err *err)
{
    SYN_SCOPED(req_scope) X509_REQ *req = X509_REQ_new();
    SYN_SCOPED(bio_scope) BIO *out = BIO_new(BIO_s_mem());
    char san[HOST_MAX + 8];
    STACK_OF(X509_EXTENSION) *extensions = NULL;
    X509_EXTENSION *extension;
    bool good;

    (void)snprintf(san, sizeof(san), "DNS:%s", host);
    extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
    good = req != NULL && out != NULL && extension != NULL &&
           X509v3_add_ext(&extensions, extension, -1) != NULL &&
           X509_REQ_add_extensions(req, extensions) == 1 && X509_REQ_set_pubkey(req, key) == 1 &&
           X509_REQ_sign(req, key, EVP_sha256()) > 0 && PEM_write_bio_X509_REQ(out, req) == 1;
    X509_EXTENSION_free(extension);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    return good ? bio_text(out, ret, err)
                : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a certificate's request");
}

/* --- one order -------------------------------------------------------------------------------- */

static int
make_dir(const char *dir, const char *below, char path[PATH_SIZE], struct syn_err *err)
{
    if (snprintf(path, PATH_SIZE, "%s%s", dir, below) >= PATH_SIZE)
        return SYN_FAIL(err, SYN_E_TOOBIG, "%.150s: too long a path", dir);
    return mkdir(path, 0700) == 0 ? SYN_OK : SYN_FAIL_SYS(err, errno, "making %s", path);
}

/* The account's key where lego looks for it. */
static int
lay_account(const struct syn_acme_order *order, struct syn_err *err)
{
    const char *contact = contact_of(order->directory);
    char authority[SYN_ACME_URL_MAX + 1], path[PATH_SIZE], below[PATH_SIZE];
    const char *const parts[] = {"/accounts", "/", authority, "/", contact, "/keys"};
    size_t len = 0;
    int rc = SYN_OK;

    if (!authority_of(order->directory->url, authority, sizeof(authority)))
        return SYN_FAIL(err, SYN_E_INVALID, "the directory's URL is none");
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(parts); i++) {
        len += (size_t)snprintf(below + len, sizeof(below) - len, "%s", parts[i]);
        if (parts[i][1] != '\0') /* but for a slash alone */
            rc = make_dir(order->scratch, below, path, err);
    }
    (void)snprintf(below + len, sizeof(below) - len, "/%s.key", contact);
    if (rc == SYN_OK && snprintf(path, sizeof(path), "%s%s", order->scratch, below) >= PATH_SIZE)
        rc = SYN_FAIL(err, SYN_E_TOOBIG, "%.150s: too long a path", order->scratch);
    return rc < 0
               ? rc
               : syn_secret_file_create(path, order->account_key, strlen(order->account_key), err);
}

static int
lay_out(const struct syn_acme_order *order, EVP_PKEY *key, char csr[PATH_SIZE], char web[PATH_SIZE],
        struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) char *request = NULL;
    int rc = make_dir(order->scratch, "", csr, err);

    if (rc == SYN_OK)
        rc = lay_account(order, err);
    if (rc == SYN_OK)
        rc = make_dir(order->scratch, "/web", web, err);
    if (rc == SYN_OK)
        rc = request_text(key, order->host, &request, err);
    (void)snprintf(csr, PATH_SIZE, "%.4000s/csr.pem", order->scratch);
    return rc < 0 || request == NULL ? rc
                                     : syn_secret_file_create(csr, request, strlen(request), err);
}

/* Wait for its end, for the word to give up, or for too long. */
static int
await(pid_t pid, int stop_fd, struct syn_err *err)
{
    struct pollfd pollers[] = {{.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN},
                               {.fd = stop_fd, .events = POLLIN}};
    int got;

    if (pollers[0].fd < 0)
        return SYN_FAIL_SYS(err, errno, "watching lego");
    do {
        got = poll(pollers, SYN_LEN(pollers), ORDER_MAX_MS);
    } while (got < 0 && errno == EINTR);
    (void)close(pollers[0].fd);
    if (got == 0)
        return SYN_FAIL(err, SYN_E_TIMEOUT, "the directory took longer than %d s",
                        ORDER_MAX_MS / 1000);
    return got < 0 || pollers[0].revents == 0
               ? SYN_FAIL(err, SYN_E_CANCELED, "the platform is ending")
               : SYN_OK;
}

/* Its last words. */
static int
failure_of(const char *path, struct syn_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char reason[SYN_ACME_REASON_MAX], said[SAID_MAX + 1];
    struct stat seen;
    ssize_t got = -1;

    if (fd >= 0 && fstat(fd, &seen) == 0)
        got = pread(fd, said, SAID_MAX,
                    seen.st_size > (off_t)SAID_MAX ? seen.st_size - (off_t)SAID_MAX : 0);
    if (fd >= 0)
        (void)close(fd);
    said[got > 0 ? got : 0] = '\0';
    syn_acme_reason(said, reason);
    return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s", reason);
}

static int
run(const struct syn_acme_order *order, const char *csr, const char *web, struct syn_err *err)
{
    const struct syn_acme_directory *directory = order->directory;
    char program[PATH_SIZE], said[PATH_SIZE], ca[PATH_SIZE];
    const char *const argv[] = {"lego",
                                "--server",
                                directory->url,
                                "--accept-tos",
                                "--email",
                                contact_of(directory),
                                "--path",
                                order->scratch,
                                "--csr",
                                csr,
                                "--http",
                                "--http.webroot",
                                web,
                                "run",
                                NULL};
    const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
                               directory->ca_file != NULL ? ca : NULL, NULL};
    struct syn_child_options options = {.argv = argv,
                                        .env = env,
                                        .in = SYN_CHILD_NULL,
                                        .out = SYN_CHILD_NULL,
                                        .passed = SYN_CHILD_NULL};
    int status = 0, rc = SYN_OK;
    pid_t pid = 0;

    if (directory->program == NULL)
        rc = syn_acme_find(program, sizeof(program), err);
    else if (!syn_str_copy(program, sizeof(program), directory->program))
        rc = SYN_FAIL(err, SYN_E_TOOBIG, "the path of lego is too long");
    (void)snprintf(ca, sizeof(ca), "LEGO_CA_CERTIFICATES=%s",
                   directory->ca_file != NULL ? directory->ca_file : "");
    (void)snprintf(said, sizeof(said), "%.4000s/said", order->scratch);
    options.err = open(said, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (rc == SYN_OK && options.err < 0)
        rc = SYN_FAIL_SYS(err, errno, "making %s", said);
    if (rc == SYN_OK)
        rc = syn_child_spawn(program, &options, &pid, err);
    if (options.err >= 0)
        (void)close(options.err);
    if (rc < 0)
        return rc;
    rc = await(pid, order->stop_fd, err);
    (void)kill(pid, SIGKILL); /* nothing happens to one that has ended: it is not reaped yet */
    status = syn_child_wait(pid);
    if (rc == SYN_OK && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        rc = failure_of(said, err);
    return rc;
}

/* Certificate, chain and key as one. */
static int
collect(const struct syn_acme_order *order, EVP_PKEY *key, char **ret_pem, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) char *text = NULL;
    char path[PATH_SIZE];
    SYN_BUF(both);
    int rc = key_text(key, &text, err);

    (void)snprintf(path, sizeof(path), "%.3800s/certificates/%.253s.crt", order->scratch,
                   order->host);
    if (rc == SYN_OK)
        rc = syn_secret_file_read(path, &both, err);
    if (rc == SYN_OK) {
        syn_buf_adds(&both, "\n");
        syn_buf_adds(&both, text);
        rc = syn_buf_ok(&both, err);
    }
    if (rc == SYN_OK)
        rc = syn_balancer_pem(both.data, both.len, ret_pem, err);
    if (text != NULL)
        syn_secret_wipe(text, strlen(text));
    if (both.len > 0)
        syn_secret_wipe(both.data, both.len);
    return rc < 0 ? syn_err_wrap(err, SYN_E_UNAVAILABLE, "what the directory gave") : rc;
}

int
syn_acme_obtain(const struct syn_acme_order *order, char **ret_pem, struct syn_err *err)
{
    SYN_SCOPED(pkey_scope) EVP_PKEY *key = EVP_EC_gen("P-256");
    char csr[PATH_SIZE], web[PATH_SIZE];
    int rc = key != NULL ? SYN_OK : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a key");

    assert(syn_acme_host_ok(order->host));
    syn_tree_remove(order->scratch); /* of one that was cut off */
    if (rc == SYN_OK)
        rc = lay_out(order, key, csr, web, err);
    if (rc == SYN_OK)
        rc = run(order, csr, web, err);
    if (rc == SYN_OK)
        rc = collect(order, key, ret_pem, err);
    syn_tree_remove(order->scratch);
    return rc;
}

/* --- what it says ----------------------------------------------------------------------------- */

/* Past "2026/11/29 23:11:48 ". */
static const char *
past_time(const char *line, size_t len)
{
    static const char form[] = "0000/00/00 00:00:00 ";
    size_t form_len = strlen(form);

    if (len < form_len)
        return line;
    for (size_t i = 0; i < form_len; i++) {
        bool digit = line[i] >= '0' && line[i] <= '9';

        if (form[i] == '0' ? !digit : line[i] != form[i])
            return line;
    }
    return line + form_len;
}

/* The last line that is no report on the way. */
static const char *
last_words(const char *said, size_t *ret_len)
{
    const char *found = "";

    *ret_len = 0;
    while (*said != '\0') {
        size_t len = strcspn(said, "\n");
        const char *line = past_time(said, len);
        size_t rest = len - (size_t)(line - said);

        if (rest > 0 && strncmp(line, "[INFO]", 6) != 0 && strncmp(line, "[WARN]", 6) != 0) {
            found = line;
            *ret_len = rest;
        }
        said += len + (said[len] == '\n');
    }
    return found;
}

void
syn_acme_reason(const char *said, char ret[SYN_ACME_REASON_MAX])
{
    static const char urn[] = "urn:ietf:params:acme:error:";
    size_t len, used = 0;
    const char *line = last_words(said, &len), *end = line + len;
    const char *kind = memmem(line, len, urn, strlen(urn));

    if (kind != NULL) /* what comes before names the request */
        line = kind + strlen(urn);
    while (line < end && (*line == '\t' || *line == ' '))
        line++;
    for (; line < end && used + 1 < SYN_ACME_REASON_MAX; line++) {
        if (end - line >= 4 && memcmp(line, " :: ", 4) == 0) {
            ret[used++] = ':';
            line += 2; /* its last blank stays */
            continue;
        }
        ret[used++] = (char)(*line >= ' ' && *line < 0x7f ? *line : '?');
    }
    ret[used] = '\0';
    if (used == 0)
        (void)syn_str_copy(ret, SYN_ACME_REASON_MAX, "lego ended and said nothing");
}

/* --- when ------------------------------------------------------------------------------------- */

int64_t
syn_acme_due_ms(const struct syn_acme_history *history, int64_t now_ms)
{
    int64_t due_ms = 0;
    unsigned steps = SYN_MIN(history->failures, (unsigned)BACKOFF_STEPS + 1);

    if (history->until_ms > history->from_ms)
        due_ms = history->from_ms + (history->until_ms - history->from_ms) / 3 * 2;
    if (steps == 0 || history->failed_ms > now_ms)
        return due_ms;
    return SYN_MAX(due_ms,
                   history->failed_ms + SYN_MIN(BACKOFF_MIN_MS << (steps - 1), BACKOFF_MAX_MS));
}

/* Which certificates the gateway of functions serves by TLS. Of each host that a route has, in this
 * order: one of the operator's files, one of the account's that is for that host (given, or from
 * the ACME directory), the platform's own. What an account gave is for hosts of that account alone,
 * and for no other name that stands in it. For names that no route has: the operator's first file,
 * else the platform's own for the address.
 *
 * The gateway asks every few seconds and is told what has changed, so a file that was replaced is
 * served soon; one that is broken is not, and what it had goes on. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/balancer.h>
#include <synor/infra/crypto.h>
#include <synor/infra/tls_cert.h>

#include "function_priv.h"

#define FILES_MAX  64
#define FILE_BYTES ((size_t)64 << 10)
#define WHOSE      "function"
#define NAMES      3

struct given {
    char *cert, *key; /* files; `key` may be NULL */
    char *pem;        /* what was good last */
    bool broken;      /* that was told */
};

struct srv_function_certs {
    char host[128]; /* of the listener's address */
    pthread_mutex_t lock;
    /* Under `lock`: */
    struct given files[FILES_MAX];
    size_t count;
};

/* --- the operator's files --------------------------------------------------------------------- */

static int
add_file(const char *path, struct syn_buf *out, struct syn_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *room = fd >= 0 ? syn_buf_reserve(out, FILE_BYTES) : NULL;
    ssize_t got = -1;
    int rc = SYN_OK;

    if (fd < 0)
        rc = SYN_FAIL_SYS(err, errno, "opening %s", path);
    else if (room == NULL)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for %s", path);
    else
        got = read(fd, room, FILE_BYTES - 1);
    if (rc == SYN_OK && got < 0)
        rc = SYN_FAIL_SYS(err, errno, "reading %s", path);
    if (fd >= 0)
        (void)close(fd);
    if (rc < 0)
        return rc;
    out->len += (size_t)got;
    out->data[out->len] = '\0';
    syn_buf_addc(out, '\n');
    return SYN_OK;
}

static void
drop_pem(char *pem)
{
    if (pem != NULL)
        syn_secret_wipe(pem, strlen(pem));
    syn_free(pem);
}

/* Look at the file again; what it had stays where it is no good now. */
static int
read_given(struct given *given, struct syn_err *err)
{
    char *pem = NULL;
    SYN_BUF(text);
    int rc = add_file(given->cert, &text, err);

    if (rc == SYN_OK && given->key != NULL)
        rc = add_file(given->key, &text, err);
    if (rc == SYN_OK)
        rc = syn_balancer_pem(syn_buf_text(&text), text.len, &pem, err);
    if (text.data != NULL)
        syn_secret_wipe(text.data, text.len);
    if (rc < 0)
        return syn_err_wrap(err, rc, "--function-tls-cert: %s", given->cert);
    drop_pem(given->pem);
    given->pem = pem;
    return SYN_OK;
}

static int
take_given(struct srv_function_certs *certs, const char *text, struct syn_err *err)
{
    struct given *given = &certs->files[certs->count];
    const char *comma = strrchr(text, ',');

    if (certs->count == FILES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "--function-tls-cert: more than %d", FILES_MAX);
    certs->count++;
    given->cert = syn_strdup(text);
    given->key = comma != NULL ? syn_strdup(comma + 1) : NULL;
    if (given->cert == NULL || (comma != NULL && given->key == NULL))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for certificates");
    if (comma != NULL)
        given->cert[comma - text] = '\0';
    return read_given(given, err);
}

int
srv_function_certs_new(struct syn_server *server, const struct syn_server_options *options,
                       struct srv_function_certs **ret, struct syn_err *err)
{
    const char *const *file = options->function_tls_certs;
    const char *listen = options->function_tls_listen;
    struct srv_function_certs *certs;
    size_t len;
    int rc = SYN_OK;

    (void)server;
    if (listen == NULL)
        return file == NULL || *file == NULL
                   ? SYN_OK
                   : SYN_FAIL(err, SYN_E_INVALID,
                              "--function-tls-cert: needs --function-tls-listen");
    certs = syn_calloc(1, sizeof(*certs));
    if (certs == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for certificates");
    (void)pthread_mutex_init(&certs->lock, NULL);
    len = (size_t)(strrchr(listen, ':') - listen);
    if (listen[0] == '[' && len > 2)
        (void)snprintf(certs->host, sizeof(certs->host), "%.*s", (int)len - 2, listen + 1);
    else
        (void)snprintf(certs->host, sizeof(certs->host), "%.*s", (int)len, listen);
    for (; rc == SYN_OK && file != NULL && *file != NULL; file++)
        rc = take_given(certs, *file, err);
    if (rc < 0)
        (void)srv_function_certs_free(certs);
    else
        *ret = certs;
    return rc;
}

struct srv_function_certs *
srv_function_certs_free(struct srv_function_certs *certs)
{
    if (certs == NULL)
        return NULL;
    for (size_t i = 0; i < certs->count; i++) {
        syn_free(certs->files[i].cert);
        syn_free(certs->files[i].key);
        drop_pem(certs->files[i].pem);
    }
    (void)pthread_mutex_destroy(&certs->lock);
    syn_free(certs);
    return NULL;
}

/* --- an answer -------------------------------------------------------------------------------- */

struct answer {
    struct syn_server *server;
    json_t *rows;     /* [{host, pem}] */
    json_t *names;    /* {name: true} that operator's files have */
    json_t *accounts; /* {account: [document]}, of those with hosts */
    json_t *tags;     /* {tag: true} of the platform's own */
    json_t *listed;   /* borrowed: where see_certificate() puts them */
};

static int
add_row(struct answer *answer, const char *host, const char *pem, struct syn_err *err)
{
    json_t *row = NULL;
    int rc = syn_json_pack(&row, err, "{s:s, s:s}", "host", host, "pem", pem);

    return rc < 0 ? rc : syn_json_append_take(answer->rows, row, err);
}

static bool
fits(const char *name, const char *host)
{
    const char *dot = strchr(host, '.');

    return syn_str_eq(name, host) ||
           (name[0] == '*' && dot != NULL && dot > host && syn_str_eq(name + 1, dot));
}

static int
add_files(struct answer *answer, struct srv_function_certs *certs, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < certs->count; i++) {
        struct given *given = &certs->files[i];
        struct syn_tls_look look;
        struct syn_err why;
        bool broken = read_given(given, &why) < 0;

        if (broken && !given->broken)
            syn_log_err(SYN_LOG_WARN, "functions.certificate", &why);
        given->broken = broken;
        rc = syn_tls_cert_look(given->pem, strlen(given->pem), &look, err);
        for (size_t j = 0; rc == SYN_OK && j < look.count; j++)
            rc = syn_json_set_bool(answer->names, look.names[j], true, err);
        if (rc == SYN_OK)
            rc = add_row(answer, "", given->pem, err);
    }
    return rc;
}

static int
add_own(struct answer *answer, const char *host, const char *const *names, size_t count,
        struct syn_err *err)
{
    char tag[SRV_CERT_TAG];
    char *pem = NULL;
    int rc = srv_own_certificate(answer->server, WHOSE, names, count, tag, &pem, err);

    if (rc == SYN_OK)
        rc = add_row(answer, host, pem, err);
    if (rc == SYN_OK)
        rc = syn_json_set_bool(answer->tags, tag, true, err);
    drop_pem(pem);
    return rc;
}

/* For who asks for nothing that a route has. */
static int
add_default(struct answer *answer, const struct srv_function_certs *certs, struct syn_err *err)
{
    const char *names[NAMES] = {"localhost", "127.0.0.1"};
    size_t count = 2;
    char name[128];

    if (syn_str_eq(certs->host, "0.0.0.0") || syn_str_eq(certs->host, "::")) {
        if (gethostname(name, sizeof(name)) == 0 && memchr(name, '\0', sizeof(name)) != NULL &&
            name[0] != '\0')
            names[count++] = name;
    } else if (!syn_str_eq(certs->host, names[0]) && !syn_str_eq(certs->host, names[1])) {
        names[count++] = certs->host;
    }
    return add_own(answer, "", names, count, err);
}

static int
see_certificate(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct answer *answer = arg;

    (void)key;
    (void)revision;
    if (syn_json_i64(doc, "until_ms", 0) <= syn_wall_ms(answer->server->world) ||
        syn_json_str(doc, "sealed", "")[0] == '\0')
        return SYN_OK;
    return syn_json_append_take(answer->listed, json_incref(doc), err);
}

/* The account's certificate for the host that lasts longest; NULL: it has none. */
static int
find_of_account(struct answer *answer, const char *account, const char *host, const json_t **ret,
                struct syn_err *err)
{
    json_t *all = json_object_get(answer->accounts, account);
    const json_t *doc, *name;
    char prefix[SRV_KEY_MAX];
    int64_t longest = 0;
    size_t i, j;
    int rc = SYN_OK;

    if (all == NULL) {
        answer->listed = all = json_array();
        rc = syn_json_set_take(answer->accounts, account, all, err);
        (void)snprintf(prefix, sizeof(prefix), "certificate/%s/", account);
        if (rc == SYN_OK)
            rc = srv_each(answer->server, prefix, see_certificate, answer, err);
    }
    if (rc < 0)
        return rc;
    json_array_foreach (all, i, doc)
        json_array_foreach (json_object_get(doc, "hosts"), j, name)
            if (json_is_string(name) && fits(json_string_value(name), host) &&
                syn_json_i64(doc, "until_ms", 0) > longest) {
                longest = syn_json_i64(doc, "until_ms", 0);
                *ret = doc;
            }
    return SYN_OK;
}

static bool
is_of_operator(const struct answer *answer, const char *host)
{
    const char *name;
    json_t *value;

    json_object_foreach (answer->names, name, value)
        if (fits(name, host))
            return true;
    return false;
}

static int
add_host(struct answer *answer, const char *host, const char *account, struct syn_err *err)
{
    const char *const names[] = {host};
    const json_t *doc = NULL;
    char *pem = NULL;
    int rc = SYN_OK;

    if (is_of_operator(answer, host))
        return SYN_OK;
    if (syn_name_ok(account))
        rc = find_of_account(answer, account, host, &doc, err);
    if (rc == SYN_OK && doc != NULL) {
        rc = srv_certificate_pem(answer->server, account, syn_json_str(doc, "name", ""), &pem, err);
        if (rc == SYN_OK)
            rc = add_row(answer, host, pem, err);
        drop_pem(pem);
        return rc;
    }
    if (rc == SYN_OK)
        rc = add_own(answer, host, names, 1, err);
    if (rc == SYN_E_INVALID) { /* one odd name takes nothing from the others */
        syn_log_err(SYN_LOG_WARN, "functions.certificate", err);
        rc = SYN_OK;
    }
    return rc;
}

/* Those of hosts that no route has any more. */
static void
forget_others(const struct answer *answer)
{
    char dir[SRV_PATH_MAX], tag[SRV_CERT_TAG];
    DIR *all;
    const struct dirent *entry;

    (void)snprintf(dir, sizeof(dir), "%s/server/tls", answer->server->data_dir);
    all = opendir(dir);
    while (all != NULL && (entry = readdir(all)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        if (!syn_str_starts(entry->d_name, WHOSE "-"))
            continue;
        (void)snprintf(tag, sizeof(tag), "%.*s", (int)sizeof(tag) - 1,
                       entry->d_name + strlen(WHOSE "-"));
        if (json_object_get(answer->tags, tag) == NULL)
            (void)unlinkat(dirfd(all), entry->d_name, 0);
    }
    if (all != NULL)
        (void)closedir(all);
}

static int
digest_of(const json_t *rows, char ret_hex[2 * SYN_SHA256_LEN + 1], struct syn_err *err)
{
    uint8_t digest[SYN_SHA256_LEN];
    SYN_BUF(text);
    int rc = syn_json_write(rows, &text, err);

    if (rc < 0)
        return rc;
    syn_sha256(text.data, text.len, digest);
    syn_hex_encode(digest, sizeof(digest), ret_hex);
    syn_secret_wipe(text.data, text.len);
    return SYN_OK;
}

static int
make(struct answer *answer, struct srv_function_certs *certs, const json_t *hosts,
     struct syn_err *err)
{
    const char *host;
    json_t *account;
    int rc = add_files(answer, certs, err);

    if (rc == SYN_OK && certs->count == 0)
        rc = add_default(answer, certs, err);
    json_object_foreach ((json_t *)(uintptr_t)hosts, host, account)
        if (rc == SYN_OK)
            rc = add_host(answer, host, json_is_string(account) ? json_string_value(account) : "",
                          err);
    return rc;
}

int
srv_function_certs_answer(struct syn_server *server, struct srv_function_certs *certs,
                          const json_t *question, json_t **ret, struct syn_err *err)
{
    char hex[2 * SYN_SHA256_LEN + 1];
    SYN_JSON(rows);
    SYN_JSON(names);
    SYN_JSON(accounts);
    SYN_JSON(tags);
    struct answer answer = {.server = server};
    bool same = false;
    int rc;

    if (certs == NULL)
        return SYN_FAIL(err, SYN_E_CONFLICT, "functions are not served by TLS");
    answer.rows = rows = json_array();
    answer.names = names = json_object();
    answer.accounts = accounts = json_object();
    answer.tags = tags = json_object();
    if (rows == NULL || names == NULL || accounts == NULL || tags == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for certificates");
    (void)pthread_mutex_lock(&certs->lock);
    rc = make(&answer, certs, json_object_get(question, "hosts"), err);
    if (rc == SYN_OK)
        rc = digest_of(rows, hex, err);
    if (rc == SYN_OK) {
        same = syn_str_eq(syn_json_str(question, "digest", ""), hex);
        if (!same)
            forget_others(&answer);
    }
    (void)pthread_mutex_unlock(&certs->lock);
    if (rc < 0)
        return rc;
    return same ? syn_json_pack(ret, err, "{s:s}", "digest", hex)
                : syn_json_pack(ret, err, "{s:s, s:O}", "digest", hex, "certificates", rows);
}

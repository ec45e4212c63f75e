/* A rotation of the mesh's authority, by real certificates and a clock of the test's: at no time is
 * there a pair of nodes of which one does not believe the other. */
#include "authorities_priv.h"

#include <dirent.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

#define MIN_MS INT64_C(60000)
#define DAY_MS (INT64_C(24) * 60 * MIN_MS)
#define NODES  4

/* What a node has of the server. */
struct node {
    char *cert, *believed;
    int64_t made_ms, due_ms;
};

static void
open_dir(char out[256])
{
    static unsigned number;

    (void)snprintf(out, 256, "%s/authorities%u", syn_test_dir(), number++);
    assert_int_equal(mkdir(out, 0700), 0);
}

static X509_STORE *
store_of(const char *pem)
{
    X509_STORE *store = X509_STORE_new();
    BIO *in = BIO_new_mem_buf(pem, -1);
    X509 *cert;

    while ((cert = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL) {
        assert_int_equal(X509_STORE_add_cert(store, cert), 1);
        X509_free(cert);
    }
    BIO_free_all(in);
    return store;
}

/* Is the certificate one of theirs, at that time? */
static bool
believes(const char *authorities, const char *pem, int64_t now_ms)
{
    X509_STORE *store = store_of(authorities);
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    BIO *in = BIO_new_mem_buf(pem, -1);
    X509 *cert = PEM_read_bio_X509(in, NULL, NULL, NULL);
    bool good;

    assert_non_null(cert);
    assert_int_equal(X509_STORE_CTX_init(ctx, store, cert, NULL), 1);
    X509_STORE_CTX_set_time(ctx, 0, (time_t)(now_ms / 1000));
    good = X509_verify_cert(ctx) == 1;
    X509_free(cert);
    BIO_free_all(in);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return good;
}

static void
read_all(const char *dir, int64_t now_ms, struct srv_authorities *ret)
{
    struct syn_err err = {0};

    assert_done(srv_authorities_read(dir, "c1", now_ms, ret, &err), &err);
}

/* As a node is answered that asks now. */
static void
renew(struct node *node, const char *dir, int64_t now_ms)
{
    const struct syn_tls_identity who = {.name = "web.acme.mesh",
                                         .from_ms = now_ms - SRV_IDENTITY_BEHIND_MS,
                                         .until_ms = now_ms + SRV_IDENTITY_LIFE_MS};
    struct srv_authorities all;
    struct syn_err err = {0};
    SYN_BUF(key);
    SYN_BUF(csr);
    SYN_BUF(cert);
    SYN_BUF(believed);

    read_all(dir, now_ms, &all);
    assert_done(syn_tls_request_create(NULL, 0, &key, &csr, &err), &err);
    assert_done(
        syn_tls_request_sign(all.rows[all.signer].path, csr.data, csr.len, &who, &cert, &err),
        &err);
    assert_done(srv_authorities_text(&all, &believed, &err), &err);
    syn_free(node->cert);
    syn_free(node->believed);
    assert_done(syn_buf_take(&cert, &node->cert, NULL, &err), &err);
    assert_done(syn_buf_take(&believed, &node->believed, NULL, &err), &err);
    node->made_ms = now_ms;
}

static bool
holds(const struct node *node, int64_t now_ms)
{
    return node->cert != NULL && now_ms < node->made_ms + SRV_IDENTITY_LIFE_MS;
}

static void
check_pairs(const struct node nodes[NODES], int64_t now_ms)
{
    for (size_t i = 0; i < NODES; i++)
        for (size_t k = 0; k < NODES; k++)
            if (holds(&nodes[i], now_ms) && holds(&nodes[k], now_ms))
                assert_true(believes(nodes[i].believed, nodes[k].cert, now_ms));
}

static size_t
count_files(const char *dir)
{
    DIR *handle = opendir(dir);
    const struct dirent *entry;
    size_t count = 0;

    assert_non_null(handle);
    while ((entry = readdir(handle)) != NULL) /* NOLINT(concurrency-mt-unsafe) */
        count += entry->d_name[0] != '.';
    (void)closedir(handle);
    return count;
}

/* A rotation begins; what was believed before is appended to `old`. */
static void
begin(const char *dir, int64_t now_ms, struct syn_buf *old)
{
    struct srv_authorities all;
    struct syn_err err = {0};

    read_all(dir, now_ms, &all);
    assert_done(srv_authorities_text(&all, old, &err), &err);
    assert_done(srv_authorities_rotate(dir, "c1", now_ms, &all, &err), &err);
    assert_int_equal(all.count, 2);
    assert_int_equal(all.signer, 0);
    assert_code(srv_authorities_rotate(dir, "c1", now_ms, &all, &err), SYN_E_CONFLICT, &err);
}

/* The last node does not reach the server from just before the rotation until its certificate is
 * over, and comes back then. */
static void
nobody_is_disbelieved_meanwhile(void **state)
{
    struct node nodes[NODES] = {{.cert = NULL}};
    int64_t start_ms = syn_wall_ms(syn_world_system()), begun_ms = start_ms + 30 * MIN_MS;
    int64_t away_ms = begun_ms - MIN_MS, back_ms = away_ms + 70 * MIN_MS;
    SYN_BUF(old);
    unsigned seed = 5;
    char dir[256];

    (void)state;
    open_dir(dir);
    for (int64_t now_ms = start_ms; now_ms < start_ms + 200 * MIN_MS; now_ms += 2 * MIN_MS) {
        if (now_ms >= begun_ms && old.len == 0)
            begin(dir, now_ms, &old);
        for (size_t i = 0; i < NODES; i++) {
            bool away = i == NODES - 1 && now_ms >= away_ms && now_ms < back_ms;

            if (now_ms < nodes[i].due_ms || away)
                continue;
            renew(&nodes[i], dir, now_ms);
            nodes[i].due_ms = now_ms + (18 + (int64_t)(rand_r(&seed) % 5)) * MIN_MS;
        }
        check_pairs(nodes, now_ms);
    }
    assert_int_equal(count_files(dir), 1); /* the old key is gone */
    assert_false(believes(syn_buf_text(&old), nodes[0].cert, start_ms + 200 * MIN_MS));
    for (size_t i = 0; i < NODES; i++) {
        syn_free(nodes[i].cert);
        syn_free(nodes[i].believed);
    }
}

static void
steps_follow_from_the_time(void **state)
{
    const int64_t begun_ms = INT64_C(1900000000000);
    const struct {
        int64_t after_ms;
        size_t count, signer;
    } rows[] = {
        {-DAY_MS, 2, 0}, /* the clock was set back */
        {0, 2, 0},
        {SRV_AUTHORITY_SPREAD_MS - 1, 2, 0},
        {SRV_AUTHORITY_SPREAD_MS, 2, 1},
        {10 * MIN_MS, 2, 0}, /* again */
        {2 * SRV_AUTHORITY_SPREAD_MS - 1, 2, 1},
        {2 * SRV_AUTHORITY_SPREAD_MS, 1, 0},
        {-DAY_MS, 1, 0}, /* what is gone does not come back */
    };
    struct srv_authorities all;
    struct syn_err err = {0};
    char dir[256], first[SRV_PATH_MAX];

    (void)state;
    open_dir(dir);
    read_all(dir, begun_ms, &all);
    assert_int_equal(all.count, 1);
    (void)syn_str_copy(first, sizeof(first), all.rows[0].path);
    assert_true(syn_str_ends(first, "/mesh-ca.pem"));
    assert_done(srv_authorities_rotate(dir, "c1", begun_ms, &all, &err), &err);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        read_all(dir, begun_ms + rows[i].after_ms, &all);
        assert_int_equal(all.count, rows[i].count);
        assert_int_equal(all.signer, rows[i].signer);
        assert_int_equal(access(first, F_OK) == 0, rows[i].count == 2);
    }
    /* And the next one, although the clock is behind. */
    assert_done(srv_authorities_rotate(dir, "c1", begun_ms - DAY_MS, &all, &err), &err);
    assert_int_equal(all.count, 2);
    assert_int_equal(all.signer, 0);
    read_all(dir, begun_ms + 3 * SRV_AUTHORITY_SPREAD_MS, &all);
    assert_int_equal(all.count, 1);
    assert_int_equal(all.rows[0].made_ms, begun_ms + 1);
}

/* Other files of the folder are none of them; too many are an error and no guess. */
static void
other_files_are_not_theirs(void **state)
{
    static const char *const names[] = {"gateway-ca.pem", "mesh-ca-x.pem", "mesh-ca-1.pem.tmp",
                                        "mesh-ca-.pem", "svc-1-0.pem"};
    struct srv_authorities all;
    struct syn_err err = {0};
    char dir[256], path[512];

    (void)state;
    open_dir(dir);
    for (size_t i = 0; i < SYN_LEN(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        assert_done(syn_tls_ca_create(path, "another", 1, &err), &err);
    }
    read_all(dir, DAY_MS, &all);
    assert_int_equal(all.count, 1);
    assert_int_equal(all.rows[0].made_ms, 0);
    for (unsigned i = 0; i < SRV_AUTHORITIES_MAX; i++) {
        (void)snprintf(path, sizeof(path), "%s/mesh-ca-%u.pem", dir, 1000 + i);
        assert_done(syn_tls_ca_create(path, "another", 1, &err), &err);
    }
    assert_code(srv_authorities_read(dir, "c1", DAY_MS, &all, &err), SYN_E_CORRUPT, &err);
    (void)snprintf(path, sizeof(path), "%s/absent", dir);
    assert_code(srv_authorities_read(path, "c1", DAY_MS, &all, &err), SYN_E_NOTFOUND, &err);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_disbelieved_meanwhile),
        cmocka_unit_test(steps_follow_from_the_time),
        cmocka_unit_test(other_files_are_not_theirs),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("server/authorities", tests, NULL, NULL);
}

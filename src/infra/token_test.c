#include <synor/base/test.h>

#include <synor/base/str.h>
#include <synor/infra/token.h>

static void
test_token_form(void **state)
{
    char token[SYN_TOKEN_LEN + 1];
    char other[SYN_TOKEN_LEN + 1];
    uint8_t digest[SYN_SHA256_LEN];
    struct syn_err err;

    (void)state;
    syn_token_new(token);
    syn_token_new(other);
    assert_int_equal(strlen(token), SYN_TOKEN_LEN);
    assert_string_not_equal(token, other);
    assert_done(syn_token_digest(token, SYN_TOKEN_LEN, digest, &err), &err);
    assert_code(syn_token_digest(token, SYN_TOKEN_LEN - 1, digest, &err), SYN_E_INVALID, &err);
    token[0] = 'S';
    assert_code(syn_token_digest(token, SYN_TOKEN_LEN, digest, &err), SYN_E_INVALID, &err);
    token[0] = 's';
    token[10] = '1';
    assert_code(syn_token_digest(token, SYN_TOKEN_LEN, digest, &err), SYN_E_INVALID, &err);
    assert_null(strstr(err.msg, token + 4));
}

static void
test_scopes(void **state) /* NOLINT(readability-function-size): cmocka's macros nest */
{
    static const struct {
        const char *text;
        uint32_t bits;
        const char *node;
        const char *back; /* NULL: refused */
    } rows[] = {
        {"read", SYN_SCOPE_READ, "", "read"},
        {"tenant,read", SYN_SCOPE_READ | SYN_SCOPE_TENANT, "", "read,tenant"},
        {"node:node-a1", SYN_SCOPE_NODE, "node-a1", "node:node-a1"},
        {"operator,join,node:x", SYN_SCOPE_JOIN | SYN_SCOPE_NODE | SYN_SCOPE_OPERATOR, "x",
         "join,node:x,operator"},
        {"", 0, "", NULL},
        {"read,", 0, "", NULL},
        {"Read", 0, "", NULL},
        {"node", 0, "", NULL},
        {"node:", 0, "", NULL},
        {"node:A", 0, "", NULL},
        {"node:a,node:b", 0, "", NULL},
        {"read:x", 0, "", NULL},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_scopes scopes = {77, "untouched"};
        char text[SYN_SCOPES_TEXT_SIZE];
        struct syn_err err;
        int rc = syn_scopes_parse(rows[i].text, &scopes, &err);

        if (rows[i].back == NULL) {
            assert_code(rc, SYN_E_INVALID, &err);
            assert_int_equal(scopes.bits, 77);
            continue;
        }
        assert_done(rc, &err);
        assert_int_equal(scopes.bits, rows[i].bits);
        assert_string_equal(scopes.node, rows[i].node);
        assert_string_equal(syn_scopes_format(&scopes, text), rows[i].back);
    }
}

#define BOOK_TOKENS 500

static void
test_book(void **state)
{
    static char tokens[BOOK_TOKENS][SYN_TOKEN_LEN + 1];
    struct syn_token_book *book = NULL;
    const struct syn_grant *found = NULL;
    struct syn_err err;

    (void)state;
    assert_done(syn_token_book_new(&book, &err), &err);
    for (int i = 0; i < BOOK_TOKENS; i++) {
        struct syn_grant grant = {.expires_ms = i % 2 == 0 ? 0 : 1000};

        syn_token_new(tokens[i]);
        assert_done(syn_token_digest(tokens[i], SYN_TOKEN_LEN, grant.digest, &err), &err);
        (void)snprintf(grant.account, sizeof(grant.account), "acct-%d", i);
        assert_done(syn_token_book_put(book, &grant, &err), &err);
        assert_done(syn_token_book_put(book, &grant, &err), &err);
    }
    assert_int_equal(syn_token_book_count(book), BOOK_TOKENS);
    for (int i = 0; i < BOOK_TOKENS; i++) {
        char account[SYN_ID_MAX];

        (void)snprintf(account, sizeof(account), "acct-%d", i);
        assert_done(syn_token_book_find(book, tokens[i], SYN_TOKEN_LEN, 999, &found, &err), &err);
        assert_string_equal(found->account, account);
        if (i % 2 == 1)
            assert_code(syn_token_book_find(book, tokens[i], SYN_TOKEN_LEN, 1000, &found, &err),
                        SYN_E_UNAUTHENTICATED, &err);
    }
    /* Take every third out; the others must stay reachable behind the holes. */
    for (int i = 0; i < BOOK_TOKENS; i += 3) {
        uint8_t digest[SYN_SHA256_LEN];

        assert_done(syn_token_digest(tokens[i], SYN_TOKEN_LEN, digest, &err), &err);
        assert_true(syn_token_book_remove(book, digest));
        assert_false(syn_token_book_remove(book, digest));
    }
    for (int i = 0; i < BOOK_TOKENS; i++)
        assert_code(syn_token_book_find(book, tokens[i], SYN_TOKEN_LEN, 0, &found, &err),
                    i % 3 == 0 ? SYN_E_UNAUTHENTICATED : 0, &err);
    assert_code(syn_token_book_find(book, "syn_x", 5, 0, &found, &err), SYN_E_UNAUTHENTICATED,
                &err);
    assert_null(syn_token_book_free(book));
}

/* A row of tokens, each made with the one before: what takes out one takes out all behind it. */
static void
test_book_row(void **state)
{
    static char tokens[SYN_TOKEN_ROW_MAX + 1][SYN_TOKEN_LEN + 1];
    struct syn_grant grants[SYN_LEN(tokens)] = {0};
    struct syn_token_book *book = NULL;
    const struct syn_grant *found = NULL;
    struct syn_err err;

    (void)state;
    assert_done(syn_token_book_new(&book, &err), &err);
    for (size_t i = 0; i < SYN_LEN(tokens); i++) {
        syn_token_new(tokens[i]);
        assert_done(syn_token_digest(tokens[i], SYN_TOKEN_LEN, grants[i].digest, &err), &err);
        grants[i].made = i > 0;
        if (i > 0)
            memcpy(grants[i].maker, grants[i - 1].digest, SYN_SHA256_LEN);
        assert_done(syn_token_book_put(book, &grants[i], &err), &err);
    }
    for (size_t i = 0; i < SYN_LEN(tokens); i++) {
        assert_code(syn_token_book_find(book, tokens[i], SYN_TOKEN_LEN, 1, &found, &err),
                    i < SYN_TOKEN_ROW_MAX ? 0 : SYN_E_UNAUTHENTICATED, &err);
        assert_int_equal(syn_token_book_valid(book, grants[i].digest, 1), i < SYN_TOKEN_ROW_MAX);
        if (i < SYN_TOKEN_ROW_MAX)
            assert_memory_equal(found->digest, grants[i].digest, SYN_SHA256_LEN);
    }
    grants[3].expires_ms = 100;
    assert_done(syn_token_book_put(book, &grants[3], &err), &err);
    for (size_t i = 0; i < SYN_TOKEN_ROW_MAX; i++) {
        assert_true(syn_token_book_valid(book, grants[i].digest, 99));
        assert_int_equal(syn_token_book_valid(book, grants[i].digest, 100), i < 3);
    }
    assert_true(syn_token_book_remove(book, grants[1].digest));
    for (size_t i = 0; i < SYN_TOKEN_ROW_MAX; i++)
        assert_int_equal(syn_token_book_valid(book, grants[i].digest, 1), i < 1);
    /* Two that claim to be made with each other are a row without an end. */
    memcpy(grants[0].maker, grants[1].digest, SYN_SHA256_LEN);
    grants[0].made = true;
    assert_done(syn_token_book_put(book, &grants[0], &err), &err);
    assert_done(syn_token_book_put(book, &grants[1], &err), &err);
    assert_false(syn_token_book_valid(book, grants[0].digest, 1));
    assert_null(syn_token_book_free(book));
}

static void
test_scopes_within(void **state)
{
    static const struct {
        const char *asked, *held;
        bool within;
    } rows[] = {
        {"read", "read", true},
        {"read", "tenant", true},
        {"tenant", "tenant", true},
        {"read,tenant", "tenant", true},
        {"tenant", "read", false},
        {"join", "tenant", false},
        {"operator", "tenant", false},
        {"node:node-1", "tenant", false},
        {"tenant,join", "join", false},
        {"join", "tenant,join", true},
        {"node:node-1", "node:node-1", true},
        {"node:node-2", "node:node-1", false},
        {"operator", "operator", true},
        {"node:node-2,join,tenant,operator", "operator", true},
        {"operator", "tenant,read,join,node:node-1", false},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_scopes asked;
        struct syn_scopes held;

        assert_int_equal(syn_scopes_parse(rows[i].asked, &asked, NULL), SYN_OK);
        assert_int_equal(syn_scopes_parse(rows[i].held, &held, NULL), SYN_OK);
        if (syn_scopes_within(&asked, &held) != rows[i].within)
            fail_msg("%s within %s", rows[i].asked, rows[i].held);
    }
}

static int
sweep_book(void *arg, struct syn_err *err)
{
    struct syn_token_book *book = NULL;
    int rc;

    (void)arg;
    rc = syn_token_book_new(&book, err);
    for (int i = 0; rc == SYN_OK && i < 20; i++) {
        struct syn_grant grant = {.digest = {(uint8_t)i}};

        rc = syn_token_book_put(book, &grant, err);
    }
    (void)syn_token_book_free(book);
    return rc;
}

static void
test_book_sweep(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(sweep_book, NULL) >= 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token_form),    cmocka_unit_test(test_scopes),
        cmocka_unit_test(test_book),          cmocka_unit_test(test_book_row),
        cmocka_unit_test(test_scopes_within), cmocka_unit_test(test_book_sweep),
    };

    return cmocka_run_group_tests_name("token", tests, NULL, NULL);
}

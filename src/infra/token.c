#include <synor/infra/token.h>

#include <synor/base/buf.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#define TOKEN_RANDOM 20

_Static_assert(SYN_BASE32_SIZE(TOKEN_RANDOM) + sizeof(SYN_TOKEN_PREFIX) - 1 == SYN_TOKEN_LEN + 1,
               "the token's length");

static const struct {
    const char *wire;
    uint32_t bit;
} scope_table[] = {
#define SCOPE_ROW(symbol, bit, wire, help) {wire, UINT32_C(1) << (bit)},
    SYN_SCOPE_TABLE(SCOPE_ROW)
#undef SCOPE_ROW
};

void
syn_token_new(char ret_token[SYN_TOKEN_LEN + 1])
{
    uint8_t random[TOKEN_RANDOM];

    syn_secret_random(random, sizeof(random));
    memcpy(ret_token, SYN_TOKEN_PREFIX, sizeof(SYN_TOKEN_PREFIX) - 1);
    syn_base32_encode(random, sizeof(random), ret_token + sizeof(SYN_TOKEN_PREFIX) - 1);
    syn_secret_wipe(random, sizeof(random));
}

int
syn_token_digest(const char *text, size_t len, uint8_t ret_digest[SYN_SHA256_LEN],
                 struct syn_err *err)
{
    const size_t prefix = sizeof(SYN_TOKEN_PREFIX) - 1;
    bool ok = len == SYN_TOKEN_LEN && memcmp(text, SYN_TOKEN_PREFIX, prefix) == 0;

    /* 20 bytes are exactly 32 digits, so any 32 digits are canonical. */
    for (size_t i = prefix; ok && i < len; i++)
        ok = (text[i] >= 'a' && text[i] <= 'z') || (text[i] >= '2' && text[i] <= '7');
    if (!ok)
        return SYN_FAIL(err, SYN_E_INVALID, "not a token: expected %s and %d characters",
                        SYN_TOKEN_PREFIX, (int)(SYN_TOKEN_LEN - prefix));
    syn_sha256(text, len, ret_digest);
    return SYN_OK;
}

static uint32_t
scope_find(const char *name, size_t len)
{
    for (size_t i = 0; i < SYN_LEN(scope_table); i++) {
        if (strlen(scope_table[i].wire) == len && memcmp(scope_table[i].wire, name, len) == 0)
            return scope_table[i].bit;
    }
    return 0;
}

/* One item, "tenant" or "node:ID": the identifier belongs to the node scope and to no other. */
static int
scope_parse_item(const char *item, size_t len, struct syn_scopes *scopes, struct syn_err *err)
{
    const char *colon = memchr(item, ':', len);
    size_t name_len = colon == NULL ? len : (size_t)(colon - item);
    size_t id_len = colon == NULL ? 0 : len - name_len - 1;
    uint32_t bit = scope_find(item, name_len);
    struct syn_scopes all = {~0U, "ID"};
    char text[SYN_SCOPES_TEXT_SIZE];

    if (bit == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "no scope \"%.*s\"; there are %s",
                        (int)SYN_MIN(len, (size_t)32), item, syn_scopes_format(&all, text));
    if ((colon != NULL) != (bit == SYN_SCOPE_NODE))
        return SYN_FAIL(err, SYN_E_INVALID, "scope \"%.*s\" takes %s", (int)name_len, item,
                        colon == NULL ? "a node, as node:ID" : "no identifier");
    if (bit != SYN_SCOPE_NODE) {
        scopes->bits |= bit;
        return SYN_OK;
    }
    if ((scopes->bits & bit) != 0)
        return SYN_FAIL(err, SYN_E_INVALID, "a token is for one node only");
    if (id_len == 0 || id_len >= sizeof(scopes->node))
        return SYN_FAIL(err, SYN_E_INVALID, "scope node:ID takes an ID of 1..%d bytes",
                        (int)sizeof(scopes->node) - 1);
    memcpy(scopes->node, colon + 1, id_len);
    scopes->node[id_len] = '\0';
    if (!syn_name_ok(scopes->node))
        return SYN_FAIL(err, SYN_E_INVALID, "scope node:ID takes a node's identifier");
    scopes->bits |= bit;
    return SYN_OK;
}

int
syn_scopes_parse(const char *text, struct syn_scopes *ret_scopes, struct syn_err *err)
{
    struct syn_scopes scopes = {0, ""};

    for (const char *at = text;; at++) {
        size_t len = strcspn(at, ",");
        int rc = scope_parse_item(at, len, &scopes, err);

        if (rc < 0)
            return rc;
        at += len;
        if (*at == '\0')
            break;
    }
    *ret_scopes = scopes;
    return SYN_OK;
}

const char *
syn_scopes_format(const struct syn_scopes *scopes, char *out)
{
    size_t n = 0;

    out[0] = '\0';
    for (size_t i = 0; i < SYN_LEN(scope_table); i++) {
        bool node = scope_table[i].bit == SYN_SCOPE_NODE;

        if ((scopes->bits & scope_table[i].bit) == 0)
            continue;
        n += (size_t)snprintf(out + n, SYN_SCOPES_TEXT_SIZE - n, "%s%s%s%s", n > 0 ? "," : "",
                              scope_table[i].wire, node ? ":" : "", node ? scopes->node : "");
        assert(n < SYN_SCOPES_TEXT_SIZE);
    }
    return out;
}

bool
syn_scopes_within(const struct syn_scopes *asked, const struct syn_scopes *held)
{
    uint32_t have = held->bits;

    if ((have & SYN_SCOPE_OPERATOR) != 0)
        return true;
    if ((have & SYN_SCOPE_TENANT) != 0)
        have |= SYN_SCOPE_READ;
    if ((asked->bits & ~have) != 0)
        return false;
    return (asked->bits & SYN_SCOPE_NODE) == 0 || syn_str_eq(asked->node, held->node);
}

/* Open addressing with linear probing over pointers, at most half full. The digest is uniform by
 * nature, so its first bytes are the hash. Looking up by the digest of what a stranger sent leaks
 * no useful timing: he cannot choose digests that share a prefix with one he does not know. */
struct syn_token_book {
    struct syn_grant **slots;
    size_t mask; /* slots - 1 */
    size_t count;
};

#define BOOK_SLOTS_MIN 16

static size_t
digest_hash(const uint8_t *digest)
{
    uint64_t hash;

    memcpy(&hash, digest, sizeof(hash));
    return (size_t)hash;
}

/* The slot that holds `digest`, or the empty one where it belongs. */
static size_t
book_slot(struct syn_grant *const *slots, size_t mask, const uint8_t *digest)
{
    size_t at = digest_hash(digest) & mask;

    while (slots[at] != NULL && memcmp(slots[at]->digest, digest, SYN_SHA256_LEN) != 0)
        at = (at + 1) & mask;
    return at;
}

int
syn_token_book_new(struct syn_token_book **ret_book, struct syn_err *err)
{
    struct syn_token_book *book = syn_calloc(1, sizeof(*book));

    if (book != NULL)
        book->slots = syn_calloc(BOOK_SLOTS_MIN, sizeof(struct syn_grant *));
    if (book == NULL || book->slots == NULL) {
        syn_free(book);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for the token book");
    }
    book->mask = BOOK_SLOTS_MIN - 1;
    *ret_book = book;
    return SYN_OK;
}

struct syn_token_book *
syn_token_book_free(struct syn_token_book *book)
{
    if (book == NULL)
        return NULL;
    for (size_t i = 0; i <= book->mask; i++)
        syn_free(book->slots[i]);
    syn_free(book->slots);
    syn_free(book);
    return NULL;
}

static bool
book_grow(struct syn_token_book *book)
{
    size_t mask = book->mask * 2 + 1;
    struct syn_grant **slots = syn_calloc(mask + 1, sizeof(struct syn_grant *));

    if (slots == NULL)
        return false;
    for (size_t i = 0; i <= book->mask; i++) {
        if (book->slots[i] != NULL)
            slots[book_slot(slots, mask, book->slots[i]->digest)] = book->slots[i];
    }
    syn_free(book->slots);
    book->slots = slots;
    book->mask = mask;
    return true;
}

int
syn_token_book_put(struct syn_token_book *book, const struct syn_grant *grant, struct syn_err *err)
{
    size_t at = book_slot(book->slots, book->mask, grant->digest);

    if (book->slots[at] != NULL) {
        *book->slots[at] = *grant;
        return SYN_OK;
    }
    if (book->count >= SYN_TOKENS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "more than %u tokens; revoke some", SYN_TOKENS_MAX);
    if ((book->count + 1) * 2 > book->mask && !book_grow(book))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for %zu tokens", book->count + 1);

    struct syn_grant *copy = syn_alloc(sizeof(*copy));

    if (copy == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a token");
    *copy = *grant;
    book->slots[book_slot(book->slots, book->mask, grant->digest)] = copy;
    book->count++;
    return SYN_OK;
}

bool
syn_token_book_remove(struct syn_token_book *book, const uint8_t digest[SYN_SHA256_LEN])
{
    size_t hole = book_slot(book->slots, book->mask, digest);

    if (book->slots[hole] == NULL)
        return false;
    syn_free(book->slots[hole]);
    book->slots[hole] = NULL;
    book->count--;
    /* Close the gap: whoever was pushed past the hole moves back. */
    for (size_t at = (hole + 1) & book->mask; book->slots[at] != NULL; at = (at + 1) & book->mask) {
        struct syn_grant *moved = book->slots[at];

        book->slots[at] = NULL;
        book->slots[book_slot(book->slots, book->mask, moved->digest)] = moved;
    }
    return true;
}

size_t
syn_token_book_count(const struct syn_token_book *book)
{
    return book->count;
}

/* The grant, if it and everything that it comes from are there and in time. */
static int
book_trace(const struct syn_token_book *book, const uint8_t *digest, int64_t now_ms,
           const struct syn_grant **ret_grant, struct syn_err *err)
{
    const struct syn_grant *first = NULL;

    for (unsigned row = 0; row < SYN_TOKEN_ROW_MAX; row++) {
        const struct syn_grant *grant = book->slots[book_slot(book->slots, book->mask, digest)];

        if (grant == NULL)
            return SYN_FAIL(err, SYN_E_UNAUTHENTICATED, "the bearer token is unknown or revoked");
        if (grant->expires_ms != 0 && now_ms >= grant->expires_ms)
            return SYN_FAIL(err, SYN_E_UNAUTHENTICATED, "the bearer token expired; make a new one");
        if (first == NULL)
            first = grant;
        if (!grant->made) {
            *ret_grant = first;
            return SYN_OK;
        }
        digest = grant->maker;
    }
    return SYN_FAIL(err, SYN_E_UNAUTHENTICATED, "the bearer token stands at the end of too many");
}

int
syn_token_book_find(const struct syn_token_book *book, const char *text, size_t len, int64_t now_ms,
                    const struct syn_grant **ret_grant, struct syn_err *err)
{
    uint8_t digest[SYN_SHA256_LEN];

    if (syn_token_digest(text, len, digest, NULL) < 0)
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED, "the bearer token is malformed");
    return book_trace(book, digest, now_ms, ret_grant, err);
}

bool
syn_token_book_valid(const struct syn_token_book *book, const uint8_t digest[SYN_SHA256_LEN],
                     int64_t now_ms)
{
    const struct syn_grant *grant;

    return book_trace(book, digest, now_ms, &grant, NULL) == SYN_OK;
}

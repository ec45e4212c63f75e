/* Bearer tokens: "syn_" and 20 random bytes in base32. Whoever keeps a token keeps only its
 * SHA-256, so a stolen database opens nothing; 160 random bits need no salt and no slow hash. */
#ifndef SYNOR_INFRA_TOKEN_H
#define SYNOR_INFRA_TOKEN_H

#include <synor/base/err.h>
#include <synor/base/world.h>
#include <synor/infra/crypto.h>

#define SYN_TOKEN_PREFIX "syn_"
#define SYN_TOKEN_LEN    36
#define SYN_TOKENS_MAX   (1U << 20)

/** What a token may do. One row a scope: symbol, bit, wire name, help. */
#define SYN_SCOPE_TABLE(X)                                                          \
    X(READ, 0, "read", "see the account's own resources")                           \
    X(TENANT, 1, "tenant", "create, change and delete the account's own resources") \
    X(JOIN, 2, "join", "register a node")                                           \
    X(NODE, 3, "node", "report for one node, named behind a colon")                 \
    X(OPERATOR, 4, "operator", "act for every account and change the platform")

enum syn_scope {
#define SYN_SCOPE_ROW(symbol, bit, wire, help) SYN_SCOPE_##symbol = 1 << (bit),
    SYN_SCOPE_TABLE(SYN_SCOPE_ROW)
#undef SYN_SCOPE_ROW
};

/** A set of scopes; a value. */
struct syn_scopes {
    uint32_t bits;         /* SYN_SCOPE_* */
    char node[SYN_ID_MAX]; /* whom SYN_SCOPE_NODE is for; "" without it */
};
#define SYN_SCOPES_TEXT_SIZE (64 + SYN_ID_MAX)

/** What the keeper of tokens knows of one. A value; copy it freely. */
struct syn_grant {
    int64_t expires_ms; /* Unix time; 0: never */
    uint8_t digest[SYN_SHA256_LEN];
    char account[SYN_ID_MAX];
    struct syn_scopes scopes;
    uint8_t maker[SYN_SHA256_LEN]; /* of the token it was made with, and is void without */
    bool made;                     /* with another token at all */
};
/** So many tokens stand in a row, each made with the one before; a longer row is void. */
#define SYN_TOKEN_ROW_MAX 8

/** Draw a fresh token. */
void syn_token_new(char ret_token[SYN_TOKEN_LEN + 1]);
/** Check the form of `text` and digest it. INVALID, without repeating the text: it may be a secret.
 */
SYN_MUST int syn_token_digest(const char *text, size_t len, uint8_t ret_digest[SYN_SHA256_LEN],
                              struct syn_err *err);

/** "tenant,node:node-4x" -> set. INVALID names the unknown scope; an empty text is INVALID as well.
 */
SYN_MUST int syn_scopes_parse(const char *text, struct syn_scopes *ret_scopes, struct syn_err *err);
/** The inverse, into out[SYN_SCOPES_TEXT_SIZE]; returns out. */
const char *syn_scopes_format(const struct syn_scopes *scopes, char *out);

/** Is everything that `asked` may do among what `held` may do? An operator may do everything, a
 *  tenant read. */
bool syn_scopes_within(const struct syn_scopes *asked, const struct syn_scopes *held);

/** An index of grants by digest. One thread. */
struct syn_token_book;

SYN_MUST int syn_token_book_new(struct syn_token_book **ret_book, struct syn_err *err);
struct syn_token_book *syn_token_book_free(struct syn_token_book *book);
/** Add or replace; the grant is copied. LIMIT at SYN_TOKENS_MAX. */
SYN_MUST int syn_token_book_put(struct syn_token_book *book, const struct syn_grant *grant,
                                struct syn_err *err);
/** False when it was not there. */
bool syn_token_book_remove(struct syn_token_book *book, const uint8_t digest[SYN_SHA256_LEN]);
size_t syn_token_book_count(const struct syn_token_book *book);
/** The grant of the token `text`, valid until the book changes. A token that was made with another
 * is good for as long as that one is: removing one grant ends all that come from it, at once.
 *  Returns 0; UNAUTHENTICATED when the text is no token, or it or one it comes from is unknown or
 *  expired. */
SYN_MUST int syn_token_book_find(const struct syn_token_book *book, const char *text, size_t len,
                                 int64_t now_ms, const struct syn_grant **ret_grant,
                                 struct syn_err *err);

/** Would the token with this digest be found? */
bool syn_token_book_valid(const struct syn_token_book *book, const uint8_t digest[SYN_SHA256_LEN],
                          int64_t now_ms);

#endif

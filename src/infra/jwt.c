#include <synor/infra/jwt.h>

#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <synor/base/str.h>

#define AHEAD_S     60 /* of an issuer's clock */
#define SIGNED_TEXT (SYN_BASE64_SIZE(SYN_SIGNATURE_LEN) - 1)
#define TEXT_MAX    65536 /* of what issuers give */

/* --- reading ---------------------------------------------------------------------------------- */

/* base64url of a JSON object. */
static int
read_part(const char *text, size_t len, const char *what, json_t **ret, struct syn_err *err)
{
    char bytes[SYN_JWT_MAX];
    size_t count = 0;

    if (syn_base64_decode(SYN_BASE64_URL, text, len, bytes, sizeof(bytes), &count, NULL) < 0 ||
        count == 0 || syn_json_parse_object(bytes, count, ret, NULL) < 0)
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED,
                        "token-malformed: its %s is no base64url of a JSON object", what);
    return SYN_OK;
}

static int
check_header(const json_t *header, struct syn_err *err)
{
    const char *alg = syn_json_str(header, "alg", "");

    if (!syn_str_eq(alg, "EdDSA"))
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED,
                        "token-algorithm: \"%.20s\" is not EdDSA, which alone is taken", alg);
    if (json_object_get(header, "crit") != NULL)
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED,
                        "token-malformed: it asks for extensions (crit), and there are none");
    return SYN_OK;
}

int
syn_jwt_parse(const char *text, size_t len, struct syn_jwt *ret, struct syn_err *err)
{
    const char *first = len <= SYN_JWT_MAX ? memchr(text, '.', len) : NULL, *second = NULL;
    struct syn_jwt token = {.text = text};
    size_t count = 0, left;
    int rc;

    if (first != NULL)
        second = memchr(first + 1, '.', len - (size_t)(first + 1 - text));
    if (second == NULL)
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED,
                        "token-malformed: expected HEADER.CLAIMS.SIGNATURE of at most %d bytes",
                        SYN_JWT_MAX);
    token.signed_len = (size_t)(second - text);
    left = len - token.signed_len - 1;
    rc = read_part(text, (size_t)(first - text), "header", &token.header, err);
    if (rc == SYN_OK)
        rc = check_header(token.header, err);
    if (rc == SYN_OK)
        rc = read_part(first + 1, (size_t)(second - first - 1), "body", &token.claims, err);
    if (rc == SYN_OK && (syn_base64_decode(SYN_BASE64_URL, second + 1, left, token.signature,
                                           sizeof(token.signature), &count, NULL) < 0 ||
                         count != sizeof(token.signature)))
        rc = SYN_FAIL(err, SYN_E_UNAUTHENTICATED,
                      "token-malformed: its signature is no base64url of %d bytes",
                      SYN_SIGNATURE_LEN);
    if (rc < 0) {
        syn_jwt_fini(&token);
        return rc;
    }
    *ret = token;
    return SYN_OK;
}

void
syn_jwt_fini(struct syn_jwt *token)
{
    json_decref(token->header);
    json_decref(token->claims);
    token->header = token->claims = NULL;
}

const char *
syn_jwt_issuer(const struct syn_jwt *token)
{
    return syn_json_str(token->claims, "iss", "");
}

const char *
syn_jwt_key_id(const struct syn_jwt *token)
{
    return syn_json_str(token->header, "kid", "");
}

static bool
read_key(const char *text, uint8_t ret[SYN_SIGN_PUBLIC_LEN])
{
    size_t count = 0;

    return strlen(text) == SYN_JWT_KEY_TEXT &&
           syn_base64_decode(SYN_BASE64_URL, text, SYN_JWT_KEY_TEXT, ret, SYN_SIGN_PUBLIC_LEN,
                             &count, NULL) == SYN_OK &&
           count == SYN_SIGN_PUBLIC_LEN;
}

bool
syn_jwt_signed_by(const struct syn_jwt *token, const char *public_text)
{
    uint8_t key[SYN_SIGN_PUBLIC_LEN];

    return read_key(public_text, key) &&
           syn_verify(key, token->text, token->signed_len, token->signature);
}

/* --- claims ----------------------------------------------------------------------------------- */

static bool
is_for(const json_t *aud, const struct syn_jwt_rule *rule)
{
    const json_t *item;
    size_t i;

    for (size_t k = 0; k < SYN_LEN(rule->audiences) && rule->audiences[k] != NULL; k++) {
        if (json_is_string(aud) && syn_str_eq(json_string_value(aud), rule->audiences[k]))
            return true;
        json_array_foreach (aud, i, item)
            if (syn_str_eq(json_string_value(item), rule->audiences[k]))
                return true;
    }
    return false;
}

static bool
subject_ok(const json_t *subject)
{
    const char *text = json_string_value(subject);

    if (text == NULL || text[0] == '\0' || text[0] == ' ' || strlen(text) > SYN_JWT_SUBJECT_MAX ||
        text[strlen(text) - 1] == ' ')
        return false;
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7F)
            return false;
    return true;
}

int
syn_jwt_check(const struct syn_jwt *token, const struct syn_jwt_rule *rule, struct syn_err *err)
{
    const json_t *until = json_object_get(token->claims, "exp");
    const json_t *from = json_object_get(token->claims, "nbf");
    const json_t *subject = json_object_get(token->claims, "sub");

    if (!json_is_number(until))
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED,
                        "token-malformed: it does not say until when it is valid (exp)");
    if (json_number_value(until) <= (double)rule->now_s)
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED, "token-expired: it was valid until %.0f",
                        json_number_value(until));
    if (from != NULL &&
        (!json_is_number(from) || json_number_value(from) > (double)(rule->now_s + AHEAD_S)))
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED, "token-early: it is not valid yet (nbf)");
    if (!is_for(json_object_get(token->claims, "aud"), rule))
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED,
                        "token-audience: it is for others (aud); here %.100s%s%.100s is called",
                        rule->audiences[0], rule->audiences[1] != NULL ? " or " : "",
                        rule->audiences[1] != NULL ? rule->audiences[1] : "");
    if (subject != NULL && !subject_ok(subject))
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED,
                        "token-malformed: its subject is not text of 1 to %d bytes",
                        SYN_JWT_SUBJECT_MAX);
    return SYN_OK;
}

/* --- signing ---------------------------------------------------------------------------------- */

static int
add_part(const json_t *part, struct syn_buf *out, struct syn_err *err)
{
    SYN_BUF(text);
    char *room;
    int rc = syn_json_write(part, &text, err);

    if (rc < 0)
        return rc;
    room = syn_buf_reserve(out, SYN_BASE64_SIZE(text.len));
    if (room == NULL)
        return syn_buf_ok(out, err);
    syn_base64_encode(SYN_BASE64_URL, text.data, text.len, room);
    out->len += strlen(room);
    return SYN_OK;
}

int
syn_jwt_sign(const struct syn_key *key, const json_t *claims, struct syn_buf *out,
             struct syn_err *err)
{
    uint8_t signature[SYN_SIGNATURE_LEN];
    char text[SIGNED_TEXT + 1];
    SYN_JSON(header);
    SYN_BUF(token);
    int rc = syn_json_pack(&header, err, "{s:s, s:s, s:s}", "alg", "EdDSA", "typ", "JWT", "kid",
                           syn_key_id(key));

    if (rc == SYN_OK)
        rc = add_part(header, &token, err);
    syn_buf_addc(&token, '.');
    if (rc == SYN_OK)
        rc = add_part(claims, &token, err);
    if (rc == SYN_OK)
        rc = syn_buf_ok(&token, err);
    if (rc < 0)
        return rc;
    syn_key_sign(key, token.data, token.len, signature);
    syn_base64_encode(SYN_BASE64_URL, signature, sizeof(signature), text);
    syn_buf_add(out, token.data, token.len);
    syn_buf_addf(out, ".%s", text);
    return syn_buf_ok(out, err);
}

/* --- keys ------------------------------------------------------------------------------------- */

static void
bio_scope(BIO **slot)
{
    (void)BIO_free(*slot);
}

static void
pkey_scope(EVP_PKEY **slot)
{
    EVP_PKEY_free(*slot);
}

static int
add_key(json_t *list, const char *kid, const char *text, struct syn_err *err)
{
    const json_t *there;
    json_t *key = NULL;
    size_t i;
    int rc;

    json_array_foreach (list, i, there)
        if (syn_str_eq(syn_json_str(there, "kid", ""), kid))
            return SYN_FAIL(err, SYN_E_INVALID, "two keys have the kid \"%.60s\"", kid);
    if (strlen(kid) > SYN_JWT_KID_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "a kid of more than %d bytes", SYN_JWT_KID_MAX);
    if (json_array_size(list) == SYN_JWT_KEYS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "more than %d keys of Ed25519", SYN_JWT_KEYS_MAX);
    rc = syn_json_pack(&key, err, "{s:s, s:s}", "kid", kid, "key", text);
    return rc < 0 ? rc : syn_json_append_take(list, key, err);
}

static int
read_pem(const char *text, size_t len, json_t *list, struct syn_err *err)
{
    SYN_SCOPED(bio_scope) BIO *bio = BIO_new_mem_buf(text, (int)len);
    SYN_SCOPED(pkey_scope) EVP_PKEY *key = NULL;
    uint8_t bytes[SYN_SIGN_PUBLIC_LEN];
    char encoded[SYN_BASE64_SIZE(SYN_SIGN_PUBLIC_LEN)];
    size_t count = sizeof(bytes);

    if (bio == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a key");
    key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    ERR_clear_error();
    if (key == NULL || EVP_PKEY_get_base_id(key) != EVP_PKEY_ED25519 ||
        EVP_PKEY_get_raw_public_key(key, bytes, &count) != 1 || count != sizeof(bytes))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "expected the public key of Ed25519: openssl pkey -in KEY -pubout");
    syn_base64_encode(SYN_BASE64_URL, bytes, sizeof(bytes), encoded);
    return add_key(list, "", encoded, err);
}

static int
read_jwk(const json_t *jwk, json_t *list, struct syn_err *err)
{
    const char *text = syn_json_str(jwk, "x", "");
    uint8_t bytes[SYN_SIGN_PUBLIC_LEN];

    if (json_object_get(jwk, "d") != NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "it has the key's secret half: give the public one");
    if (!syn_str_eq(syn_json_str(jwk, "kty", ""), "OKP") ||
        !syn_str_eq(syn_json_str(jwk, "crv", ""), "Ed25519") ||
        !syn_str_eq(syn_json_str(jwk, "use", "sig"), "sig"))
        return SYN_OK;
    if (!read_key(text, bytes))
        return SYN_FAIL(err, SYN_E_INVALID, "a key's x is no base64url of %d bytes",
                        SYN_SIGN_PUBLIC_LEN);
    return add_key(list, syn_json_str(jwk, "kid", ""), text, err);
}

static int
read_jwks(const char *text, size_t len, json_t *list, struct syn_err *err)
{
    const json_t *jwk;
    size_t i;
    SYN_JSON(doc);
    int rc = syn_json_parse_object(text, len, &doc, err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "expected a PEM, a JWK or a JWKS");
    if (!json_is_array(json_object_get(doc, "keys")))
        return read_jwk(doc, list, err);
    json_array_foreach (json_object_get(doc, "keys"), i, jwk)
        if (rc == SYN_OK)
            rc = read_jwk(jwk, list, err);
    return rc;
}

int
syn_jwt_keys_read(const char *text, size_t len, json_t **ret, struct syn_err *err)
{
    SYN_JSON(list);
    int rc;

    if (len > TEXT_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "keys of more than %d bytes", TEXT_MAX);
    list = json_array();
    if (list == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for keys");
    rc = memmem(text, len, "-----BEGIN ", strlen("-----BEGIN ")) != NULL
             ? read_pem(text, len, list, err)
             : read_jwks(text, len, list, err);
    if (rc == SYN_OK && json_array_size(list) == 0)
        rc = SYN_FAIL(err, SYN_E_INVALID,
                      "there is no key of Ed25519 (kty OKP, crv Ed25519), which alone is taken");
    if (rc == SYN_OK)
        *ret = SYN_TAKE(list);
    return rc;
}

int
syn_jwt_key_show(const uint8_t public_key[SYN_SIGN_PUBLIC_LEN], json_t **ret, struct syn_err *err)
{
    char text[SYN_BASE64_SIZE(SYN_SIGN_PUBLIC_LEN)], id[SYN_KEY_ID_SIZE];

    syn_base64_encode(SYN_BASE64_URL, public_key, SYN_SIGN_PUBLIC_LEN, text);
    syn_key_id_of(public_key, id);
    return syn_json_pack(ret, err, "{s:s, s:s, s:s, s:s, s:s, s:s}", "kty", "OKP", "crv", "Ed25519",
                         "use", "sig", "alg", "EdDSA", "kid", id, "x", text);
}

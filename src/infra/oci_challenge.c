/* What a registry says of how it wants to be asked, and whom one may ask at all. Pure. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include <synor/base/json.h>
#include <synor/base/str.h>

#include "oci_registry_priv.h"

/* --- WWW-Authenticate ------------------------------------------------------------------------- */

static bool
visible(char c)
{
    return c > ' ' && c < 0x7f;
}

static const char *
skip(const char *at, const char *what)
{
    return at + strspn(at, what);
}

/* One value, bare or quoted, into out[cap]; NULL when it is malformed or too long. */
static const char *
value_read(const char *at, char *out, size_t cap)
{
    bool quoted = *at == '"';
    size_t n = 0;

    at += quoted;
    while (*at != '\0' && (quoted ? *at != '"' : visible(*at) && *at != ',')) {
        if (quoted && *at == '\\' && at[1] != '\0')
            at++;
        if ((!visible(*at) && *at != ' ') || n + 1 >= cap)
            return NULL;
        out[n++] = *at++;
    }
    out[n] = '\0';
    if (quoted && *at++ != '"')
        return NULL;
    return at;
}

static int
parameters_read(const char *at, struct syn_oci_challenge *ret, struct syn_err *err)
{
    char value[1024];

    for (;;) {
        size_t len;
        const char *key;

        key = at = skip(at, " \t,");
        len = strcspn(at, "= \t,\"");
        if (*at == '\0')
            return SYN_OK;
        if (len == 0 || at[len] != '=')
            return SYN_OK; /* another challenge begins: the first is ours */
        at = value_read(at + len + 1, value, sizeof(value));
        if (at == NULL)
            return SYN_FAIL(err, SYN_E_INVALID, "the registry's challenge is malformed");
        if (len == strlen("realm") && strncasecmp(key, "realm", len) == 0)
            (void)syn_str_copy(ret->realm, sizeof(ret->realm), value);
        if (len == strlen("service") && strncasecmp(key, "service", len) == 0 &&
            !syn_str_copy(ret->service, sizeof(ret->service), value))
            return SYN_FAIL(err, SYN_E_INVALID, "the registry's challenge is malformed");
    }
}

int
syn_oci_challenge_parse(const char *text, struct syn_oci_challenge *ret, struct syn_err *err)
{
    struct syn_oci_challenge challenge = {.bearer = false};
    const char *at = skip(text, " \t");
    size_t len = strcspn(at, " \t");
    int rc;

    challenge.bearer = len == strlen("Bearer") && strncasecmp(at, "Bearer", len) == 0;
    if (!challenge.bearer && !(len == strlen("Basic") && strncasecmp(at, "Basic", len) == 0))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "the registry wants another sign-in than Basic or Bearer");
    rc = parameters_read(at + len, &challenge, err);
    if (rc == SYN_OK && challenge.bearer && strchr(challenge.realm, ' ') != NULL)
        rc = SYN_FAIL(err, SYN_E_INVALID, "the registry's challenge is malformed");
    if (rc == SYN_OK && challenge.bearer && challenge.realm[0] == '\0')
        rc = SYN_FAIL(err, SYN_E_INVALID, "the registry's challenge names no token server");
    if (rc == SYN_OK)
        *ret = challenge;
    return rc;
}

int
syn_oci_token_parse(const char *data, size_t len, struct syn_buf *out, struct syn_err *err)
{
    const char *token;
    SYN_JSON(doc);
    int rc = syn_json_parse_object(data, len, &doc, NULL);

    if (rc == SYN_E_NOMEM)
        return SYN_FAIL(err, rc, "no memory for a token");
    token = syn_json_str(doc, "token", syn_json_str(doc, "access_token", ""));
    if (rc < 0 || token[0] == '\0' || strlen(token) > SYN_OCI_TOKEN_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "the token server gave no token");
    for (const char *at = token; *at != '\0'; at++) {
        if (!visible(*at))
            return SYN_FAIL(err, SYN_E_INVALID, "the token server gave no token");
    }
    syn_buf_adds(out, token);
    return syn_buf_ok(out, err);
}

/* --- addresses -------------------------------------------------------------------------------- */

struct net4 {
    uint32_t net;
    unsigned bits;
};

/* What is not the internet: RFC 6890 and its registry. */
static const struct net4 special4[] = {
    {0x00000000, 8},  {0x0A000000, 8},  {0x64400000, 10}, {0x7F000000, 8},  {0xA9FE0000, 16},
    {0xAC100000, 12}, {0xC0000000, 24}, {0xC0000200, 24}, {0xC0586300, 24}, {0xC0A80000, 16},
    {0xC6120000, 15}, {0xC6336400, 24}, {0xCB007100, 24}, {0xE0000000, 3},
};

static bool
public4(uint32_t address)
{
    for (size_t i = 0; i < SYN_LEN(special4); i++) {
        uint32_t mask = UINT32_MAX << (32 - special4[i].bits);

        if ((address & mask) == special4[i].net)
            return false;
    }
    return true;
}

static uint32_t
word_at(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* 2000::/3 is what is given out; in it the ways around: documentation, 6to4 and Teredo. */
static bool
public6(const uint8_t a[16])
{
    static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};

    if (memcmp(a, nat64, sizeof(nat64)) == 0)
        return public4(word_at(a + 12));
    if ((a[0] & 0xe0) != 0x20)
        return false;
    if (a[0] == 0x20 && a[1] == 0x02)
        return public4(word_at(a + 2));
    if (a[0] == 0x20 && a[1] == 0x01 && ((a[2] & 0xfe) == 0 || (a[2] == 0x0d && a[3] == 0xb8)))
        return false;
    return true;
}

/* The 16 or 4 bytes of an address; an IPv4 address in IPv6's clothes is one. */
static const uint8_t *
bytes_of(const struct sockaddr *address, size_t *ret_len)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    const uint8_t *bytes;

    *ret_len = 4;
    if (address->sa_family == AF_INET)
        return (const uint8_t *)&((const struct sockaddr_in *)(const void *)address)->sin_addr;
    *ret_len = 0;
    if (address->sa_family != AF_INET6)
        return NULL;
    *ret_len = 16;
    bytes = ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr;
    if (memcmp(bytes, mapped, sizeof(mapped)) != 0)
        return bytes;
    *ret_len = 4;
    return bytes + sizeof(mapped);
}

bool
syn_oci_address_public(const struct sockaddr *address)
{
    size_t len;
    const uint8_t *bytes = bytes_of(address, &len);

    return len == 4 ? public4(word_at(bytes)) : len == 16 && public6(bytes);
}

bool
syn_oci_address_loopback(const struct sockaddr *address)
{
    static const uint8_t one[16] = {[15] = 1};
    size_t len;
    const uint8_t *bytes = bytes_of(address, &len);

    return len == 4 ? bytes[0] == 127 : len == 16 && memcmp(bytes, one, sizeof(one)) == 0;
}

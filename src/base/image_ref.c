#include <synor/base/image_ref.h>

#include <synor/base/json.h>
#include <synor/base/str.h>

#define DEFAULT_HOST  "docker.io"
#define DEFAULT_TAG   "latest"
#define LABEL_MAX     63
#define DIGEST_PREFIX "sha256:"
#define HEX_DIGITS    64
#define LOWER         "abcdefghijklmnopqrstuvwxyz"
#define UPPER         "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS        "0123456789"
#define HELPER_MAX    64 /* of a helper program's name */
#define DOCKER_KEY    "https://index.docker.io/v1/"
#define PORT_DIGITS   5
#define SHOWN(text_)  (int)SYN_MIN(strlen(text_), (size_t)80), (text_)

/* --- parts ------------------------------------------------------------------------------------ */

/* Labels of letters, digits and inner dashes, joined by dots. */
static bool
labels_ok(const char *at, size_t len)
{
    const char *end = at + len;

    while (at < end) {
        size_t label = strspn(at, LOWER UPPER DIGITS "-");

        if (label > (size_t)(end - at))
            label = (size_t)(end - at);
        if (label == 0 || label > LABEL_MAX || at[0] == '-' || at[label - 1] == '-')
            return false;
        at += label;
        if (at < end && (*at != '.' || ++at == end))
            return false;
    }
    return len > 0;
}

static bool
port_ok(const char *text)
{
    uint64_t port;

    return strlen(text) <= PORT_DIGITS && text[0] != '0' &&
           syn_parse_u64(text, 1, UINT16_MAX, "port", &port, NULL) == SYN_OK;
}

bool
syn_image_host_ok(const char *text)
{
    size_t len;

    if (strlen(text) >= SYN_IMAGE_HOST_MAX)
        return false;
    if (text[0] == '[') {
        len = strspn(text + 1, DIGITS "abcdefABCDEF:.");
        if (len < 2 || text[len + 1] != ']' || memchr(text + 1, ':', len) == NULL)
            return false;
        len += 2;
    } else {
        len = strcspn(text, ":");
        if (!labels_ok(text, len))
            return false;
    }
    return text[len] == '\0' || (text[len] == ':' && port_ok(text + len + 1));
}

bool
syn_image_host_loopback(const char *host)
{
    size_t len = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    unsigned dots = 0;

    if (len == strlen("localhost") && strncasecmp(host, "localhost", len) == 0)
        return true;
    if (len == strlen("[::1]") && strncmp(host, "[::1]", len) == 0)
        return true;
    if (!syn_str_starts(host, "127.") || strspn(host, DIGITS ".") != len)
        return false;
    for (size_t i = 0; i < len; i++)
        dots += host[i] == '.';
    return dots == 3;
}

/* a-z and 0-9 in words joined by one dot, one or two underscores, or dashes; parts by "/". */
static bool
path_ok(const char *at)
{
    for (;;) {
        size_t word = strspn(at, LOWER DIGITS);
        size_t dashes;

        if (word == 0)
            return false;
        at += word;
        if (*at == '\0')
            return true;
        dashes = strspn(at, "-");
        if (dashes > 0)
            at += dashes;
        else if (at[0] == '_' && at[1] == '_')
            at += 2;
        else if (*at == '.' || *at == '_' || *at == '/')
            at++;
        else
            return false;
    }
}

static bool
tag_ok(const char *tag)
{
    size_t len = strlen(tag);

    return len > 0 && len < SYN_IMAGE_TAG_MAX && strchr(".-", tag[0]) == NULL &&
           strspn(tag, LOWER UPPER DIGITS "._-") == len;
}

bool
syn_image_digest_ok(const char *text)
{
    const char *hex = text + strlen(DIGEST_PREFIX);

    return syn_str_starts(text, DIGEST_PREFIX) && strlen(hex) == HEX_DIGITS &&
           strspn(hex, DIGITS "abcdef") == HEX_DIGITS;
}

/* --- the whole -------------------------------------------------------------------------------- */

/* Cut "@DIGEST" and ":TAG" off the end of `rest`. */
static int
take_end(char *rest, struct syn_image_ref *ref, struct syn_err *err)
{
    char *at = strchr(rest, '@');
    char *slash;

    if (at != NULL) {
        *at++ = '\0';
        if (!syn_str_starts(at, DIGEST_PREFIX))
            return SYN_FAIL(err, SYN_E_UNSUPPORTED, "image: the digest must be sha256:...");
        if (!syn_image_digest_ok(at))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "image: after \"@sha256:\" come 64 lower-case hexadecimal digits");
        (void)syn_str_copy(ref->digest, sizeof(ref->digest), at);
    }
    slash = strrchr(rest, '/');
    at = strchr(slash != NULL ? slash : rest, ':');
    if (at == NULL)
        return SYN_OK;
    *at++ = '\0';
    if (!tag_ok(at))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "image: \"%.*s\" is no tag: letters, digits, \".\", \"_\" and \"-\", at "
                        "most 128",
                        SHOWN(at));
    (void)syn_str_copy(ref->tag, sizeof(ref->tag), at);
    return SYN_OK;
}

/* The first part is a host when it looks like one: with a dot or a port, or "localhost". */
static int
take_host(char **rest, struct syn_image_ref *ref, struct syn_err *err)
{
    char *slash = strchr(*rest, '/');
    char *first = *rest;

    (void)syn_str_copy(ref->host, sizeof(ref->host), DEFAULT_HOST);
    if (slash == NULL)
        return SYN_OK;
    *slash = '\0';
    if (strpbrk(first, ".:[") == NULL && !syn_str_eq(first, "localhost")) {
        *slash = '/';
        return SYN_OK;
    }
    if (!syn_image_host_ok(first))
        return SYN_FAIL(err, SYN_E_INVALID, "image: \"%.*s\" is no host of a registry",
                        SHOWN(first));
    (void)syn_str_copy(ref->host, sizeof(ref->host), first);
    for (char *at = ref->host; *at != '\0'; at++)
        *at = (char)(*at >= 'A' && *at <= 'Z' ? *at - 'A' + 'a' : *at);
    if (syn_str_eq(ref->host, "index.docker.io") || syn_str_eq(ref->host, "registry-1.docker.io"))
        (void)syn_str_copy(ref->host, sizeof(ref->host), DEFAULT_HOST);
    *rest = slash + 1;
    return SYN_OK;
}

int
syn_image_ref_parse(const char *text, struct syn_image_ref *ret, struct syn_err *err)
{
    struct syn_image_ref ref = {.tag = ""};
    char copy[SYN_IMAGE_REF_MAX];
    char *rest = copy;
    const char *library = "";
    int rc;

    if (!syn_str_copy(copy, sizeof(copy), text))
        return SYN_FAIL(err, SYN_E_LIMIT, "image: a reference has at most %d bytes",
                        SYN_IMAGE_REF_MAX - 1);
    rc = take_end(copy, &ref, err);
    if (rc == SYN_OK)
        rc = take_host(&rest, &ref, err);
    if (rc < 0)
        return rc;
    if (!path_ok(rest))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "image: \"%.*s\" is no name of an image: expected words of a-z 0-9 joined "
                        "by . _ - and /",
                        SHOWN(rest));
    if (syn_str_eq(ref.host, DEFAULT_HOST) && strchr(rest, '/') == NULL)
        library = "library/";
    if (ref.tag[0] == '\0' && ref.digest[0] == '\0')
        (void)syn_str_copy(ref.tag, sizeof(ref.tag), DEFAULT_TAG);
    if (snprintf(ref.path, sizeof(ref.path), "%s%s", library, rest) >= (int)sizeof(ref.path) ||
        strlen(ref.host) + strlen(ref.path) + strlen(ref.tag) + strlen(ref.digest) + 4 >
            SYN_IMAGE_REF_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "image: a reference has at most %d bytes",
                        SYN_IMAGE_REF_MAX - 1);
    *ret = ref;
    return SYN_OK;
}

const char *
syn_image_ref_format(const struct syn_image_ref *ref, char out[SYN_IMAGE_REF_MAX])
{
    if (snprintf(out, SYN_IMAGE_REF_MAX, "%s/%s%s%s%s%s", ref->host, ref->path,
                 ref->tag[0] != '\0' ? ":" : "", ref->tag, ref->digest[0] != '\0' ? "@" : "",
                 ref->digest) >= SYN_IMAGE_REF_MAX)
        out[0] = '\0'; /* not one that was parsed */
    return out;
}

/* --- credentials ------------------------------------------------------------------------------ */

/* Keys are hosts, some with "https://" before and a path behind. */
static bool
key_is(const char *key, const char *host)
{
    size_t len;

    if (syn_str_eq(host, DEFAULT_HOST) && syn_str_eq(key, DOCKER_KEY))
        return true;
    if (syn_str_starts(key, "https://"))
        key += strlen("https://");
    else if (syn_str_starts(key, "http://"))
        key += strlen("http://");
    len = strcspn(key, "/");
    return len == strlen(host) && strncasecmp(key, host, len) == 0;
}

/* The program that keeps this host's credentials, or "". */
static const char *
helper_of(const json_t *doc, const char *host)
{
    const char *key;
    json_t *value;

    json_object_foreach (json_object_get(doc, "credHelpers"), key, value)
        if (key_is(key, host))
            return json_is_string(value) ? json_string_value(value) : "";
    return "";
}

static int
take_helper(const char *name, char *out, struct syn_err *err)
{
    if (name[0] == '.' || strspn(name, LOWER UPPER DIGITS "._-") != strlen(name) ||
        strlen(name) > HELPER_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "it names a helper program that cannot be one");
    (void)syn_str_copy(out, SYN_IMAGE_AUTH_MAX, name);
    return SYN_IMAGE_HELPER;
}

int
syn_image_auth_find(const char *data, size_t len, const char *host, char *out, struct syn_err *err)
{
    const char *key;
    json_t *row;
    SYN_JSON(doc);
    int rc = syn_json_parse_object(data, len, &doc, NULL);

    if (rc == SYN_E_NOMEM)
        return SYN_FAIL(err, rc, "no memory for credentials of registries");
    if (rc < 0)
        return SYN_FAIL(err, SYN_E_INVALID, "this is no file of credentials as docker writes it");
    out[0] = '\0';
    if (helper_of(doc, host)[0] != '\0')
        return take_helper(helper_of(doc, host), out, err);
    json_object_foreach (json_object_get(doc, "auths"), key, row) {
        const char *auth = syn_json_str(row, "auth", "");

        if (!key_is(key, host) || auth[0] == '\0')
            continue;
        if (strspn(auth, LOWER UPPER DIGITS "+/=") != strlen(auth) ||
            !syn_str_copy(out, SYN_IMAGE_AUTH_MAX, auth)) {
            out[0] = '\0';
            return SYN_FAIL(err, SYN_E_INVALID, "the credentials for %s are malformed", host);
        }
        return SYN_OK;
    }
    key = syn_json_str(doc, "credsStore", "");
    return key[0] != '\0' ? take_helper(key, out, err) : SYN_OK;
}

const char *
syn_image_helper_key(const char *host)
{
    return syn_str_eq(host, DEFAULT_HOST) ? DOCKER_KEY : host;
}

int
syn_image_helper_read(const char *data, size_t len, char *ret_user, char *ret_password,
                      struct syn_err *err)
{
    const char *user, *password;
    SYN_JSON(doc);
    int rc = syn_json_parse_object(data, len, &doc, NULL);

    if (rc == SYN_E_NOMEM)
        return SYN_FAIL(err, rc, "no memory for credentials of registries");
    user = syn_json_str(doc, "Username", "");
    password = syn_json_str(doc, "Secret", "");
    if (rc < 0 || user[0] == '\0' || strchr(user, ':') != NULL ||
        strlen(user) >= SYN_IMAGE_AUTH_MAX || strlen(password) >= SYN_IMAGE_AUTH_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "its answer is not one of a credential helper");
    if (syn_str_eq(user, "<token>"))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "it keeps an identity token, and no password");
    (void)syn_str_copy(ret_user, SYN_IMAGE_AUTH_MAX, user);
    (void)syn_str_copy(ret_password, SYN_IMAGE_AUTH_MAX, password);
    return SYN_OK;
}

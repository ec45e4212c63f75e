#include <synor/orchestration/label.h>

#include <synor/base/str.h>

static bool
plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool
text_ok(const char *text, size_t len, size_t cap, const char *inner)
{
    if (len == 0 || len >= cap || !plain(text[0]) || !plain(text[len - 1]))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!plain(text[i]) && !strchr(inner, text[i]))
            return false;
    return true;
}

static int
key_check(const char *key, size_t len, struct syn_err *err)
{
    if (!text_ok(key, len, SYN_LABEL_KEY_MAX, ".-_/"))
        return SYN_FAIL(
            err, SYN_E_INVALID,
            "label \"%.*s\": a name is 1..%d letters, digits and . - _ /, with a letter "
            "or digit at both ends",
            (int)SYN_MIN(len, (size_t)SYN_LABEL_KEY_MAX), key, SYN_LABEL_KEY_MAX - 1);
    return SYN_OK;
}

static int
value_check(const char *key, const char *value, struct syn_err *err)
{
    size_t len = strlen(value);

    if (len > 0 && !text_ok(value, len, SYN_LABEL_VALUE_MAX, ".-_/"))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "label %.*s: \"%.64s\" is no value: up to %d letters, digits and . - _ /, "
                        "with a letter or digit at both ends",
                        SYN_LABEL_KEY_MAX - 1, key, value, SYN_LABEL_VALUE_MAX - 1);
    return SYN_OK;
}

int
syn_label_check(const char *key, const char *value, struct syn_err *err)
{
    bool domain = syn_str_eq(key, SYN_LABEL_ZONE) || syn_str_eq(key, SYN_LABEL_RACK);
    int rc = key_check(key, strlen(key), err);

    if (rc == SYN_OK)
        rc = value_check(key, value, err);
    if (rc < 0)
        return rc;
    if (syn_str_starts(key, SYN_LABEL_RESERVED) && !domain)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "label %s: of those that begin with %s only %s and %s can be set", key,
                        SYN_LABEL_RESERVED, SYN_LABEL_ZONE, SYN_LABEL_RACK);
    if (domain && !*value)
        return SYN_FAIL(err, SYN_E_INVALID, "label %s: expected a name", key);
    return SYN_OK;
}

int
syn_selector_parse(const char *text, struct syn_selector *ret, struct syn_err *err)
{
    size_t len = strcspn(text, "=");
    const char *value = text[len] ? text + len + 1 : "";
    struct syn_selector selector = {.op = text[len] ? SYN_SELECTOR_IS : SYN_SELECTOR_HAS};
    int rc;

    if (text[len] && len > 0 && text[len - 1] == '!') {
        selector.op = SYN_SELECTOR_IS_NOT;
        len--;
    }
    rc = key_check(text, len, err);
    if (rc < 0)
        return rc;
    memcpy(selector.key, text, len);
    rc = value_check(selector.key, value, err);
    if (rc < 0)
        return rc;
    (void)syn_str_copy(selector.value, sizeof(selector.value), value);
    *ret = selector;
    return SYN_OK;
}

bool
syn_selector_match(const struct syn_selector *selector, const char *value)
{
    switch (selector->op) {
    case SYN_SELECTOR_IS:
        return value && syn_str_eq(value, selector->value);
    case SYN_SELECTOR_IS_NOT:
        return !value || !syn_str_eq(value, selector->value);
    case SYN_SELECTOR_HAS:
    default:
        return value != NULL;
    }
}

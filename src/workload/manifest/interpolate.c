/* Variables of compose files: $NAME, ${NAME}, and with the words for one that is not set (-), not
 * set or empty (:-), that must be set (?, :?), and for one that is set (+, :+); $$ is a dollar. As
 * the Compose Specification, section "Interpolation", but a word is taken as it stands. */
#include "manifest_priv.h"

#include <string.h>

#include <synor/base/str.h>

struct use {
    char name[128];
    bool colon;       /* empty counts as not set */
    char how;         /* '-', '?', '+', or 0 */
    const char *word; /* after that; len bytes */
    size_t len;
};

static size_t
name_len(const char *text)
{
    size_t len = 0;

    while (text[len] == '_' || (text[len] >= 'A' && text[len] <= 'Z') ||
           (text[len] >= 'a' && text[len] <= 'z') ||
           (len > 0 && text[len] >= '0' && text[len] <= '9'))
        len++;
    return len;
}

/* What follows a dollar, up to *ret_end. */
static int
parse_use(const struct manifest_at *at, const char *text, struct use *ret, const char **ret_end,
          struct syn_err *err)
{
    bool braced = *text == '{';
    const char *name = text + braced, *end;
    size_t len = name_len(name);

    *ret = (struct use){.word = ""};
    if (len == 0 || len >= sizeof(ret->name))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: after $ expected a name; $$ is a dollar",
                        at->path);
    memcpy(ret->name, name, len);
    end = name + len;
    if (!braced) {
        *ret_end = end;
        return SYN_OK;
    }
    ret->colon = *end == ':';
    end += ret->colon;
    if (*end != '}' || ret->colon) {
        if (*end == '\0' || strchr("-?+", *end) == NULL)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: ${%s: expected }, -, ? or +", at->path,
                            ret->name);
        ret->how = *end++;
    }
    ret->word = end;
    ret->len = strcspn(end, "}");
    if (end[ret->len] != '}')
        return SYN_FAIL(err, SYN_E_INVALID, "%s: ${%s has no }", at->path, ret->name);
    *ret_end = end + ret->len + 1;
    return SYN_OK;
}

static int
add_value(const struct manifest_at *at, const struct use *use, struct syn_buf *out,
          struct syn_err *err)
{
    const char *value = syn_json_str(at->file->variables, use->name, NULL);
    bool set = value != NULL && !(use->colon && *value == '\0');

    if (use->how == '?' && !set)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: %s is not set%s%.*s", at->path, use->name,
                        use->len > 0 ? ": " : "", (int)SYN_MIN(use->len, (size_t)200), use->word);
    if (use->how == '+' ? set : (use->how == '-' && !set))
        syn_buf_add(out, use->word, use->len);
    else if (use->how != '+' && set)
        syn_buf_adds(out, value);
    else if (use->how == 0 && value == NULL)
        return manifest_note(at, err, "%s is not set; an empty text stands for it", use->name);
    return SYN_OK;
}

static int
interpolate_text(const struct manifest_at *at, const char *text, json_t **ret, struct syn_err *err)
{
    SYN_BUF(out);
    int rc = SYN_OK;

    while (*text != '\0' && rc == SYN_OK) {
        size_t plain = strcspn(text, "$");
        struct use use;

        syn_buf_add(&out, text, plain);
        text += plain;
        if (text[0] == '$' && text[1] == '$') {
            syn_buf_adds(&out, "$");
            text += 2;
        } else if (text[0] == '$') {
            rc = parse_use(at, text + 1, &use, &text, err);
            if (rc == SYN_OK)
                rc = add_value(at, &use, &out, err);
        }
    }
    if (rc == SYN_OK)
        rc = syn_buf_ok(&out, err);
    if (rc < 0)
        return rc;
    *ret = json_string(syn_buf_text(&out));
    return *ret != NULL ? SYN_OK : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a text");
}

/* The depth is what the YAML parser allows. NOLINTBEGIN(misc-no-recursion) */
int
manifest_interpolate(const struct manifest_at *at, json_t *value, json_t **ret, struct syn_err *err)
{
    SYN_JSON(made);
    struct manifest_at below;
    const char *key;
    json_t *part, *done;
    size_t i;
    int rc = SYN_OK;

    if (json_is_string(value))
        return interpolate_text(at, json_string_value(value), ret, err);
    if (!json_is_object(value) && !json_is_array(value)) {
        *ret = json_incref(value);
        return SYN_OK;
    }
    made = json_is_object(value) ? json_object() : json_array();
    if (made == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a file");
    json_object_foreach (value, key, part) {
        manifest_below(at, key, 0, &below);
        rc = manifest_interpolate(&below, part, &done, err);
        if (rc == SYN_OK)
            rc = syn_json_set_take(made, key, done, err);
        if (rc < 0)
            return rc;
    }
    json_array_foreach (value, i, part) {
        manifest_below(at, NULL, i, &below);
        rc = manifest_interpolate(&below, part, &done, err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(made, done, err);
        if (rc < 0)
            return rc;
    }
    *ret = SYN_TAKE(made);
    return SYN_OK;
}
/* NOLINTEND(misc-no-recursion) */

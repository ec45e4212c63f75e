#include <synor/orchestration/document.h>

#include <synor/base/units.h>

int
syn_document_make_take(const struct syn_document_new *new_doc, json_t *spec, json_t **ret,
                       struct syn_err *err)
{
    const char *kind = new_doc->kind, *id = new_doc->id, *name = new_doc->name;
    SYN_JSON(owned_spec);
    SYN_JSON(doc);
    char created_at[SYN_FORMAT_MAX];
    int rc;

    owned_spec = spec;
    assert(kind && *kind && id && *id && new_doc->account && *new_doc->account);
    if (!owned_spec)
        return SYN_FAIL(err, SYN_E_NOMEM, "making %s %s: out of memory", kind, id);
    rc = syn_json_pack(&doc, err, "{s:s, s:s, s:s, s:s, s:O, s:{}, s:i, s:i, s:s}", "kind", kind,
                       "id", id, "name", name && *name ? name : id, "account", new_doc->account,
                       "spec", owned_spec, "status", "generation", 1, "revision", 0, "created_at",
                       syn_format_time(new_doc->now_ms, created_at));
    if (rc < 0)
        return syn_err_wrap(err, rc, "making %s %s", kind, id);
    *ret = SYN_TAKE(doc);
    return SYN_OK;
}

int
syn_document_bump(json_t *doc, struct syn_err *err)
{
    int64_t generation = syn_json_i64(doc, "generation", 0);

    assert(generation > 0 && generation < INT64_MAX);
    return syn_json_set_i64(doc, "generation", generation + 1, err);
}

int
syn_document_set_state(json_t *doc, const char *state, const char *reason, const char *message,
                       struct syn_err *err)
{
    json_t *status = syn_document_status(doc);
    int rc;

    assert(state && *state && reason && *reason && message && *message);
    rc = syn_json_set_str(status, "state", state, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(status, "reason", reason, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(status, "message", message, err);
    return rc;
}

const char *
syn_document_id(const json_t *doc)
{
    const char *id = syn_json_str(doc, "id", NULL);

    assert(id && *id);
    return id;
}

json_t *
syn_document_spec(const json_t *doc)
{
    json_t *spec = json_object_get(doc, "spec");

    assert(json_is_object(spec));
    return spec;
}

json_t *
syn_document_status(const json_t *doc)
{
    json_t *status = json_object_get(doc, "status");

    assert(json_is_object(status));
    return status;
}

const char *
syn_document_state(const json_t *doc)
{
    return syn_json_str(syn_document_status(doc), "state", "");
}

const json_t *
syn_document_version(const json_t *versions, int64_t number)
{
    const json_t *version;
    size_t i;

    json_array_foreach (versions, i, version)
        if (syn_json_i64(version, "version", 0) == number)
            return version;
    return NULL;
}

int
syn_document_set_time(json_t *obj, const char *key, int64_t unix_ms, struct syn_err *err)
{
    char text[SYN_FORMAT_MAX];

    if (unix_ms == SYN_DOCUMENT_NONE)
        return syn_json_set_str(obj, key, NULL, err);
    return syn_json_set_str(obj, key, syn_format_time(unix_ms, text), err);
}

int64_t
syn_document_time(const json_t *obj, const char *key)
{
    const char *text = syn_json_str(obj, key, NULL);
    int64_t unix_ms;

    if (!text || syn_parse_time(text, &unix_ms, NULL) != SYN_OK)
        return SYN_DOCUMENT_NONE;
    return unix_ms;
}

int
syn_document_set_amount(json_t *obj, const char *key, int64_t amount, struct syn_err *err)
{
    char text[SYN_FORMAT_MAX];

    return syn_json_set_str(obj, key, syn_format_amount(amount, text), err);
}

int64_t
syn_document_amount(const json_t *obj, const char *key)
{
    const char *text = syn_json_str(obj, key, NULL);
    int64_t amount;

    if (!text || syn_parse_amount(text, key, &amount, NULL) != SYN_OK)
        return SYN_DOCUMENT_NONE;
    return amount;
}

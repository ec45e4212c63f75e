#include "plan_priv.h"

#include <synor/base/str.h>

#include "file_priv.h"

#define PLAN_VERSION 1

/* Each field once: name, offset, size (text) or 0 (number). */
struct plan_field {
    const char *key;
    size_t offset;
    size_t size;
};

#define TEXT(name)                                                                   \
    {                                                                                \
#name, offsetof(struct syn_plan, name), sizeof(((struct syn_plan *)0)->name) \
    }
#define NUMBER(name)                              \
    {                                             \
#name, offsetof(struct syn_plan, name), 0 \
    }

static const struct plan_field plan_fields[] = {
    TEXT(id),
    TEXT(name),
    TEXT(cgroup),
    TEXT(tool),
    TEXT(platform),
    TEXT(cover),
    TEXT(image),
    TEXT(group),
    TEXT(address),
    NUMBER(cpu_millicores),
    NUMBER(memory_bytes),
    NUMBER(pids_max),
    NUMBER(scratch_bytes),
    NUMBER(wall_ms),
    NUMBER(grace_ms),
    NUMBER(log_bytes_max),
    NUMBER(id_base),
};

int
syn_plan_write(int dirfd, const struct syn_plan *plan, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc;

    doc = json_object();
    if (!doc)
        return SYN_FAIL(err, SYN_E_NOMEM, "writing %s", SYN_FILE_PLAN);
    rc = syn_json_set_i64(doc, "version", PLAN_VERSION, err);
    if (rc == SYN_OK)
        rc = syn_json_set_bool(doc, "gvisor", plan->gvisor, err);
    if (rc == SYN_OK)
        rc = syn_json_set_bool(doc, "devices", plan->devices, err);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(plan_fields); i++) {
        const struct plan_field *field = &plan_fields[i];
        const char *at = (const char *)plan + field->offset;
        int64_t number;

        if (field->size > 0) {
            rc = syn_json_set_str(doc, field->key, at, err);
        } else {
            memcpy(&number, at, sizeof(number));
            rc = syn_json_set_i64(doc, field->key, number, err);
        }
    }
    return rc < 0 ? rc : syn_file_write_json(dirfd, SYN_FILE_PLAN, doc, false, err);
}

int
syn_plan_read(int dirfd, struct syn_plan *ret, struct syn_err *err)
{
    SYN_JSON(doc);
    struct syn_plan plan = {0};
    int rc = syn_file_read_json(dirfd, SYN_FILE_PLAN, &doc, err);

    if (rc < 0)
        return rc;
    if (syn_json_i64(doc, "version", 0) != PLAN_VERSION)
        return SYN_FAIL(err, SYN_E_CORRUPT, "%s has an unknown version", SYN_FILE_PLAN);
    plan.gvisor = syn_json_bool(doc, "gvisor", false);
    plan.devices = syn_json_bool(doc, "devices", false);
    for (size_t i = 0; i < SYN_LEN(plan_fields); i++) {
        const struct plan_field *field = &plan_fields[i];
        char *at = (char *)&plan + field->offset;
        const char *text;
        int64_t number;

        if (field->size > 0) {
            rc = syn_json_get_str(doc, SYN_FILE_PLAN, field->key, &text, err);
            if (rc == SYN_OK && !syn_str_copy(at, field->size, text))
                rc = SYN_E_CORRUPT;
        } else {
            rc = syn_json_get_i64(doc, SYN_FILE_PLAN, field->key, 0, INT64_MAX, &number, err);
            if (rc == SYN_OK)
                memcpy(at, &number, sizeof(number));
        }
        if (rc == SYN_E_NOMEM)
            return rc;
        if (rc < 0)
            return SYN_FAIL(err, SYN_E_CORRUPT, "%s: bad %s", SYN_FILE_PLAN, field->key);
    }
    *ret = plan;
    return SYN_OK;
}

#include "plan_priv.h"

#include <fcntl.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "file_priv.h"

#define PLAN_VERSION 1

/* Each field once: name, offset, size (text) or 0 (number). */
struct plan_field {
    const char *key;
    size_t offset;
    size_t size;
    bool later; /* came with a later version: 0 or "" where it is missing */
};

#define TEXT(name)                                                                          \
    {                                                                                       \
#name, offsetof(struct syn_plan, name), sizeof(((struct syn_plan *)0)->name), false \
    }
#define NUMBER(name)                                     \
    {                                                    \
#name, offsetof(struct syn_plan, name), 0, false \
    }
#define NUMBER_LATER(name)                              \
    {                                                   \
#name, offsetof(struct syn_plan, name), 0, true \
    }
#define TEXT_LATER(name)                                                                   \
    {                                                                                      \
#name, offsetof(struct syn_plan, name), sizeof(((struct syn_plan *)0)->name), true \
    }
#define PLACE_TEXT(name)                                       \
    {                                                          \
        "place_" #name, offsetof(struct syn_plan, place.name), \
            sizeof(((struct syn_plan *)0)->place.name), true   \
    }
#define PLACE_NUMBER(name)                                             \
    {                                                                  \
        "place_" #name, offsetof(struct syn_plan, place.name), 0, true \
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
    NUMBER_LATER(stop_signal),
    NUMBER_LATER(eager_ms),
    TEXT_LATER(runtime),
    TEXT_LATER(handler),
    TEXT_LATER(restore),
    NUMBER_LATER(ahead),
    PLACE_TEXT(netns),
    PLACE_TEXT(bridge),
    PLACE_TEXT(port),
    PLACE_TEXT(address4),
    PLACE_TEXT(gateway4),
    PLACE_TEXT(address6),
    PLACE_TEXT(gateway6),
    PLACE_NUMBER(prefix4),
    PLACE_NUMBER(prefix6),
};

bool
syn_plan_networked(const struct syn_plan *plan)
{
    return plan->group[0] != '\0' || plan->place.netns[0] != '\0';
}

const char *
syn_runtime_driver_of(const char *dir)
{
    struct syn_plan plan;
    SYN_FD(fd);

    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || syn_plan_read(fd, &plan, NULL) < 0)
        return "";
    if (plan.runtime[0] != '\0')
        return "container";
    return syn_str_eq(plan.platform, SYN_PLATFORM_ZYGOTE) ? "zygote" : "native";
}

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

        if (field->later && !json_object_get(doc, field->key))
            continue;
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

/* What this machine offers: measured, less what the machine itself needs. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "agent_priv.h"

#define MEMORY_KEPT_BYTES (INT64_C(512) << 20) /* for the machine and the platform */
#define SCRATCH_SHARE     80                   /* percent of the free disk that may be promised */

static int64_t
memory_bytes(void)
{
    FILE *file = fopen("/proc/meminfo", "re");
    char line[128];
    int64_t found = 0;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        static const char field[] = "MemTotal:";
        char *number = line + sizeof(field) - 1;
        int64_t kib;

        if (!syn_str_starts(line, field))
            continue;
        number += strspn(number, " ");
        number[strcspn(number, " \n")] = '\0';
        if (syn_parse_i64(number, 0, INT64_MAX / 1024, field, &kib, NULL) == SYN_OK)
            found = kib * 1024;
    }
    if (file != NULL)
        (void)fclose(file);
    return SYN_MAX(found - MEMORY_KEPT_BYTES, 0);
}

int64_t
agt_disk_free(struct syn_agent *agent)
{
    struct statvfs fs;
    int64_t free_bytes;

    if (statvfs(agent->data_dir, &fs) != 0)
        return 0;
    free_bytes = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize - agt_volumes_promised(agent);
    return SYN_MAX(free_bytes, 0);
}

static int64_t
scratch_bytes(struct syn_agent *agent)
{
    return agt_disk_free(agent) / 100 * SCRATCH_SHARE;
}

static int64_t
cpu_millicores(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1000;
    return (int64_t)CPU_COUNT(&set) * 1000;
}

void
agt_boot_id(char *out, size_t cap)
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

    out[0] = '\0';
    if (file != NULL && fgets(out, (int)cap, file) != NULL)
        out[strcspn(out, "\n")] = '\0';
    if (file != NULL)
        (void)fclose(file);
}

int
agt_inventory(struct syn_agent *agent, json_t **ret, struct syn_err *err)
{
    char boot_id[64];
    json_t *boxes = NULL;
    json_t *frameworks = NULL;
    json_t *languages = NULL;
    json_t *gpus = NULL;
    json_t *devices = NULL;
    int rc = agt_sandboxes(agent, &boxes, err);

    if (rc == SYN_OK)
        rc = agt_gpus_report(agent, &gpus, err);
    if (rc == SYN_OK)
        rc = agt_frameworks("", &frameworks, err);
    if (rc == SYN_OK)
        rc = agt_languages(&agent->languages, "", &languages, err);
    if (rc == SYN_OK)
        rc = agt_devices_report(agent, &devices, err);
    if (rc < 0) {
        json_decref(boxes);
        json_decref(gpus);
        json_decref(frameworks);
        json_decref(languages);
        return rc;
    }
    agt_boot_id(boot_id, sizeof(boot_id));
    return syn_json_pack(
        ret, err, "{s:{s:I, s:I, s:I, s:I, s:o}, s:o, s:o, s:o, s:{s:s, s:s}, s:s, s:s, s:s, s:o*}",
        "capacity", "cpu_millicores", (json_int_t)cpu_millicores(), "memory_bytes",
        (json_int_t)memory_bytes(), "scratch_bytes", (json_int_t)scratch_bytes(agent),
        "bandwidth_bps",
        (json_int_t)(agent->bandwidth_bps > 0 ? agent->bandwidth_bps : agt_line_bps("")), "gpus",
        gpus, "sandboxes", boxes, "frameworks", frameworks, "languages", languages, "networks",
        "state", agent->net != NULL ? "ready" : "missing", "message", agent->net_missing,
        "default_isolation", agt_sandbox_default(agent), "agent_version", SYN_VERSION, "boot_id",
        boot_id, "devices", devices);
}

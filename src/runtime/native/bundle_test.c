#include "bundle_priv.h"

#include <synor/base/str.h>
#include <synor/base/test.h>

#include "group_priv.h"
#include "seccomp_priv.h"

static const char *const argv_true[] = {"/bin/true", NULL};

static struct syn_instance_spec
good_spec(void)
{
    return (struct syn_instance_spec){
        .id = "job-1", .dir = "/var/lib/synor/instances/job-1", .argv = argv_true};
}

static struct syn_plan
good_plan(bool gvisor, bool group)
{
    struct syn_plan plan = {.id = "job-1",
                            .name = "job-1-01234567",
                            .cgroup = "/synor/job-1-01234567",
                            .cover = "/mnt",
                            .gvisor = gvisor,
                            .id_base = 655360};

    if (group)
        (void)syn_str_copy(plan.group, sizeof(plan.group), "/var/lib/synor/groups/gang");
    return plan;
}

static const struct syn_bind bad_binds[] = {
    {"relative", "/data", true}, {"/a/../b", "/data", true},
    {"/a", "data", true},        {"/a", "/usr/lib", true},
    {"/a", "/etc/passwd", true}, {"/a", "/proc", true},
    {"/a", "/synor", false},     {"/a", "/data/../etc", true},
    {"/a", "/dev/shm/x", true},  {NULL, "/data", true},
    {"/a", NULL, true},          {"/a//b", "/data", true},
    {"/a", "/data/./x", true},   {"/a", "/", true},
    {"/a\xff", "/data", true},
};

static void
bad_binds_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(bad_binds); i++) {
        struct syn_instance_spec spec = good_spec();
        struct syn_err err = {0};

        spec.binds = &bad_binds[i];
        spec.binds_count = 1;
        assert_code(syn_bundle_check(&spec, &err), SYN_E_INVALID, &err);
        assert_non_null(strstr(err.msg, "binds[0]"));
    }
}

/* Over an image of its own more is free, but not what the kernel and the platform put there. */
static void
an_image_may_be_covered(void **state)
{
    static const struct {
        const char *target, *word; /* NULL: it is fine */
    } rows[] = {
        {"/run/x", NULL},         {"/etc/x", NULL},     {"/usr/share/x", NULL}, {"/tmp/x", NULL},
        {"/proc/x", "reserved"},  {"/dev", "reserved"}, {"/synor", "own"},      {"/etc", "own"},
        {"/etc/hosts", "own"},    {"x", "plain"},       {"/a/../b", "plain"},   {NULL, "plain"},
        {"/etc/hostname", "own"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        const struct syn_tmpfs tmpfs = {rows[i].target, 4096};
        const struct syn_secret_file secret = {rows[i].target, "x", 1};
        struct syn_instance_spec spec = good_spec(), other = good_spec();
        struct syn_err err = {0};
        int want = rows[i].word ? SYN_E_INVALID : SYN_OK;

        spec.rootfs = other.rootfs = "/image";
        spec.tmpfs = &tmpfs;
        spec.tmpfs_count = 1;
        assert_code(syn_bundle_check(&spec, &err), want, &err);
        assert_true(rows[i].word == NULL || strstr(err.msg, rows[i].word));
        other.secrets = &secret;
        other.secrets_count = 1;
        assert_code(syn_bundle_check(&other, &err), want, &err);
        assert_true(rows[i].word == NULL || strstr(err.msg, rows[i].word));
    }
}

static const char *const devices_outside[] = {"/dev/null", "/etc/shadow", NULL};
static const char *const devices_odd[] = {"/dev/../etc/shadow", NULL};
static const struct syn_bind driver_outside = {"/usr/lib/x", "/etc/x", true};
static const struct syn_bind driver_writable = {"/usr/lib/x", "/usr/lib/x", false};
static const struct syn_bind driver_good = {"/usr/lib/x", "/usr/lib/x", true};

#define SPEC_ROWS(row)                                                                            \
    row(id = NULL, "id") row(id = "Upper", "id") row(id = "a/b", "id") row(dir = "rel", "folder") \
        row(dir = "/a:b", "folder") row(dir = "/a/../b", "folder") row(rootfs = "x", "rootfs")    \
            row(argv = NULL, "argv") row(cwd = "tmp", "cwd") row(scratch_bytes = 1, "scratch")    \
                row(scratch_bytes = -1, "scratch") row(memory_bytes = 1, "memory")                \
                    row(cpu_millicores = 1, "cpu") row(pids_max = -1, "pids")                     \
                        row(uid = 65536, "uid") row(network = SYN_NETWORK_GROUP, "group")         \
                            row(wall_ms = -5, "wall") row(log_bytes_max = 10, "log")              \
                                row(binds_count = 65, "binds") row(hosts_count = 257, "hosts")    \
                                    row(devices = devices_outside, "devices[1]")                  \
                                        row(devices = devices_odd, "devices[0]")                  \
                                            row(drivers_count = 65, "drivers")                    \
                                                row(hostname = "a.b", "hostname")                 \
                                                    row(stop_signal = 65, "stop_signal")

static void
bad_specs_are_refused(void **state)
{
    struct syn_err err = {0};
    struct syn_instance_spec spec = good_spec();

    (void)state;
    assert_done(syn_bundle_check(&spec, &err), &err);
#define SPEC_ROW(assignment, word)                                   \
    spec = good_spec();                                              \
    spec.assignment;                                                 \
    assert_code(syn_bundle_check(&spec, &err), SYN_E_INVALID, &err); \
    assert_non_null(strstr(err.msg, word));
    SPEC_ROWS(SPEC_ROW)
#undef SPEC_ROW
}

static void
bad_lists_are_refused(void **state)
{
    static const char *const not_text[] = {"/bin/true", "\xff\xfe", NULL};
    const char *many[SYN_INSTANCE_ARGS_MAX + 2] = {0};
    struct syn_instance_spec spec = good_spec();
    struct syn_err err = {0};

    (void)state;
    spec.argv = not_text;
    assert_code(syn_bundle_check(&spec, &err), SYN_E_INVALID, &err);
    for (size_t i = 0; i <= SYN_INSTANCE_ARGS_MAX; i++)
        many[i] = "x";
    spec.argv = many;
    assert_code(syn_bundle_check(&spec, &err), SYN_E_INVALID, &err);
}

static void
bad_drivers_are_refused(void **state)
{
    static const struct {
        const struct syn_bind *driver;
        const char *rootfs;
        const char *word; /* NULL: it is fine */
    } rows[] = {
        {&driver_outside, "/image", "drivers[0]"},
        {&driver_writable, "/image", "drivers[0]"},
        {&driver_good, NULL, "drivers"}, /* the host's /usr is not written over */
        {&driver_good, "/image", NULL},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_instance_spec spec = good_spec();
        struct syn_err err = {0};

        spec.drivers = rows[i].driver;
        spec.drivers_count = 1;
        spec.rootfs = rows[i].rootfs;
        assert_code(syn_bundle_check(&spec, &err), rows[i].word ? SYN_E_INVALID : SYN_OK, &err);
        assert_true(rows[i].word == NULL || strstr(err.msg, rows[i].word));
    }
}

static bool
has_namespace(const json_t *config, const char *kind)
{
    const json_t *list = syn_json_at(config, "linux.namespaces");
    size_t i;
    json_t *entry;

    json_array_foreach (list, i, entry) {
        if (syn_str_eq(syn_json_str(entry, "type", ""), kind))
            return true;
    }
    return false;
}

static void
bundle_isolates(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        bool gvisor = i & 1, group = i & 2;
        struct syn_instance_spec spec = good_spec();
        struct syn_plan plan = good_plan(gvisor, group);
        struct syn_err err = {0};
        SYN_JSON(config);

        assert_done(syn_bundle_json(&spec, &plan, &config, &err), &err);
        assert_true(json_is_true(syn_json_at(config, "process.noNewPrivileges")));
        assert_true(json_is_true(syn_json_at(config, "root.readonly")));
        assert_int_equal(json_object_size(syn_json_at(config, "process.capabilities")), 0);
        assert_int_equal(json_integer_value(syn_json_at(config, "process.user.uid")), 1000);
        assert_true(has_namespace(config, "pid") && has_namespace(config, "mount") &&
                    has_namespace(config, "ipc") && has_namespace(config, "uts") &&
                    has_namespace(config, "network"));
        assert_int_equal(has_namespace(config, "user"), !gvisor);
        assert_int_equal(syn_json_at(config, "linux.seccomp") != NULL, !gvisor);
        assert_int_equal(syn_json_at(config, "linux.uidMappings") != NULL, !gvisor);
        assert_string_equal(json_string_value(syn_json_at(config, "linux.cgroupsPath")),
                            plan.cgroup);
    }
}

static const json_t *
find_mount(const json_t *config, const char *destination)
{
    size_t i;
    json_t *entry;

    json_array_foreach (json_object_get(config, "mounts"), i, entry) {
        if (syn_str_eq(syn_json_str(entry, "destination", ""), destination))
            return entry;
    }
    return NULL;
}

static void
hardware_is_passed_on(void **state)
{
    static const char *const devices[] = {"/dev/zero", "/dev/full", NULL};

    (void)state;
    for (int gvisor = 0; gvisor < 2; gvisor++) {
        struct syn_instance_spec spec = good_spec();
        struct syn_plan plan = good_plan(gvisor, false);
        const json_t *list, *rules, *mount;
        struct syn_err err = {0};
        SYN_JSON(config);

        spec.devices = devices;
        spec.rootfs = "/image";
        spec.drivers = &driver_good;
        spec.drivers_count = 1;
        assert_done(syn_bundle_json(&spec, &plan, &config, &err), &err);
        list = syn_json_at(config, "linux.devices");
        rules = syn_json_at(config, "linux.resources.devices");
        assert_int_equal(json_array_size(list), 2);
        assert_int_equal(json_array_size(rules), 3);
        /* First everything is denied, then these two are allowed, and not to be made anew. */
        assert_true(json_is_false(json_object_get(json_array_get(rules, 0), "allow")));
        for (size_t i = 0; i < 2; i++) {
            const json_t *device = json_array_get(list, i), *rule = json_array_get(rules, i + 1);

            assert_string_equal(syn_json_str(device, "path", ""), devices[i]);
            assert_string_equal(syn_json_str(device, "type", ""), "c");
            assert_int_equal(syn_json_i64(device, "major", 0), 1);
            assert_int_equal(syn_json_i64(device, "minor", 0), i == 0 ? 5 : 7);
            assert_true(json_is_true(json_object_get(rule, "allow")));
            assert_int_equal(syn_json_i64(rule, "minor", 0), i == 0 ? 5 : 7);
            assert_string_equal(syn_json_str(rule, "access", ""), "rw");
        }
        mount = find_mount(config, "/usr/lib/x");
        assert_non_null(mount);
        assert_string_equal(json_string_value(json_array_get(json_object_get(mount, "options"), 1)),
                            "ro");
    }
}

static void
devices_must_be_there(void **state)
{
    static const char *const missing[] = {"/dev/no-such-device", NULL};
    static const char *const folder[] = {"/dev/shm", NULL};
    struct syn_instance_spec spec = good_spec();
    struct syn_plan plan = good_plan(false, false);
    struct syn_err err = {0};
    SYN_JSON(config);

    (void)state;
    spec.devices = missing;
    assert_code(syn_bundle_json(&spec, &plan, &config, &err), SYN_E_NOTFOUND, &err);
    spec.devices = folder;
    assert_code(syn_bundle_json(&spec, &plan, &config, &err), SYN_E_INVALID, &err);
}

static void
seccomp_is_an_allow_list(void **state)
{
    static const char *const never[] = {
        "mount",       "ptrace",          "bpf",        "keyctl",  "unshare",
        "setns",       "io_uring_setup",  "kexec_load", "add_key", "reboot",
        "init_module", "perf_event_open", "userfaultfd"};
    struct syn_err err = {0};
    SYN_JSON(profile);
    const json_t *rules;
    size_t i, n;
    json_t *rule, *name;

    (void)state;
    assert_done(syn_seccomp_json(&profile, &err), &err);
    assert_string_equal(syn_json_str(profile, "defaultAction", ""), "SCMP_ACT_ERRNO");
    rules = json_object_get(profile, "syscalls");
    json_array_foreach (rules, i, rule) {
        json_array_foreach (json_object_get(rule, "names"), n, name) {
            for (size_t k = 0; k < SYN_LEN(never); k++)
                assert_string_not_equal(json_string_value(name), never[k]);
        }
    }
}

static void
id_ranges_are_disjoint_or_equal(void **state)
{
    uint32_t a = syn_bundle_id_base("a-1"), b = syn_bundle_id_base("b-2");
    struct syn_plan runc = good_plan(false, false), gvisor = good_plan(true, false);

    (void)state;
    assert_int_equal(a % 65536, 0);
    assert_int_equal(b % 65536, 0);
    assert_true(a >= 524288 && b >= 524288 && a != b);
    assert_int_equal(syn_bundle_host_id(&runc, 1000), 655360 + 1000);
    assert_int_equal(syn_bundle_host_id(&gvisor, 1000), 1000);
}

static const struct {
    const char *text;
    uint8_t addr4[4];
    uint8_t prefix; /* 0: refused */
} address_rows[] = {
    {"10.1.2.3/24", {10, 1, 2, 3}, 24},
    {"192.168.0.1/30", {192, 168, 0, 1}, 30},
    {"10.1.2.3", {0}, 0},
    {"10.1.2.3/0", {0}, 0},
    {"10.1.2.3/31", {0}, 0},
    {"10.1.2/24", {0}, 0},
    {"fd00::1/64", {0}, 0},
    {"", {0}, 0},
    {"/24", {0}, 0},
    {"10.1.2.3/24x", {0}, 0},
};

static void
assert_address_row(size_t i)
{
    const char *text = address_rows[i].text;
    struct syn_err err = {0};
    struct syn_prefix prefix;

    if (address_rows[i].prefix == 0) {
        assert_code(syn_group_address(text, &prefix, &err), SYN_E_INVALID, &err);
        return;
    }
    assert_done(syn_group_address(text, &prefix, &err), &err);
    assert_memory_equal(prefix.addr.bytes, address_rows[i].addr4, 4);
    assert_int_equal(prefix.len, address_rows[i].prefix);
}

static void
addresses_are_parsed(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(address_rows); i++)
        assert_address_row(i);
}

static int
bundle_scenario(void *arg, struct syn_err *err)
{
    static const char *const env[] = {"A=b", NULL};
    static const char *const devices[] = {"/dev/null", NULL};
    struct syn_instance_spec spec = good_spec();
    struct syn_plan plan = good_plan(false, false);
    SYN_JSON(config);

    (void)arg;
    spec.env = env;
    spec.devices = devices;
    return syn_bundle_json(&spec, &plan, &config, err);
}

static void
bundle_survives_short_memory(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(bundle_scenario, NULL) > 50);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_binds_are_refused),
        cmocka_unit_test(an_image_may_be_covered),
        cmocka_unit_test(bad_specs_are_refused),
        cmocka_unit_test(bad_lists_are_refused),
        cmocka_unit_test(bad_drivers_are_refused),
        cmocka_unit_test(bundle_isolates),
        cmocka_unit_test(hardware_is_passed_on),
        cmocka_unit_test(devices_must_be_there),
        cmocka_unit_test(seccomp_is_an_allow_list),
        cmocka_unit_test(id_ranges_are_disjoint_or_equal),
        cmocka_unit_test(addresses_are_parsed),
        cmocka_unit_test(bundle_survives_short_memory),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

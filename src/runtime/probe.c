#include "probe_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/infra/acme.h>
#include <synor/infra/balancer.h>
#include <synor/runtime/container.h>
#include <synor/runtime/forked.h>
#include <synor/runtime/gpu.h>
#include <synor/runtime/net.h>

#include "native/cgroup_priv.h"
#include "native/file_priv.h"
#include "native/native_priv.h"

#define GUEST_MS 2000
#define BOOT_MS  5000
#define QEMU     "/usr/bin/qemu-system-x86_64"

static void add(struct syn_probe *probe, const char *id, const char *name,
                enum syn_probe_state state, const char *fix, const char *format, ...)
    SYN_PRINTF(6, 7);

static void
add(struct syn_probe *probe, const char *id, const char *name, enum syn_probe_state state,
    const char *fix, const char *format, ...)
{
    struct syn_probe_fact *fact = &probe->facts[probe->count];
    va_list args;

    assert(probe->count < SYN_PROBE_FACTS_MAX);
    probe->count++;
    fact->id = id;
    fact->name = name;
    fact->state = state;
    va_start(args, format);
    (void)vsnprintf(fact->detail, sizeof(fact->detail), format, args);
    va_end(args);
    (void)syn_str_copy(fact->fix, sizeof(fact->fix), state == SYN_PROBE_OK ? "" : fix);
}

static const char *
find_program(const char *name, char *out, size_t cap)
{
    static const char *const folders[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                          "/usr/bin",        "/sbin",          "/bin"};

    for (size_t i = 0; i < SYN_LEN(folders); i++) {
        if (snprintf(out, cap, "%s/%s", folders[i], name) < (int)cap && access(out, X_OK) == 0)
            return out;
    }
    return NULL;
}

static void
probe_kernel(struct syn_probe *probe)
{
    struct utsname names = {0};

    (void)uname(&names);
    add(probe, "kernel", "Kernel", SYN_PROBE_OK, "", "%s %s on %s", names.sysname, names.release,
        names.machine);
    add(probe, "root", "Privileges", geteuid() == 0 ? SYN_PROBE_OK : SYN_PROBE_MISSING,
        "run the agent as root: sandboxes need mounts, namespaces and cgroups", "effective user %u",
        (unsigned)geteuid());
}

static void
probe_sandboxes(struct syn_probe *probe, struct syn_native *native)
{
    static const struct {
        enum syn_sandbox sandbox;
        const char *id, *name, *fix;
    } rows[] = {
        {SYN_SANDBOX_GVISOR, "gvisor", "Sandbox gVisor", "apt-get install runsc"},
        {SYN_SANDBOX_RUNC, "runc", "Sandbox runc", "apt-get install runc"},
    };
    struct syn_runtime runtime = syn_native_runtime(native);
    struct syn_runtime_info info;
    struct syn_err err = {0};

    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_sandbox_report report;

        syn_native_try(native, rows[i].sandbox, &report);
        if (!report.found)
            add(probe, rows[i].id, rows[i].name, SYN_PROBE_MISSING, rows[i].fix, "%s",
                report.detail);
        else if (!report.works)
            add(probe, rows[i].id, rows[i].name, SYN_PROBE_BROKEN,
                "see the detail; a newer version may help", "%s", report.detail);
        else
            add(probe, rows[i].id, rows[i].name, SYN_PROBE_OK, "", "version %s%s%s: %s%s%s",
                report.version, report.platform[0] ? ", platform " : "", report.platform,
                report.detail,
                report.snapshots[0]                     ? "; snapshots by version "
                : rows[i].sandbox == SYN_SANDBOX_GVISOR ? "; too old for --snapstart "
                                                          "(scripts/gvisor gets another)"
                                                        : "",
                report.snapshots);
    }
    if (runtime.ops->probe(runtime.self, &info, &err) < 0)
        add(probe, "isolation", "Default isolation", SYN_PROBE_MISSING,
            "apt-get install runc runsc", "%s", err.msg);
    else
        add(probe, "isolation", "Default isolation", SYN_PROBE_OK, "", "%s", info.sandbox);
}

static void
probe_namespace(struct syn_probe *probe, const struct syn_native *native)
{
    char root[SYN_PATH_MAX];
    const struct syn_forked_options options = {.root = root};
    struct syn_forked *forked = NULL;
    struct syn_runtime_info info = {.detail = ""};
    struct syn_runtime runtime = {0};
    struct syn_err err = {0};
    int rc = syn_path_format(root, sizeof(root), &err, "%s/forked", native->root);

    if (rc == SYN_OK)
        rc = syn_forked_new(&options, &forked, &err);
    if (rc == SYN_OK)
        runtime = syn_forked_runtime(forked);
    if (rc == SYN_OK)
        rc = runtime.ops->probe(runtime.self, &info, &err);
    (void)syn_forked_free(forked);
    if (rc < 0)
        add(probe, "namespace", "Sandbox namespace", SYN_PROBE_MISSING,
            "apt-get install python3 libseccomp2, on Linux 5.12 or newer, as root", "%s", err.msg);
    else
        add(probe, "namespace", "Sandbox namespace", SYN_PROBE_OK, "",
            "%s; used where a node was started with --allow-namespace-sandbox", info.detail);
}

static void
probe_cgroups(struct syn_probe *probe)
{
    struct syn_cgroup_layout layout;
    struct syn_err err = {0};
    bool all;

    if (syn_cgroup_layout_read(&layout, &err) < 0) {
        add(probe, "cgroups", "Resource limits (cgroups)", SYN_PROBE_MISSING,
            "mount -t cgroup2 none /sys/fs/cgroup", "%s", err.msg);
        return;
    }
    all = layout.have_cpu && layout.have_memory && layout.have_pids;
    add(probe, "cgroups", "Resource limits (cgroups)", all ? SYN_PROBE_OK : SYN_PROBE_LIMITED,
        "boot with cgroup_enable=memory, or delegate the controllers",
        "%s: cpu %s, memory %s, "
        "pids %s",
        syn_cgroup_version_name(layout.version), layout.have_cpu ? "yes" : "no",
        layout.have_memory ? "yes" : "no", layout.have_pids ? "yes" : "no");
}

static bool
file_has(const char *path, const char *word)
{
    SYN_BUF(text);

    return syn_file_read(AT_FDCWD, path, (size_t)1 << 20, &text, NULL) == SYN_OK &&
           strstr(syn_buf_text(&text), word);
}

static void
probe_kernel_features(struct syn_probe *probe)
{
    SYN_BUF(text);
    uint64_t namespaces = 0;
    char path[256];

    if (syn_file_read(AT_FDCWD, "/proc/sys/user/max_user_namespaces", 64, &text, NULL) == SYN_OK)
        (void)!syn_scan_u64(syn_buf_text(&text), 10, &namespaces, NULL);
    add(probe, "userns", "User namespaces", namespaces > 0 ? SYN_PROBE_OK : SYN_PROBE_MISSING,
        "sysctl -w user.max_user_namespaces=65536", "%llu allowed", (unsigned long long)namespaces);
    add(probe, "overlayfs", "Overlay file system",
        file_has("/proc/filesystems", "\toverlay\n") ? SYN_PROBE_OK : SYN_PROBE_MISSING,
        "modprobe overlay", "root file systems of instances");
    add(probe, "loop", "Loop devices",
        access("/dev/loop-control", F_OK) == 0 ? SYN_PROBE_OK : SYN_PROBE_MISSING, "modprobe loop",
        "scratch space with a real limit");
    add(probe, "mkfs", "ext4 tools",
        find_program("mkfs.ext4", path, sizeof(path)) ? SYN_PROBE_OK : SYN_PROBE_MISSING,
        "apt-get install e2fsprogs", "scratch space with a real limit");
}

/* The newest kernel image of the machine's own that can be read; false when there is none. */
static bool
find_kernel(char *out, size_t cap)
{
    glob_t found;
    bool ok = false;

    if (glob("/boot/vmlinuz-*", 0, NULL, &found) != 0)
        return false;
    for (size_t i = found.gl_pathc; i > 0 && !ok; i--)
        ok = access(found.gl_pathv[i - 1], R_OK) == 0 &&
             syn_str_copy(out, cap, found.gl_pathv[i - 1]);
    globfree(&found);
    return ok;
}

static void
probe_kvm(struct syn_probe *probe)
{
    static const char name[] = "Virtual machines (KVM)";
    static const char fix[] = "use a host with hardware virtualisation; QEMU emulates without it";
    struct syn_kvm_result result;
    char kernel[256], detail[256];

    syn_kvm_try("/dev/kvm", GUEST_MS, &result);
    if (result.step == SYN_KVM_ABSENT) {
        add(probe, "kvm", name, SYN_PROBE_MISSING, "modprobe kvm_intel || modprobe kvm_amd", "%s",
            result.detail);
    } else if (result.step != SYN_KVM_GUEST) {
        add(probe, "kvm", name, SYN_PROBE_BROKEN, fix, "%s", result.detail);
    } else if (access(QEMU, X_OK) < 0 || !find_kernel(kernel, sizeof(kernel))) {
        add(probe, "kvm", name, SYN_PROBE_LIMITED,
            "apt-get install qemu-system-x86 linux-image-cloud-amd64",
            "%s; not yet tried with a stock kernel, which needs QEMU and a kernel image",
            result.detail);
    } else {
        bool up = syn_kvm_boot(QEMU, kernel, BOOT_MS, detail, sizeof(detail));

        add(probe, "kvm", name, up ? SYN_PROBE_OK : SYN_PROBE_BROKEN, fix, "%s; %s", result.detail,
            detail);
    }
}

static void
probe_wireguard(struct syn_probe *probe)
{
    char path[256], pattern[512];
    struct utsname names = {0};
    glob_t found = {0};
    bool module;

    (void)uname(&names);
    (void)snprintf(pattern, sizeof(pattern),
                   "/lib/modules/%s/kernel/drivers/net/wireguard/wireguard.ko*", names.release);
    module = access("/sys/module/wireguard", F_OK) == 0 || glob(pattern, 0, NULL, &found) == 0;
    globfree(&found);
    if (module)
        add(probe, "wireguard", "Overlay network (WireGuard)", SYN_PROBE_OK, "", "kernel module");
    else if (find_program("wireguard-go", path, sizeof(path)))
        add(probe, "wireguard", "Overlay network (WireGuard)", SYN_PROBE_LIMITED,
            "a kernel with CONFIG_WIREGUARD is about ten times faster",
            "no kernel module; %s stands in", path);
    else
        add(probe, "wireguard", "Overlay network (WireGuard)", SYN_PROBE_MISSING,
            "apt-get install wireguard-go wireguard-tools", "no kernel module, no wireguard-go");
}

static void
probe_networks(struct syn_probe *probe)
{
    struct syn_err err = {0};
    int rc = syn_net_probe(&err);

    add(probe, "networks", "Instance networks", rc == SYN_OK ? SYN_PROBE_OK : SYN_PROBE_MISSING,
        "apt-get install libnftables1; a kernel with nftables, bridge and veth; root", "%s",
        rc == SYN_OK ? "a bridge, a namespace and its rules came and went" : err.msg);
}

static void
probe_names(struct syn_probe *probe)
{
    struct syn_err err = {0};
    int rc = syn_net_probe_dns(&err);

    add(probe, "names", "Names of services", rc == SYN_OK ? SYN_PROBE_OK : SYN_PROBE_LIMITED,
        rc == SYN_E_CONFLICT ? "have it listen on its own addresses alone; `ss -lnp 'sport = 53'` "
                               "shows it"
                             : "root",
        "%s", rc == SYN_OK ? "port 53 is free for instances to ask" : err.msg);
}

static void
probe_nvidia(struct syn_probe *probe)
{
    static const char id[] = "gpu-nvidia", name[] = "NVIDIA GPUs";
    struct syn_gpu_list list;
    struct syn_err err = {0};
    bool device = access("/dev/nvidiactl", F_OK) == 0;
    size_t reachable = 0;
    int rc = syn_gpu_list_read(NULL, &list, &err);

    for (size_t i = 0; rc == SYN_OK && i < list.count; i++)
        reachable += syn_gpu_reachable(&list.gpus[i], "");
    if (rc < 0)
        add(probe, id, name, rc == SYN_E_NOTFOUND && !device ? SYN_PROBE_MISSING : SYN_PROBE_BROKEN,
            "with such a GPU: apt-get install nvidia-driver (contrib, non-free)", "%s%s", err.msg,
            device ? "; /dev/nvidiactl is there" : "");
    else if (list.count == 0)
        add(probe, id, name, SYN_PROBE_MISSING, "look at dmesg: the driver finds no GPU",
            "driver %s sees none that could be given (%zu in MIG mode without partitions)",
            list.driver, list.partitioned);
    else
        add(probe, id, name,
            reachable == list.count && list.partitioned == 0 ? SYN_PROBE_OK : SYN_PROBE_LIMITED,
            "nvidia-modprobe -u -c 0 makes device nodes; nvidia-smi mig -cgi PROFILE -C makes "
            "partitions",
            "%zu (%s), %zu of them with device nodes, %zu more in MIG mode without partitions, "
            "driver %s",
            list.count, list.gpus[0].name, reachable, list.partitioned, list.driver);
}

static void
probe_drm(struct syn_probe *probe)
{
    glob_t found = {0};
    int rc;

    rc = glob("/sys/class/drm/renderD*", 0, NULL, &found);
    add(probe, "gpu-drm", "Other GPUs (DRM)", rc == 0 ? SYN_PROBE_OK : SYN_PROBE_MISSING,
        "with such a GPU: apt-get install firmware-misc-nonfree mesa-vulkan-drivers",
        "%zu render devices", rc == 0 ? found.gl_pathc : 0);
    globfree(&found);
}

static void
probe_frameworks(struct syn_probe *probe)
{
    glob_t found = {0};
    bool python = access("/usr/bin/python3", X_OK) == 0;
    bool torch = glob("/usr/lib/python3/dist-packages/torch/__init__.py", 0, NULL, &found) == 0;

    globfree(&found);
    add(probe, "python", "Python of image host", python ? SYN_PROBE_OK : SYN_PROBE_MISSING,
        "apt-get install python3", "/usr/bin/python3");
    add(probe, "pytorch", "PyTorch of image host", torch ? SYN_PROBE_OK : SYN_PROBE_MISSING,
        "apt-get install python3-torch", "python3-torch of the distribution");
}

static void
probe_balancer(struct syn_probe *probe)
{
    static const char name[] = "Load balancer (HAProxy)";
    char path[256], version[32];
    struct syn_err err = {0};
    int rc = syn_balancer_find(path, sizeof(path), version, sizeof(version), &err);

    if (rc == SYN_OK)
        add(probe, "haproxy", name, SYN_PROBE_OK, "", "%s, version %s", path, version);
    else
        add(probe, "haproxy", name, rc == SYN_E_NOTFOUND ? SYN_PROBE_MISSING : SYN_PROBE_BROKEN,
            "apt-get install haproxy (" SYN_BALANCER_VERSION_MIN
            " or newer; its own service is not needed)",
            "%s", err.msg);
}

static void
probe_acme(struct syn_probe *probe)
{
    char path[256];
    bool found = syn_acme_find(path, sizeof(path), NULL) == SYN_OK;

    add(probe, "lego", "ACME client (lego)", found ? SYN_PROBE_OK : SYN_PROBE_MISSING,
        found ? "" : "apt-get install lego (for --acme-directory alone)", "%s",
        found ? path : "certificates come from no directory without it");
}

static void
probe_containers(struct syn_probe *probe)
{
    static const char name[] = "Container runtime (containerd)";
    struct syn_container_report report;

    syn_container_look(&report);
    if (report.found)
        add(probe, "containerd", name, SYN_PROBE_OK, "",
            "version %s, runtime classes: %s; used with --runtime container", report.version,
            report.classes);
    else
        add(probe, "containerd", name, SYN_PROBE_MISSING,
            "apt-get install containerd (its own service is not needed)", "%s", report.detail);
}

void
syn_probe_run(struct syn_native *native, struct syn_probe *ret)
{
    *ret = (struct syn_probe){0};
    probe_kernel(ret);
    probe_sandboxes(ret, native);
    probe_namespace(ret, native);
    probe_cgroups(ret);
    probe_kernel_features(ret);
    probe_kvm(ret);
    probe_networks(ret);
    probe_names(ret);
    probe_wireguard(ret);
    probe_nvidia(ret);
    probe_drm(ret);
    probe_frameworks(ret);
    probe_balancer(ret);
    probe_acme(ret);
    probe_containers(ret);
}

const char *
syn_probe_state_name(enum syn_probe_state state)
{
    static const char *const names[] = {
        [SYN_PROBE_OK] = "ok",
        [SYN_PROBE_LIMITED] = "limited",
        [SYN_PROBE_BROKEN] = "broken",
        [SYN_PROBE_MISSING] = "missing",
    };

    return names[state];
}

const struct syn_probe_fact *
syn_probe_find(const struct syn_probe *probe, const char *id)
{
    for (size_t i = 0; i < probe->count; i++) {
        if (syn_str_eq(probe->facts[i].id, id))
            return &probe->facts[i];
    }
    return NULL;
}

int
syn_probe_json(const struct syn_probe *probe, json_t **ret, struct syn_err *err)
{
    SYN_JSON(list);
    int rc = SYN_OK;

    list = json_array();
    if (!list)
        return SYN_FAIL(err, SYN_E_NOMEM, "probe");
    for (size_t i = 0; rc == SYN_OK && i < probe->count; i++) {
        const struct syn_probe_fact *fact = &probe->facts[i];
        json_t *entry = NULL;

        rc = syn_json_pack(&entry, err, "{s:s, s:s, s:s, s:s, s:s}", "id", fact->id, "name",
                           fact->name, "state", syn_probe_state_name(fact->state), "detail",
                           fact->detail, "fix", fact->fix);
        rc = rc < 0 ? rc : syn_json_append_take(list, entry, err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(list);
    return rc;
}

/* The driver. An instance's folder, scratch space, layer and network are made as natively; in place
 * of an OCI bundle it gets the requests that its supervisor will make of the container runtime
 * (request.c), and the supervisor is another one (pod.c). From the start on it is watched, stopped
 * and adopted through the same files. */
#include <synor/runtime/container.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "../native/exec_priv.h"
#include "../native/file_priv.h"
#include "../native/instance_priv.h"
#include "../native/native_priv.h"
#include "containerd_priv.h"
#include "cri_priv.h"
#include "request_priv.h"

struct syn_container {
    struct syn_container_options options;
    char root[SYN_INSTANCE_PATH_MAX], address[SYN_INSTANCE_PATH_MAX];
    struct syn_native *native; /* makes the folders; its tools are not used */
    struct syn_runtime base;
    struct syn_supervisor supervisor;
    struct syn_containerd *containerd; /* of what is made from now on */
    struct syn_containerd *own;        /* beside another's: what an earlier agent made by ours */
    struct syn_container_report report;
};

static bool
is_own(const struct syn_container *container, const char *address)
{
    char own[SYN_PATH_MAX];

    return syn_path_format(own, sizeof(own), NULL, SYN_CONTAINERD_OWN, container->root) == SYN_OK &&
           syn_str_eq(address, own);
}

/* Who made the pod of a plan; NULL: another's containerd that the node was told of before. */
static int
find_containerd(struct syn_container *container, const struct syn_plan *plan,
                struct syn_containerd **ret, struct syn_err *err)
{
    int rc = SYN_OK;

    *ret = NULL;
    if (syn_str_eq(plan->runtime, syn_containerd_address(container->containerd))) {
        *ret = container->containerd;
    } else if (is_own(container, plan->runtime)) {
        if (!container->own)
            rc = syn_containerd_new(&container->options, NULL, &container->own, err);
        *ret = container->own;
    }
    return rc;
}

/* A client of one, to whom only pods of this node are ours. */
static int
open_client(const struct syn_container *container, const char *address, struct syn_cri **ret,
            struct syn_err *err)
{
    int rc = syn_cri_open(address, ret, err);

    if (rc == SYN_OK && !is_own(container, address))
        syn_cri_root_watch(*ret, container->root);
    return rc;
}

/* --- prepare ---------------------------------------------------------------------------------- */

static int
mount_root(const struct syn_instance_spec *spec, const struct syn_plan *plan, struct syn_err *err)
{
    char at[SYN_PATH_MAX], options[2 * SYN_PATH_MAX + 64];
    int rc = syn_path_format(at, sizeof(at), err, "%s/" SYN_DIR_ROOTFS, spec->dir);

    if (rc == SYN_OK)
        rc = syn_path_format(options, sizeof(options), err, "lowerdir=%s/" SYN_DIR_ROOT ":%s",
                             spec->dir, plan->image);
    if (rc < 0)
        return rc;
    if (mkdir(at, 0755) < 0 ||
        mount("synor", at, "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV, options) < 0)
        return SYN_FAIL_SYS(err, errno, "mounting the root of %s", plan->id);
    return SYN_OK;
}

static int
mount_shm(const struct syn_instance_spec *spec, struct syn_err *err)
{
    char at[SYN_PATH_MAX], options[64];
    int rc = syn_path_format(at, sizeof(at), err, "%s/" SYN_DIR_SHM, spec->dir);

    if (rc < 0)
        return rc;
    (void)snprintf(options, sizeof(options), "mode=1777,size=%lld",
                   (long long)(spec->shm_bytes > 0 ? spec->shm_bytes : (int64_t)64 << 20));
    if (mkdir(at, 0755) < 0 ||
        mount("synor", at, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
        return SYN_FAIL_SYS(err, errno, "making %s", at);
    return SYN_OK;
}

/* What is in memory is bound like all else: the interface of the runtime knows no file systems. */
static int
mount_tmpfs(const struct syn_instance_spec *spec, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < spec->tmpfs_count; i++) {
        char at[SYN_PATH_MAX], options[64];

        rc = syn_path_format(at, sizeof(at), err, "%s/" SYN_DIR_TMPFS "/%zu", spec->dir, i);
        if (rc == SYN_OK)
            rc = syn_dir_make(AT_FDCWD, at, 0755, err);
        if (rc < 0)
            return rc;
        (void)snprintf(options, sizeof(options), "mode=1777,size=%lld",
                       (long long)spec->tmpfs[i].bytes);
        if (mount("synor", at, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
            return SYN_FAIL_SYS(err, errno, "making %s", at);
    }
    return rc;
}

/* The runtime puts something over each of these, for which there must be a file. */
static int
add_files(const struct syn_instance_spec *spec, struct syn_err *err)
{
    static const char *const names[] = {"hosts", "hostname", "resolv.conf"};
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(names); i++) {
        char path[SYN_PATH_MAX];

        rc = syn_path_format(path, sizeof(path), err, "%s/" SYN_DIR_ROOT "/etc/%s", spec->dir,
                             names[i]);
        if (rc == SYN_OK && access(path, F_OK) < 0)
            rc = syn_file_write(AT_FDCWD, path, "", 0, err);
    }
    return rc;
}

/* For dirfd order: the same links in whatever order give the same image. */
static int
by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The links at the top of the root, which are all of its image. */
static int
make_image(const struct syn_instance_spec *spec, struct syn_pod_image *image, struct syn_err *err)
{
    char root[SYN_PATH_MAX], names[64][100], target[100];
    const struct dirent *entry;
    size_t count = 0;
    DIR *dir;
    int rc = syn_path_format(root, sizeof(root), err, "%s/" SYN_DIR_ROOTFS, spec->dir);

    if (rc < 0)
        return rc;
    dir = opendir(root);
    if (!dir)
        return SYN_FAIL_SYS(err, errno, "reading %s", root);
    while ((entry = readdir(dir)) != NULL) {
        if (count < SYN_LEN(names) &&
            readlinkat(dirfd(dir), entry->d_name, target, sizeof(target)) >= 0 &&
            syn_str_copy(names[count], sizeof(names[count]), entry->d_name))
            count++;
    }
    qsort(names, count, sizeof(names[0]), by_name);
    for (size_t i = 0; rc == SYN_OK && i < count; i++) {
        ssize_t len = readlinkat(dirfd(dir), names[i], target, sizeof(target) - 1);

        target[len > 0 ? len : 0] = '\0';
        rc = syn_pod_image_link(image, names[i], target, err);
    }
    (void)closedir(dir);
    return rc < 0 ? rc : syn_pod_image_close(image, "root", NULL, err);
}

static int
link_pod(const struct syn_container *container, const struct syn_instance_spec *spec,
         const struct syn_plan *plan, struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    int rc = syn_path_format(path, sizeof(path), err, "%s/%s",
                             syn_containerd_pods(container->containerd), plan->name);

    if (rc < 0)
        return rc;
    (void)unlink(path);
    if (symlink(spec->dir, path) < 0)
        return SYN_FAIL_SYS(err, errno, "linking %s", path);
    return SYN_OK;
}

/* The runtime's name of a class, or NULL. */
static const char *
find_handler(const struct syn_cri_facts *facts, const char *name)
{
    for (size_t i = 0; i < SYN_POD_CLASSES; i++) {
        if (syn_str_eq(name, syn_pod_kinds[i].name) && facts->handlers[i][0] != '\0')
            return facts->handlers[i];
    }
    return NULL;
}

static int
furnish(void *arg, const struct syn_instance_spec *spec, const struct syn_plan *plan,
        const json_t *bundle, struct syn_err *err)
{
    struct syn_container *container = arg;
    struct syn_cri_facts facts;
    struct syn_request_where where = {.root = container->root};
    struct syn_pod_image image;
    int rc = add_files(spec, err);

    syn_pod_image_init(&image);
    if (rc == SYN_OK)
        rc = mount_root(spec, plan, err);
    if (rc == SYN_OK)
        rc = mount_shm(spec, err);
    if (rc == SYN_OK)
        rc = mount_tmpfs(spec, err);
    if (rc == SYN_OK)
        rc = make_image(spec, &image, err);
    if (rc == SYN_OK)
        rc = syn_containerd_image(container->containerd, &image, err);
    syn_containerd_facts(container->containerd, &facts);
    where.image = image.name;
    where.handler = find_handler(&facts, plan->handler);
    if (rc == SYN_OK && !where.handler)
        rc = SYN_FAIL(err, SYN_E_UNSUPPORTED, "containerd has no runtime class for %s any more",
                      plan->handler);
    if (rc == SYN_OK)
        rc = syn_request_write(spec, plan, bundle, &where, err);
    if (rc == SYN_OK)
        rc = link_pod(container, spec, plan, err);
    syn_pod_image_fini(&image);
    return rc;
}

void
syn_container_classes(const struct syn_container *container, struct syn_container_report *ret)
{
    struct syn_cri_facts facts;

    *ret = container->report;
    if (!container->options.address)
        return;
    syn_containerd_facts(container->containerd, &facts);
    *ret = (struct syn_container_report){.found = true};
    (void)syn_str_copy(ret->version, sizeof(ret->version), facts.version);
    for (size_t i = 0; i < SYN_POD_CLASSES; i++) {
        size_t len = strlen(ret->classes);

        if (facts.handlers[i][0] != '\0')
            (void)snprintf(ret->classes + len, sizeof(ret->classes) - len, "%s%s",
                           len > 0 ? " " : "", syn_pod_kinds[i].name);
    }
}

bool
syn_container_away(const struct syn_container *container, struct syn_err *err)
{
    return syn_containerd_away(container->containerd, err);
}

/* gVisor where containerd has its shim, else runc; another class only by its name. */
static int
choose_class(const struct syn_container *container, const char *isolation, const char **ret,
             struct syn_err *err)
{
    static const char *const names[] = {"gvisor", "runc", "kata"};
    struct syn_container_report report;

    syn_container_classes(container, &report);
    for (size_t i = 0; i < SYN_LEN(names); i++) {
        bool wanted = !isolation || syn_str_eq(isolation, "auto") ? !syn_str_eq(names[i], "kata")
                                                                  : syn_str_eq(isolation, names[i]);

        if (wanted && syn_container_has_class(&report, names[i])) {
            *ret = names[i];
            return SYN_OK;
        }
        if (wanted && isolation && syn_str_eq(isolation, names[i]))
            return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                            "isolation %s: containerd has no such runtime class here (it has %s)",
                            isolation, report.classes);
    }
    return SYN_FAIL(err, SYN_E_INVALID, "isolation %s: expected auto, gvisor, kata or runc",
                    isolation ? isolation : "auto");
}

static int
container_prepare(void *self, const struct syn_instance_spec *spec,
                  struct syn_instance **ret_instance, struct syn_err *err)
{
    struct syn_container *container = self;
    struct syn_sandbox_choice choice = {.runtime = syn_containerd_address(container->containerd),
                                        .furnish = furnish,
                                        .arg = container};
    int rc = syn_containerd_ensure(container->containerd, err);

    if (rc == SYN_OK)
        rc = choose_class(container, spec->isolation, &choice.handler, err);
    return rc < 0 ? rc
                  : syn_native_prepare_with(container->native, &choice, spec, ret_instance, err);
}

/* --- the other ops ---------------------------------------------------------------------------- */

static int
container_probe(void *self, struct syn_runtime_info *ret_info, struct syn_err *err)
{
    struct syn_container *container = self;
    int rc;

    syn_container_classes(container, &container->report);
    if (!container->report.found)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s", container->report.detail);
    rc = syn_containerd_ensure(container->containerd, err);
    if (rc < 0)
        return syn_err_wrap(err, SYN_E_UNSUPPORTED, "containerd");
    *ret_info = (struct syn_runtime_info){
        .driver = "container",
        .sandbox = syn_container_has_class(&container->report, "gvisor") ? "gvisor" : "runc",
        .version = container->report.version,
        .platform = "",
        .detail = container->report.classes,
    };
    return SYN_OK;
}

static int
container_start(void *self, struct syn_instance *instance, struct syn_err *err)
{
    struct syn_container *container = self;

    return syn_instance_start(instance, &container->supervisor, err);
}

static void
container_warm(void *self)
{
    struct syn_container *container = self;

    (void)!syn_containerd_ensure(container->containerd, NULL);
    container->base.ops->warm(container->base.self);
}

static int
container_signal(void *self, struct syn_instance *instance, int signo, struct syn_err *err)
{
    const struct syn_container *container = self;

    return container->base.ops->signal(container->base.self, instance, signo, err);
}

static int
container_settle(void *self, struct syn_instance *instance, struct syn_err *err)
{
    const struct syn_container *container = self;

    return container->base.ops->settle(container->base.self, instance, err);
}

static int
container_stop(void *self, struct syn_instance *instance, int64_t grace_ms, struct syn_err *err)
{
    const struct syn_container *container = self;

    return container->base.ops->stop(container->base.self, instance, grace_ms, err);
}

static int
container_poll(void *self, struct syn_instance *instance, struct syn_instance_status *ret_status,
               struct syn_err *err)
{
    (void)self;
    return syn_instance_poll(instance, ret_status, err);
}

static int
container_exit_fd(void *self, struct syn_instance *instance, int *ret_fd, struct syn_err *err)
{
    (void)self;
    return syn_instance_exit_fd(instance, ret_fd, err);
}

static int
container_stats(void *self, struct syn_instance *instance, struct syn_usage_sample *ret_usage,
                struct syn_err *err)
{
    const struct syn_container *container = self;

    return container->base.ops->stats(container->base.self, instance, ret_usage, err);
}

/* By the container's own tool, in the state that containerd's shim keeps for it: see
 * ../native/exec.c. */
static int
container_exec(void *self, struct syn_instance *instance, const struct syn_exec_spec *spec,
               struct syn_exec **ret_exec, struct syn_err *err)
{
    struct syn_container *container = self;
    struct syn_containerd *containerd = NULL;
    struct syn_cri_facts facts = {.state = "/run/containerd", .runc = "/run/containerd/runc"};
    bool gvisor = syn_str_eq(instance->plan.handler, "gvisor");
    const char *tool = gvisor ? "runsc" : "runc", *name;
    char path[SYN_PATH_MAX], root[SYN_PATH_MAX], bundle[SYN_PATH_MAX];
    struct syn_exec_place place = {.tool = path, .root = root, .bundle = bundle, .gvisor = gvisor};
    SYN_JSON(state);
    int rc = syn_exec_check(instance, spec, err);

    if (rc == SYN_OK && !gvisor && !syn_str_eq(instance->plan.handler, "runc"))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "exec: not within the runtime class %s",
                        instance->plan.handler);
    if (rc == SYN_OK)
        rc = syn_file_read_json(instance->dir, SYN_FILE_STATE, &state, err);
    if (rc < 0)
        return rc;
    name = strrchr(syn_json_str(state, "cgroup", ""), '/');
    place.name = name ? name + 1 : "";
    if (place.name[0] == '\0' || strspn(place.name, "0123456789abcdef") != strlen(place.name))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "exec: instance %s was started before there was it",
                        instance->plan.id);
    if (!syn_container_find(tool, path, sizeof(path)))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "exec: there is no %s on this node", tool);
    rc = find_containerd(container, &instance->plan, &containerd, err);
    if (containerd)
        syn_containerd_facts(containerd, &facts);
    if (rc == SYN_OK)
        rc = syn_path_format(root, sizeof(root), err, "%s/k8s.io",
                             gvisor ? "/run/containerd/runsc" : facts.runc);
    if (rc == SYN_OK)
        rc = syn_path_format(bundle, sizeof(bundle), err,
                             "%s/io.containerd.runtime.v2.task/k8s.io/%s", facts.state, place.name);
    return rc < 0 ? rc : syn_exec_start(instance, &place, spec, ret_exec, err);
}

static const struct syn_instance_paths *
container_paths(const struct syn_instance *instance)
{
    return &instance->paths;
}

static const char *
container_isolation(const struct syn_instance *instance)
{
    return instance->plan.handler;
}

static const struct syn_net_place *
container_place(const struct syn_instance *instance)
{
    return instance->plan.place.netns[0] != '\0' ? &instance->plan.place : NULL;
}

static int
container_adopt(void *self, const char *dir, struct syn_instance **ret_instance,
                struct syn_instance_status *ret_status, struct syn_err *err)
{
    const struct syn_container *container = self;

    return container->base.ops->adopt(container->base.self, dir, ret_instance, ret_status, err);
}

/* Its pods first: what they hold could not be removed under them. */
static int
remove_pods(struct syn_container *container, const char *dir, struct syn_err *err)
{
    SYN_SCOPED(syn_cri_scope) struct syn_cri *cri = NULL;
    struct syn_containerd *containerd = NULL;
    struct syn_plan plan = {0};
    char path[SYN_PATH_MAX];
    SYN_FD(fd);
    int rc;

    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return SYN_OK;
    syn_instance_end_supervisor(fd);
    if (syn_plan_read(fd, &plan, NULL) < 0)
        return SYN_OK;
    /* Where it was never started there is nothing to ask for. */
    if (faccessat(fd, SYN_FILE_SHIM, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        rc = find_containerd(container, &plan, &containerd, err);
        if (rc == SYN_OK && containerd)
            rc = syn_containerd_ensure(containerd, err);
        if (rc == SYN_OK)
            rc = open_client(container, plan.runtime, &cri, err);
        if (rc == SYN_OK)
            rc = syn_cri_remove_pods(cri, plan.name, err);
        if (rc < 0)
            return rc;
    }
    rc = syn_path_format(path, sizeof(path), err, "%s/%s",
                         syn_containerd_pods(container->containerd), plan.name);
    if (rc == SYN_OK)
        (void)unlink(path);
    return rc;
}

static int
container_destroy(void *self, const char *dir, struct syn_err *err)
{
    struct syn_container *container = self;
    int rc = remove_pods(container, dir, err);

    return rc < 0 ? syn_err_wrap(err, rc, "removing the pod of %s", dir)
                  : syn_instance_destroy(dir, container->options.net, err);
}

static const struct syn_runtime_ops container_ops = {
    .version = SYN_RUNTIME_VERSION,
    .probe = container_probe,
    .prepare = container_prepare,
    .start = container_start,
    .warm = container_warm,
    .signal = container_signal,
    .settle = container_settle,
    .stop = container_stop,
    .poll = container_poll,
    .exit_fd = container_exit_fd,
    .stats = container_stats,
    .exec = container_exec,
    .paths = container_paths,
    .isolation = container_isolation,
    .place = container_place,
    .adopt = container_adopt,
    .destroy = container_destroy,
    .close = syn_instance_close,
};

struct syn_runtime
syn_container_runtime(struct syn_container *container)
{
    return (struct syn_runtime){&container_ops, container};
}

const char *
syn_container_address(const struct syn_container *container)
{
    return syn_containerd_address(container->containerd);
}

/* --- life ------------------------------------------------------------------------------------- */

static void
container_scope(struct syn_container **slot)
{
    *slot = syn_container_free(*slot);
}

int
syn_container_new(const struct syn_container_options *options, struct syn_container **ret_container,
                  struct syn_err *err)
{
    static const char *const self_argv[] = {"/proc/self/exe", "pod", NULL};
    SYN_SCOPED(container_scope)
    struct syn_container *container = syn_calloc(1, sizeof(*container));
    struct syn_native_options native = {.net = options->net};
    int rc;

    if (!container)
        return SYN_FAIL(err, SYN_E_NOMEM, "container driver");
    container->supervisor.image = -1;
    container->options = *options;
    if (!options->root || !syn_str_copy(container->root, sizeof(container->root), options->root) ||
        (options->address &&
         !syn_str_copy(container->address, sizeof(container->address), options->address)))
        return SYN_FAIL(err, SYN_E_INVALID, "container driver: a path is missing or too long");
    container->options.root = native.root = container->root;
    container->options.address = options->address ? container->address : NULL;
    if (!options->address)
        syn_container_look(&container->report);
    rc = syn_native_new(&native, &container->native, err);
    if (rc < 0)
        return rc;
    container->base = syn_native_runtime(container->native);
    rc = syn_supervisor_init(&container->supervisor, options->pod_program, options->pod_program_len,
                             options->pod_argv ? options->pod_argv : self_argv, err);
    if (rc == SYN_OK)
        rc = syn_containerd_new(&container->options, container->options.address,
                                &container->containerd, err);
    if (rc == SYN_OK && container->options.address)
        rc = syn_containerd_ensure(container->containerd, err);
    if (rc == SYN_OK)
        *ret_container = SYN_TAKE(container);
    return rc;
}

/* Our own ends with its last pod. */
static struct syn_containerd *
let_go(const struct syn_container *container, struct syn_containerd *containerd)
{
    SYN_SCOPED(syn_cri_scope) struct syn_cri *cri = NULL;
    size_t pods = 1;

    if (containerd && is_own(container, syn_containerd_address(containerd))) {
        if (syn_cri_open(syn_containerd_address(containerd), &cri, NULL) < 0 ||
            syn_cri_count_pods(cri, &pods, NULL) < 0)
            pods = 1;
    }
    return syn_containerd_free(containerd, pods == 0);
}

struct syn_container *
syn_container_free(struct syn_container *container)
{
    if (!container)
        return NULL;
    container->containerd = let_go(container, container->containerd);
    container->own = let_go(container, container->own);
    syn_supervisor_fini(&container->supervisor);
    container->native = syn_native_free(container->native);
    syn_free(container);
    return NULL;
}

static bool
still_there(void *arg, const char *name)
{
    const struct syn_container *container = arg;
    char path[SYN_PATH_MAX];

    return syn_path_format(path, sizeof(path), NULL, "%s/%s/" SYN_FILE_PLAN,
                           syn_containerd_pods(container->containerd), name) == SYN_OK &&
           access(path, F_OK) == 0;
}

int
syn_container_sweep(struct syn_container *container, struct syn_err *err)
{
    SYN_SCOPED(syn_cri_scope) struct syn_cri *cri = NULL;
    int rc = syn_containerd_ensure(container->containerd, err);

    if (rc == SYN_OK)
        rc = open_client(container, syn_containerd_address(container->containerd), &cri, err);
    return rc < 0 ? rc : syn_cri_sweep(cri, still_there, container, err);
}

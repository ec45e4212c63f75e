/* What nvidia-container-cli does, as far as computing needs it:
 *
 *      /dev/nvidiactl, /dev/nvidia-uvm[-tools]    shared by all cards
 *      /dev/nvidiaN                               a card; the others do not exist inside
 *      libcuda.so.1, libnvidia-ml.so.1, ...       of the host's driver: they must be of the kernel
 *                                                 module's version, so an image cannot bring them
 *      nvidia-smi
 *
 * The kernel's device cgroup allows just those nodes; the container's runtime writes its rules from
 * the same list, for version 1 and 2. A partition (MIG) is its card's node and two capabilities,
 * nodes whose numbers /proc tells. A share is the whole card, and what its program is told; with
 * NVIDIA's MPS daemon in between, which goes by it. Left out: what draws and what encodes, and the
 * filtered copy of /proc/driver/nvidia, so that a program may read that other cards are there.
 *
 * Why not the container toolkit: it is not in Debian, it wants to write into the image (ldconfig),
 * and an instance needs a dozen of its lines. */
#include <synor/runtime/gpu.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/buf.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#define PATH_ROOM     1024
#define DEVICES_MAX   (SYN_GPUS_MAX + 6)
#define LIBRARIES_MAX 64
#define ENV_MAX       9
#define MPS_FOLDER    "/synor/mps" /* inside */

/* Owns every text that the lists point at. */
struct grant {
    struct syn_gpu_grant face; /* first: what callers see */
    const char *devices[DEVICES_MAX + 1];
    struct syn_bind libraries[LIBRARIES_MAX];
    const char *env[ENV_MAX + 1];
    struct syn_bind mps; /* host: NULL without */
    size_t devices_count, libraries_count, env_count;
    char *texts[DEVICES_MAX + 2 * LIBRARIES_MAX + ENV_MAX + 1];
    size_t texts_count;
};

/* ---- models ---- */

/* Words of the driver's names that tell makers, sockets and memories, not models. */
static bool
is_model_word(const char *word)
{
    static const char *const noise[] = {"nvidia", "geforce", "tesla", "quadro",    "graphics",
                                        "device", "pcie",    "nvl",   "generation"};
    size_t digits = strspn(word, "0123456789");

    for (size_t i = 0; i < SYN_LEN(noise); i++) {
        if (syn_str_eq(word, noise[i]))
            return false;
    }
    return !(digits > 0 && syn_str_starts(word + digits, "gb")) && !syn_str_starts(word, "sxm") &&
           !syn_str_starts(word, "hbm");
}

/* The driver's names are ASCII. */
static char
lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

/* The next word from *at on, in lower case, into out[SYN_GPU_WORD_MAX]; its length. */
static size_t
next_word(const char **at, char *out)
{
    size_t len = 0;

    for (; isalnum((unsigned char)**at); (*at)++) {
        if (len + 1 < SYN_GPU_WORD_MAX)
            out[len++] = lower(**at);
    }
    out[len] = '\0';
    *at += **at != '\0';
    return len;
}

void
syn_gpu_model(const struct syn_gpu *gpu, char *out)
{
    const char *at = gpu->name;
    size_t len = 0;

    /* "RTX 4090" is one word to everybody but the driver; other words are joined with a dash. */
    while (*at != '\0') {
        char word[SYN_GPU_WORD_MAX];
        size_t n = next_word(&at, word);

        if (n == 0 || !is_model_word(word) || len + n + 2 > SYN_GPU_WORD_MAX)
            continue;
        if (len > 0 && !(isdigit((unsigned char)word[0]) && len == 3 && out[1] == 't'))
            out[len++] = '-';
        memcpy(out + len, word, n);
        len += n;
    }
    out[len] = '\0';
    if (len == 0)
        (void)snprintf(out, SYN_GPU_WORD_MAX, "unknown");
    /* Sold in two sizes at two prices. */
    if (syn_str_eq(out, "a100"))
        (void)snprintf(out, SYN_GPU_WORD_MAX, "a100-%s",
                       gpu->vram_bytes > (INT64_C(60) << 30) ? "80gb" : "40gb");
}

/* ---- devices ---- */

static bool
is_device(const char *host, const char *path)
{
    char full[PATH_ROOM];
    struct stat st;

    return snprintf(full, sizeof(full), "%s%s", host, path) < (int)sizeof(full) &&
           stat(full, &st) == 0 && S_ISCHR(st.st_mode);
}

bool
syn_gpu_reachable(const struct syn_gpu *gpu, const char *root)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/dev/nvidia%d", gpu->minor);
    return gpu->minor >= 0 && is_device(root, "/dev/nvidiactl") && is_device(root, path);
}

/* Keep a text for as long as the grant lives. */
static int keep(struct grant *grant, const char **ret, struct syn_err *err, const char *format, ...)
    SYN_PRINTF(4, 5);

static int
keep(struct grant *grant, const char **ret, struct syn_err *err, const char *format, ...)
{
    SYN_BUF(text);
    va_list args;
    int rc;

    va_start(args, format);
    syn_buf_addv(&text, format, args);
    va_end(args);
    assert(grant->texts_count < SYN_LEN(grant->texts));
    rc = syn_buf_take(&text, &grant->texts[grant->texts_count], NULL, err);
    if (rc == SYN_OK)
        *ret = grant->texts[grant->texts_count++];
    return rc;
}

static int
add_device(struct grant *grant, const char *host, const char *path, bool needed,
           struct syn_err *err)
{
    if (!is_device(host, path))
        return needed ? SYN_FAIL(err, SYN_E_UNAVAILABLE,
                                 "%s is missing: is the kernel driver of NVIDIA loaded? "
                                 "nvidia-modprobe -u -c 0 makes the nodes",
                                 path)
                      : SYN_OK;
    assert(grant->devices_count < DEVICES_MAX);
    return keep(grant, &grant->devices[grant->devices_count++], err, "%s", path);
}

static int
add_devices(struct grant *grant, const struct syn_gpu *gpus, size_t count, const char *host,
            struct syn_err *err)
{
    static const struct {
        const char *path;
        bool needed;
    } shared[] = {
        {"/dev/nvidiactl", true}, {"/dev/nvidia-uvm", true}, {"/dev/nvidia-uvm-tools", false}};
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(shared); i++)
        rc = add_device(grant, host, shared[i].path, shared[i].needed, err);
    for (size_t i = 0; rc == SYN_OK && i < count; i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "/dev/nvidia%d", gpus[i].minor);
        rc = add_device(grant, host, path, true, err);
    }
    return rc;
}

/* The capability's node, as the kernel's driver numbers it: "DeviceFileMinor: 12". */
static int
add_capability(struct grant *grant, const char *host, const char *file, struct syn_err *err)
{
    static const char key[] = "DeviceFileMinor:";
    char path[PATH_ROOM], text[256] = "", node[64];
    const char *at;
    int64_t minor = -1;
    FILE *in;

    (void)snprintf(path, sizeof(path), "%.700s%.200s", host, file);
    in = fopen(path, "re");
    if (in) {
        text[fread(text, 1, sizeof(text) - 1, in)] = '\0';
        (void)fclose(in);
    }
    at = strstr(text, key);
    if (at) {
        char number[24] = "";

        at += sizeof(key) - 1;
        at += strspn(at, " \t");
        (void)snprintf(number, sizeof(number), "%.*s", (int)SYN_MIN(strspn(at, "0123456789"), 9U),
                       at);
        if (syn_parse_i64(number, 0, INT32_MAX, "minor", &minor, NULL) < 0)
            minor = -1;
    }
    if (minor < 0)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s does not tell the partition's device", file);
    (void)snprintf(node, sizeof(node), "/dev/nvidia-caps/nvidia-cap%lld", (long long)minor);
    return add_device(grant, host, node, true, err);
}

static int
add_part(struct grant *grant, const struct syn_gpu *gpu, const struct syn_gpu_part *part,
         const char *host, struct syn_err *err)
{
    char file[192];
    int rc;

    (void)snprintf(file, sizeof(file), "/proc/driver/nvidia/capabilities/gpu%d/mig/gi%d/access",
                   gpu->minor, part->instance);
    rc = add_capability(grant, host, file, err);
    (void)snprintf(file, sizeof(file),
                   "/proc/driver/nvidia/capabilities/gpu%d/mig/gi%d/ci%d/access", gpu->minor,
                   part->instance, part->compute);
    return rc < 0 ? rc : add_capability(grant, host, file, err);
}

/* ---- libraries ---- */

#if defined(__x86_64__)
#define MULTIARCH "x86_64-linux-gnu"
#elif defined(__aarch64__)
#define MULTIARCH "aarch64-linux-gnu"
#else
#define MULTIARCH "none"
#endif

/* Where the loader looks without being told: Debian's folder, then everybody else's. */
static const char *const folders[] = {("/usr/lib/" MULTIARCH), "/usr/lib64", "/usr/lib"};

/* Of each, every name that there is: "libcuda.so.1", which programs load, and "libcuda.so.550.54",
 * by which parts of one driver load each other. */
static const char *const library_names[] = {
    "libcuda.so",        "libcudadebugger.so",   "libnvidia-allocator.so",
    "libnvidia-cfg.so",  "libnvidia-gpucomp.so", "libnvidia-ml.so",
    "libnvidia-nvvm.so", "libnvidia-opencl.so",  "libnvidia-ptxjitcompiler.so",
};

static const char *const needed_names[] = {"libcuda.so.1", "libnvidia-ml.so.1"};

/* A folder in the way of which there is no link: mounting on it replaces nothing else. */
static bool
is_plain_folder(const char *rootfs, const char *folder)
{
    char path[PATH_ROOM];
    struct stat st;
    size_t base = strlen(rootfs);

    if (snprintf(path, sizeof(path), "%s%s", rootfs, folder) >= (int)sizeof(path))
        return false;
    for (char *slash = path + base + 1; slash != NULL;) {
        char *next = strchr(slash, '/');

        if (next)
            *next = '\0';
        if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
            return false;
        if (next)
            *next = '/';
        slash = next ? next + 1 : NULL;
    }
    return true;
}

static int
add_bind(struct grant *grant, const char *source, const char *folder, const char *name,
         struct syn_err *err)
{
    struct syn_bind *bind = &grant->libraries[grant->libraries_count];
    int rc;

    if (grant->libraries_count == LIBRARIES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "NVIDIA's driver has more than %d files", LIBRARIES_MAX);
    *bind = (struct syn_bind){.ro = true};
    rc = keep(grant, &bind->host, err, "%s", source);
    if (rc == SYN_OK)
        rc = keep(grant, &bind->container, err, "%s/%s", folder, name);
    if (rc == SYN_OK)
        grant->libraries_count++;
    return rc;
}

static bool
is_library(const char *name)
{
    for (size_t i = 0; i < SYN_LEN(library_names); i++) {
        size_t len = strlen(library_names[i]);

        if (strncmp(name, library_names[i], len) == 0 && name[len] == '.')
            return true;
    }
    return false;
}

/* The driver's libraries in one folder of the host, shown in `target`; *seen gets a bit for each
 * needed one. NULL as target: they are looked for, not shown. */
static int
add_folder(struct grant *grant, const char *folder, const char *target, unsigned *seen,
           struct syn_err *err)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    int rc = SYN_OK;

    while (dir && rc == SYN_OK && (entry = readdir(dir)) != NULL) {
        char source[PATH_ROOM];

        if (!is_library(entry->d_name) ||
            snprintf(source, sizeof(source), "%s/%s", folder, entry->d_name) >=
                (int)sizeof(source) ||
            access(source, R_OK) < 0)
            continue;
        for (unsigned i = 0; i < SYN_LEN(needed_names); i++)
            *seen |= syn_str_eq(entry->d_name, needed_names[i]) ? 1U << i : 0;
        if (target)
            rc = add_bind(grant, source, target, entry->d_name, err);
    }
    if (dir)
        (void)closedir(dir);
    return rc;
}

static int
add_libraries(struct grant *grant, const char *host, const char *rootfs, struct syn_err *err)
{
    const char *target = NULL;
    char path[PATH_ROOM];
    unsigned seen = 0;
    int rc = SYN_OK;

    for (size_t i = 0; rootfs && !target && i < SYN_LEN(folders); i++)
        target = is_plain_folder(rootfs, folders[i]) ? folders[i] : NULL;
    if (rootfs && !target)
        return SYN_FAIL(err, SYN_E_NOTFOUND,
                        "the image has no folder for libraries (%s, %s): GPUs need one with glibc",
                        folders[0], folders[1]);
    /* One folder has them all: two drivers side by side would be mixed up. */
    for (size_t i = 0; rc == SYN_OK && seen == 0 && i < SYN_LEN(folders); i++) {
        (void)snprintf(path, sizeof(path), "%.900s%s", host, folders[i]);
        rc = add_folder(grant, path, target, &seen, err);
    }
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(needed_names); i++) {
        if (!(seen & (1U << i)))
            rc = SYN_FAIL(err, SYN_E_NOTFOUND,
                          "%s is in none of the usual folders: install NVIDIA's driver libraries",
                          needed_names[i]);
    }
    (void)snprintf(path, sizeof(path), "%.900s/usr/bin/nvidia-smi", host);
    if (rc == SYN_OK && rootfs && is_plain_folder(rootfs, "/usr/bin") && access(path, X_OK) == 0)
        rc = add_bind(grant, path, "/usr/bin", "nvidia-smi", err);
    return rc;
}

/* ---- the whole ---- */

static int
add_word(struct grant *grant, struct syn_err *err, const char *name, const char *value)
{
    assert(grant->env_count < ENV_MAX);
    return keep(grant, &grant->env[grant->env_count++], err, "%s=%s", name, value);
}

/* What a program is told of its share, in words that are understood: MPS' own, JAX's, and ours. */
static int
add_share(struct grant *grant, const struct syn_gpu *gpu, const struct syn_gpu_use *use,
          struct syn_err *err)
{
    int64_t vram = SYN_MAX(gpu->vram_bytes >> 20, 1), mib = use->vram_bytes >> 20;
    char text[64];
    int rc;

    (void)snprintf(text, sizeof(text), "%lld.%03lld", (long long)(use->permille / 1000),
                   (long long)(use->permille % 1000));
    rc = add_word(grant, err, "SYNOR_GPU_SHARE", text);
    (void)snprintf(text, sizeof(text), "%lld", (long long)use->vram_bytes);
    if (rc == SYN_OK)
        rc = add_word(grant, err, "SYNOR_GPU_MEMORY_BYTES", text);
    (void)snprintf(text, sizeof(text), "0.%03lld", (long long)SYN_MIN(mib * 1000 / vram, 999));
    if (rc == SYN_OK)
        rc = add_word(grant, err, "XLA_PYTHON_CLIENT_MEM_FRACTION", text);
    if (rc < 0 || !use->mps)
        return rc;
    rc = add_word(grant, err, "CUDA_MPS_PIPE_DIRECTORY", MPS_FOLDER);
    (void)snprintf(text, sizeof(text), "%lld", (long long)SYN_MAX(use->permille / 10, 1));
    if (rc == SYN_OK)
        rc = add_word(grant, err, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", text);
    (void)snprintf(text, sizeof(text), "0=%lldM", (long long)SYN_MAX(mib, 1));
    return rc < 0 ? rc : add_word(grant, err, "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", text);
}

static int
add_mps(struct grant *grant, const char *folder, struct syn_err *err)
{
    char control[PATH_ROOM];
    int rc;

    (void)snprintf(control, sizeof(control), "%.900s/control", folder);
    if (access(control, F_OK) < 0)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s: NVIDIA's MPS daemon has no pipes here",
                        folder);
    rc = keep(grant, &grant->mps.host, err, "%s", folder);
    grant->mps.container = MPS_FOLDER;
    return rc;
}

static int
add_env(struct grant *grant, const struct syn_gpu *gpus, size_t count,
        const struct syn_gpu_use *use, struct syn_err *err)
{
    static const char *const names[] = {"NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"};
    SYN_BUF(list);
    int rc = SYN_OK;

    /* By UUID: true whether or not the driver counts the cards that are out of reach. */
    for (size_t i = 0; i < count; i++)
        syn_buf_addf(&list, "%s%s", i > 0 ? "," : "",
                     use && use->part ? use->part->uuid : gpus[i].uuid);
    rc = syn_buf_ok(&list, err);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(names); i++)
        rc = add_word(grant, err, names[i], syn_buf_text(&list));
    if (rc == SYN_OK)
        rc = add_word(grant, err, "NVIDIA_DRIVER_CAPABILITIES", "compute,utility");
    return rc < 0 || !use || use->part ? rc : add_share(grant, &gpus[0], use, err);
}

struct syn_gpu_grant *
syn_gpu_grant_free(struct syn_gpu_grant *face)
{
    struct grant *grant = (struct grant *)(void *)face;

    if (!grant)
        return NULL;
    for (size_t i = 0; i < grant->texts_count; i++)
        syn_free(grant->texts[i]);
    syn_free(grant);
    return NULL;
}

int
syn_gpu_grant_new(const struct syn_gpu *gpus, size_t count, const struct syn_gpu_use *use,
                  const char *host, const char *rootfs, struct syn_gpu_grant **ret,
                  struct syn_err *err)
{
    struct grant *grant = syn_calloc(1, sizeof(*grant));
    int rc;

    assert(count <= SYN_GPUS_MAX && (!use || count == 1));
    if (!grant)
        return SYN_FAIL(err, SYN_E_NOMEM, "what GPUs need");
    rc = add_devices(grant, gpus, count, host, err);
    if (rc == SYN_OK && use && use->part)
        rc = add_part(grant, &gpus[0], use->part, host, err);
    if (rc == SYN_OK)
        rc = add_libraries(grant, host, rootfs, err);
    if (rc == SYN_OK && use && !use->part && use->mps)
        rc = add_mps(grant, use->mps, err);
    if (rc == SYN_OK)
        rc = add_env(grant, gpus, count, use, err);
    if (rc < 0) {
        (void)syn_gpu_grant_free(&grant->face);
        return rc;
    }
    grant->face = (struct syn_gpu_grant){.devices = grant->devices,
                                         .libraries = grant->libraries,
                                         .libraries_count = grant->libraries_count,
                                         .env = grant->env,
                                         .mps = grant->mps.host ? &grant->mps : NULL};
    *ret = &grant->face;
    return SYN_OK;
}

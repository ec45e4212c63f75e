/* What nvidia-container-cli does, as far as computing needs it:
 *
 *      /dev/nvidiactl, /dev/nvidia-uvm[-tools]    shared by all cards
 *      /dev/nvidiaN                               a card; the others do not exist inside
 *      libcuda.so.1, libnvidia-ml.so.1, ...       of the host's driver: they must be of the kernel
 *                                                 module's version, so an image cannot bring them
 *      nvidia-smi
 *
 * The kernel's device cgroup allows just those nodes; the container's runtime writes its rules from
 * the same list, for version 1 and 2. Left out: what draws and what encodes, MIG slices, and the
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
#define DEVICES_MAX   (SYN_GPUS_MAX + 4)
#define LIBRARIES_MAX 64
#define ENV_MAX       3

/* Owns every text that the lists point at. */
struct grant {
    struct syn_gpu_grant face; /* first: what callers see */
    const char *devices[DEVICES_MAX + 1];
    struct syn_bind libraries[LIBRARIES_MAX];
    const char *env[ENV_MAX + 1];
    size_t devices_count, libraries_count, env_count;
    char *texts[DEVICES_MAX + 2 * LIBRARIES_MAX + ENV_MAX];
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
add_env(struct grant *grant, const struct syn_gpu *gpus, size_t count, struct syn_err *err)
{
    static const char *const names[] = {"NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"};
    SYN_BUF(list);
    int rc = SYN_OK;

    /* By UUID: true whether or not the driver counts the cards that are out of reach. */
    for (size_t i = 0; i < count; i++)
        syn_buf_addf(&list, "%s%s", i > 0 ? "," : "", gpus[i].uuid);
    rc = syn_buf_ok(&list, err);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(names); i++)
        rc = keep(grant, &grant->env[grant->env_count++], err, "%s=%s", names[i],
                  syn_buf_text(&list));
    if (rc == SYN_OK)
        rc = keep(grant, &grant->env[grant->env_count++], err,
                  "NVIDIA_DRIVER_CAPABILITIES=compute,utility");
    return rc;
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
syn_gpu_grant_new(const struct syn_gpu *gpus, size_t count, const char *host, const char *rootfs,
                  struct syn_gpu_grant **ret, struct syn_err *err)
{
    struct grant *grant = syn_calloc(1, sizeof(*grant));
    int rc;

    assert(count <= SYN_GPUS_MAX);
    if (!grant)
        return SYN_FAIL(err, SYN_E_NOMEM, "what GPUs need");
    rc = add_devices(grant, gpus, count, host, err);
    if (rc == SYN_OK)
        rc = add_libraries(grant, host, rootfs, err);
    if (rc == SYN_OK)
        rc = add_env(grant, gpus, count, err);
    if (rc < 0) {
        (void)syn_gpu_grant_free(&grant->face);
        return rc;
    }
    grant->face = (struct syn_gpu_grant){.devices = grant->devices,
                                         .libraries = grant->libraries,
                                         .libraries_count = grant->libraries_count,
                                         .env = grant->env};
    *ret = &grant->face;
    return SYN_OK;
}

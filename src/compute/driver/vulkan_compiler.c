/* GLSL to SPIR-V: by libshaderc in this process, or, where that is not there or cannot be loaded
 * (it lacks half of itself in Debian 12), by the reference compiler as a program. The program reads
 * its text from a descriptor and writes what it makes to another, so nothing lies in a folder.
 *
 * What was made is kept for a while: the next device of this driver wants the same. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/loader.h>
#include <synor/base/mem.h>

#include "vulkan_priv.h"

#define DEFINES_MAX 16
#define FIXED       9 /* arguments that the program always gets */
#define LOG_MAX     2048
#define KEPT_MAX    64

/* "-DNAME=VALUE -DNAME": the one option that there is. */
struct define {
    const char *name;
    size_t name_len;
    const char *value; /* NULL: none */
    size_t value_len;
};

/* A text with its options, and what was made of it. */
struct syn_vk_compiled {
    struct syn_vk_compiled *next;
    char *text, *options, *spirv;
    size_t text_len, spirv_len;
};

static bool
is_program(const char *path)
{
    return access(path, X_OK) == 0;
}

static void
find_program(struct syn_vk_compiler *compiler)
{
    static const char *const names[] = {"glslangValidator", "glslang"};
    const char *folders = getenv("PATH");

    for (const char *at = folders ? folders : "/usr/bin"; *at != '\0'; at += strspn(at, ":")) {
        size_t len = strcspn(at, ":");

        for (size_t i = 0; i < SYN_LEN(names); i++) {
            int used = snprintf(compiler->program, sizeof(compiler->program), "%.*s/%s", (int)len,
                                at, names[i]);

            if (used < (int)sizeof(compiler->program) && is_program(compiler->program))
                return;
        }
        at += len;
    }
    compiler->program[0] = '\0';
}

void
syn_vk_compiler_open(struct syn_vk_compiler *compiler)
{
    static const char *const names[] = {"libshaderc.so.1", "libshaderc_shared.so.1", NULL};
    static const struct syn_loader_row rows[] = {
#define X(member, result, parameters, symbol) {symbol, offsetof(struct shaderc_api, member), false},
        SHADERC_FUNCTIONS(X)
#undef X
    };

    (void)pthread_mutex_init(&compiler->lock, NULL);
    if (syn_loader_open(NULL, names, rows, SYN_LEN(rows), &compiler->api, NULL) == SYN_OK)
        compiler->library = compiler->api.compiler_new();
    if (!compiler->library)
        find_program(compiler);
}

static struct syn_vk_compiled *
compiled_free(struct syn_vk_compiled *compiled)
{
    if (compiled) {
        syn_free(compiled->text);
        syn_free(compiled->options);
        syn_free(compiled->spirv);
        syn_free(compiled);
    }
    return NULL;
}

void
syn_vk_compiler_close(struct syn_vk_compiler *compiler)
{
    while (compiler->compiled) {
        struct syn_vk_compiled *compiled = compiler->compiled;

        compiler->compiled = compiled->next;
        (void)compiled_free(compiled);
    }
    (void)pthread_mutex_destroy(&compiler->lock);
    if (compiler->library)
        compiler->api.compiler_free(compiler->library);
    compiler->library = NULL;
    compiler->program[0] = '\0';
}

bool
syn_vk_compiler_works(const struct syn_vk_compiler *compiler)
{
    return compiler->library || compiler->program[0] != '\0';
}

static int
take_defines(const struct syn_dev_source *source, struct define defines[DEFINES_MAX],
             unsigned *ret_count, struct syn_err *err)
{
    const char *at = source->options ? source->options : "";
    unsigned count = 0;

    for (at += strspn(at, " "); *at != '\0'; at += strspn(at, " ")) {
        size_t len = strcspn(at, " "), name = strcspn(at, "= ");

        if (strncmp(at, "-D", 2) != 0 || name == 2 || count == DEFINES_MAX)
            return SYN_FAIL(err, SYN_E_INVALID,
                            "%s: option %.*s: only %d of -DNAME=VALUE are taken", source->name,
                            (int)len, at, DEFINES_MAX);
        defines[count++] = (struct define){
            .name = at + 2,
            .name_len = name - 2,
            .value = name < len ? at + name + 1 : NULL,
            .value_len = name < len ? len - name - 1 : 0,
        };
        at += len;
    }
    *ret_count = count;
    return SYN_OK;
}

static int
broken(const struct syn_dev_source *source, const char *log, struct syn_err *err)
{
    const char *first = strstr(log, "ERROR");

    return SYN_FAIL(err, SYN_E_INVALID, "%s does not compile: %s", source->name,
                    first ? first : log);
}

/* The library. */

static int
by_library(const struct syn_vk_compiler *compiler, const struct syn_dev_source *source,
           const struct syn_buf *text, const struct define *defines, unsigned count,
           struct syn_buf *out, struct syn_err *err)
{
    const struct shaderc_api *api = &compiler->api;
    void *options = api->options_new(), *result = NULL;
    int rc = SYN_OK;

    if (!options)
        return SYN_FAIL(err, SYN_E_NOMEM, "options of a compiler");
    api->target(options, SHADERC_FOR_VULKAN, VK_VERSION(1, 2));
    api->optimize(options, SHADERC_PERFORMANCE);
    for (unsigned i = 0; i < count; i++)
        api->define(options, defines[i].name, defines[i].name_len, defines[i].value,
                    defines[i].value_len);
    result = api->compile(compiler->library, text->data, text->len, SHADERC_COMPUTE, source->name,
                          "main", options);
    if (!result)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "%s: the compiler has no memory", source->name);
    else if (api->status(result) != 0)
        rc = broken(source, api->message(result), err);
    else
        syn_buf_add(out, api->bytes(result), api->length(result));
    if (result)
        api->result_free(result);
    api->options_free(options);
    return rc;
}

/* The program. */

struct files {
    int text, log, out;
};

static void
files_fini(struct files *files)
{
    const int all[] = {files->text, files->log, files->out};

    for (size_t i = 0; i < SYN_LEN(all); i++) {
        if (all[i] >= 0)
            (void)close(all[i]);
    }
}

static int
files_init(struct files *files, const struct syn_buf *text, struct syn_err *err)
{
    size_t done = 0;

    files->text = memfd_create("text", MFD_CLOEXEC);
    files->log = memfd_create("log", MFD_CLOEXEC);
    files->out = memfd_create("spirv", MFD_CLOEXEC);
    if (files->text < 0 || files->log < 0 || files->out < 0)
        return SYN_FAIL_SYS(err, errno, "a file for a compiler");
    while (done < text->len) {
        ssize_t some = pwrite(files->text, text->data + done, text->len - done, (off_t)done);

        if (some < 0 && errno == EINTR)
            continue;
        if (some <= 0)
            return SYN_FAIL_SYS(err, errno, "writing for a compiler");
        done += (size_t)some;
    }
    return SYN_OK;
}

/* Append what is in the file, at most `max` bytes of it. */
static int
read_file(int fd, size_t max, struct syn_buf *out, struct syn_err *err)
{
    off_t size = lseek(fd, 0, SEEK_END);
    size_t want = size > 0 ? SYN_MIN((size_t)size, max) : 0, done = 0;
    char *room = syn_buf_reserve(out, want + 1);

    if (!room)
        return SYN_FAIL(err, SYN_E_NOMEM, "what a compiler made");
    while (done < want) {
        ssize_t some = pread(fd, room + done, want - done, (off_t)done);

        if (some < 0 && errno == EINTR)
            continue;
        if (some <= 0)
            return SYN_FAIL_SYS(err, errno, "reading from a compiler");
        done += (size_t)some;
    }
    room[want] = '\0';
    out->len += want;
    return SYN_OK;
}

static int
run_program(const struct syn_vk_compiler *compiler, const struct files *files,
            const struct define *defines, unsigned count, int *ret_status, struct syn_err *err)
{
    static const char *const env[] = {"LC_ALL=C", NULL};
    const char *argv[FIXED + DEFINES_MAX + 1] = {
        compiler->program, "-S",  "comp", "--target-env",
        "vulkan1.2",       "-g0", "-o",   "/proc/self/fd/3",
        "/proc/self/fd/0",
    };
    const struct syn_child_options options = {.argv = argv,
                                              .env = env,
                                              .in = files->text,
                                              .out = files->log,
                                              .err = files->log,
                                              .passed = files->out};
    SYN_BUF(words);
    size_t at = 0;
    pid_t pid = 0;
    int rc;

    for (unsigned i = 0; i < count; i++) {
        syn_buf_addf(&words, "-D%.*s%s%.*s", (int)defines[i].name_len, defines[i].name,
                     defines[i].value ? "=" : "", (int)defines[i].value_len,
                     defines[i].value ? defines[i].value : "");
        syn_buf_addc(&words, '\0');
    }
    rc = syn_buf_ok(&words, err);
    for (unsigned i = 0; rc == SYN_OK && i < count; i++) {
        argv[FIXED + i] = words.data + at;
        at += strlen(words.data + at) + 1;
    }
    rc = rc < 0 ? rc : syn_child_spawn(compiler->program, &options, &pid, err);
    if (rc == SYN_OK)
        *ret_status = syn_child_wait(pid);
    return rc;
}

static int
by_program(const struct syn_vk_compiler *compiler, const struct syn_dev_source *source,
           const struct syn_buf *text, const struct define *defines, unsigned count,
           struct syn_buf *out, struct syn_err *err)
{
    SYN_SCOPED(files_fini) struct files files = {-1, -1, -1};
    SYN_BUF(log);
    int status = 0;
    int rc = files_init(&files, text, err);

    rc = rc < 0 ? rc : run_program(compiler, &files, defines, count, &status, err);
    if (rc < 0)
        return rc;
    if (status == 0)
        return read_file(files.out, SYN_DRV_SOURCE_MAX, out, err);
    rc = read_file(files.log, LOG_MAX, &log, err);
    if (rc < 0)
        return rc;
    if (status == SYN_CHILD_UNKNOWN)
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "%s: how %s ended is not known: this process ignores SIGCHLD or waits for "
                        "every child; let it do neither, or install libshaderc",
                        source->name, compiler->program);
    if (!WIFEXITED(status))
        return SYN_FAIL(err, SYN_E_IO, "%s: %s ended with status %d", source->name,
                        compiler->program, status);
    return broken(source, syn_buf_text(&log), err);
}

/* What was kept. */

/* Append what was made of this text, and put it first. */
static bool
recall(struct syn_vk_compiler *compiler, const char *options, const struct syn_buf *text,
       struct syn_buf *out)
{
    struct syn_vk_compiled **at = &compiler->compiled, *found = NULL;

    (void)pthread_mutex_lock(&compiler->lock);
    while (*at && !((*at)->text_len == text->len && strcmp((*at)->options, options) == 0 &&
                    memcmp((*at)->text, text->data, text->len) == 0))
        at = &(*at)->next;
    found = *at;
    if (found) {
        syn_buf_add(out, found->spirv, found->spirv_len);
        *at = found->next;
        found->next = compiler->compiled;
        compiler->compiled = found;
    }
    (void)pthread_mutex_unlock(&compiler->lock);
    return found;
}

static char *
dup_bytes(const char *bytes, size_t len)
{
    char *copy = syn_alloc(len + 1);

    if (copy) {
        memcpy(copy, bytes, len);
        copy[len] = '\0';
    }
    return copy;
}

/* Keep it, in the place of the one that was not wanted for longest. Without memory it is not kept.
 */
static void
keep(struct syn_vk_compiler *compiler, const char *options, const struct syn_buf *text,
     const struct syn_buf *out)
{
    struct syn_vk_compiled *mine = syn_calloc(1, sizeof(*mine)), **last = &compiler->compiled;

    if (!mine)
        return;
    mine->text = dup_bytes(text->data, text->len);
    mine->options = dup_bytes(options, strlen(options));
    mine->spirv = dup_bytes(out->data, out->len);
    mine->text_len = text->len;
    mine->spirv_len = out->len;
    if (!mine->text || !mine->options || !mine->spirv) {
        (void)compiled_free(mine);
        return;
    }
    (void)pthread_mutex_lock(&compiler->lock);
    mine->next = compiler->compiled;
    compiler->compiled = mine;
    if (++compiler->compiled_count > KEPT_MAX) {
        while ((*last)->next)
            last = &(*last)->next;
        *last = compiled_free(*last);
        compiler->compiled_count--;
    }
    (void)pthread_mutex_unlock(&compiler->lock);
}

int
syn_vk_compiler_run(struct syn_vk_compiler *compiler, const struct syn_dev_source *source,
                    const struct syn_buf *text, struct syn_buf *out, struct syn_err *err)
{
    const char *options = source->options ? source->options : "";
    struct define defines[DEFINES_MAX];
    unsigned count = 0;
    int rc = SYN_OK;

    assert(out->len == 0);
    if (recall(compiler, options, text, out))
        return syn_buf_ok(out, err);
    rc = take_defines(source, defines, &count, err);
    if (rc == SYN_OK && compiler->library)
        rc = by_library(compiler, source, text, defines, count, out, err);
    else if (rc == SYN_OK)
        rc = by_program(compiler, source, text, defines, count, out, err);
    rc = rc < 0 ? rc : syn_buf_ok(out, err);
    if (rc == SYN_OK)
        keep(compiler, options, text, out);
    return rc;
}

/* Layouts are built here with libarchive, byte by byte where they are meant to be evil. */
#include <synor/base/test.h>

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include <synor/base/json.h>
#include <synor/base/str.h>
#include <synor/infra/crypto.h>
#include <synor/infra/oci_layout.h>

#define LAYER_ROOM ((size_t)1 << 20)
#define HERE         \
    {                \
        .path = NULL \
    }
#define LAYER_TYPE "application/vnd.oci.image.layer.v1.tar"
#define INDEX      "application/vnd.oci.image.index.v1+json"
#define MANIFEST   "application/vnd.oci.image.manifest.v1+json"

/* One entry of a layer. */
struct item { /* NOLINT(clang-analyzer-optin.performance.Padding): in the order of reading */
    const char *path;
    unsigned type;    /* AE_IF..., or 0: a hard link */
    const char *data; /* content, or where a link leads */
    mode_t mode;
    int64_t uid;
};

#define FILE_AT(path, data)           \
    {                                 \
        path, AE_IFREG, data, 0644, 0 \
    }
#define DIR_AT(path)                \
    {                               \
        path, AE_IFDIR, "", 0755, 0 \
    }
#define LINK_AT(path, to)           \
    {                               \
        path, AE_IFLNK, to, 0777, 0 \
    }
#define HARD_AT(path, to)    \
    {                        \
        path, 0, to, 0644, 0 \
    }

static const struct syn_oci_limits roomy = {
    .bytes_max = (int64_t)16 << 20, .entries_max = 10000, .open_modes = true};

/* --- building --------------------------------------------------------------------------------- */

struct builder {
    char dir[300];
    char layers[4096]; /* JSON lists in the making */
    char diff_ids[4096];
    char manifest[160]; /* descriptor without its platform and annotations */
    unsigned count;
};

static void
write_file(const struct builder *builder, const char *name, const void *data, size_t len)
{
    char path[512];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", builder->dir, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

/* Writes the blob, and `"digest":...,"size":...` into out. */
static void
put_blob(const struct builder *builder, const void *data, size_t len, char *out, size_t cap)
{
    uint8_t digest[SYN_SHA256_LEN];
    char hex[65], name[96];

    syn_sha256(data, len, digest);
    syn_hex_encode(digest, sizeof(digest), hex);
    (void)snprintf(name, sizeof(name), "blobs/sha256/%s", hex);
    write_file(builder, name, data, len);
    (void)snprintf(out, cap, "\"digest\":\"sha256:%s\",\"size\":%zu", hex, len);
}

static void
builder_init(struct builder *builder, const char *name)
{
    static const char marker[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
    char path[400];

    *builder = (struct builder){0};
    (void)snprintf(builder->dir, sizeof(builder->dir), "%s/%s", syn_test_dir(), name);
    assert_int_equal(mkdir(builder->dir, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/blobs", builder->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/blobs/sha256", builder->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    write_file(builder, "oci-layout", marker, sizeof(marker) - 1);
}

static void
write_item(struct archive *tar, const struct item *item)
{
    struct archive_entry *entry = archive_entry_new();

    archive_entry_set_pathname_utf8(entry, item->path);
    archive_entry_set_perm(entry, item->mode);
    archive_entry_set_filetype(entry, item->type != 0 ? item->type : AE_IFREG);
    archive_entry_set_mtime(entry, 1000000000, 0);
    archive_entry_set_uid(entry, item->uid);
    if (item->type == 0)
        archive_entry_set_hardlink_utf8(entry, item->data);
    if (item->type == AE_IFLNK)
        archive_entry_set_symlink_utf8(entry, item->data);
    if (item->type == AE_IFREG)
        archive_entry_set_size(entry, (la_int64_t)strlen(item->data));
    assert_true(archive_write_header(tar, entry) >= ARCHIVE_WARN);
    if (item->type == AE_IFREG)
        assert_int_equal(archive_write_data(tar, item->data, strlen(item->data)),
                         strlen(item->data));
    archive_entry_free(entry);
}

static size_t
make_tar(const struct item *items, char *out)
{
    struct archive *tar = archive_write_new();
    size_t used = 0;

    /* Only here: the reader under test must do without. */
    assert_non_null(setlocale(LC_CTYPE, "C.UTF-8"));
    assert_int_equal(archive_write_set_format_pax_restricted(tar), ARCHIVE_OK);
    assert_int_equal(archive_write_open_memory(tar, out, LAYER_ROOM, &used), ARCHIVE_OK);
    for (; items->path != NULL; items++)
        write_item(tar, items);
    assert_int_equal(archive_write_close(tar), ARCHIVE_OK);
    assert_int_equal(archive_write_free(tar), ARCHIVE_OK);
    assert_non_null(setlocale(LC_CTYPE, "C"));
    return used;
}

static size_t
compress(const char *with, const char *data, size_t len, char *out)
{
    struct archive *zip = archive_write_new();
    struct archive_entry *entry = archive_entry_new();
    size_t used = 0;

    assert_int_equal(archive_write_set_format_raw(zip), ARCHIVE_OK);
    assert_int_equal(archive_write_add_filter_by_name(zip, with), ARCHIVE_OK);
    assert_int_equal(archive_write_open_memory(zip, out, LAYER_ROOM, &used), ARCHIVE_OK);
    archive_entry_set_filetype(entry, AE_IFREG);
    assert_int_equal(archive_write_header(zip, entry), ARCHIVE_OK);
    assert_int_equal(archive_write_data(zip, data, len), len);
    archive_entry_free(entry);
    assert_int_equal(archive_write_close(zip), ARCHIVE_OK);
    assert_int_equal(archive_write_free(zip), ARCHIVE_OK);
    return used;
}

static void
append(char *out, size_t cap, const char *comma, const char *text)
{
    size_t len = strlen(out);

    assert_true(snprintf(out + len, cap - len, "%s%s", comma, text) < (int)(cap - len));
}

/* A layer of these bytes; `with` is "", "gzip" or "zstd". */
static void
add_bytes(struct builder *builder, const char *with, const char *tar, size_t len)
{
    static char zipped[LAYER_ROOM];
    const char *comma = builder->count++ > 0 ? "," : "";
    char diff[200], blob[200], line[400];

    put_blob(builder, tar, len, diff, sizeof(diff));
    *strrchr(diff, ',') = '\0';
    if (with[0] != '\0')
        put_blob(builder, zipped, compress(with, tar, len, zipped), blob, sizeof(blob));
    else
        put_blob(builder, tar, len, blob, sizeof(blob));
    (void)snprintf(line, sizeof(line), "{\"mediaType\":\"" LAYER_TYPE "%s%s\",%s}",
                   with[0] != '\0' ? "+" : "", with, blob);
    append(builder->layers, sizeof(builder->layers), comma, line);
    append(builder->diff_ids, sizeof(builder->diff_ids), comma, diff + strlen("\"digest\":"));
}

static void
add_layer(struct builder *builder, const char *with, const struct item *items)
{
    static char tar[LAYER_ROOM];

    add_bytes(builder, with, tar, make_tar(items, tar));
}

/* Configuration and manifest, for these layers so far. */
static void
add_manifest(struct builder *builder, const char *architecture)
{
    char blob[200], text[12000];

    (void)snprintf(text, sizeof(text),
                   "{\"os\":\"linux\",\"architecture\":\"%s\",\"config\":{\"Entrypoint\":[\"/bin/"
                   "sh\",\"-c\"],\"Env\":[\"A=1\",\"PATH=/b\"],\"WorkingDir\":\"/w\",\"User\":"
                   "\"12:34\"},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[%s]}}",
                   architecture, builder->diff_ids);
    put_blob(builder, text, strlen(text), blob, sizeof(blob));
    (void)snprintf(text, sizeof(text),
                   "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"application/"
                   "vnd.oci.image.config.v1+json\",%s},\"layers\":[%s]}",
                   blob, builder->layers);
    put_blob(builder, text, strlen(text), builder->manifest, sizeof(builder->manifest));
}

static void
write_index(struct builder *builder, const char *manifests)
{
    char text[4096];

    (void)snprintf(text, sizeof(text), "{\"schemaVersion\":2,\"manifests\":[%s]}", manifests);
    write_file(builder, "index.json", text, strlen(text));
}

static void
finish(struct builder *builder)
{
    char entry[400];

    add_manifest(builder, syn_oci_architecture());
    (void)snprintf(entry, sizeof(entry), "{\"mediaType\":\"" MANIFEST "\",%s}", builder->manifest);
    write_index(builder, entry);
}

/* --- looking ---------------------------------------------------------------------------------- */

static const char *
target_of(const struct builder *builder)
{
    static char path[400];

    (void)snprintf(path, sizeof(path), "%s-root", builder->dir);
    return path;
}

static int
unpack(const struct builder *builder, const struct syn_oci_limits *limits,
       struct syn_oci_unpacked *ret, struct syn_err *err)
{
    static const struct syn_oci_choice any;
    SYN_SCOPED(syn_oci_layout_close_scope) struct syn_oci_layout *layout = NULL;
    int rc = syn_oci_layout_open(builder->dir, &any, &layout, err);

    return rc < 0 ? rc : syn_oci_layout_unpack(layout, target_of(builder), limits, ret, err);
}

static const char *
read_text(const struct builder *builder, const char *name)
{
    static char text[256];
    char path[512];
    FILE *file;
    size_t len;

    (void)snprintf(path, sizeof(path), "%s/%s", target_of(builder), name);
    file = fopen(path, "r");
    if (file == NULL)
        return NULL;
    len = fread(text, 1, sizeof(text) - 1, file);
    text[len] = '\0';
    (void)fclose(file);
    return text;
}

/* lstat of a name in the target; false when it is not there. */
static bool
look(const struct builder *builder, const char *name, struct stat *ret)
{
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/%s", target_of(builder), name);
    return lstat(path, ret) == 0;
}

static bool
nothing_left(const struct builder *builder)
{
    char path[500];

    (void)snprintf(path, sizeof(path), "%s.partial", target_of(builder));
    return access(path, F_OK) != 0 && access(target_of(builder), F_OK) != 0;
}

/* --- tests ------------------------------------------------------------------------------------ */

static void
test_unpack(void **state)
{
    static const struct item base[] = {DIR_AT("./"),
                                       DIR_AT("./usr"),
                                       DIR_AT("./usr/lib"),
                                       LINK_AT("./lib", "usr/lib"),
                                       {"./usr/lib/tool", AE_IFREG, "tool", 06700, 0},
                                       HARD_AT("./usr/lib/same", "./usr/lib/tool"),
                                       {"./dev-null", AE_IFCHR, "", 0666, 0},
                                       {"./pipe", AE_IFIFO, "", 0666, 0},
                                       {"./tmp", AE_IFDIR, "", 01777, 0},
                                       FILE_AT("./\303\244/\342\202\254", "utf-8"),
                                       HERE};
    static const struct item more[] = {FILE_AT("lib/added", "through a link"),
                                       FILE_AT("usr/lib/same", "new"), DIR_AT("a/b/c"), HERE};
    static const char *const ways[] = {"", "gzip", "zstd"};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(ways); i++) {
        struct syn_oci_unpacked unpacked = {0};
        struct syn_err err = {0};
        struct builder builder;
        struct stat st = {0}, root = {0};
        char name[32];

        (void)snprintf(name, sizeof(name), "unpack-%zu", i);
        builder_init(&builder, name);
        add_layer(&builder, ways[i], base);
        add_layer(&builder, ways[i], more);
        finish(&builder);
        assert_done(unpack(&builder, &roomy, &unpacked, &err), &err);
        assert_int_equal(unpacked.skipped, 2);
        assert_int_equal(unpacked.entries, 13);
        assert_int_equal(unpacked.bytes, strlen("tool") + 5 + strlen("through a link") + 3);
        assert_string_equal(read_text(&builder, "usr/lib/added"), "through a link");
        assert_string_equal(read_text(&builder, "\303\244/\342\202\254"), "utf-8");
        assert_string_equal(read_text(&builder, "lib/same"), "new");
        assert_string_equal(read_text(&builder, "lib/tool"), "tool"); /* was not written through */
        assert_true(look(&builder, "usr/lib/tool", &st));
        assert_int_equal(st.st_mode, S_IFREG | 0755); /* open, and no set-user-id bits */
        assert_int_equal(st.st_mtim.tv_sec, 1000000000);
        assert_int_equal(st.st_nlink, 1);
        assert_true(look(&builder, "lib", &st) && S_ISLNK(st.st_mode));
        assert_true(look(&builder, "tmp", &st));
        assert_int_equal(st.st_mode, S_IFDIR | 01777);
        assert_false(look(&builder, "dev-null", &st));
        assert_false(look(&builder, "pipe", &st));
        assert_true(look(&builder, "", &root));
        assert_int_equal(root.st_mode, S_IFDIR | 0755);
        assert_code(unpack(&builder, &roomy, &unpacked, &err), SYN_E_EXISTS, &err);
    }
}

static void
test_config(void **state)
{
    static const struct syn_oci_choice any;
    const struct syn_oci_config *config;
    struct syn_err err = {0};
    struct builder builder;
    SYN_SCOPED(syn_oci_layout_close_scope) struct syn_oci_layout *layout = NULL;

    (void)state;
    builder_init(&builder, "config");
    finish(&builder);
    assert_done(syn_oci_layout_open(builder.dir, &any, &layout, &err), &err);
    config = syn_oci_layout_config(layout);
    assert_string_equal(config->os, "linux");
    assert_string_equal(config->architecture, syn_oci_architecture());
    assert_string_equal(config->entrypoint[0], "/bin/sh");
    assert_string_equal(config->entrypoint[1], "-c");
    assert_null(config->entrypoint[2]);
    assert_null(config->cmd[0]);
    assert_string_equal(config->env[1], "PATH=/b");
    assert_null(config->env[2]);
    assert_string_equal(config->working_dir, "/w");
    assert_string_equal(config->user, "12:34");
    assert_int_equal(syn_oci_layout_layers(layout), 0);
    assert_int_equal(strlen(syn_oci_layout_digest(layout)), strlen("sha256:") + 64);
}

static void
test_whiteouts(void **state)
{
    static const struct item base[] = {FILE_AT("a/1", "1"),
                                       FILE_AT("a/2", "2"),
                                       FILE_AT("b/deep/x", "x"),
                                       FILE_AT("c/y", "y"),
                                       LINK_AT("d", "c"),
                                       FILE_AT("e", "e"),
                                       HERE};
    static const struct item more[] = {
        FILE_AT("a/.wh.1", ""),        /* one file */
        FILE_AT("b/new", "new"),       /* stays, though before the opaque mark */
        FILE_AT("b/.wh..wh..opq", ""), /* all of b from below */
        FILE_AT(".wh.d", ""),          /* the link, not what it leads to */
        FILE_AT(".wh.e", ""),
        FILE_AT("e/f", "f"),                  /* a folder where a file was */
        FILE_AT("no/such/.wh.thing", ""),     /* nothing there */
        FILE_AT("a/.wh..wh.aufs", "ignored"), /* a driver's bookkeeping */
        HERE};
    struct syn_oci_unpacked unpacked;
    struct syn_err err = {0};
    struct builder builder;
    struct stat st;

    (void)state;
    builder_init(&builder, "whiteouts");
    add_layer(&builder, "gzip", base);
    add_layer(&builder, "gzip", more);
    finish(&builder);
    assert_done(unpack(&builder, &roomy, &unpacked, &err), &err);
    assert_false(look(&builder, "a/1", &st));
    assert_true(look(&builder, "a/2", &st));
    assert_false(look(&builder, "b/deep", &st));
    assert_string_equal(read_text(&builder, "b/new"), "new");
    assert_false(look(&builder, "d", &st));
    assert_string_equal(read_text(&builder, "c/y"), "y");
    assert_string_equal(read_text(&builder, "e/f"), "f");
    assert_false(look(&builder, "a/.wh.1", &st));
    assert_false(look(&builder, "a/.wh..wh.aufs", &st));
    assert_false(look(&builder, "b/.wh..wh..opq", &st));
}

/* What an attack may at most do: fail, or stay inside. The prey stands beside the target. */
static void
test_escapes(void **state) /* NOLINT(readability-function-size): cmocka's macros nest */
{
    static const struct {
        struct item items[4];
        int code;           /* 0: it is harmless */
        const char *inside; /* where the attack lands then */
    } cases[] = {
        {{FILE_AT("/prey", "!")}, SYN_E_CORRUPT, NULL},
        {{FILE_AT("../prey", "!")}, SYN_E_CORRUPT, NULL},
        {{FILE_AT("a/../../prey", "!")}, SYN_E_CORRUPT, NULL},
        {{FILE_AT("..", "!")}, SYN_E_CORRUPT, NULL},
        {{LINK_AT("out", ".."), FILE_AT("out/prey", "!")}, 0, "prey"},
        {{LINK_AT("out", "../../../../../.."), FILE_AT("out/prey", "!")}, 0, "prey"},
        {{LINK_AT("out", "/tmp"), FILE_AT("out/prey", "!")}, SYN_E_CORRUPT, NULL},
        {{DIR_AT("tmp"), LINK_AT("out", "/tmp"), FILE_AT("out/prey", "!")}, 0, "tmp/prey"},
        {{LINK_AT("prey", "../prey"), FILE_AT("prey", "!")}, 0, "prey"},
        {{HARD_AT("got", "../prey")}, SYN_E_CORRUPT, NULL},
        {{HARD_AT("got", "/etc/passwd")}, SYN_E_CORRUPT, NULL},
        {{LINK_AT("out", ".."), HARD_AT("got", "out/prey")}, SYN_E_CORRUPT, NULL},
        {{LINK_AT("loop", "loop"), FILE_AT("loop/prey", "!")}, SYN_E_CORRUPT, NULL},
        {{LINK_AT("fd", "/proc/self/cwd"), FILE_AT("fd/prey", "!")}, SYN_E_CORRUPT, NULL},
        {{FILE_AT("f", "f"), FILE_AT("f/prey", "!")}, SYN_E_CORRUPT, NULL},
        {{HARD_AT("got", "missing")}, SYN_E_CORRUPT, NULL},
        {{DIR_AT("d"), HARD_AT("got", "d")}, SYN_E_CORRUPT, NULL},
        {{{"f", AE_IFREG, "f", 0644, 0}, HARD_AT("f", "f")}, 0, "f"},
    };
    char prey[300];

    (void)state;
    (void)snprintf(prey, sizeof(prey), "%s/prey", syn_test_dir());
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        struct syn_oci_unpacked unpacked;
        struct syn_err err = {0};
        struct builder builder;
        struct stat st;
        char name[32];
        int fd = open(prey, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0 && write(fd, "safe", 4) == 4 && close(fd) == 0);
        (void)snprintf(name, sizeof(name), "escape-%zu", i);
        builder_init(&builder, name);
        add_layer(&builder, "", cases[i].items);
        finish(&builder);
        if (cases[i].code != 0) {
            if (unpack(&builder, &roomy, &unpacked, &err) != cases[i].code)
                fail_msg("case %zu: %s", i, err.msg);
            assert_true(nothing_left(&builder));
        } else {
            assert_done(unpack(&builder, &roomy, &unpacked, &err), &err);
            assert_true(look(&builder, cases[i].inside, &st) && S_ISREG(st.st_mode));
        }
        assert_true(stat(prey, &st) == 0 && st.st_size == 4 && st.st_nlink == 1);
        assert_false(access("/tmp/prey", F_OK) == 0);
    }
}

/* Whiteouts are commands to delete: they must not reach outside either. */
static void
test_whiteout_escapes(void **state)
{
    static const struct item base[] = {LINK_AT("out", ".."), LINK_AT("abs", "/tmp"), HERE};
    static const struct {
        const char *path;
        int code;
    } cases[] = {
        {"../.wh.prey", SYN_E_CORRUPT}, {"out/.wh.prey", 0},       {"out/.wh..wh..opq", 0},
        {"abs/.wh..wh..opq", 0},        {".wh...", SYN_E_CORRUPT}, {"out/.wh...", SYN_E_CORRUPT},
        {".wh.", SYN_E_CORRUPT},        {".wh..", SYN_E_CORRUPT},
    };
    char prey[300];

    (void)state;
    (void)snprintf(prey, sizeof(prey), "%s/prey", syn_test_dir());
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        const struct item more[] = {FILE_AT(cases[i].path, ""), HERE};
        struct syn_oci_unpacked unpacked;
        struct syn_err err = {0};
        struct builder builder;
        char name[32];
        int fd = open(prey, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        int rc;

        assert_true(fd >= 0 && close(fd) == 0);
        (void)snprintf(name, sizeof(name), "wh-escape-%zu", i);
        builder_init(&builder, name);
        add_layer(&builder, "", base);
        add_layer(&builder, "", more);
        finish(&builder);
        rc = unpack(&builder, &roomy, &unpacked, &err);
        if (rc != cases[i].code)
            fail_msg("case %zu: %d %s", i, rc, err.msg);
        assert_int_equal(access(prey, F_OK), 0);
        assert_int_equal(access(builder.dir, F_OK), 0);
    }
}

static void
test_limits(void **state)
{
    static char big[200001];
    char deep[4 * SYN_OCI_DEPTH_MAX] = "";
    const struct item items[] = {FILE_AT("big", big), FILE_AT("small", "s"), HERE};
    const struct item too_deep[] = {FILE_AT(deep, "!"), HERE};
    const struct item foreign[] = {{"f", AE_IFREG, "", 0644, 70000}, HERE};
    struct syn_oci_limits limits = roomy;
    struct syn_oci_unpacked unpacked;
    struct syn_err err = {0};
    struct builder builder;

    (void)state;
    memset(big, 'x', sizeof(big) - 1);
    builder_init(&builder, "limits");
    add_layer(&builder, "zstd", items); /* small on disk, large unpacked */
    finish(&builder);
    limits.bytes_max = 100000;
    assert_code(unpack(&builder, &limits, &unpacked, &err), SYN_E_LIMIT, &err);
    assert_true(nothing_left(&builder));
    limits = roomy;
    limits.entries_max = 1;
    assert_code(unpack(&builder, &limits, &unpacked, &err), SYN_E_LIMIT, &err);
    assert_true(nothing_left(&builder));

    builder_init(&builder, "deep");
    for (int i = 0; i <= SYN_OCI_DEPTH_MAX + 1; i++)
        append(deep, sizeof(deep), i > 0 ? "/" : "", "d");
    add_layer(&builder, "", too_deep);
    finish(&builder);
    assert_code(unpack(&builder, &roomy, &unpacked, &err), SYN_E_LIMIT, &err);

    builder_init(&builder, "foreign");
    add_layer(&builder, "", foreign);
    finish(&builder);
    limits = roomy;
    limits.keep_owner = true;
    assert_code(unpack(&builder, &limits, &unpacked, &err), SYN_E_LIMIT, &err);
    assert_true(nothing_left(&builder));
}

static void
test_owner(void **state)
{
    const struct item items[] = {
        {"f", AE_IFREG, "f", 0600, 1234}, {"l", AE_IFLNK, "f", 0777, 1234}, HERE};
    struct syn_oci_limits limits = roomy;
    struct syn_oci_unpacked unpacked;
    struct syn_err err = {0};
    struct builder builder;
    struct stat st;

    (void)state;
    if (geteuid() != 0) {
        print_message("changing owners needs root\n");
        skip();
    }
    builder_init(&builder, "owner");
    add_layer(&builder, "", items);
    finish(&builder);
    limits.keep_owner = true;
    limits.open_modes = false;
    assert_done(unpack(&builder, &limits, &unpacked, &err), &err);
    assert_true(look(&builder, "f", &st));
    assert_int_equal(st.st_uid, 1234);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
    assert_true(look(&builder, "l", &st));
    assert_int_equal(st.st_uid, 1234);
}

/* Links let a layer nest folders far deeper than any path it names: still removable. */
static void
test_nested_beyond_paths(void **state)
{
    enum { STEP = 100, ROUNDS = 12 };
    static char paths[ROUNDS][STEP * 2 + 32], names[ROUNDS][16];
    static struct item items[2 * ROUNDS + 2];
    static const struct item more[] = {FILE_AT(".wh.top", ""), HERE};
    struct syn_oci_unpacked unpacked;
    struct syn_err err = {0};
    struct builder builder;
    struct stat st;
    size_t count = 0;

    (void)state;
    items[count++] = (struct item)DIR_AT("top");
    for (unsigned i = 0; i < ROUNDS; i++) {
        /* link-(i-1)/d/d/.../d, then a link to it under a short name */
        (void)snprintf(names[i], sizeof(names[i]), "l%u", i);
        (void)snprintf(paths[i], sizeof(paths[i]), "%s", i > 0 ? names[i - 1] : "top");
        for (unsigned k = 0; k < STEP; k++)
            append(paths[i], sizeof(paths[i]), "/", "d");
        items[count++] = (struct item)DIR_AT(paths[i]);
        items[count++] = (struct item)LINK_AT(names[i], paths[i]);
    }
    builder_init(&builder, "nested");
    add_layer(&builder, "zstd", items);
    add_layer(&builder, "zstd", more);
    finish(&builder);
    assert_done(unpack(&builder, &roomy, &unpacked, &err), &err);
    assert_false(look(&builder, "top", &st));
    assert_true(look(&builder, "l1", &st));
}

static void
damage(const struct builder *builder, const char *name, bool cut)
{
    char path[512];
    int fd;
    struct stat st = {0};
    char byte = 0;

    (void)snprintf(path, sizeof(path), "%s/%s", builder->dir, name);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    if (cut) {
        assert_int_equal(ftruncate(fd, st.st_size - 1), 0);
    } else {
        assert_int_equal(pread(fd, &byte, 1, st.st_size / 2), 1);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, st.st_size / 2), 1);
    }
    assert_int_equal(close(fd), 0);
}

/* The name of a blob from `"digest":"sha256:HEX"` in `text`. */
static const char *
blob_name(const char *text)
{
    static char name[96];
    const char *at = strstr(text, "sha256:");

    assert_non_null(at);
    (void)snprintf(name, sizeof(name), "blobs/sha256/%.64s", at + strlen("sha256:"));
    return name;
}

static void
test_damage(void **state)
{
    static const struct item items[] = {
        FILE_AT("f", "some content that is long enough to have a middle"), HERE};
    static const char *const ways[] = {"", "gzip", "zstd"};

    (void)state;
    for (unsigned i = 0; i < 2 * SYN_LEN(ways) + 3; i++) {
        struct syn_oci_unpacked unpacked;
        struct syn_err err = {0};
        struct builder builder;
        char name[32];

        (void)snprintf(name, sizeof(name), "damage-%u", i);
        builder_init(&builder, name);
        add_layer(&builder, ways[i % SYN_LEN(ways)], items);
        finish(&builder);
        if (i < 2 * SYN_LEN(ways)) {
            damage(&builder, blob_name(builder.layers), i >= SYN_LEN(ways));
        } else if (i < 2 * SYN_LEN(ways) + 2) {
            damage(&builder, blob_name(builder.manifest), i % 2 == 0);
        } else {
            char path[512];

            (void)snprintf(path, sizeof(path), "%s/%s", builder.dir, blob_name(builder.layers));
            assert_int_equal(unlink(path), 0);
        }
        assert_code(unpack(&builder, &roomy, &unpacked, &err), SYN_E_CORRUPT, &err);
        assert_true(nothing_left(&builder));
    }
}

/* A blob that is what its digest says, holding something else than the configuration says. */
static void
test_wrong_content(void **state)
{
    static const struct item items[] = {FILE_AT("f", "f"), HERE};
    static const char junk[2048] = "this is no tar archive";
    struct syn_oci_unpacked unpacked;
    struct syn_err err = {0};
    struct builder builder;
    char *digit;

    (void)state;
    builder_init(&builder, "diff-id");
    add_layer(&builder, "gzip", items);
    digit = &builder.diff_ids[12];
    *digit = *digit == '0' ? '1' : '0';
    finish(&builder);
    assert_code(unpack(&builder, &roomy, &unpacked, &err), SYN_E_CORRUPT, &err);
    assert_true(nothing_left(&builder));

    builder_init(&builder, "junk");
    add_bytes(&builder, "zstd", junk, sizeof(junk));
    finish(&builder);
    assert_code(unpack(&builder, &roomy, &unpacked, &err), SYN_E_CORRUPT, &err);
    assert_true(nothing_left(&builder));
}

/* A blob that is a link would let an image read any file of the host. */
static void
test_links_in_the_layout(void **state)
{
    static const struct item items[] = {FILE_AT("f", "f"), HERE};
    struct syn_oci_unpacked unpacked;
    struct syn_err err = {0};
    struct builder builder;
    char path[512], aside[520];

    (void)state;
    builder_init(&builder, "linked");
    add_layer(&builder, "", items);
    finish(&builder);
    (void)snprintf(path, sizeof(path), "%s/%s", builder.dir, blob_name(builder.layers));
    (void)snprintf(aside, sizeof(aside), "%s.aside", path);
    assert_int_equal(rename(path, aside), 0);
    assert_int_equal(symlink(aside, path), 0);
    assert_true(unpack(&builder, &roomy, &unpacked, &err) < 0);
    assert_true(nothing_left(&builder));
}

static int
open_with(const struct builder *builder, const char *ref, const char *architecture,
          struct syn_err *err)
{
    const struct syn_oci_choice choice = {.architecture = architecture, .ref = ref};
    SYN_SCOPED(syn_oci_layout_close_scope) struct syn_oci_layout *layout = NULL;

    return syn_oci_layout_open(builder->dir, &choice, &layout, err);
}

static void
test_choice(void **state)
{
    char amd[160], arm[160], inner[200], text[2000];
    struct syn_err err = {0};
    struct builder builder;

    (void)state;
    builder_init(&builder, "choice");
    add_manifest(&builder, "amd64");
    (void)snprintf(amd, sizeof(amd), "%s", builder.manifest);
    add_manifest(&builder, "arm64");
    (void)snprintf(arm, sizeof(arm), "%s", builder.manifest);

    /* An index in the index, as build tools write it, with an attestation beside. */
    (void)snprintf(text, sizeof(text),
                   "{\"schemaVersion\":2,\"manifests\":["
                   "{\"mediaType\":\"" MANIFEST "\",%s,\"platform\":{\"os\":\"linux\","
                   "\"architecture\":\"amd64\"}},"
                   "{\"mediaType\":\"" MANIFEST "\",%s,\"platform\":{\"os\":\"linux\","
                   "\"architecture\":\"arm64\",\"variant\":\"v8\"}},"
                   "{\"mediaType\":\"" MANIFEST "\",%s,\"platform\":{\"os\":\"unknown\","
                   "\"architecture\":\"unknown\"}}]}",
                   amd, arm, arm);
    put_blob(&builder, text, strlen(text), inner, sizeof(inner));
    (void)snprintf(text, sizeof(text),
                   "{\"mediaType\":\"" INDEX "\",%s,\"annotations\":{"
                   "\"org.opencontainers.image.ref.name\":\"v1\"}},"
                   "{\"mediaType\":\"application/x\",%s}",
                   inner, amd);
    write_index(&builder, text);
    assert_done(open_with(&builder, NULL, "amd64", &err), &err);
    assert_done(open_with(&builder, "v1", "arm64", &err), &err);
    assert_code(open_with(&builder, "v2", "arm64", &err), SYN_E_NOTFOUND, &err);
    assert_code(open_with(&builder, NULL, "riscv64", &err), SYN_E_UNSUPPORTED, &err);
    assert_non_null(strstr(err.msg, "linux/amd64"));

    /* Without platforms: the name chooses, the configuration has the last word. */
    (void)snprintf(text, sizeof(text),
                   "{\"mediaType\":\"" MANIFEST "\",%s,\"annotations\":{"
                   "\"org.opencontainers.image.ref.name\":\"one\"}},"
                   "{\"mediaType\":\"" MANIFEST "\",%s,\"annotations\":{"
                   "\"org.opencontainers.image.ref.name\":\"two\"}}",
                   amd, arm);
    write_index(&builder, text);
    assert_code(open_with(&builder, NULL, "amd64", &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "one, two"));
    assert_done(open_with(&builder, "one", "amd64", &err), &err);
    assert_code(open_with(&builder, "two", "amd64", &err), SYN_E_UNSUPPORTED, &err);
}

static void
test_bad_layouts(void **state)
{
    static const struct {
        const char *file, *text;
        int code;
    } cases[] = {
        {"oci-layout", "{}", SYN_E_INVALID},
        {"oci-layout", "{\"imageLayoutVersion\":\"2.0\"}", SYN_E_UNSUPPORTED},
        {"index.json", "", SYN_E_INVALID},
        {"index.json", "{\"schemaVersion\":1,\"manifests\":[]}", SYN_E_INVALID},
        {"index.json", "{\"schemaVersion\":2,\"manifests\":[]}", SYN_E_UNSUPPORTED},
        {"index.json", "{\"schemaVersion\":2,\"manifests\":[7]}", SYN_E_INVALID},
        {"index.json",
         "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" MANIFEST
         "\",\"size\":1,\"digest\":\"sha256:../../../etc/passwd\"}]}",
         SYN_E_INVALID},
        {"index.json",
         "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" MANIFEST
         "\",\"size\":1,\"digest\":\"md5:00\"}]}",
         SYN_E_UNSUPPORTED},
    };
    struct syn_err err = {0};
    struct builder builder;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "bad-%zu", i);
        builder_init(&builder, name);
        finish(&builder);
        write_file(&builder, cases[i].file, cases[i].text, strlen(cases[i].text));
        assert_code(open_with(&builder, NULL, NULL, &err), cases[i].code, &err);
    }
    (void)snprintf(builder.dir, sizeof(builder.dir), "%s", syn_test_dir());
    assert_code(open_with(&builder, NULL, NULL, &err), SYN_E_NOTFOUND, &err);
}

/* What a crash left of an earlier try is no part of the image. */
static void
test_leftovers(void **state)
{
    static const struct item items[] = {FILE_AT("f", "f"), HERE};
    struct syn_oci_unpacked unpacked;
    struct syn_err err = {0};
    struct builder builder;
    struct stat st;
    char path[600];

    (void)state;
    builder_init(&builder, "leftovers");
    add_layer(&builder, "", items);
    finish(&builder);
    (void)snprintf(path, sizeof(path), "%s.partial", target_of(&builder));
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s.partial/old", target_of(&builder));
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s.partial/old/older", target_of(&builder));
    assert_int_equal(mkdir(path, 0700), 0);
    assert_done(unpack(&builder, &roomy, &unpacked, &err), &err);
    assert_true(look(&builder, "f", &st));
    assert_false(look(&builder, "old", &st));
}

static int
sweep_scenario(void *arg, struct syn_err *err)
{
    const struct builder *builder = arg;

    return open_with(builder, NULL, NULL, err);
}

static void
test_memory(void **state)
{
    static const struct item items[] = {FILE_AT("f", "f"), HERE};
    struct builder builder;

    (void)state;
    builder_init(&builder, "memory");
    add_layer(&builder, "gzip", items);
    finish(&builder);
    assert_true(syn_test_sweep_alloc(sweep_scenario, &builder) > 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unpack),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_whiteouts),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_whiteout_escapes),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_owner),
        cmocka_unit_test(test_nested_beyond_paths),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_wrong_content),
        cmocka_unit_test(test_links_in_the_layout),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_bad_layouts),
        cmocka_unit_test(test_leftovers),
        cmocka_unit_test(test_memory),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

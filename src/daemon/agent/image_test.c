/* Images as instances get them: fetched from the fake server, unpacked, refused. The layouts are
 * made here, with one layer of one file. */
#include "agent_testing.h"
#include "wish_priv.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/str.h>
#include <synor/base/tree.h>

#define BLOCK 512

static struct bench *bench;
static struct syn_content *theirs; /* the server's store */

static int
set_up(void **state)
{
    struct syn_content_opts options = {.dir = NULL};
    struct syn_err err = {0};

    (void)state;
    bench = bench_open();
    options.dir = bench_path(bench, "theirs");
    assert_done(syn_content_open(&options, &theirs, &err), &err);
    bench->fake.content = theirs;
    bench->instance.preparing_told = true;
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    bench_close(bench);
    theirs = syn_content_close(theirs);
    return 0;
}

/* --- layouts ---------------------------------------------------------------------------------- */

/* What is special about a layout; zeros make a good one. */
struct layout {
    const char *file;         /* in the layer; "hello" */
    const char *architecture; /* this machine's */
    const char *index;        /* instead of the right one */
    const char *user;         /* "12:34" */
    bool damaged;             /* a byte of the layer is another one than its digest says */
    bool other_diff;          /* the uncompressed digest is another's */
    bool no_marker;           /* it does not say that it is a layout */
};

/* A tar archive of one file of that name. */
static size_t
make_tar(const char *name, char *tar)
{
    static const char text[] = "hello\n";
    unsigned sum = 0;

    memset(tar, 0, 4 * (size_t)BLOCK);
    (void)snprintf(tar, 100, "%s", name);
    (void)snprintf(tar + 100, 8, "%07o", 0640U);
    (void)snprintf(tar + 108, 8, "%07o", 0U);
    (void)snprintf(tar + 116, 8, "%07o", 0U);
    (void)snprintf(tar + 124, 12, "%011o", (unsigned)sizeof(text) - 1);
    (void)snprintf(tar + 136, 12, "%011o", 1000000000U);
    memset(tar + 148, ' ', 8);
    tar[156] = '0';
    (void)snprintf(tar + 257, 6, "ustar");
    memset(tar + 263, '0', 2);
    for (int i = 0; i < BLOCK; i++)
        sum += (unsigned char)tar[i];
    (void)snprintf(tar + 148, 8, "%06o", sum);
    memcpy(tar + BLOCK, text, sizeof(text) - 1);
    return 4 * (size_t)BLOCK;
}

/* Write a blob, and `"digest":...,"size":...` into `out`. */
static void
put_blob(const char *folder, const void *data, size_t len, char *out, size_t cap)
{
    uint8_t digest[SYN_SHA256_LEN];
    char hex[2 * SYN_SHA256_LEN + 1], name[256];

    syn_sha256(data, len, digest);
    syn_hex_encode(digest, sizeof(digest), hex);
    (void)snprintf(name, sizeof(name), "%s/blobs/sha256/%s", folder, hex);
    bench_put(bench, name, data, len);
    (void)snprintf(out, cap, "\"digest\":\"sha256:%s\",\"size\":%zu", hex, len);
}

static void
put_layer(const struct layout *layout, const char *folder, char *layer, size_t cap)
{
    char tar[4 * BLOCK], name[320];
    size_t len = make_tar(layout->file ? layout->file : "hello", tar);

    put_blob(folder, tar, len, layer, cap);
    if (!layout->damaged)
        return;
    tar[BLOCK] ^= 1;
    (void)snprintf(name, sizeof(name), "%s/blobs/sha256/%.64s", folder,
                   layer + strlen("\"digest\":\"sha256:"));
    bench_put(bench, name, tar, len);
}

static void
make_layout(const struct layout *layout, const char *folder)
{
    static const char *const below[] = {"", "/blobs", "/blobs/sha256"};
    static const char marker[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
    char layer[200], config[200], manifest[200], text[2048], name[256];

    for (size_t i = 0; i < SYN_LEN(below); i++) {
        (void)snprintf(name, sizeof(name), "%s%s", folder, below[i]);
        assert_int_equal(mkdir(bench_path(bench, name), 0755), 0);
    }
    put_layer(layout, folder, layer, sizeof(layer));
    (void)snprintf(text, sizeof(text),
                   "{\"os\":\"linux\",\"architecture\":\"%s\",\"config\":{\"Env\":[\"A=image\","
                   "\"B=image\",\"PATH=/b\"],\"WorkingDir\":\"/\",\"User\":\"%s\"},\"rootfs\":{"
                   "\"type\":\"layers\",\"diff_ids\":[\"sha256:%.63s%c\"]}}",
                   layout->architecture ? layout->architecture : syn_oci_architecture(),
                   layout->user ? layout->user : "12:34", layer + strlen("\"digest\":\"sha256:"),
                   layout->other_diff ? 'x' : layer[strlen("\"digest\":\"sha256:") + 63]);
    put_blob(folder, text, strlen(text), config, sizeof(config));
    (void)snprintf(text, sizeof(text),
                   "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"application/"
                   "vnd.oci.image.config.v1+json\",%s},\"layers\":[{\"mediaType\":\"application/"
                   "vnd.oci.image.layer.v1.tar\",%s}]}",
                   config, layer);
    put_blob(folder, text, strlen(text), manifest, sizeof(manifest));
    (void)snprintf(text, sizeof(text),
                   "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/"
                   "vnd.oci.image.manifest.v1+json\",%s}]}",
                   manifest);
    (void)snprintf(name, sizeof(name), "%s/index.json", folder);
    bench_put(bench, name, layout->index ? layout->index : text,
              strlen(layout->index ? layout->index : text));
    (void)snprintf(name, sizeof(name), "%s/oci-layout", folder);
    if (!layout->no_marker)
        bench_put(bench, name, marker, sizeof(marker) - 1);
}

/* Put the layout into the server's store. */
static const char *
offer(const struct layout *layout)
{
    static char cid[SYN_CID_TEXT_MAX];
    static unsigned number;
    struct syn_err err = {0};
    struct syn_cid made;
    char folder[32];

    (void)snprintf(folder, sizeof(folder), "layout-%u", number++);
    make_layout(layout, folder);
    assert_done(
        syn_content_put_path(theirs, bench_path(bench, folder), NULL, NULL, &made, NULL, &err),
        &err);
    return syn_cid_format(&made, cid);
}

static int
get_image(const char *cid, char *out, struct syn_err *err)
{
    SYN_SCOPED(syn_oci_layout_close_scope) struct syn_oci_layout *layout = NULL;

    return agt_image(&bench->instance, cid, &layout, out, err);
}

static bool
has_file(const char *rootfs, const char *name, struct stat *ret)
{
    char path[2 * AGT_PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s/%s", rootfs, name);
    return lstat(path, ret) == 0;
}

/* --- images ----------------------------------------------------------------------------------- */

static void
image_is_unpacked_once(void **state)
{
    static const struct layout good;
    SYN_SCOPED(syn_oci_layout_close_scope) struct syn_oci_layout *layout = NULL;
    const char *cid = offer(&good);
    char out[AGT_PATH_MAX], mark[AGT_PATH_MAX + 16];
    struct syn_err err = {0};
    struct stat st;
    int requests;

    (void)state;
    assert_done(agt_image(&bench->instance, cid, &layout, out, &err), &err);
    assert_string_equal(syn_oci_layout_config(layout)->user, "12:34");
    assert_true(has_file(out, "hello", &st));
    assert_int_equal(st.st_size, 6);
    assert_int_equal(st.st_mode & 07777, 0644); /* everybody may read what the owner may */
    (void)snprintf(mark, sizeof(mark), "%s/mark", out);
    assert_int_equal(mkdir(mark, 0700), 0);
    requests = fake_requests(&bench->fake);
    assert_done(get_image(cid, out, &err), &err);
    assert_int_equal(fake_requests(&bench->fake), requests);
    assert_true(has_file(out, "mark", &st)); /* it is the one from before */
}

static void
bad_images_leave_nothing(void **state)
{
    static const struct {
        struct layout layout;
        int code;
    } rows[] = {
        {{.no_marker = true}, SYN_E_NOTFOUND},
        {{.index = "{"}, SYN_E_INVALID},
        {{.index = "{\"schemaVersion\":2,\"manifests\":[]}"}, SYN_E_UNSUPPORTED},
        {{.architecture = "pdp11"}, SYN_E_UNSUPPORTED},
        {{.damaged = true}, SYN_E_CORRUPT},
        {{.other_diff = true}, SYN_E_INVALID},
        {{.file = "../evil"}, SYN_E_CORRUPT},
        {{.file = "/evil"}, SYN_E_CORRUPT},
    };
    static const struct layout good;
    char out[AGT_PATH_MAX];
    struct syn_err err = {0};
    struct stat st;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        const char *cid = offer(&rows[i].layout);

        for (int turn = 0; turn < 2; turn++) { /* it does not become better */
            int rc = get_image(cid, out, &err);

            if (rc != rows[i].code)
                fail_msg("row %zu: %d: %s", i, rc, err.msg);
            assert_true(syn_str_starts(err.msg, "image: "));
            assert_false(has_file(bench_path(bench, "images"), cid, &st) && has_file(out, "", &st));
        }
    }
    assert_int_equal(access(bench_path(bench, "evil"), F_OK), -1);
    assert_int_equal(access("/evil", F_OK), -1);
    assert_code(get_image("no-cid", out, &err), SYN_E_INVALID, &err);
    assert_done(get_image(offer(&good), out, &err), &err);
    assert_true(has_file(out, "hello", &st));
}

/* A file in the place of a folder, and what a killed agent left. */
static void
what_is_in_the_way_is_told_or_removed(void **state)
{
    static const struct layout good;
    char cid[SYN_CID_TEXT_MAX], out[AGT_PATH_MAX], name[256];
    struct syn_err err = {0};
    struct stat st;

    (void)state;
    (void)snprintf(cid, sizeof(cid), "%s", offer(&good));
    (void)snprintf(name, sizeof(name), "images/%s", cid);
    bench_put(bench, name, "", 0);
    assert_true(get_image(cid, out, &err) < 0);
    assert_int_equal(unlink(bench_path(bench, name)), 0);
    assert_int_equal(mkdir(bench_path(bench, name), 0700), 0);
    (void)snprintf(name, sizeof(name), "images/%s/rootfs.partial", cid);
    assert_int_equal(mkdir(bench_path(bench, name), 0700), 0);
    (void)snprintf(name, sizeof(name), "images/%s/rootfs.partial/half", cid);
    bench_put(bench, name, "x", 1);
    assert_done(get_image(cid, out, &err), &err);
    assert_true(has_file(out, "hello", &st));
    assert_false(has_file(out, "half", &st));
    (void)snprintf(name, sizeof(name), "images/%s/rootfs.partial", cid);
    assert_int_equal(access(bench_path(bench, name), F_OK), -1);
}

static void
room_is_needed(void **state)
{
    static const struct layout good;
    struct agt_cache *cache = &bench->agent.cache;
    char cid[SYN_CID_TEXT_MAX], out[AGT_PATH_MAX];
    int64_t laid_out;
    struct syn_err err = {0};

    (void)state;
    (void)snprintf(cid, sizeof(cid), "%s", offer(&good));
    cache->keep_free_bytes = 0;
    assert_done(agt_fetch(&bench->instance, cid, out, &err), &err);
    laid_out = agt_cache_bytes(cache, AGT_CACHE_FILES, cid);
    cache->bytes_max = 2 * laid_out;
    assert_code(get_image(cid, out, &err), SYN_E_NOSPACE, &err);
    assert_non_null(strstr(err.msg, "unpacking"));
    assert_int_equal(access(out, F_OK), -1);
    cache->bytes_max = INT64_C(1) << 40;
    assert_done(get_image(cid, out, &err), &err);
}

struct comer {
    pthread_t thread;
    struct agt_instance instance;
    const char *cid;
    char out[AGT_PATH_MAX];
    int rc;
};

static void *
come(void *arg)
{
    struct comer *comer = arg;
    SYN_SCOPED(syn_oci_layout_close_scope) struct syn_oci_layout *layout = NULL;

    comer->rc = agt_image(&comer->instance, comer->cid, &layout, comer->out, NULL);
    return NULL;
}

static void
all_who_come_at_once_get_it(void **state)
{
    static const struct layout good;
    static struct comer comers[6];
    const char *cid = offer(&good);
    struct syn_err err = {0};
    struct stat st;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(comers); i++) {
        comers[i] = (struct comer){
            .cid = cid,
            .instance = {.agent = &bench->agent, .id = "inst-1", .preparing_told = true}};
        assert_done(agt_client_new(&bench->agent, "token", &comers[i].instance.client, &err), &err);
    }
    for (size_t i = 0; i < SYN_LEN(comers); i++)
        assert_int_equal(pthread_create(&comers[i].thread, NULL, come, &comers[i]), 0);
    for (size_t i = 0; i < SYN_LEN(comers); i++) {
        assert_int_equal(pthread_join(comers[i].thread, NULL), 0);
        assert_int_equal(comers[i].rc, SYN_OK);
        assert_true(has_file(comers[i].out, "hello", &st));
        (void)syn_client_free(comers[i].instance.client);
    }
    assert_int_equal(fake_requests(&bench->fake), 2); /* its size, its blocks */
}

/* --- faults ----------------------------------------------------------------------------------- */

static int
unpack_scenario(void *arg, struct syn_err *err)
{
    char out[AGT_PATH_MAX];
    struct stat st;
    int rc;

    syn_tree_remove(bench_path(bench, "images"));
    assert_int_equal(mkdir(bench_path(bench, "images"), 0700), 0);
    rc = get_image(arg, out, err);
    assert_int_equal(has_file(out, "hello", &st), rc == SYN_OK); /* whole or not at all */
    return rc;
}

static void
short_memory_leaves_nothing_half(void **state)
{
    static const struct layout good;
    char cid[SYN_CID_TEXT_MAX];
    struct syn_err err = {0};

    (void)state;
    (void)snprintf(cid, sizeof(cid), "%s", offer(&good));
    assert_done(unpack_scenario(cid, &err), &err);
    assert_true(syn_test_sweep_alloc(unpack_scenario, cid) >= 20);
}

/* The disk takes only so many bytes of a file, the process only so many files. */
static void
every_shortage_leaves_nothing_half(void **state)
{
    static const struct layout good;
    static const __rlimit_resource_t kinds[] = {RLIMIT_FSIZE, RLIMIT_NOFILE};
    char cid[SYN_CID_TEXT_MAX];
    struct syn_err err = {0};
    struct rlimit before;

    (void)state;
    (void)snprintf(cid, sizeof(cid), "%s", offer(&good));
    assert_done(unpack_scenario(cid, &err), &err);
    (void)signal(SIGXFSZ, SIG_IGN);
    for (size_t kind = 0; kind < SYN_LEN(kinds); kind++) {
        unsigned failures = 0;
        int rc = -1;

        for (rlim_t limit = 0; rc < 0 && limit < 100; limit++, failures += rc < 0) {
            int free_fd = dup(STDERR_FILENO);

            (void)close(free_fd);
            assert_int_equal(getrlimit(kinds[kind], &before), 0);
            syn_tree_remove(bench_path(bench, "images"));
            assert_int_equal(mkdir(bench_path(bench, "images"), 0700), 0);
            assert_int_equal(
                setrlimit(kinds[kind], &(struct rlimit){kind == 0 ? limit : (rlim_t)free_fd + limit,
                                                        before.rlim_max}),
                0);
            {
                char out[AGT_PATH_MAX];
                struct stat st;

                rc = get_image(cid, out, &err);
                assert_int_equal(has_file(out, "hello", &st), rc == SYN_OK);
            }
            assert_int_equal(setrlimit(kinds[kind], &before), 0);
        }
        assert_done(rc, &err);
        assert_true(failures >= 2);
    }
}

/* --- who runs in it --------------------------------------------------------------------------- */

static void
users_are_numbers_or_nobody(void **state)
{
    static const struct {
        const char *user;
        uint32_t uid, gid;
    } rows[] = {
        {"", 7, 7},
        {"12", 12, 7},
        {"12:34", 12, 34},
        {"0", 7, 7},
        {"0:0", 7, 7},
        {"0:34", 7, 34},
        {"root", 7, 7},
        {"daemon:daemon", 7, 7},
        {"12:daemon", 12, 7},
        {"daemon:34", 7, 34},
        {":34", 7, 34},
        {"65535:65535", 65535, 65535},
        {"65536:65536", 7, 7},
        {"99999999999999999999", 7, 7},
        {"1234567890123456", 7, 7},
        {"-1", 7, 7},
        {" 12", 7, 7},
        {"12:34:56", 12, 7},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        const struct syn_oci_config config = {.user = rows[i].user};
        uint32_t uid = 7, gid = 7;

        agt_image_user(&config, &uid, &gid);
        if (uid != rows[i].uid || gid != rows[i].gid)
            fail_msg("\"%s\" is %u:%u", rows[i].user, uid, gid);
    }
}

/* What the job says comes before what the image says. */
static void
jobs_come_before_their_images(void **state)
{
    static const struct {
        const char *job; /* more of its spec */
        const char *env, *cwd;
    } rows[] = {
        {"{}", "A=image B=image PATH=/b ", "/"},
        {"{\"env\": {\"A\": \"job\"}}", "A=job B=image PATH=/b ", "/"},
        {"{\"env\": {\"PATH\": \"/p\", \"C\": \"\"}}", "PATH=/p C= A=image B=image ", "/"},
        {"{\"code_cid\": \"no-cid\"}", NULL, NULL}, /* comes after the image */
    };
    static const struct layout good;
    const char *cid = offer(&good);

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        SYN_SCOPED(agt_wish_fini) struct agt_wish wish = {0};
        SYN_JSON(doc);
        json_t *more = json_loads(rows[i].job, 0, NULL);
        struct syn_err err = {0};
        SYN_BUF(env);
        int rc;

        doc = json_pack("{s:s, s:{s:s, s:s, s:[s], s:{}, s:{}}}", "id", "inst-1", "spec", "image",
                        "synor://x", "image_cid", cid, "argv", "x", "env", "hyperparameters");
        assert_int_equal(json_object_update(json_object_get(doc, "spec"), more), 0);
        json_decref(more);
        rc = agt_wish_make(&bench->instance, doc, &wish, &err);
        assert_int_equal(rc < 0, rows[i].env == NULL);
        assert_int_equal(wish.spec.uid, 12);
        assert_int_equal(wish.spec.gid, 34);
        assert_string_equal(wish.spec.rootfs + strlen(wish.spec.rootfs) - 7, "/rootfs");
        if (rc < 0)
            continue;
        for (size_t n = 0; wish.spec.env[n] != NULL; n++)
            syn_buf_addf(&env, "%s ", wish.spec.env[n]);
        assert_string_equal(syn_buf_text(&env), rows[i].env);
        assert_string_equal(wish.spec.cwd, rows[i].cwd);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(image_is_unpacked_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_images_leave_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_in_the_way_is_told_or_removed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(room_is_needed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(all_who_come_at_once_get_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(short_memory_leaves_nothing_half, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_shortage_leaves_nothing_half, set_up, tear_down),
        cmocka_unit_test(users_are_numbers_or_nobody),
        cmocka_unit_test_setup_teardown(jobs_come_before_their_images, set_up, tear_down),
    };

    syn_log_setup(STDERR_FILENO, SYN_LOG_ERROR, false);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

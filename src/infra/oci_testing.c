#include "oci_testing.h"

#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/infra/oci_layout.h>

static void
on_progress(void *arg, const struct syn_oci_progress *progress)
{
    struct oci_world *world = arg;

    assert_true(progress->bytes_done <= progress->bytes && progress->bytes_done >= 0);
    assert_true(progress->layers_done <= progress->layers);
    world->last = *progress;
    world->told++;
}

/* No test here ends the machine: what is written need not be on the disk. */
static int
no_sync(int fd)
{
    (void)fd;
    return 0;
}

static const struct syn_content_io unsynced = {.pwritev = pwritev,
                                               .fdatasync = no_sync,
                                               .fsync = no_sync,
                                               .ftruncate = ftruncate,
                                               .renameat2 = renameat2};

void
oci_world_init(struct oci_world *world)
{
    static unsigned number;
    char dir[256];
    struct syn_content_opts opts = {.dir = dir, .threads = 1, .io = &unsynced};

    (void)snprintf(dir, sizeof(dir), "%s/%u", syn_test_dir(), number++);
    assert_done(syn_content_open(&opts, &world->content, &world->err), &world->err);
    world->move =
        (struct syn_oci_move){.content = world->content, .progress = on_progress, .arg = world};
}

void
oci_world_fini(struct oci_world *world)
{
    json_decref(world->made);
    world->content = syn_content_close(world->content);
}

int
oci_world_setup(void **state)
{
    struct oci_world *world = syn_calloc(1, sizeof(*world));

    assert_non_null(world);
    oci_world_init(world);
    world->fake = fake_new();
    world->other = fake_new();
    fake_image(world->fake, "a/b", 2, OCI_LAYER_BYTES, syn_oci_architecture(), &world->image);
    world->remote = (struct syn_oci_remote){
        .any_address = true, .stall_ms = OCI_PATIENT_MS, .pause_ms = 1, .tries_max = 3};
    *state = world;
    return 0;
}

int
oci_world_teardown(void **state)
{
    struct oci_world *world = *state;

    json_decref(world->rules);
    (void)fake_free(world->fake);
    (void)fake_free(world->other);
    oci_world_fini(world);
    syn_free(world);
    return 0;
}

void
oci_world_ref(struct oci_world *world, const char *rest, struct syn_image_ref *ret)
{
    char text[SYN_IMAGE_REF_MAX];

    (void)snprintf(text, sizeof(text), "%s/%s", world->fake->host, rest);
    assert_done(syn_image_ref_parse(text, ret, &world->err), &world->err);
}

int
oci_world_pull(struct oci_world *world, const char *rest)
{
    struct syn_image_ref ref;
    int rc;

    world->err = (struct syn_err){0};
    oci_world_ref(world, rest, &ref);
    json_decref(world->made);
    world->made = NULL;
    fake_settle(world->fake);
    fake_settle(world->other);
    rc = syn_oci_pull(&world->move, &world->remote, &ref, &world->made, &world->err);
    fake_settle(world->fake);
    fake_settle(world->other);
    assert_true((rc == 0) == (world->made != NULL));
    return rc;
}

void
oci_world_rules(struct oci_world *world, const char *key, const char *host, const char *item)
{
    SYN_BUF(text);

    syn_buf_adds(&text, "{\"registries\":{\"");
    syn_buf_addf(&text, "%s\":{\"%s\":[\"%s\"]}}}", host, key, item);
    json_decref(world->rules);
    assert_done(syn_json_parse(syn_buf_text(&text), text.len, &world->rules, &world->err),
                &world->err);
    assert_done(syn_oci_rules_check(world->rules, &world->err), &world->err);
    world->remote.rules = world->rules;
}

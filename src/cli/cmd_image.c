/* compute image: from registries, layouts and archives into the content store. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "commands_priv.h"
#include "image_priv.h"
#include "storage_priv.h"

#define SECOND_MS    1000
#define DIGEST_SHOWN 19 /* "sha256:" and twelve digits, as everybody shows them */

/* "linux/amd64 (of linux/amd64, linux/arm64)" */
static int
platform_text(const json_t *image, struct syn_buf *out, struct syn_err *err)
{
    const json_t *all = json_object_get(image, "platforms");
    const json_t *item;
    size_t i;

    syn_buf_adds(out, syn_json_str(image, "platform", "?"));
    if (json_array_size(all) > 1)
        json_array_foreach (all, i, item)
            syn_buf_addf(out, "%s%s", i == 0 ? " (of " : ", ", json_string_value(item));
    if (json_array_size(all) > 1)
        syn_buf_addc(out, ')');
    return syn_buf_ok(out, err);
}

static int
show_image(struct syn_cli *cli, json_t *image_take)
{
    char size[SYN_FORMAT_MAX];
    struct syn_err err;
    SYN_BUF(platform);
    SYN_JSON(image);

    image = image_take;
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(image));
    if (platform_text(image, &platform, &err) < 0)
        return syn_cli_fail(cli, &err);
    syn_cli_say(cli, "%s", syn_json_str(image, "ref", "?"));
    syn_cli_say(cli, "  digest   %s", syn_json_str(image, "digest", "?"));
    syn_cli_say(cli, "  content  synor://%s", syn_json_str(image, "cid", "?"));
    syn_cli_say(cli, "  size     %s in %zu layers for %s",
                syn_format_bytes(syn_json_i64(image, "size_bytes", 0), size),
                json_array_size(json_object_get(image, "layers")), syn_buf_text(&platform));
    return 0;
}

/* --- pull ------------------------------------------------------------------------------------ */

static const struct syn_cli_operand ref_operand[] = {
    {"REF", SYN_CLI_TEXT, true, false, "HOST/PATH:TAG or HOST/PATH@DIGEST; HOST is docker.io"},
};

/* clang-format off */
#define PLATFORM_OPTION {"platform", 0, "PLATFORM", SYN_CLI_TEXT, 0, 0, false, false, NULL, "the server's", "Which image of several, as linux/arm64"}
static const struct syn_cli_option pull_options[] = {
    PLATFORM_OPTION,
    {"auth-file", 0, "FILE", SYN_CLI_FILE, 0, 0, false, false, NULL, "~/.docker/config.json", "Credentials, as docker writes them"},
};
/* clang-format on */

static int
run_pull(struct syn_cli *cli)
{
    json_t *image = NULL;
    struct syn_err err;

    if (syn_cli_image_pull(cli, syn_cli_operand(cli, 0), &image, &err) < 0)
        return syn_cli_fail(cli, &err);
    return show_image(cli, image);
}

const struct syn_cli_command syn_cli_image_pull_command = {
    .path = "compute image pull",
    .summary = "Bring an image from a registry into the content store",
    .detail = "The server asks the registry, over TLS (without it only on its own loopback "
              "addresses), and holds every byte against its digest. Layers that another image of "
              "the account has do not come again. Credentials for the registry are taken from "
              "docker's file, sent with this one request and kept nowhere. `service deploy` and "
              "`train create` pull by themselves what their --image names.",
    .examples = "  synor compute image pull nginx:1.25\n"
                "  synor compute image pull registry.example.com/team/api:latest\n",
    .options = pull_options,
    .option_count = SYN_LEN(pull_options),
    .operands = ref_operand,
    .operand_count = SYN_LEN(ref_operand),
    .run = run_pull};

/* --- push ------------------------------------------------------------------------------------ */

static const struct syn_cli_operand push_operands[] = {
    {"IMAGE", SYN_CLI_FILE, true, false,
     "Image layout, OCI archive, or what `docker save` wrote; or an image that is here"},
    {"TARGET", SYN_CLI_TEXT, true, false,
     "NAME to call it here (images/web), or HOST/PATH:TAG in a registry"},
};

/* clang-format off */
static const struct syn_cli_option push_options[] = {
    PLATFORM_OPTION,
    {"tag", 0, "TAG", SYN_CLI_TEXT, 0, 0, false, false, NULL, "the only one", "Which image, when IMAGE is a file that holds several"},
    {"auth-file", 0, "FILE", SYN_CLI_FILE, 0, 0, false, false, NULL, "~/.docker/config.json", "Credentials, as docker writes them"},
};
/* clang-format on */

static int
show_pushed(struct syn_cli *cli, json_t *pushed_take)
{
    char size[SYN_FORMAT_MAX];
    SYN_JSON(pushed);

    pushed = pushed_take;
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(pushed));
    syn_cli_say(cli, "%s", syn_json_str(pushed, "ref", "?"));
    syn_cli_say(cli, "  digest   %s", syn_json_str(pushed, "digest", "?"));
    syn_cli_say(cli, "  sent     %s; layers: %lld sent, %lld there, %lld mounted",
                syn_format_bytes(syn_json_i64(pushed, "bytes_sent", 0), size),
                (long long)syn_json_i64(pushed, "layers_sent", 0),
                (long long)syn_json_i64(pushed, "layers_there", 0),
                (long long)syn_json_i64(pushed, "layers_mounted", 0));
    return 0;
}

/* To a registry: what is here, or a file, which comes here first. */
static int
push_away(struct syn_cli *cli, const char *image, const char *ref)
{
    const struct syn_cli_upload upload = {.path = image};
    bool file = strstr(image, "://") == NULL && access(image, F_OK) == 0;
    json_t *pushed = NULL;
    SYN_JSON(stored);
    struct syn_err err;
    int rc = SYN_OK;

    if (file)
        rc = syn_cli_upload(cli, &upload, &stored, &err);
    if (file && rc == SYN_OK)
        image = syn_json_str(stored, "cid", "");
    if (rc == SYN_OK)
        rc = syn_cli_image_send(cli, image, syn_cli_text(cli, "tag", NULL), ref, &pushed, &err);
    return rc < 0 ? syn_cli_fail(cli, &err) : show_pushed(cli, pushed);
}

static int
run_push(struct syn_cli *cli)
{
    const struct syn_cli_upload upload = {.path = syn_cli_operand(cli, 0)};
    json_t *image = NULL;
    SYN_JSON(stored);
    SYN_JSON(body);
    struct syn_err err;
    const char *name = syn_cli_operand(cli, 1);
    int rc;

    if (syn_str_starts(name, "synor://"))
        name += strlen("synor://");
    if (strpbrk(name, ":@") != NULL) /* no name of content has one, and where it goes has a tag */
        return push_away(cli, upload.path, name);
    rc = syn_cli_upload(cli, &upload, &stored, &err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&body, &err, "{s:s, s:s}", "cid", syn_json_str(stored, "cid", ""),
                           "name", name);
    if (rc == SYN_OK && syn_cli_has(cli, "tag"))
        rc = syn_json_set_str(body, "tag", syn_cli_text(cli, "tag", ""), &err);
    if (rc == SYN_OK && syn_cli_has(cli, "platform"))
        rc = syn_json_set_str(body, "platform", syn_cli_text(cli, "platform", ""), &err);
    if (rc == SYN_OK)
        rc = syn_cli_image_work(cli, &(struct syn_cli_image_work){"/v1/images", "Storing", body},
                                &image, &err);
    return rc < 0 ? syn_cli_fail(cli, &err) : show_image(cli, image);
}

const struct syn_cli_command syn_cli_image_push = {
    .path = "compute image push",
    .summary = "Put a locally built image into the content store, or an image into a registry",
    .detail = "A file or folder (an OCI image layout, a tar archive of one, or what `docker save` "
              "writes) goes into the content store under a NAME; no registry is needed. Its blobs "
              "are held against their digests; what is not of the chosen image is left out. With "
              "HOST/PATH:TAG the image goes on into that registry, as does one that is here "
              "already (synor://NAME, or as `image list` shows it). What the registry has is not "
              "sent; a connection that breaks goes on where it was. Credentials are taken from "
              "docker's file, sent with this one request and kept nowhere.",
    .examples = "  docker save web:1 -o web.tar && synor compute image push web.tar images/web\n"
                "  synor compute image push ./layout images/web --tag v2\n"
                "  synor compute image push synor://images/web registry.example.com/team/web:1\n",
    .options = push_options,
    .option_count = SYN_LEN(push_options),
    .operands = push_operands,
    .operand_count = SYN_LEN(push_operands),
    .run = run_push};

/* --- list ------------------------------------------------------------------------------------ */

/* How many images have a layer of this digest. */
static int
count_layers(const json_t *items, json_t *counts, struct syn_err *err)
{
    const json_t *item, *layer;
    size_t i, k;
    int rc = SYN_OK;

    json_array_foreach (items, i, item)
        json_array_foreach (json_object_get(item, "layers"), k, layer) {
            const char *digest = syn_json_str(layer, "digest", "?");

            if (rc == SYN_OK)
                rc = syn_json_set_i64(counts, digest, syn_json_i64(counts, digest, 0) + 1, err);
        }
    return rc;
}

static size_t
shared_layers(const json_t *image, const json_t *counts)
{
    const json_t *layer;
    size_t i, shared = 0;

    json_array_foreach (json_object_get(image, "layers"), i, layer)
        shared += syn_json_i64(counts, syn_json_str(layer, "digest", "?"), 0) > 1;
    return shared;
}

static void
add_row(struct syn_cli_table_out *rows, const json_t *image, const json_t *counts)
{
    char size[SYN_FORMAT_MAX], age[SYN_FORMAT_MAX] = "?";
    int64_t at_ms = 0;

    if (syn_parse_time(syn_json_str(image, "created_at", ""), &at_ms, NULL) == SYN_OK)
        (void)syn_format_duration(
            SYN_MAX(syn_wall_ms(syn_world_system()) - at_ms, 0) / SECOND_MS * SECOND_MS, age);
    syn_cli_cell(rows, "%s", syn_json_str(image, "ref", "?"));
    syn_cli_cell(rows, "%.*s", DIGEST_SHOWN, syn_json_str(image, "digest", "?"));
    syn_cli_cell(rows, "%s", syn_format_bytes(syn_json_i64(image, "size_bytes", 0), size));
    syn_cli_cell(rows, "%zu", json_array_size(json_object_get(image, "layers")));
    syn_cli_cell(rows, "%zu", shared_layers(image, counts));
    syn_cli_cell(rows, "%s", age);
}

static int
run_list(struct syn_cli *cli)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    SYN_JSON(items);
    SYN_JSON(counts);
    struct syn_err err;
    const json_t *image;
    size_t i;
    int rc = syn_cli_list(cli, "/v1/images", &items, &err);

    if (rc == SYN_OK && cli->json)
        return syn_cli_print_json_take(cli, json_pack("{s:O, s:n}", "items", items, "next"));
    if (rc == SYN_OK)
        rc = syn_json_pack(&counts, &err, "{}");
    if (rc == SYN_OK)
        rc = count_layers(items, counts, &err);
    if (rc == SYN_OK)
        rc = syn_cli_rows_new("IMAGE|DIGEST|>SIZE|>LAYERS|>SHARED|>AGE", &rows, &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    json_array_foreach (items, i, image)
        add_row(rows, image, counts);
    return syn_cli_rows_print(cli, rows, "No images yet. Pull one: synor compute image pull REF");
}

const struct syn_cli_command syn_cli_image_list = {
    .path = "compute image list",
    .summary = "List images that were pulled or pushed",
    .detail = "SHARED counts the layers that other images in the list have as well: they are "
              "stored once.",
    .run = run_list};

/* --- inspect --------------------------------------------------------------------------------- */

static const struct syn_cli_operand image_operand[] = {
    {"IMAGE", SYN_CLI_TEXT, true, false, "As `image list` shows it, or as it was pulled"},
};

static int
image_path(struct syn_cli *cli, const char *route, struct syn_buf *path, struct syn_err *err)
{
    syn_buf_addf(path, "%s?name=", route);
    syn_cli_escape(path, syn_cli_operand(cli, 0));
    return syn_buf_ok(path, err);
}

static int
run_inspect(struct syn_cli *cli)
{
    SYN_BUF(path);
    SYN_JSON(image);
    struct syn_err err;
    const json_t *layer;
    size_t i;
    int rc = image_path(cli, "/v1/images/lookup", &path, &err);

    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "GET", syn_buf_text(&path), NULL, &image, &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    (void)show_image(cli, json_incref(image));
    if (cli->json)
        return 0;
    syn_cli_say(cli, "  manifest %s", syn_json_str(image, "manifest", "?"));
    syn_cli_say(cli, "  since    %s", syn_json_str(image, "created_at", "?"));
    json_array_foreach (json_object_get(image, "layers"), i, layer) {
        char size[SYN_FORMAT_MAX];

        syn_cli_say(cli, "  layer    %s  %s", syn_json_str(layer, "digest", "?"),
                    syn_format_bytes(syn_json_i64(layer, "size_bytes", 0), size));
    }
    return 0;
}

const struct syn_cli_command syn_cli_image_inspect = {.path = "compute image inspect",
                                                      .summary = "Show an image and its layers",
                                                      .operands = image_operand,
                                                      .operand_count = 1,
                                                      .run = run_inspect};

/* --- export ---------------------------------------------------------------------------------- */

static int
run_export(struct syn_cli *cli)
{
    const char *output = syn_cli_text(cli, "output", "-");
    struct syn_cli_fetch fetch = {
        .dest = output, .folder = true, .tar = true, .force = syn_cli_has(cli, "force")};
    SYN_BUF(path);
    SYN_JSON(image);
    struct syn_err err;
    int rc = image_path(cli, "/v1/images/lookup", &path, &err);

    if (rc == SYN_OK && syn_str_eq(output, "-") && (cli->json || cli->out_tty))
        rc = SYN_FAIL(&err, SYN_E_INVALID, "--output: an archive goes to no terminal%s",
                      cli->json ? ", and not between JSON" : "");
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "GET", syn_buf_text(&path), NULL, &image, &err);
    if (rc == SYN_OK) {
        fetch.cid = syn_json_str(image, "cid", "");
        fetch.size_bytes = syn_json_i64(image, "size_bytes", 0);
        rc = syn_cli_fetch(cli, &fetch, &err);
    }
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (syn_str_eq(output, "-"))
        return 0;
    if (!cli->json)
        syn_cli_note(cli, "%s", output);
    return show_image(cli, SYN_TAKE(image));
}

/* clang-format off */
static const struct syn_cli_option export_options[] = {
    {"output", 'o', "FILE", SYN_CLI_FILE, 0, 0, true, false, NULL, NULL, "Where it goes; - is standard output"},
    {"force", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Replace a file that is there"},
};
/* clang-format on */

const struct syn_cli_command syn_cli_image_export = {
    .path = "compute image export",
    .summary = "Write an image into one file, an OCI archive",
    .detail = "A tar archive of an image layout with this one image, as `skopeo` calls it "
              "oci-archive, and as `image push` takes it in again: with the same digest and the "
              "same CID. The same image gives the same bytes. The file appears when it is whole.",
    .examples = "  synor compute image export images/web --output web.tar\n"
                "  synor compute image export nginx:1.25 -o - | gzip >nginx.tar.gz\n",
    .options = export_options,
    .option_count = SYN_LEN(export_options),
    .operands = image_operand,
    .operand_count = 1,
    .run = run_export};

/* --- rm -------------------------------------------------------------------------------------- */

static int
run_rm(struct syn_cli *cli)
{
    SYN_BUF(path);
    struct syn_err err;

    if (image_path(cli, "/v1/images", &path, &err) < 0)
        return syn_cli_fail(cli, &err);
    return syn_cli_remove(cli,
                          &(struct syn_cli_removal){
                              syn_buf_text(&path), syn_cli_operand(cli, 0), "Forget this image?",
                              "; what runs it keeps it, and the rest goes with: synor storage "
                              "gc"});
}

const struct syn_cli_command syn_cli_image_rm = {.path = "compute image rm",
                                                 .summary =
                                                     "Forget an image; services that run it go on",
                                                 .operands = image_operand,
                                                 .operand_count = 1,
                                                 .run = run_rm};

/* Pulls, seen from here: the server does the work, this end brings the credentials and shows how it
 * goes. Interrupted, it goes on without anybody who looks. */
#include <stdio.h>
#include <string.h>

#include <synor/base/image_ref.h>
#include <synor/base/str.h>

#include "image_priv.h"

#define FIRST_WAIT_MS 200
#define LOOK_WAIT_MS  500

/* --- seeing it through ------------------------------------------------------------------------ */

static void
show(struct syn_cli_progress *progress, const json_t *pull)
{
    char detail[64];

    progress->total = syn_json_i64(pull, "bytes", 0);
    (void)snprintf(detail, sizeof(detail), "%lld of %lld layers",
                   (long long)syn_json_i64(pull, "layers_done", 0),
                   (long long)syn_json_i64(pull, "layers", 0));
    syn_cli_progress_show(progress, syn_json_i64(pull, "bytes_done", 0), detail);
}

/* The error that ended it, as if the call had given it. */
static int
failed(const json_t *pull, struct syn_err *err)
{
    const json_t *error = json_object_get(pull, "error");
    const struct syn_err_info *info = syn_err_info_by_wire(syn_json_str(error, "code", "internal"));

    return SYN_FAIL(err, info != NULL ? info->code : SYN_E_INTERNAL, "%s",
                    syn_json_str(error, "message", "it failed"));
}

static int
look_again(struct syn_cli *cli, json_t **pull, struct syn_err *err)
{
    char path[SYN_ID_MAX + 64];
    json_t *next = NULL;
    int rc;

    (void)snprintf(path, sizeof(path), "/v1/images/pulls/%.*s?wait_ms=%d", SYN_ID_MAX,
                   syn_json_str(*pull, "id", "?"), LOOK_WAIT_MS);
    rc = syn_cli_call(cli, "GET", path, NULL, &next, err);
    if (rc < 0)
        return rc;
    json_decref(*pull);
    *pull = next;
    return SYN_OK;
}

int
syn_cli_image_work(struct syn_cli *cli, const struct syn_cli_image_work *work, json_t **ret_image,
                   struct syn_err *err)
{
    struct syn_cli_progress progress;
    char path[64];
    SYN_JSON(pull);
    int rc;

    (void)snprintf(path, sizeof(path), "%s?wait_ms=%d", work->route, FIRST_WAIT_MS);
    rc = syn_cli_call(cli, "POST", path, work->body, &pull, err);
    syn_cli_progress_init(&progress, cli, work->label, 0, true);
    while (rc == SYN_OK && syn_str_eq(syn_json_str(pull, "state", ""), "running")) {
        show(&progress, pull);
        if (syn_cli_interrupted())
            return SYN_FAIL(err, SYN_E_CANCELED, "interrupted; the server goes on with it");
        rc = look_again(cli, &pull, err);
    }
    if (rc < 0)
        return rc;
    if (!syn_str_eq(syn_json_str(pull, "state", ""), "done"))
        return failed(pull, err);
    if (progress.drawn)
        syn_cli_progress_done(&progress, syn_json_i64(pull, "bytes_done", 0), NULL);
    *ret_image = json_incref(json_object_get(pull, "image"));
    return SYN_OK;
}

static int
add_platform(const struct syn_cli *cli, json_t *body, struct syn_err *err)
{
    const char *platform = syn_cli_text(cli, "platform", NULL);

    return platform != NULL ? syn_json_set_str(body, "platform", platform, err) : SYN_OK;
}

int
syn_cli_image_pull(struct syn_cli *cli, const char *ref, json_t **ret_image, struct syn_err *err)
{
    SYN_JSON(body);
    int rc = syn_json_pack(&body, err, "{s:s}", "ref", ref);

    if (rc == SYN_OK)
        rc = add_platform(cli, body, err);
    if (rc == SYN_OK)
        rc = syn_cli_image_credentials(cli, ref, body, err);
    return rc < 0 ? rc
                  : syn_cli_image_work(cli,
                                       &(struct syn_cli_image_work){"/v1/images", "Pulling", body},
                                       ret_image, err);
}

int
syn_cli_image_send(struct syn_cli *cli, const char *image, const char *tag, const char *ref,
                   json_t **ret_pushed, struct syn_err *err)
{
    SYN_JSON(body);
    int rc = syn_json_pack(&body, err, "{s:s, s:s}", "image", image, "ref", ref);

    if (rc == SYN_OK && tag != NULL)
        rc = syn_json_set_str(body, "tag", tag, err);
    if (rc == SYN_OK)
        rc = add_platform(cli, body, err);
    if (rc == SYN_OK)
        rc = syn_cli_image_credentials(cli, ref, body, err);
    return rc < 0 ? rc
                  : syn_cli_image_work(
                        cli, &(struct syn_cli_image_work){"/v1/images/pushes", "Pushing", body},
                        ret_pushed, err);
}

int
syn_cli_image_ready(struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    const char *ref = syn_json_str(spec, "image", "synor://");
    const char *name, *digest;
    SYN_JSON(image);
    SYN_BUF(pinned);
    int rc;

    if (strstr(ref, "://") != NULL || syn_str_eq(ref, "host"))
        return SYN_OK;
    rc = syn_cli_image_pull(cli, ref, &image, err);
    if (rc < 0)
        return rc;
    name = syn_json_str(image, "name", ref);
    digest = syn_json_str(image, "digest", "");
    syn_buf_adds(&pinned, name);
    if (strchr(name, '@') == NULL)
        syn_buf_addf(&pinned, "@%s", digest);
    rc = syn_buf_ok(&pinned, err);
    syn_cli_note(cli, "Image: %s", syn_buf_text(&pinned));
    return rc < 0 ? rc : syn_json_set_str(spec, "image", syn_buf_text(&pinned), err);
}

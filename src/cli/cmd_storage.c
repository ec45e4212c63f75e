/* storage: content under CIDs and names, in and out. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "cli_priv.h"
#include "commands_priv.h"
#include "storage_priv.h"

#define REF_MAX 1300 /* a name and a path below it */

/* --- references ------------------------------------------------------------------------------ */

/* The CID that a name stands for. NOTFOUND and INVALID mean that it stands for none. */
static int
look_up(struct syn_cli *cli, const char *name, char *cid, size_t cap, struct syn_err *err)
{
    SYN_BUF(path);
    SYN_JSON(answer);
    int rc;

    syn_buf_adds(&path, "/v1/names/lookup?name=");
    syn_cli_escape(&path, name);
    rc = syn_buf_ok(&path, err);
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "GET", syn_buf_text(&path), NULL, &answer, err);
    if (rc == SYN_OK && !syn_str_copy(cid, cap, syn_json_str(answer, "cid", "")))
        return SYN_FAIL(err, SYN_E_CORRUPT, "the server sent a CID that is too long");
    return rc;
}

/* Names may hold slashes, and so may paths behind them: the longest name that there is wins. */
static int
resolve(struct syn_cli *cli, const char *ref, json_t **ret_stat, struct syn_err *err)
{
    char text[REF_MAX];
    char cid[SYN_ID_MAX * 4] = "";
    const char *inside = "";
    char *slash;
    SYN_BUF(path);
    int rc;

    if (syn_str_starts(ref, "synor://"))
        ref += strlen("synor://");
    if (ref[0] == '\0' || !syn_str_copy(text, sizeof(text), ref))
        return SYN_FAIL(err, SYN_E_INVALID, "\"%.60s\" is no reference", ref);
    while ((slash = strrchr(text, '/')) != NULL) {
        rc = look_up(cli, text, cid, sizeof(cid), err);
        if (rc == SYN_OK)
            break;
        if (rc != SYN_E_NOTFOUND && rc != SYN_E_INVALID)
            return rc;
        *slash = '\0';
        inside = ref + (slash - text) + 1;
    }
    syn_buf_adds(&path, "/v1/content/");
    syn_cli_escape(&path, slash != NULL ? cid : text);
    if (inside[0] != '\0') {
        syn_buf_adds(&path, "?path=");
        syn_cli_escape(&path, inside);
    }
    rc = syn_buf_ok(&path, err);
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "GET", syn_buf_text(&path), NULL, ret_stat, err);
    if (rc == SYN_E_NOTFOUND)
        return SYN_FAIL(err, rc, "there is no content synor://%s; see: synor storage ls", ref);
    return rc;
}

static bool
is_folder(const json_t *stat)
{
    return syn_str_eq(syn_json_str(stat, "type", ""), "folder");
}

/* --- put ------------------------------------------------------------------------------------- */

static const struct syn_cli_operand put_operands[] = {
    {"PATH", SYN_CLI_FILE, true, false, "File or folder"},
};

static void
show_stored(const struct syn_cli *cli, const json_t *stored)
{
    char size[SYN_FORMAT_MAX];
    const char *name = syn_json_str(stored, "name", NULL);

    syn_cli_say(cli, "synor://%s  %s", syn_json_str(stored, "cid", "?"),
                syn_format_bytes(syn_json_i64(stored, "size_bytes", 0), size));
    if (name != NULL)
        syn_cli_say(cli, "synor://%s", name);
}

/* Name or pin what was just imported: a CAR brings neither. */
static int
keep_root(struct syn_cli *cli, const char *cid, struct syn_err *err)
{
    SYN_BUF(path);
    SYN_JSON(body);
    int rc = SYN_OK;

    if (syn_cli_has(cli, "name")) {
        syn_buf_adds(&path, "/v1/names?name=");
        syn_cli_escape(&path, syn_cli_text(cli, "name", ""));
        rc = syn_json_pack(&body, err, "{s:s}", "cid", cid);
        if (rc == SYN_OK)
            rc = syn_buf_ok(&path, err);
        if (rc == SYN_OK)
            rc = syn_cli_call(cli, "PUT", syn_buf_text(&path), body, NULL, err);
    }
    if (rc == SYN_OK && syn_cli_has(cli, "pin")) {
        syn_buf_clear(&path);
        syn_buf_addf(&path, "/v1/pins/%s", cid);
        rc = syn_buf_ok(&path, err);
        if (rc == SYN_OK)
            rc = syn_cli_call(cli, "PUT", syn_buf_text(&path), NULL, NULL, err);
    }
    return rc;
}

static void
on_import(void *arg, int64_t done, int64_t total)
{
    (void)total;
    syn_cli_progress_show(arg, done, NULL);
}

static int
import_car(struct syn_cli *cli, const char *file, json_t **ret, struct syn_err *err)
{
    struct syn_cli_progress progress;
    struct syn_transfer transfer = {.method = "POST",
                                    .path = "/v1/content/car",
                                    .progress = on_import,
                                    .progress_arg = &progress};
    struct syn_client *client;
    struct stat st;
    int rc;

    cli->patient = true;
    rc = syn_cli_client(cli, &client, err);
    if (rc < 0)
        return rc;
    transfer.fd = open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (transfer.fd < 0)
        return SYN_FAIL_SYS(err, errno, "%s", file);
    if (fstat(transfer.fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        (void)close(transfer.fd);
        return SYN_FAIL(err, SYN_E_INVALID, "%s is no file", file);
    }
    transfer.len = st.st_size;
    syn_cli_progress_init(&progress, cli, "Importing", st.st_size, true);
    rc = syn_client_upload(client, &transfer, ret, err);
    (void)close(transfer.fd);
    if (rc == SYN_OK)
        syn_cli_progress_done(&progress, st.st_size, NULL);
    if (rc < 0)
        rc = syn_cli_unreachable(cli, rc, err);
    return rc < 0 ? syn_err_wrap(err, rc, "%s", file) : rc;
}

static int
put_car(struct syn_cli *cli)
{
    SYN_JSON(answer);
    struct syn_err err;
    size_t i;
    json_t *root;
    int rc = import_car(cli, syn_cli_operand(cli, 0), &answer, &err);

    if (rc == SYN_OK && json_array_size(json_object_get(answer, "roots")) > 0)
        rc = keep_root(cli, json_string_value(json_array_get(json_object_get(answer, "roots"), 0)),
                       &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(answer));
    json_array_foreach (json_object_get(answer, "roots"), i, root)
        syn_cli_say(cli, "synor://%s", json_string_value(root));
    return 0;
}

static int
run_put(struct syn_cli *cli)
{
    const struct syn_cli_upload upload = {.path = syn_cli_operand(cli, 0),
                                          .name = syn_cli_text(cli, "name", NULL),
                                          .pin = syn_cli_has(cli, "pin")};
    SYN_JSON(stored);
    char cid[REF_MAX];
    struct syn_err err;

    if (syn_cli_has(cli, "car"))
        return put_car(cli);
    /* What can be no name is told before the upload, not after it. */
    if (upload.name != NULL && look_up(cli, upload.name, cid, sizeof(cid), &err) < 0 &&
        err.code != SYN_E_NOTFOUND)
        return syn_cli_fail(cli, &err);
    if (syn_cli_upload(cli, &upload, &stored, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(stored));
    show_stored(cli, stored);
    if (upload.name == NULL && !upload.pin)
        syn_cli_note(cli,
                     "Nothing refers to it yet; keep it from `storage gc`: synor storage pin %s",
                     syn_json_str(stored, "cid", "CID"));
    return 0;
}

/* clang-format off */
static const struct syn_cli_option put_options[] = {
    {"name", 'n', "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL, "Name it: datasets/mine"},
    {"pin", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Keep it without a name"},
    {"car", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "PATH is a CAR file: take in what it holds"},
};
/* clang-format on */

const struct syn_cli_command syn_cli_storage_put = {
    .path = "storage put",
    .summary = "Store a file or folder",
    .detail = "Prints the CID, the same that IPFS tools give under the profile unixfs-v1-2025. An "
              "upload that was cut off goes on when the command is given again. Symbolic links are "
              "stored as links; nothing outside the folder is read.",
    .examples = "  synor storage put ./data --name datasets/mine\n"
                "  synor storage put model.car --car --pin\n",
    .options = put_options,
    .option_count = SYN_LEN(put_options),
    .operands = put_operands,
    .operand_count = SYN_LEN(put_operands),
    .run = run_put};

/* --- get ------------------------------------------------------------------------------------- */

static const struct syn_cli_operand get_operands[] = {
    {"REF", SYN_CLI_TEXT, true, false, "synor://NAME or synor://CID, also with /PATH behind"},
    {"PATH", SYN_CLI_FILE, false, false,
     "Where to write it, or - for standard output; without it, the last word of REF"},
};

/* PATH, or PATH/NAME when a file goes to a folder that is there. */
static int
destination(const struct syn_cli *cli, bool one_file, char *out, size_t cap, struct syn_err *err)
{
    const char *ref = syn_cli_operand(cli, 0);
    const char *slash = strrchr(ref, '/');
    const char *name = slash != NULL ? slash + 1 : ref;
    const char *given = syn_cli_operand(cli, 1);
    const char *suffix = syn_cli_has(cli, "car") ? ".car" : "";
    struct stat st;
    int len;

    if (given == NULL)
        len = snprintf(out, cap, "%s%s", name, suffix);
    else if (one_file && stat(given, &st) == 0 && S_ISDIR(st.st_mode))
        len = snprintf(out, cap, "%s/%s%s", given, name, suffix);
    else
        len = snprintf(out, cap, "%s", given);
    if (len <= 0 || (size_t)len >= cap)
        return SYN_FAIL(err, SYN_E_INVALID, "PATH is empty or too long");
    return SYN_OK;
}

static int
run_get(struct syn_cli *cli)
{
    char dest[PATH_MAX];
    SYN_JSON(stat);
    struct syn_err err;
    struct syn_cli_fetch fetch = {
        .dest = dest, .car = syn_cli_has(cli, "car"), .force = syn_cli_has(cli, "force")};
    int rc = resolve(cli, syn_cli_operand(cli, 0), &stat, &err);

    if (rc == SYN_OK)
        rc = destination(cli, !is_folder(stat) || fetch.car, dest, sizeof(dest), &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    fetch.cid = syn_json_str(stat, "cid", "");
    fetch.size_bytes = syn_json_i64(stat, "size_bytes", -1);
    fetch.folder = is_folder(stat);
    if (syn_cli_fetch(cli, &fetch, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (strcmp(dest, "-") == 0)
        return 0;
    if (cli->json)
        return syn_cli_print_json_take(cli,
                                       json_pack("{s:s, s:s}", "cid", fetch.cid, "path", dest));
    syn_cli_say(cli, "%s", dest);
    return 0;
}

/* clang-format off */
static const struct syn_cli_option get_options[] = {
    {"car", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Write one CAR file instead"},
    {"force", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Replace a file that is there"},
};
/* clang-format on */

const struct syn_cli_command syn_cli_storage_get = {
    .path = "storage get",
    .summary = "Fetch a file or folder",
    .detail = "Every byte is verified against its CID on the way. The destination appears when it "
              "is whole, or not at all.",
    .examples = "  synor storage get synor://datasets/mine ./data\n"
                "  synor storage get synor://datasets/mine/train.csv - | head\n",
    .options = get_options,
    .option_count = SYN_LEN(get_options),
    .operands = get_operands,
    .operand_count = SYN_LEN(get_operands),
    .run = run_get};

/* --- ls, info -------------------------------------------------------------------------------- */

static const struct syn_cli_operand ref_maybe[] = {
    {"REF", SYN_CLI_TEXT, false, false, "synor://NAME or synor://CID, also with /PATH behind"},
};

static int
print_items(struct syn_cli *cli, const json_t *items, const char *first, const char *empty)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    struct syn_err err;
    char titles[48];
    char size[SYN_FORMAT_MAX];
    size_t i;
    json_t *item;

    (void)snprintf(titles, sizeof(titles), "%s|TYPE|>SIZE|CID", first);
    if (syn_cli_rows_new(titles, &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    json_array_foreach (items, i, item) {
        syn_cli_cell(rows, "%s", syn_json_str(item, "path", syn_json_str(item, "name", "")));
        syn_cli_cell(rows, "%s", syn_json_str(item, "type", ""));
        syn_cli_cell(rows, "%s", syn_format_bytes(syn_json_i64(item, "size_bytes", 0), size));
        syn_cli_cell(rows, "%s", syn_json_str(item, "cid", ""));
    }
    return syn_cli_rows_print(cli, rows, empty);
}

static int
list_names(struct syn_cli *cli)
{
    SYN_JSON(items);
    struct syn_err err;

    if (syn_cli_list(cli, "/v1/names", &items, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, json_pack("{s:O, s:n}", "items", items, "next"));
    return print_items(cli, items, "NAME",
                       "No names yet. Store something: synor storage put PATH --name NAME");
}

static int
run_ls(struct syn_cli *cli)
{
    SYN_BUF(path);
    SYN_JSON(stat);
    SYN_JSON(items);
    struct syn_err err;
    int rc;

    if (syn_cli_operand(cli, 0) == NULL)
        return list_names(cli);
    rc = resolve(cli, syn_cli_operand(cli, 0), &stat, &err);
    if (rc == SYN_OK && !is_folder(stat)) {
        items = json_array();
        rc = syn_json_set_str(stat, "path", syn_cli_operand(cli, 0), &err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(items, json_incref(stat), &err);
    } else if (rc == SYN_OK) {
        syn_buf_addf(&path, "/v1/content/%s/list%s", syn_json_str(stat, "cid", ""),
                     syn_cli_has(cli, "recursive") ? "?recursive=true" : "");
        rc = syn_buf_ok(&path, &err);
        if (rc == SYN_OK)
            rc = syn_cli_list(cli, syn_buf_text(&path), &items, &err);
    }
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, json_pack("{s:O, s:n}", "items", items, "next"));
    return print_items(cli, items, "PATH", "An empty folder.");
}

/* clang-format off */
static const struct syn_cli_option ls_options[] = {
    {"recursive", 'R', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "With everything below"},
};
/* clang-format on */

const struct syn_cli_command syn_cli_storage_ls = {.path = "storage ls",
                                                   .summary = "List names, or what a folder holds",
                                                   .options = ls_options,
                                                   .option_count = SYN_LEN(ls_options),
                                                   .operands = ref_maybe,
                                                   .operand_count = 1,
                                                   .run = run_ls};

static int
show_usage(struct syn_cli *cli)
{
    static const char *const rows[][2] = {{"size_bytes", "content"},
                                          {"stored_bytes", "as stored"},
                                          {"disk_bytes", "on disk"},
                                          {"put_bytes", "put since the start"}};
    char size[SYN_FORMAT_MAX];
    SYN_JSON(usage);
    struct syn_err err;

    if (syn_cli_call(cli, "GET", "/v1/content", NULL, &usage, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(usage));
    syn_cli_say(cli, "%lld blocks", (long long)syn_json_i64(usage, "blocks", 0));
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        syn_cli_say(cli, "  %-20s %s", rows[i][1],
                    syn_format_bytes(syn_json_i64(usage, rows[i][0], 0), size));
    return 0;
}

static int
run_info(struct syn_cli *cli)
{
    char size[SYN_FORMAT_MAX];
    SYN_JSON(stat);
    struct syn_err err;

    if (syn_cli_operand(cli, 0) == NULL)
        return show_usage(cli);
    if (resolve(cli, syn_cli_operand(cli, 0), &stat, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(stat));
    syn_cli_say(cli, "synor://%s", syn_json_str(stat, "cid", "?"));
    syn_cli_say(cli, "  type   %s%s", syn_json_str(stat, "type", "?"),
                syn_json_bool(stat, "sharded", false) ? ", sharded" : "");
    syn_cli_say(cli, "  size   %s (%lld bytes)",
                syn_format_bytes(syn_json_i64(stat, "size_bytes", 0), size),
                (long long)syn_json_i64(stat, "size_bytes", 0));
    syn_cli_say(cli, "  links  %lld", (long long)syn_json_i64(stat, "links", 0));
    return 0;
}

const struct syn_cli_command syn_cli_storage_info = {
    .path = "storage info",
    .summary = "Show type and size of content, or how much is stored",
    .operands = ref_maybe,
    .operand_count = 1,
    .run = run_info};

/* --- name, pin, rm --------------------------------------------------------------------------- */

static const struct syn_cli_operand name_operands[] = {
    {"REF", SYN_CLI_TEXT, true, false, "synor://CID, or another name"},
    {"NAME", SYN_CLI_TEXT, true, false, "Parts of a-z 0-9 . _ - joined by /"},
};

static int
run_name(struct syn_cli *cli)
{
    SYN_BUF(path);
    SYN_JSON(stat);
    SYN_JSON(body);
    SYN_JSON(answer);
    struct syn_err err;
    int rc = resolve(cli, syn_cli_operand(cli, 0), &stat, &err);

    syn_buf_adds(&path, "/v1/names?name=");
    syn_cli_escape(&path, syn_cli_operand(cli, 1));
    if (rc == SYN_OK)
        rc = syn_json_pack(&body, &err, "{s:s}", "cid", syn_json_str(stat, "cid", ""));
    if (rc == SYN_OK)
        rc = syn_buf_ok(&path, &err);
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "PUT", syn_buf_text(&path), body, &answer, &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(answer));
    syn_cli_say(cli, "synor://%s  ->  %s", syn_json_str(answer, "name", "?"),
                syn_json_str(answer, "cid", "?"));
    return 0;
}

const struct syn_cli_command syn_cli_storage_name = {.path = "storage name",
                                                     .summary = "Let a name stand for content",
                                                     .operands = name_operands,
                                                     .operand_count = SYN_LEN(name_operands),
                                                     .run = run_name};

static int
list_pins(struct syn_cli *cli)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    SYN_JSON(items);
    struct syn_err err;
    size_t i;
    json_t *item;

    if (syn_cli_list(cli, "/v1/pins", &items, &err) < 0 ||
        syn_cli_rows_new("CID|SINCE", &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, json_pack("{s:O, s:n}", "items", items, "next"));
    json_array_foreach (items, i, item) {
        syn_cli_cell(rows, "%s",
                     json_is_string(item) ? json_string_value(item)
                                          : syn_json_str(item, "cid", "?"));
        syn_cli_cell(rows, "%s", syn_json_str(item, "created_at", ""));
    }
    return syn_cli_rows_print(cli, rows, "Nothing is pinned.");
}

static int
run_pin(struct syn_cli *cli)
{
    bool off = syn_cli_has(cli, "off");
    SYN_BUF(path);
    SYN_JSON(stat);
    struct syn_err err;
    int rc;

    if (syn_cli_operand(cli, 0) == NULL)
        return list_pins(cli);
    rc = resolve(cli, syn_cli_operand(cli, 0), &stat, &err);
    syn_buf_addf(&path, "/v1/pins/%s", syn_json_str(stat, "cid", ""));
    if (rc == SYN_OK)
        rc = syn_buf_ok(&path, &err);
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, off ? "DELETE" : "PUT", syn_buf_text(&path), NULL, NULL, &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(
            cli,
            json_pack("{s:s, s:b}", "cid", syn_json_str(stat, "cid", ""), "pinned", off ? 0 : 1));
    syn_cli_say(cli, "synor://%s is %s.", syn_json_str(stat, "cid", "?"),
                off ? "no longer pinned" : "pinned");
    return 0;
}

/* clang-format off */
static const struct syn_cli_option pin_options[] = {
    {"off", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Let it go again"},
};
/* clang-format on */

const struct syn_cli_command syn_cli_storage_pin = {
    .path = "storage pin",
    .summary = "Keep content that has no name, or list what is kept so",
    .options = pin_options,
    .option_count = SYN_LEN(pin_options),
    .operands = ref_maybe,
    .operand_count = 1,
    .run = run_pin};

static const struct syn_cli_operand rm_operand[] = {
    {"NAME", SYN_CLI_TEXT, true, false, "Name to forget, also as synor://NAME"},
};

static int
run_rm(struct syn_cli *cli)
{
    const char *name = syn_cli_operand(cli, 0);
    char question[300];
    SYN_BUF(path);
    struct syn_err err;

    if (syn_str_starts(name, "synor://"))
        name += strlen("synor://");
    syn_buf_adds(&path, "/v1/names?name=");
    syn_cli_escape(&path, name);
    if (syn_buf_ok(&path, &err) < 0)
        return syn_cli_fail(cli, &err);
    (void)snprintf(question, sizeof(question), "Forget the name %.200s?", name);
    return syn_cli_remove(cli, &(struct syn_cli_removal){syn_buf_text(&path), name, question,
                                                         "; its blocks go with: synor storage gc"});
}

const struct syn_cli_command syn_cli_storage_rm = {
    .path = "storage rm",
    .summary = "Forget a name; what nothing else refers to goes with the next gc",
    .operands = rm_operand,
    .operand_count = 1,
    .run = run_rm};

/* --- gc, verify ------------------------------------------------------------------------------ */

static int
run_gc(struct syn_cli *cli)
{
    char size[SYN_FORMAT_MAX];
    int64_t removed;
    int64_t waiting;
    SYN_JSON(body);
    SYN_JSON(report);
    struct syn_err err;
    int rc = SYN_OK;

    if (!syn_cli_confirm(cli, "Remove every block that no name, pin or job refers to?")) {
        syn_cli_note(cli, "Nothing was removed.");
        return 1;
    }
    cli->patient = true;
    body = json_object();
    if (syn_cli_has(cli, "grace"))
        rc = syn_json_set_i64(body, "grace_ms", syn_cli_number(cli, "grace", 0), &err);
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "POST", "/v1/content/gc", body, &report, &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(report));
    removed = syn_json_i64(report, "blocks_removed", 0);
    waiting = syn_json_i64(report, "bytes_waiting", 0);
    syn_cli_say(cli, "%lld %s removed, %lld kept; %s freed on disk.", (long long)removed,
                syn_plural(removed, "block", "blocks"),
                (long long)syn_json_i64(report, "blocks_kept", 0),
                syn_format_bytes(syn_json_i64(report, "bytes_freed", 0), size));
    if (waiting > 0)
        syn_cli_say(cli,
                    "%s of removed blocks stay in their packs: a pack is written anew, without "
                    "them, when less than half of it is in use.",
                    syn_format_bytes(waiting, size));
    return 0;
}

/* clang-format off */
static const struct syn_cli_option gc_options[] = {
    {"grace", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "1d", "Keep what was put within this time"},
};
/* clang-format on */

const struct syn_cli_command syn_cli_storage_gc = {.path = "storage gc",
                                                   .summary = "Remove what nothing refers to",
                                                   .options = gc_options,
                                                   .option_count = SYN_LEN(gc_options),
                                                   .run = run_gc};

/* Damage, what it reaches, and the way out. */
static void
show_damage(const struct syn_cli *cli, const json_t *report)
{
    const json_t *affected = json_object_get(report, "affected");
    size_t i;
    json_t *item;

    json_array_foreach (json_object_get(report, "damaged"), i, item)
        syn_cli_say(cli, "  %s  %s", syn_json_str(item, "cid", "?"),
                    syn_json_str(item, "message", ""));
    if (json_array_size(affected) == 0)
        syn_cli_say(cli, "\nNo name, pin or job refers to them.");
    else
        syn_cli_say(cli, "\nWhat they are missing from:");
    json_array_foreach (affected, i, item)
        syn_cli_say(cli, "  %-10s %s  lacks %lld blocks", syn_json_str(item, "kind", "?"),
                    syn_json_str(item, "id", "?"), (long long)syn_json_i64(item, "blocks", 0));
    if (json_array_size(affected) > 0)
        syn_cli_say(cli, "\nPut the same files again, and their damaged blocks are written anew:\n"
                         "  synor storage put PATH");
}

static int
run_verify(struct syn_cli *cli)
{
    char size[SYN_FORMAT_MAX];
    SYN_JSON(body);
    SYN_JSON(report);
    struct syn_err err;
    int64_t count;

    cli->patient = true;
    body = json_object();
    if (syn_cli_call(cli, "POST", "/v1/content/verify", body, &report, &err) < 0)
        return syn_cli_fail(cli, &err);
    count = syn_json_i64(report, "bad", 0);
    if (cli->json) {
        int status = syn_cli_print_json_take(cli, SYN_TAKE(report));

        return status != 0 ? status : count > 0;
    }
    syn_cli_say(cli, "%lld blocks, %s: %lld damaged.", (long long)syn_json_i64(report, "blocks", 0),
                syn_format_bytes(syn_json_i64(report, "size_bytes", 0), size), (long long)count);
    if (count > 0)
        show_damage(cli, report);
    return count > 0;
}

const struct syn_cli_command syn_cli_storage_verify = {
    .path = "storage verify",
    .summary = "Read and check every block; exit status 1 when one is damaged",
    .detail = "Names what is damaged and which names, pins and jobs lack something by it. Putting "
              "the same files again repairs them.",
    .run = run_verify};

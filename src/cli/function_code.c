/* The code of a function on its way into storage: a folder, one file, or what is there already. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "function_kind_priv.h"
#include "function_priv.h"
#include "image_priv.h"

#define STORED     "synor://"
#define CUSTOM     "custom:"
#define IGNORE     ".synorignore"
#define IGNORE_MAX ((size_t)64 << 10)
#define LAYER_MAX  512 /* a reference */

static const char *
runtime_of(const struct syn_cli *cli)
{
    return syn_cli_text(cli, "runtime", "");
}

static bool
is_custom(const struct syn_cli *cli)
{
    return syn_str_starts(runtime_of(cli), CUSTOM);
}

/* --- before anything is sent ----------------------------------------------------------------- */

static bool
exists(const char *folder, const char *name, int len, const char *end)
{
    char path[PATH_MAX];

    return snprintf(path, sizeof(path), "%s/%.*s%s", folder, len, name, end) < (int)sizeof(path) &&
           access(path, F_OK) == 0;
}

/* MODULE.FUNCTION of a language that we know the files of must be there: it costs nothing to look,
 * and the other way to learn of it is a version that fails. */
static int
check_handler(const struct syn_cli *cli, const char *folder, struct syn_err *err)
{
    static const struct {
        const char *runtime;
        const char *ends[4];
    } languages[] = {
        {"python", {".py", "/__init__.py", NULL}},
        {"node", {".mjs", ".js", ".cjs", NULL}},
    };
    const char *handler = syn_cli_text(cli, "handler", "main.handler");
    const char *dot = strrchr(handler, '.');

    for (size_t i = 0; i < SYN_LEN(languages) && dot != NULL; i++) {
        bool found = false;

        if (!syn_str_starts(runtime_of(cli), languages[i].runtime))
            continue;
        for (size_t k = 0; languages[i].ends[k] != NULL; k++)
            found = found || exists(folder, handler, (int)(dot - handler), languages[i].ends[k]);
        if (!found)
            return SYN_FAIL(err, SYN_E_INVALID, "--handler: \"%.60s\": there is no %.*s%s in %.80s",
                            handler, (int)(dot - handler), handler, languages[i].ends[0], folder);
    }
    return SYN_OK;
}

int
syn_cli_function_code_check(const struct syn_cli *cli, struct syn_err *err)
{
    const char *code = syn_cli_text(cli, "code", NULL);
    bool wasm = syn_str_eq(runtime_of(cli), "wasm");
    struct stat st;

    if (code == NULL)
        return is_custom(cli) ? SYN_OK
                              : SYN_FAIL(err, SYN_E_INVALID,
                                         "--code: is needed: a folder, a file or synor://REF");
    if (is_custom(cli))
        return SYN_FAIL(err, SYN_E_INVALID, "--code: an image has its own; leave it out");
    if (syn_str_starts(code, STORED))
        return SYN_OK;
    if (stat(code, &st) != 0) {
        (void)SYN_FAIL_SYS(err, errno, "%s", code);
        return syn_err_wrap(err, err->code, "--code");
    }
    if (wasm && S_ISDIR(st.st_mode))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "--code: %.80s is a folder; runtime wasm takes one module, FILE.wasm",
                        code);
    return S_ISDIR(st.st_mode) ? check_handler(cli, code, err) : SYN_OK;
}

/* --- what is left out ------------------------------------------------------------------------ */

static int
add_glob(json_t *globs, const char *line, size_t len, size_t number, struct syn_err *err)
{
    char text[512];

    while (len > 0 && strchr(" \t\r/", line[len - 1]) != NULL)
        len--;
    if (len == 0 || line[0] == '#')
        return SYN_OK;
    if (line[0] == '!')
        return SYN_FAIL(err, SYN_E_INVALID,
                        IGNORE ", line %zu: what is left out cannot be taken back by !", number);
    if (line[0] == '/') { /* from the top, where every path begins */
        line++;
        len--;
    }
    if (len >= sizeof(text))
        return SYN_FAIL(err, SYN_E_INVALID, IGNORE ", line %zu: longer than %zu bytes", number,
                        sizeof(text) - 1);
    (void)snprintf(text, sizeof(text), "%.*s", (int)len, line);
    return syn_json_append_take(globs, json_string(text), err);
}

/* What no function needs, and what .synorignore lists: a glob a line. */
static int
ignored(const char *folder, json_t **ret, struct syn_err *err)
{
    char path[PATH_MAX];
    size_t number = 0;
    SYN_BUF(text);
    SYN_JSON(globs);
    int rc = syn_json_pack(&globs, err, "[s, s, s]", ".git", "__pycache__", IGNORE);

    if (rc < 0)
        return rc;
    if (snprintf(path, sizeof(path), "%s/" IGNORE, folder) < (int)sizeof(path) &&
        access(path, F_OK) == 0)
        rc = syn_cli_read_file(path, IGNORE_MAX, &text, err);
    for (const char *at = syn_buf_text(&text); rc == SYN_OK && *at != '\0';) {
        size_t len = strcspn(at, "\n");

        rc = add_glob(globs, at, len, ++number, err);
        at += len + (at[len] == '\n');
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(globs);
    return rc;
}

/* --- upload ---------------------------------------------------------------------------------- */

/* A single file of a language is a folder with nothing else in it. */
static int
file_alone(const char *code, struct syn_buf *folder, json_t **ret_include, json_t **ret_exclude,
           struct syn_err *err)
{
    const char *slash = strrchr(code, '/');
    const char *name = slash != NULL ? slash + 1 : code;
    SYN_BUF(glob);
    int rc;

    syn_buf_add(folder, slash != NULL ? code : ".",
                slash == NULL ? 1 : (size_t)SYN_MAX(slash - code, (ptrdiff_t)1));
    for (; *name != '\0'; name++) {
        if (strchr("*?[]\\", *name) != NULL)
            syn_buf_addc(&glob, '\\');
        syn_buf_addc(&glob, *name);
    }
    rc = syn_buf_ok(&glob, err);
    if (rc == SYN_OK)
        rc = syn_buf_ok(folder, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(ret_include, err, "[s]", syn_buf_text(&glob));
    return rc < 0 ? rc : syn_json_pack(ret_exclude, err, "[s]", "*/*");
}

static int
upload(struct syn_cli *cli, const char *code, json_t **ret, struct syn_err *err)
{
    bool wasm = syn_str_eq(runtime_of(cli), "wasm");
    SYN_JSON(include);
    SYN_JSON(exclude);
    SYN_BUF(folder);
    struct stat st;
    int rc = SYN_OK;

    if (stat(code, &st) != 0)
        return SYN_FAIL_SYS(err, errno, "%s", code);
    if (S_ISDIR(st.st_mode))
        rc = ignored(code, &exclude, err);
    else if (!wasm)
        rc = file_alone(code, &folder, &include, &exclude, err);
    return rc < 0 ? rc
                  : syn_cli_upload(cli,
                                   &(struct syn_cli_upload){
                                       .path = folder.len > 0 ? syn_buf_text(&folder) : code,
                                       .include = include,
                                       .exclude = exclude},
                                   ret, err);
}

int
syn_cli_function_image(struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    SYN_JSON(holder);
    SYN_BUF(runtime);
    int rc;

    if (!is_custom(cli))
        return SYN_OK;
    rc = syn_json_pack(&holder, err, "{s:s}", "image", runtime_of(cli) + strlen(CUSTOM));

    if (rc == SYN_OK)
        rc = syn_cli_image_ready(cli, holder, err);
    syn_buf_addf(&runtime, CUSTOM "%s", syn_json_str(holder, "image", ""));
    if (rc == SYN_OK)
        rc = syn_buf_ok(&runtime, err);
    return rc < 0 ? rc : syn_json_set_str(spec, "runtime", syn_buf_text(&runtime), err);
}

static int
set_code(struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    const char *code = syn_cli_text(cli, "code", NULL);
    SYN_JSON(packed);
    SYN_BUF(reference);
    int rc;

    if (syn_str_starts(code, STORED))
        return syn_json_set_str(spec, "code", code, err);
    rc = upload(cli, code, &packed, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "--code");
    syn_buf_addf(&reference, STORED "%s", syn_json_str(packed, "cid", ""));
    rc = syn_buf_ok(&reference, err);
    return rc < 0 ? rc : syn_json_set_str(spec, "code", syn_buf_text(&reference), err);
}

/* A file is meant as it is named, or else within the code. */
static int
set_layer(struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    const char *file = syn_cli_text(cli, "dependencies", NULL);
    const char *code = syn_cli_text(cli, "code", "");
    char within[PATH_MAX], layer[LAYER_MAX];
    int rc;

    if (file == NULL)
        return SYN_OK;
    if (syn_str_starts(file, STORED))
        return syn_json_set_str(spec, "layer", file, err);
    if (access(file, F_OK) != 0 && exists(code, file, (int)strlen(file), "") &&
        snprintf(within, sizeof(within), "%s/%s", code, file) < (int)sizeof(within))
        file = within;
    rc = syn_cli_function_layer(cli, runtime_of(cli), file, layer, sizeof(layer), err);
    return rc < 0 ? rc : syn_json_set_str(spec, "layer", layer, err);
}

int
syn_cli_function_code(struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    int rc;

    if (is_custom(cli))
        return SYN_OK;
    rc = set_layer(cli, spec, err);
    return rc < 0 ? rc : set_code(cli, spec, err);
}

/* secret: texts that replicas are given and nobody reads again. A value comes from standard input
 * or a file, never from the command line, where others could see it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "cli_priv.h"
#include "commands_priv.h"
#include "named_priv.h"

#define VALUE_MAX ((size_t)64 << 10)

static const struct syn_cli_operand secret_operand[] = {
    {"NAME", SYN_CLI_TEXT, true, false, "Name of the secret: a-z 0-9 -"},
};

/* --- set ------------------------------------------------------------------------------------- */

static const struct syn_cli_option set_options[] = {
    {"from-file", 0, "FILE", SYN_CLI_FILE, 0, 0, false, false, NULL, "standard input",
     "Read the value from there, as it is"},
};

static int
read_all(int fd, const char *what, struct syn_buf *out, struct syn_err *err)
{
    char chunk[4096];
    ssize_t got;

    while ((got = read(fd, chunk, sizeof(chunk))) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return SYN_FAIL_SYS(err, errno, "reading %s", what);
        syn_buf_add(out, chunk, (size_t)got);
        if (out->len > VALUE_MAX)
            return SYN_FAIL(err, SYN_E_TOOBIG, "%s: a secret has at most %zu bytes", what,
                            VALUE_MAX);
    }
    return syn_buf_ok(out, err);
}

/* The value; of standard input without the newline that ends it. */
static int
read_value(const struct syn_cli *cli, struct syn_buf *out, struct syn_err *err)
{
    const char *path = syn_cli_text(cli, "from-file", NULL);
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    int rc;

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "%s", path);
    rc = read_all(fd, path != NULL ? path : "standard input", out, err);
    if (path != NULL)
        (void)close(fd);
    if (rc == SYN_OK && path == NULL && out->len > 0 && out->data[out->len - 1] == '\n')
        out->len--;
    if (rc == SYN_OK && out->len == 0)
        rc = SYN_FAIL(err, SYN_E_INVALID, "the value is empty");
    if (rc == SYN_OK && memchr(out->data, '\0', out->len) != NULL)
        rc = SYN_FAIL(err, SYN_E_INVALID, "a secret is text, without NUL bytes");
    return rc;
}

static const struct syn_cli_named secrets;

static int
run_set(struct syn_cli *cli)
{
    SYN_BUF(value);
    SYN_JSON(body);
    SYN_JSON(secret);
    struct syn_err err;
    int rc = read_value(cli, &value, &err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&body, &err, "{s:s%}", "value", value.data, value.len);
    if (rc == SYN_OK)
        rc = syn_cli_named_call(cli, &secrets, "PUT", "", body, &secret, &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(secret));
    syn_cli_say(cli, "%s is set (version %lld); services that use it are being updated",
                syn_json_str(secret, "name", "?"), (long long)syn_json_i64(secret, "version", 0));
    return 0;
}

const struct syn_cli_command syn_cli_secret_set = {
    .path = "secret set",
    .summary = "Set a secret of the account, new or anew",
    .detail =
        "The value is read from standard input or a file, kept sealed, and never shown again. "
        "Replicas get it as a variable: synor compute service deploy --secret NAME. Setting "
        "it anew replaces the replicas of every service that uses it, as an update does.",
    .examples = "  printf %s \"$PASSWORD\" | synor secret set db-password\n"
                "  synor secret set tls-key --from-file key.pem\n",
    .operands = secret_operand,
    .operand_count = SYN_LEN(secret_operand),
    .options = set_options,
    .option_count = SYN_LEN(set_options),
    .run = run_set};

/* --- list, rm -------------------------------------------------------------------------------- */

static void
secret_cells(struct syn_cli_table_out *rows, const json_t *secret)
{
    syn_cli_cell(rows, "%s", syn_json_str(secret, "name", ""));
    syn_cli_cell(rows, "%lld", (long long)syn_json_i64(secret, "version", 0));
    syn_cli_cell(rows, "%s", syn_json_str(secret, "updated_at", ""));
}

static const struct syn_cli_view secret_view = {.kind = "secret",
                                                .titles = "NAME|>VERSION|SET",
                                                .empty = "No secrets yet: synor secret set NAME",
                                                .cells = secret_cells};

static const struct syn_cli_named secrets = {
    .route = "/v1/secrets", .view = &secret_view, .removal = "Forget the secret"};

static int
run_list(struct syn_cli *cli)
{
    return syn_cli_named_list(cli, &secrets);
}

const struct syn_cli_command syn_cli_secret_list = {
    .path = "secret list",
    .summary = "List secrets by name; values are never shown",
    .run = run_list};

static int
run_rm(struct syn_cli *cli)
{
    return syn_cli_named_rm(cli, &secrets, "", "");
}

const struct syn_cli_command syn_cli_secret_rm = {.path = "secret rm",
                                                  .summary = "Forget a secret that no service uses",
                                                  .operands = secret_operand,
                                                  .operand_count = SYN_LEN(secret_operand),
                                                  .run = run_rm};

/* account: balances, the ledger, tokens, quotas. */
#include <synor/base/str.h>
#include <synor/base/units.h>

#include "cli_priv.h"
#include "commands_priv.h"

#define NAMED_OPERAND(variable, name, text) \
    static const struct syn_cli_operand variable[] = {{name, SYN_CLI_TEXT, true, false, text}}

NAMED_OPERAND(account_operand, "ACCOUNT", "Name or id of the account");
NAMED_OPERAND(name_operand, "NAME", "Lower-case name");

static const struct syn_cli_operand account_maybe[] = {
    {"ACCOUNT", SYN_CLI_TEXT, false, false, "Name or id of the account; without it, your own"},
};

/* "/v1/accounts/X" + tail for operand 0, or "me". */
static void
account_path(const struct syn_cli *cli, const char *tail, struct syn_buf *out)
{
    const char *account = syn_cli_operand(cli, 0);

    syn_buf_adds(out, "/v1/accounts/");
    syn_cli_escape(out, account != NULL ? account : "me");
    syn_buf_adds(out, tail);
}

/* What an account may be limited in. */
static const struct {
    const char *key;    /* in documents */
    const char *option; /* and word for people */
    enum syn_cli_kind kind;
} limits[] = {
    {"jobs", "jobs", SYN_CLI_INT},
    {"cpu_millicores", "cpus", SYN_CLI_CPUS},
    {"memory_bytes", "memory", SYN_CLI_BYTES},
    {"gpus", "gpus", SYN_CLI_INT},
    {"storage_bytes", "storage", SYN_CLI_BYTES},
};

/* Into out[SYN_FORMAT_MAX]; a limit that is not there is "none". */
static const char *
limit_text(size_t which, const json_t *value, char *out)
{
    int64_t amount = json_integer_value(value);

    if (json_is_real(value)) /* of GPUs, in parts */
        return syn_format_cpus((int64_t)(json_real_value(value) * 1000 + 0.5), out);
    if (!json_is_integer(value))
        return "none";
    if (limits[which].kind == SYN_CLI_CPUS)
        return syn_format_cpus(amount, out);
    if (limits[which].kind == SYN_CLI_BYTES)
        return syn_format_bytes(amount, out);
    (void)snprintf(out, SYN_FORMAT_MAX, "%lld", (long long)amount);
    return out;
}

/* Those that there are, with what is held of them. */
static void
say_limits(const struct syn_cli *cli, const json_t *account)
{
    for (size_t i = 0; i < SYN_LEN(limits); i++) {
        char held[SYN_FORMAT_MAX];
        char limit[SYN_FORMAT_MAX];
        const json_t *value = json_object_get(syn_json_at(account, "spec.quota"), limits[i].key);

        if (json_is_integer(value))
            syn_cli_say(
                cli, "  %-8s %s of %s", limits[i].option,
                limit_text(i, json_object_get(syn_json_at(account, "status.usage"), limits[i].key),
                           held),
                limit_text(i, value, limit));
    }
}

static void
say_account(const struct syn_cli *cli, const json_t *account)
{
    const json_t *status = json_object_get(account, "status");

    syn_cli_say(cli, "%s (%s)", syn_json_str(account, "name", "?"),
                syn_json_str(account, "id", "?"));
    syn_cli_say(cli, "  balance  %s SYNOR", syn_json_str(status, "balance", "0"));
    syn_cli_say(cli, "  held     %s SYNOR in escrow and orders", syn_json_str(status, "held", "0"));
    say_limits(cli, account);
}

/* One call whose answer is an account, shown. */
static int
show_account(struct syn_cli *cli, const char *method, const char *path, const json_t *body)
{
    SYN_JSON(answer);
    struct syn_err err;

    if (syn_cli_call(cli, method, path, body, &answer, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(answer));
    say_account(cli, answer);
    return 0;
}

static int
run_account_create(struct syn_cli *cli)
{
    SYN_JSON(body);

    body = json_pack("{s:s}", "name", syn_cli_operand(cli, 0));
    return show_account(cli, "POST", "/v1/accounts", body);
}

const struct syn_cli_command syn_cli_account_create = {.path = "account create",
                                                       .summary = "Open an account",
                                                       .operands = name_operand,
                                                       .operand_count = 1,
                                                       .run = run_account_create};

static void
account_cells(struct syn_cli_table_out *rows, const json_t *account)
{
    const json_t *status = json_object_get(account, "status");

    syn_cli_cell(rows, "%s", syn_json_str(account, "name", ""));
    syn_cli_cell(rows, "%s", syn_json_str(account, "id", ""));
    syn_cli_cell(rows, "%s", syn_json_str(status, "kind", ""));
    syn_cli_cell(rows, "%s", syn_json_str(status, "balance", "0"));
    syn_cli_cell(rows, "%s", syn_json_str(status, "held", "0"));
}

static const struct syn_cli_view account_view = {.kind = "account",
                                                 .titles = "NAME|ID|KIND|>BALANCE|>HELD",
                                                 .empty = "No accounts.",
                                                 .cells = account_cells};

static const struct syn_cli_option watch_options[] = {SYN_CLI_WATCH_OPTION};

static int
run_account_balance(struct syn_cli *cli)
{
    SYN_BUF(path);
    SYN_JSON(account);
    struct syn_err err;

    account_path(cli, "", &path);
    if (!syn_cli_has(cli, "watch"))
        return show_account(cli, "GET", syn_buf_text(&path), NULL);
    if (syn_cli_call(cli, "GET", syn_buf_text(&path), NULL, &account, &err) < 0)
        return syn_cli_fail(cli, &err);
    return syn_cli_watch(cli, &account_view, syn_json_str(account, "id", "?"), NULL);
}

const struct syn_cli_command syn_cli_account_balance = {
    .path = "account balance",
    .summary = "Show what an account has and what is held in escrow",
    .detail = SYN_CLI_WATCH_DETAIL " What is used of a quota is not watched.",
    .options = watch_options,
    .option_count = SYN_LEN(watch_options),
    .operands = account_maybe,
    .operand_count = 1,
    .run = run_account_balance};

static int
run_account_list(struct syn_cli *cli)
{
    return syn_cli_has(cli, "watch") ? syn_cli_watch(cli, &account_view, NULL, NULL)
                                     : syn_cli_show_list(cli, &account_view, "/v1/accounts");
}

const struct syn_cli_command syn_cli_account_list = {.path = "account list",
                                                     .summary = "List accounts",
                                                     .detail = SYN_CLI_WATCH_DETAIL,
                                                     .options = watch_options,
                                                     .option_count = SYN_LEN(watch_options),
                                                     .run = run_account_list};

/* What the transaction moved on this account. */
static const char *
amount_on(const json_t *transaction, const char *account)
{
    size_t i;
    json_t *entry;

    json_array_foreach (json_object_get(transaction, "entries"), i, entry) {
        if (syn_str_eq(syn_json_str(entry, "account", ""), account))
            return syn_json_str(entry, "amount", "0");
    }
    return "0";
}

static int
run_account_history(struct syn_cli *cli)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    SYN_JSON(account);
    SYN_JSON(items);
    SYN_BUF(path);
    SYN_BUF(history);
    struct syn_err err;
    size_t i;
    json_t *item;

    account_path(cli, "", &path);
    account_path(cli, "/history", &history);
    if (syn_cli_call(cli, "GET", syn_buf_text(&path), NULL, &account, &err) < 0 ||
        syn_cli_list(cli, syn_buf_text(&history), &items, &err) < 0 ||
        syn_cli_rows_new("WHEN|TRANSACTION|KIND|>AMOUNT|REFERENCE|MEMO", &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, json_pack("{s:O, s:n}", "items", items, "next"));
    json_array_foreach (items, i, item) {
        syn_cli_cell(rows, "%s", syn_json_str(item, "at", ""));
        syn_cli_cell(rows, "%s", syn_json_str(item, "id", ""));
        syn_cli_cell(rows, "%s", syn_json_str(item, "kind", ""));
        syn_cli_cell(rows, "%s", amount_on(item, syn_json_str(account, "id", "")));
        syn_cli_cell(rows, "%s", syn_json_str(item, "ref", ""));
        syn_cli_cell(rows, "%s", syn_json_str(item, "memo", ""));
    }
    return syn_cli_rows_print(cli, rows, "No transactions yet.");
}

const struct syn_cli_command syn_cli_account_history = {
    .path = "account history",
    .summary = "List the transactions of an account, newest first",
    .operands = account_maybe,
    .operand_count = 1,
    .run = run_account_history};

/* A call whose answer is a transaction. */
static int
show_transaction(struct syn_cli *cli, const char *path, const json_t *body)
{
    SYN_JSON(answer);
    struct syn_err err;

    if (syn_cli_call(cli, "POST", path, body, &answer, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(answer));
    syn_cli_say(cli, "%s  %s", syn_json_str(answer, "id", "?"), syn_json_str(answer, "kind", "?"));
    return 0;
}

static int
run_account_faucet(struct syn_cli *cli)
{
    SYN_BUF(path);
    SYN_JSON(body);

    account_path(cli, "/faucet", &path);
    body = json_pack("{s:s}", "amount", syn_cli_text(cli, "amount", "100"));
    return show_transaction(cli, syn_buf_text(&path), body);
}

static const struct syn_cli_option faucet_options[] = {
    {"amount", 0, "SYNOR", SYN_CLI_AMOUNT, 0, 0, false, false, NULL, "100", "How much to grant"},
};

const struct syn_cli_command syn_cli_account_faucet = {
    .path = "account faucet",
    .summary = "Grant play money; development networks only",
    .options = faucet_options,
    .option_count = SYN_LEN(faucet_options),
    .operands = account_maybe,
    .operand_count = 1,
    .run = run_account_faucet};

static int
run_account_transfer(struct syn_cli *cli)
{
    SYN_JSON(body);

    body = json_pack("{s:s, s:s, s:s, s:s}", "from", syn_cli_text(cli, "from", "me"), "to",
                     syn_cli_operand(cli, 0), "amount", syn_cli_text(cli, "amount", "0"), "memo",
                     syn_cli_text(cli, "memo", ""));
    return show_transaction(cli, "/v1/transfers", body);
}

static const struct syn_cli_option transfer_options[] = {
    {"amount", 0, "SYNOR", SYN_CLI_AMOUNT, 0, 0, true, false, NULL, NULL, "How much to send"},
    {"from", 0, "ACCOUNT", SYN_CLI_TEXT, 0, 0, false, false, NULL, "your own",
     "Account to take it from"},
    {"memo", 0, "TEXT", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL,
     "A remark kept in the ledger"},
};

const struct syn_cli_command syn_cli_account_transfer = {.path = "account transfer",
                                                         .summary = "Send SYNOR to another account",
                                                         .options = transfer_options,
                                                         .option_count = SYN_LEN(transfer_options),
                                                         .operands = account_operand,
                                                         .operand_count = 1,
                                                         .run = run_account_transfer};

static int
run_account_token(struct syn_cli *cli)
{
    SYN_BUF(path);
    SYN_JSON(body);
    SYN_JSON(answer);
    json_t *scopes = json_array();
    const struct syn_cli_value *scope;
    struct syn_err err;
    size_t cursor = 0;

    while ((scope = syn_cli_next(cli, "scope", &cursor)) != NULL)
        (void)json_array_append_new(scopes, json_string(scope->text));
    if (json_array_size(scopes) == 0)
        (void)json_array_append_new(scopes, json_string("tenant"));
    body = json_pack("{s:s, s:o, s:I, s:b}", "name", syn_cli_text(cli, "name", "cli"), "scopes",
                     scopes, "ttl_ms", (json_int_t)syn_cli_number(cli, "ttl", 0), "independent",
                     syn_cli_has(cli, "independent") ? 1 : 0);
    account_path(cli, "/tokens", &path);
    if (syn_cli_call(cli, "POST", syn_buf_text(&path), body, &answer, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(answer));
    syn_cli_say(cli, "%s", syn_json_str(answer, "token", "?"));
    syn_cli_note(cli, "This is shown once; keep it safe.");
    return 0;
}

static const struct syn_cli_option token_options[] = {
    {"name", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, "cli", "What it is for"},
    {"scope", 0, "SCOPE", SYN_CLI_TEXT, 0, 0, false, true, "tenant|read|operator|join", "tenant",
     "What it may do; may be given again"},
    {"ttl", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "that of your own token",
     "How long it is valid: 30m, 7d"},
    {"independent", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "Let it outlive your own token (operators only)"},
};

const struct syn_cli_command syn_cli_account_token = {.path = "account token",
                                                      .summary =
                                                          "Make a bearer token for an account",
                                                      .options = token_options,
                                                      .option_count = SYN_LEN(token_options),
                                                      .operands = account_maybe,
                                                      .operand_count = 1,
                                                      .run = run_account_token};

static int
run_account_tokens(struct syn_cli *cli)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    SYN_JSON(items);
    SYN_BUF(path);
    struct syn_err err;
    size_t i;
    json_t *item;

    account_path(cli, "/tokens", &path);
    if (syn_cli_list(cli, syn_buf_text(&path), &items, &err) < 0 ||
        syn_cli_rows_new("TOKEN|NAME|SCOPES|EXPIRES|MADE WITH", &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, json_pack("{s:O, s:n}", "items", items, "next"));
    json_array_foreach (items, i, item) {
        syn_cli_cell(rows, "%.12s", syn_json_str(item, "id", ""));
        syn_cli_cell(rows, "%s", syn_json_str(item, "name", ""));
        syn_cli_cell(rows, "%s", syn_json_str(item, "scopes", ""));
        syn_cli_cell(rows, "%s", syn_json_str(item, "expires_at", "never"));
        syn_cli_cell(rows, "%.12s", syn_json_str(item, "maker", "-"));
    }
    return syn_cli_rows_print(cli, rows, "No tokens.");
}

const struct syn_cli_command syn_cli_account_tokens = {.path = "account tokens",
                                                       .summary = "List the tokens of an account",
                                                       .operands = account_maybe,
                                                       .operand_count = 1,
                                                       .run = run_account_tokens};

/* The one token whose id begins with `text`. */
static int
find_token(struct syn_cli *cli, const char *text, char *ret_id, size_t cap, struct syn_err *err)
{
    SYN_JSON(items);
    size_t i;
    json_t *item;
    unsigned found = 0;
    int rc = syn_cli_list(cli, "/v1/accounts/me/tokens", &items, err);

    if (rc < 0)
        return rc;
    json_array_foreach (items, i, item) {
        if (!syn_str_starts(syn_json_str(item, "id", ""), text))
            continue;
        found++;
        (void)syn_str_copy(ret_id, cap, syn_json_str(item, "id", ""));
    }
    if (found == 1)
        return SYN_OK;
    return SYN_FAIL(err, found == 0 ? SYN_E_NOTFOUND : SYN_E_CONFLICT, "%u tokens begin with %s",
                    found, text);
}

static int
run_account_revoke(struct syn_cli *cli)
{
    char id[80] = "";
    SYN_BUF(path);
    struct syn_err err;
    int rc = find_token(cli, syn_cli_operand(cli, 0), id, sizeof(id), &err);

    syn_buf_addf(&path, "/v1/accounts/me/tokens/%s", id);
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "DELETE", syn_buf_text(&path), NULL, NULL, &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, json_pack("{s:s, s:b}", "id", id, "revoked", 1));
    syn_cli_say(cli, "Token %.12s and all that were made with it are revoked.", id);
    return 0;
}

NAMED_OPERAND(token_operand, "TOKEN", "Its id, or the beginning of it: see `synor account tokens`");

const struct syn_cli_command syn_cli_account_revoke = {
    .path = "account revoke",
    .summary = "Revoke a token and all that were made with it",
    .operands = token_operand,
    .operand_count = 1,
    .run = run_account_revoke};

/* --- quota ----------------------------------------------------------------------------------- */

/* The limits as they are to be: those of now, with what the options say laid over. */
static int
merge_limits(struct syn_cli *cli, const json_t *account, json_t **ret, bool *ret_changed,
             struct syn_err *err)
{
    const struct syn_cli_value *lifted;
    const json_t *now = syn_json_at(account, "spec.quota");
    size_t cursor = 0;
    SYN_JSON(quota);
    int rc = SYN_OK;

    quota = json_object();
    if (quota == NULL || (now != NULL && json_object_update(quota, (json_t *)(uintptr_t)now) != 0))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a quota");
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(limits); i++) {
        if (!syn_cli_has(cli, limits[i].option))
            continue;
        *ret_changed = true;
        rc = syn_json_set_i64(quota, limits[i].key, syn_cli_number(cli, limits[i].option, 0), err);
    }
    while ((lifted = syn_cli_next(cli, "unlimited", &cursor)) != NULL) {
        *ret_changed = true;
        for (size_t i = 0; i < SYN_LEN(limits); i++) {
            if (syn_str_eq(lifted->text, limits[i].option))
                (void)json_object_del(quota, limits[i].key);
        }
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(quota);
    return rc;
}

static int
print_quota(struct syn_cli *cli, const json_t *account)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    const json_t *quota = syn_json_at(account, "spec.quota");
    const json_t *usage = syn_json_at(account, "status.usage");
    struct syn_err err;

    if (cli->json)
        return syn_cli_print_json_take(cli, json_pack("{s:O, s:O*, s:O*}", "account",
                                                      json_object_get(account, "id"), "quota",
                                                      quota, "usage", usage));
    if (syn_cli_rows_new("RESOURCE|>HELD|>LIMIT", &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    for (size_t i = 0; i < SYN_LEN(limits); i++) {
        char held[SYN_FORMAT_MAX];
        char limit[SYN_FORMAT_MAX];

        syn_cli_cell(rows, "%s", limits[i].option);
        syn_cli_cell(rows, "%s", limit_text(i, json_object_get(usage, limits[i].key), held));
        syn_cli_cell(rows, "%s", limit_text(i, json_object_get(quota, limits[i].key), limit));
    }
    return syn_cli_rows_print(cli, rows, "");
}

static int
run_account_quota(struct syn_cli *cli)
{
    SYN_BUF(path);
    SYN_BUF(quota_path);
    SYN_JSON(account);
    SYN_JSON(quota);
    SYN_JSON(after);
    struct syn_err err;
    bool changed = false;
    int rc;

    account_path(cli, "", &path);
    account_path(cli, "/quota", &quota_path);
    rc = syn_cli_call(cli, "GET", syn_buf_text(&path), NULL, &account, &err);
    if (rc == SYN_OK)
        rc = merge_limits(cli, account, &quota, &changed, &err);
    if (rc == SYN_OK && changed)
        rc = syn_cli_replace(cli, syn_buf_text(&quota_path), quota,
                             syn_json_i64(account, "revision", 0), &after, &err);
    return rc < 0 ? syn_cli_fail(cli, &err) : print_quota(cli, changed ? after : account);
}

static const struct syn_cli_option quota_options[] = {
    {"jobs", 0, "N", SYN_CLI_INT, 0, 0, false, false, NULL, NULL, "Jobs that run at once"},
    {"cpus", 0, "N", SYN_CLI_CPUS, 0, 0, false, false, NULL, NULL, "CPUs held at once"},
    {"memory", 0, "SIZE", SYN_CLI_BYTES, 0, 0, false, false, NULL, NULL, "Memory held at once"},
    {"gpus", 0, "N", SYN_CLI_INT, 0, 0, false, false, NULL, NULL, "GPUs held at once"},
    {"storage", 0, "SIZE", SYN_CLI_BYTES, 0, 0, false, false, NULL, NULL,
     "Size of what names and pins keep"},
    {"unlimited", 0, "RESOURCE", SYN_CLI_TEXT, 0, 0, false, true, "jobs|cpus|memory|gpus|storage",
     NULL, "Take a limit away; may be given again"},
};

const struct syn_cli_command syn_cli_account_quota = {
    .path = "account quota",
    .summary = "Show or set what an account may hold at once",
    .detail = "Without options it shows what the account holds and may hold. With options an "
              "operator sets the limits named and leaves the others as they are. A job that is "
              "over a limit by itself is refused; one that finds no room in it now waits, with the "
              "reason `quota`. What runs already goes on when a limit is lowered.",
    .examples = "synor account quota bob --jobs 2 --cpus 8 --memory 32gb\n"
                "  bob may run two jobs at once, with 8 CPUs and 32 GiB in all\n"
                "synor account quota bob --unlimited cpus\n"
                "  take the limit of CPUs away again\n",
    .options = quota_options,
    .option_count = SYN_LEN(quota_options),
    .operands = account_maybe,
    .operand_count = 1,
    .run = run_account_quota};

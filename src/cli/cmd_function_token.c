/* compute function token: signed tokens with which others call functions whose routes take them. */
#include <synor/base/str.h>
#include <synor/base/units.h>

#include "cli_priv.h"
#include "commands_priv.h"
#include "named_priv.h"
#include "workload_priv.h"

#define KEYS_MAX ((size_t)64 << 10)

/* --- create, rotate, keys --------------------------------------------------------------------- */

/* clang-format off */
static const struct syn_cli_option create_options[] = {
    {"function", 0, "FUNCTION", SYN_CLI_TEXT, 0, 0, false, false, NULL, "all of the account", "Name of the one that it opens"},
    {"subject", 0, "TEXT", SYN_CLI_TEXT, 0, 0, false, false, NULL, "nobody", "For whom it is; the function is told, as x-synor-subject"},
    {"ttl", 0, "TIME", SYN_CLI_DURATION, 0, 0, false, false, NULL, "1h", "How long it is valid, up to 90d"},
};
/* clang-format on */

static const struct syn_cli_spec_key numbers[] = {{"ttl", "ttl_ms"}};
static const struct syn_cli_spec_key texts[] = {{"function", "function"}, {"subject", "subject"}};

/* What the server says of a key is said of its option, whether or not it says where the key is. */
static void
blame(const struct syn_cli *cli, const struct syn_cli_spec_key *keys, size_t count,
      struct syn_err *err)
{
    syn_cli_spec_blame(cli, "body.", keys, count, err);
    syn_cli_spec_blame(cli, "", keys, count, err);
}

static int
run_create(struct syn_cli *cli)
{
    SYN_JSON(body);
    SYN_JSON(token);
    struct syn_err err;
    int rc = syn_json_pack(&body, &err, "{}");

    if (rc == SYN_OK)
        rc = syn_cli_spec_texts(cli, texts, SYN_LEN(texts), body, &err);
    if (rc == SYN_OK)
        rc = syn_cli_spec_numbers(cli, numbers, SYN_LEN(numbers), body, &err);
    if (rc == SYN_OK) {
        rc = syn_cli_call(cli, "POST", "/v1/function-tokens", body, &token, &err);
        if (rc < 0) {
            blame(cli, texts, SYN_LEN(texts), &err);
            blame(cli, numbers, SYN_LEN(numbers), &err);
        }
    }
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(token));
    syn_cli_say(cli, "%s", syn_json_str(token, "token", "?"));
    syn_cli_note(cli, "It is valid until %s.", syn_json_str(token, "expires_at", "?"));
    return 0;
}

const struct syn_cli_command syn_cli_function_token_create = {
    .path = "compute function token create",
    .summary = "Sign a token that functions are called with",
    .detail = "It counts where a route takes tokens, --trigger http:/path,auth=token, and comes "
              "with a request as Authorization: Bearer TOKEN. It is a JSON Web Token, signed with "
              "a key of the account (EdDSA), and is kept nowhere: it ends with its time, or with "
              "all others by `function token rotate`.",
    .examples = "  synor compute function deploy --name hello --runtime wasm --code hello.wat \\\n"
                "    --trigger http:/hello,auth=token\n"
                "  TOKEN=$(synor compute function token create --function hello --ttl 1h)\n"
                "  curl -H \"authorization: Bearer $TOKEN\" http://127.0.0.1:9080/hello\n",
    .options = create_options,
    .option_count = SYN_LEN(create_options),
    .run = run_create};

static int
run_rotate(struct syn_cli *cli)
{
    SYN_JSON(keys);
    struct syn_err err;
    const json_t *key;

    if (!syn_cli_workload_confirm(cli, "Sign with another key, and end all tokens that there are?"))
        return 1;
    if (syn_cli_call(cli, "POST", "/v1/function-tokens/rotate", NULL, &keys, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(keys));
    key = json_array_get(json_object_get(keys, "keys"), 0);
    syn_cli_say(cli, "Tokens are signed with %s from now on.", syn_json_str(key, "kid", "?"));
    return 0;
}

const struct syn_cli_command syn_cli_function_token_rotate = {
    .path = "compute function token rotate",
    .summary = "Sign with another key; tokens of the one before open nothing more",
    .run = run_rotate};

static int
run_keys(struct syn_cli *cli)
{
    json_t *keys = NULL;
    struct syn_err err;

    if (syn_cli_call(cli, "GET", "/v1/function-tokens/keys", NULL, &keys, &err) < 0)
        return syn_cli_fail(cli, &err);
    return syn_cli_print_json_take(cli, keys);
}

const struct syn_cli_command syn_cli_function_token_keys = {
    .path = "compute function token keys",
    .summary = "Print the public key of the account's tokens, as a JWKS",
    .run = run_keys};

/* --- issuers ---------------------------------------------------------------------------------- */

static const struct syn_cli_operand issuer_operand[] = {
    {"NAME", SYN_CLI_TEXT, true, false, "Name of the issuer here: a-z 0-9 -"},
};

/* clang-format off */
static const struct syn_cli_option add_options[] = {
    {"issuer", 0, "TEXT", SYN_CLI_TEXT, 0, 0, true, false, NULL, NULL, "What its tokens have as iss"},
    {"keys", 0, "FILE", SYN_CLI_FILE, 0, 0, true, false, NULL, NULL, "Its public keys of Ed25519: a PEM, a JWK or a JWKS"},
    {"audience", 0, "TEXT", SYN_CLI_TEXT, 0, 0, false, false, NULL, "ACCOUNT or ACCOUNT/FUNCTION", "What they have as aud"},
};
/* clang-format on */

static const struct syn_cli_spec_key issuer_texts[] = {{"issuer", "issuer"},
                                                       {"audience", "audience"}};
static const struct syn_cli_spec_key issuer_keys[] = {{"keys", "keys"}};

static void
issuer_cells(struct syn_cli_table_out *rows, const json_t *issuer)
{
    const json_t *ids = json_object_get(issuer, "key_ids"), *id;
    SYN_BUF(text);
    size_t i;

    json_array_foreach (ids, i, id) {
        const char *kid = json_string_value(id);

        syn_buf_addf(&text, "%s%s", i > 0 ? "," : "", kid[0] != '\0' ? kid : "-");
    }
    syn_cli_cell(rows, "%s", syn_json_str(issuer, "name", ""));
    syn_cli_cell(rows, "%s", syn_json_str(issuer, "issuer", ""));
    syn_cli_cell(rows, "%s", syn_json_str(issuer, "audience", "the account's"));
    syn_cli_cell(rows, "%s", syn_buf_text(&text));
    syn_cli_cell(rows, "%s", syn_json_str(issuer, "created_at", ""));
}

static const struct syn_cli_view issuer_view = {
    .kind = "function-issuer",
    .titles = "NAME|ISSUER|AUDIENCE|KEYS|CREATED",
    .empty = "No issuers yet: synor compute function token issuer add NAME",
    .cells = issuer_cells};

static const struct syn_cli_named issuers = {
    .route = "/v1/function-issuers", .view = &issuer_view, .removal = "Take no more tokens of"};

static int
run_add(struct syn_cli *cli)
{
    SYN_JSON(body);
    SYN_JSON(issuer);
    SYN_BUF(keys);
    struct syn_err err;
    int rc = syn_json_pack(&body, &err, "{}");

    if (rc == SYN_OK)
        rc = syn_cli_read_file(syn_cli_text(cli, "keys", ""), KEYS_MAX, &keys, &err);
    if (rc == SYN_OK)
        rc = syn_cli_spec_texts(cli, issuer_texts, SYN_LEN(issuer_texts), body, &err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(body, "keys", syn_buf_text(&keys), &err);
    if (rc == SYN_OK)
        rc = syn_cli_named_call(cli, &issuers, "PUT", "", body, &issuer, &err);
    if (rc < 0) {
        blame(cli, issuer_texts, SYN_LEN(issuer_texts), &err);
        blame(cli, issuer_keys, SYN_LEN(issuer_keys), &err);
        return syn_cli_fail(cli, &err);
    }
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(issuer));
    syn_cli_say(cli, "Tokens of %s are taken, with %zu key%s.", syn_json_str(issuer, "issuer", "?"),
                json_array_size(json_object_get(issuer, "key_ids")),
                json_array_size(json_object_get(issuer, "key_ids")) == 1 ? "" : "s");
    return 0;
}

const struct syn_cli_command syn_cli_function_issuer_add = {
    .path = "compute function token issuer add",
    .summary = "Take tokens that somebody else signs, or their keys anew",
    .detail =
        "Its tokens are JSON Web Tokens of Ed25519 (EdDSA); others are refused. Keys are what "
        "the file says now: nobody fetches them again. A key without a name (kid) is tried "
        "for every token of the issuer.",
    .examples = "  synor compute function token issuer add ours --issuer https://id.example \\\n"
                "    --keys jwks.json --audience my-api\n",
    .operands = issuer_operand,
    .operand_count = SYN_LEN(issuer_operand),
    .options = add_options,
    .option_count = SYN_LEN(add_options),
    .run = run_add};

static int
run_list(struct syn_cli *cli)
{
    return syn_cli_named_list(cli, &issuers);
}

const struct syn_cli_command syn_cli_function_issuer_list = {
    .path = "compute function token issuer list",
    .summary = "List whose tokens functions take beside the account's own",
    .run = run_list};

static int
run_rm(struct syn_cli *cli)
{
    return syn_cli_named_rm(cli, &issuers, "", "");
}

const struct syn_cli_command syn_cli_function_issuer_rm = {
    .path = "compute function token issuer rm",
    .summary = "Take no more tokens of an issuer",
    .operands = issuer_operand,
    .operand_count = SYN_LEN(issuer_operand),
    .run = run_rm};

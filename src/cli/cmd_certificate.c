/* compute certificate: certificates that services with TLS are served with. */
#include <synor/base/str.h>

#include "cli_priv.h"
#include "commands_priv.h"
#include "named_priv.h"

#define PEM_MAX ((size_t)48 << 10)

static const struct syn_cli_operand certificate_operand[] = {
    {"NAME", SYN_CLI_TEXT, true, false, "Name of the certificate: a-z 0-9 -, or a host"},
};

static const struct syn_cli_named certificates;

/* --- add -------------------------------------------------------------------------------------- */

static const struct syn_cli_option add_options[] = {
    {"cert", 0, "FILE", SYN_CLI_FILE, 0, 0, true, false, NULL, NULL,
     "The certificate and its chain, PEM"},
    {"key", 0, "FILE", SYN_CLI_FILE, 0, 0, true, false, NULL, NULL,
     "Its key, PEM, without a password"},
};

static int
show_take(struct syn_cli *cli, json_t *certificate_take)
{
    const json_t *host;
    SYN_BUF(hosts);
    size_t i;

    if (cli->json)
        return syn_cli_print_json_take(cli, certificate_take);
    json_array_foreach (json_object_get(certificate_take, "hosts"), i, host)
        syn_buf_addf(&hosts, "%s%s", i > 0 ? ", " : "", json_string_value(host));
    syn_cli_say(cli, "%s (version %lld)  %s", syn_json_str(certificate_take, "name", "?"),
                (long long)syn_json_i64(certificate_take, "version", 0),
                syn_json_str(certificate_take, "state", "?"));
    syn_cli_say(cli, "  for         %s", syn_buf_text(&hosts));
    syn_cli_say(cli, "  issuer      %s", syn_json_str(certificate_take, "issuer", "?"));
    syn_cli_say(cli, "  valid       %s to %s", syn_json_str(certificate_take, "from", "?"),
                syn_json_str(certificate_take, "until", "?"));
    if (syn_json_str(certificate_take, "renews", "")[0] != '\0')
        syn_cli_say(cli, "  renews      %s", syn_json_str(certificate_take, "renews", ""));
    if (syn_json_i64(certificate_take, "failures", 0) > 0)
        syn_cli_say(cli, "  failed      %lld times: %s",
                    (long long)syn_json_i64(certificate_take, "failures", 0),
                    syn_json_str(certificate_take, "message", ""));
    json_array_foreach (json_object_get(certificate_take, "services"), i, host)
        syn_cli_say(cli, "  used by     %s", json_string_value(host));
    json_decref(certificate_take);
    return 0;
}

static int
run_add(struct syn_cli *cli)
{
    SYN_BUF(cert);
    SYN_BUF(key);
    SYN_JSON(body);
    json_t *certificate = NULL;
    struct syn_err err;
    int rc = syn_cli_read_file(syn_cli_text(cli, "cert", ""), PEM_MAX, &cert, &err);

    if (rc == SYN_OK)
        rc = syn_cli_read_file(syn_cli_text(cli, "key", ""), PEM_MAX, &key, &err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&body, &err, "{s:s, s:s}", "cert", syn_buf_text(&cert), "key",
                           syn_buf_text(&key));
    if (rc == SYN_OK)
        rc = syn_cli_named_call(cli, &certificates, "PUT", "", body, &certificate, &err);
    return rc < 0 ? syn_cli_fail(cli, &err) : show_take(cli, certificate);
}

const struct syn_cli_command syn_cli_certificate_add = {
    .path = "compute certificate add",
    .summary = "Give a certificate with its key, new or anew",
    .detail = "Services that were deployed with --tls-cert NAME are served with it. Given anew, it "
              "is in use at once: no connection ends. The key is kept sealed and never shown.",
    .examples = "  synor compute certificate add shop --cert fullchain.pem --key privkey.pem\n"
                "  synor compute service update web --tls-cert shop --host shop.example\n",
    .operands = certificate_operand,
    .operand_count = SYN_LEN(certificate_operand),
    .options = add_options,
    .option_count = SYN_LEN(add_options),
    .run = run_add};

/* --- list, get, rm ---------------------------------------------------------------------------- */

static void
certificate_cells(struct syn_cli_table_out *rows, const json_t *certificate)
{
    const char *host = json_string_value(json_array_get(json_object_get(certificate, "hosts"), 0));

    syn_cli_cell(rows, "%s", syn_json_str(certificate, "name", ""));
    syn_cli_cell(rows, "%lld", (long long)syn_json_i64(certificate, "version", 0));
    syn_cli_cell(rows, "%s", syn_json_str(certificate, "source", ""));
    syn_cli_cell(rows, "%s", syn_json_str(certificate, "state", ""));
    syn_cli_cell(rows, "%s", syn_json_str(certificate, "until", ""));
    syn_cli_cell(rows, "%s", syn_json_str(certificate, "renews", ""));
    syn_cli_cell(rows, "%s", host != NULL ? host : "");
    syn_cli_cell(rows, "%zu", json_array_size(json_object_get(certificate, "services")));
}

static const struct syn_cli_view certificate_view = {
    .kind = "certificate",
    .titles = "NAME|>VERSION|SOURCE|STATE|UNTIL|RENEWS|FOR|>SERVICES",
    .empty = "No certificates yet: synor compute certificate add NAME --cert FILE --key FILE",
    .cells = certificate_cells};

static const struct syn_cli_named certificates = {.route = "/v1/certificates",
                                                  .view = &certificate_view,
                                                  .show_take = show_take,
                                                  .removal = "Forget the certificate"};

static int
run_list(struct syn_cli *cli)
{
    return syn_cli_named_list(cli, &certificates);
}

const struct syn_cli_command syn_cli_certificate_list = {
    .path = "compute certificate list",
    .summary = "List certificates, and until when they are valid",
    .run = run_list};

static int
run_get(struct syn_cli *cli)
{
    return syn_cli_named_get(cli, &certificates);
}

const struct syn_cli_command syn_cli_certificate_get = {
    .path = "compute certificate get",
    .summary = "Show a certificate: for what, until when, used by whom",
    .operands = certificate_operand,
    .operand_count = SYN_LEN(certificate_operand),
    .run = run_get};

static int
run_renew(struct syn_cli *cli)
{
    json_t *certificate = NULL;
    struct syn_err err;
    int rc = syn_cli_named_call(cli, &certificates, "POST", "/renew", NULL, &certificate, &err);

    return rc < 0 ? syn_cli_fail(cli, &err) : show_take(cli, certificate);
}

const struct syn_cli_command syn_cli_certificate_renew = {
    .path = "compute certificate renew",
    .summary = "Get a new one from the ACME directory now",
    .detail = "For certificates of services with --tls-cert acme, which renew themselves at two "
              "thirds of their life. When that failed it is tried again later and later; this "
              "does so at once.",
    .examples = "  synor compute certificate renew shop.example\n",
    .operands = certificate_operand,
    .operand_count = SYN_LEN(certificate_operand),
    .run = run_renew};

static int
run_rm(struct syn_cli *cli)
{
    return syn_cli_named_rm(cli, &certificates, "", "");
}

const struct syn_cli_command syn_cli_certificate_rm = {
    .path = "compute certificate rm",
    .summary = "Forget a certificate that no service uses",
    .operands = certificate_operand,
    .operand_count = SYN_LEN(certificate_operand),
    .run = run_rm};

/* What a container runtime that somebody else runs needs to be told before a node may use it. */
#include <stdio.h>

#include <synor/base/str.h>

#include "cli_priv.h"
#include "commands_priv.h"
#include "platform_priv.h"

#define CONFIG_MAX ((size_t)1 << 20)
#define USUAL      "/etc/containerd/config.toml"

static int
make_config(struct syn_cli *cli, struct syn_buf *out, struct syn_err *err)
{
    const char *which = syn_cli_operand(cli, 0);
    const char *path = syn_cli_text(cli, "config", NULL);
    SYN_BUF(config);
    int rc;

    if (!syn_str_eq(which, "containerd"))
        return SYN_FAIL(err, SYN_E_INVALID, "RUNTIME: \"%.40s\" is not containerd", which);
    if (cli->host->runtime_config == NULL)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "this program has no daemon in it");
    rc = syn_cli_read_file(path != NULL ? path : USUAL, CONFIG_MAX, &config, err);
    if (rc < 0 && path != NULL)
        return syn_err_wrap(err, rc, "--config");
    return cli->host->runtime_config(cli->home, syn_buf_text(&config), out, err);
}

static int
run_config(struct syn_cli *cli)
{
    struct syn_err err;
    SYN_BUF(out);

    if (make_config(cli, &out, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(
            cli, json_pack("{s:s, s:s}", "runtime", "containerd", "config", syn_buf_text(&out)));
    (void)fputs(syn_buf_text(&out), stdout);
    return fflush(stdout) == 0 ? 0 : 1;
}

/* clang-format off */
static const struct syn_cli_option config_options[] = {
    {"config", 0, "FILE", SYN_CLI_FILE, 0, 0, false, false, NULL, "/etc/containerd/config.toml", "What it is told now"},
    {"data-dir", 0, "DIR", SYN_CLI_DIR, 0, 0, false, false, NULL, "--home", "Where the node's state is kept"},
};
/* clang-format on */

static const struct syn_cli_operand config_operands[] = {
    {"RUNTIME", SYN_CLI_TEXT, true, false, "containerd"},
};

const struct syn_cli_command syn_cli_runtime_config = {
    .path = "runtime config",
    .summary = "Print what a containerd that is there needs to be told",
    .detail = "For a node that uses it (--runtime container --containerd SOCKET): runtime classes "
              "with this platform's networks, to be put into its configuration, and the link to "
              "the network plugin. What it runs for others stays as it is. Nothing is changed.",
    .examples = "  synor runtime config containerd\n",
    .options = config_options,
    .option_count = SYN_LEN(config_options),
    .operands = config_operands,
    .operand_count = SYN_LEN(config_operands),
    .run = run_config};

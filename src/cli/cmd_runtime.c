/* What a container runtime that somebody else runs needs to be told before a node may use it. */
#include <stdio.h>

#include <synor/base/str.h>

#include "commands_priv.h"
#include "platform_priv.h"

static int
run_config(struct syn_cli *cli)
{
    const char *which = syn_cli_operand(cli, 0);
    int release = (int)syn_cli_number(cli, "config-version", 2);
    struct syn_err err;
    SYN_BUF(out);

    if (!syn_str_eq(which, "containerd"))
        (void)SYN_FAIL(&err, SYN_E_INVALID, "runtime: \"%.40s\" is not containerd", which);
    else if (cli->host->runtime_config == NULL)
        (void)SYN_FAIL(&err, SYN_E_UNSUPPORTED, "this program has no daemon in it");
    else if (cli->host->runtime_config(cli->home, release, &out, &err) == SYN_OK)
        err.code = SYN_OK;
    if (err.code != SYN_OK)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, json_pack("{s:s, s:i, s:s}", "runtime", which,
                                                      "config_version", release, "config",
                                                      syn_buf_text(&out)));
    (void)fputs(syn_buf_text(&out), stdout);
    return fflush(stdout) == 0 ? 0 : 1;
}

/* clang-format off */
static const struct syn_cli_option config_options[] = {
    {"config-version", 0, "N", SYN_CLI_INT, 2, 3, false, false, NULL, "2", "Of its file: 2 of containerd 1.6 and 1.7, 3 of 2.0"},
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
              "the network plugin. What it runs for others stays as it is.",
    .examples = "  synor runtime config containerd >> /etc/containerd/config.toml\n",
    .options = config_options,
    .option_count = SYN_LEN(config_options),
    .operands = config_operands,
    .operand_count = SYN_LEN(config_operands),
    .run = run_config};

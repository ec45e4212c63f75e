/* The program's table: global options, groups, and every command in the order that help shows them.
 */
#include "commands_priv.h"

static const struct syn_cli_option globals[] = {
    {"json", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "Answer in JSON on standard output"},
    {"yes", 'y', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "Do not ask; take the plan as shown"},
    {"quiet", 'q', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "No progress and no remarks"},
    {"server", 0, "URL", SYN_CLI_TEXT, 0, 0, false, false, NULL, "the local platform",
     "Server to talk to: https://HOST:PORT, or a socket's path; also SYNOR_SERVER, with "
     "SYNOR_TOKEN and SYNOR_FINGERPRINT"},
    {"home", 0, "DIR", SYN_CLI_DIR, 0, 0, false, false, NULL, "~/.synor",
     "Folder of the local platform; also SYNOR_HOME"},
    {"account", 0, "ACCOUNT", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL,
     "Act for this account (operators only)"},
};

static const struct syn_cli_group groups[] = {
    {"compute", "Deploy and watch workloads"},
    {"compute train", "Training jobs: from dataset to trained model and bill"},
    {"compute service", "Services: replicas of an image that stay up, are updated and scaled"},
    {"compute devices", "Processors of this machine: what they are, are rated at, and do"},
    {"storage", "Content-addressed storage: files and folders under CIDs and names"},
    {"account", "Accounts, balances and the ledger"},
    {"bill", "Bills: what a run cost and why, and the proof of it"},
    {"market", "The spot market: buy and sell capacity"},
    {"node", "Machines that run instances"},
    {"region", "Where nodes are"},
    {"region latency", "How far regions are from each other"},
};

static const struct syn_cli_command *const commands[] = {
    &syn_cli_up_command,        &syn_cli_down_command,        &syn_cli_status_command,
    &syn_cli_doctor_command,    &syn_cli_server_command,      &syn_cli_agent_command,
    &syn_cli_explain,           &syn_cli_train_create,        &syn_cli_train_list,
    &syn_cli_train_get,         &syn_cli_train_logs,          &syn_cli_train_stop,
    &syn_cli_train_resume,      &syn_cli_train_delete,        &syn_cli_train_explain,
    &syn_cli_train_checkpoints, &syn_cli_train_metrics,       &syn_cli_train_events,
    &syn_cli_service_deploy,    &syn_cli_service_list,        &syn_cli_service_get,
    &syn_cli_service_scale,     &syn_cli_service_update,      &syn_cli_service_rollback,
    &syn_cli_service_restart,   &syn_cli_service_stop,        &syn_cli_service_delete,
    &syn_cli_service_history,   &syn_cli_service_events,      &syn_cli_service_explain,
    &syn_cli_service_logs,      &syn_cli_run_graph,           &syn_cli_devices_list,
    &syn_cli_devices_describe,  &syn_cli_devices_profiles,    &syn_cli_devices_bench,
    &syn_cli_storage_put,       &syn_cli_storage_get,         &syn_cli_storage_ls,
    &syn_cli_storage_info,      &syn_cli_storage_name,        &syn_cli_storage_pin,
    &syn_cli_storage_rm,        &syn_cli_storage_gc,          &syn_cli_storage_verify,
    &syn_cli_account_create,    &syn_cli_account_list,        &syn_cli_account_balance,
    &syn_cli_account_history,   &syn_cli_account_faucet,      &syn_cli_account_transfer,
    &syn_cli_account_token,     &syn_cli_account_tokens,      &syn_cli_account_revoke,
    &syn_cli_account_quota,     &syn_cli_bill_list,           &syn_cli_bill_show,
    &syn_cli_bill_verify,       &syn_cli_market_classes,      &syn_cli_market_book,
    &syn_cli_market_quote,      &syn_cli_market_offers,       &syn_cli_market_index,
    &syn_cli_market_trades,     &syn_cli_market_buy,          &syn_cli_market_sell,
    &syn_cli_market_amend,      &syn_cli_market_cancel,       &syn_cli_market_orders,
    &syn_cli_market_holdings,   &syn_cli_market_reservations, &syn_cli_node_list,
    &syn_cli_node_get,          &syn_cli_node_price,          &syn_cli_node_drain,
    &syn_cli_node_label,        &syn_cli_region_latency_list, &syn_cli_region_latency_set,
    &syn_cli_sim_command,       &syn_cli_version_command,     &syn_cli_completion_command,
    &syn_cli_manual_command,
};

const struct syn_cli_table syn_cli_program = {
    commands, SYN_LEN(commands), groups, SYN_LEN(groups), globals, SYN_LEN(globals),
};

/* Every command there is; each row's code stands in the cmd_*.c named above it. */
#ifndef SYN_CLI_COMMANDS_PRIV_H
#define SYN_CLI_COMMANDS_PRIV_H

#include "command.h"

/* cmd_platform.c, cmd_status.c, cmd_down.c */
extern const struct syn_cli_command syn_cli_up_command, syn_cli_down_command,
    syn_cli_status_command, syn_cli_doctor_command, syn_cli_server_command, syn_cli_agent_command;
/* cmd_runtime.c */
extern const struct syn_cli_command syn_cli_runtime_config;
/* cmd_shell.c */
extern const struct syn_cli_command syn_cli_version_command, syn_cli_completion_command,
    syn_cli_manual_command;
/* cmd_train.c, cmd_train_create.c, cmd_train_logs.c; what every workload has: workload.c */
extern const struct syn_cli_command syn_cli_train_create, syn_cli_train_list, syn_cli_train_get,
    syn_cli_train_logs, syn_cli_train_stop, syn_cli_train_resume, syn_cli_train_delete,
    syn_cli_train_explain, syn_cli_train_checkpoints, syn_cli_train_metrics, syn_cli_train_events;
/* cmd_apply.c */
extern const struct syn_cli_command syn_cli_apply;

/* cmd_service.c, cmd_service_deploy.c; explain and logs where training's are */
extern const struct syn_cli_command syn_cli_service_deploy, syn_cli_service_list,
    syn_cli_service_get, syn_cli_service_scale, syn_cli_service_update, syn_cli_service_rollback,
    syn_cli_service_promote, syn_cli_service_abort, syn_cli_service_restart, syn_cli_service_stop,
    syn_cli_service_delete, syn_cli_service_history, syn_cli_service_stats, syn_cli_service_ca,
    syn_cli_service_events, syn_cli_service_explain, syn_cli_service_mesh, syn_cli_service_logs;
/* cmd_function.c, cmd_function_deploy.c, cmd_function_invoke.c; explain and logs where training's
 * are */
extern const struct syn_cli_command syn_cli_function_deploy, syn_cli_function_list,
    syn_cli_function_get, syn_cli_function_invoke, syn_cli_function_logs, syn_cli_function_metrics,
    syn_cli_function_versions, syn_cli_function_rollback, syn_cli_function_traffic,
    syn_cli_function_triggers_command, syn_cli_function_invocations, syn_cli_function_suspend,
    syn_cli_function_resume, syn_cli_function_delete, syn_cli_function_events,
    syn_cli_function_explain;
/* cmd_function_key.c */
extern const struct syn_cli_command syn_cli_function_key_create, syn_cli_function_key_list,
    syn_cli_function_key_rm;
/* cmd_function_token.c */
extern const struct syn_cli_command syn_cli_function_token_create, syn_cli_function_token_rotate,
    syn_cli_function_token_keys, syn_cli_function_issuer_add, syn_cli_function_issuer_list,
    syn_cli_function_issuer_rm;
/* cmd_exec.c, cmd_copy.c, cmd_forward.c, cmd_inspect.c */
extern const struct syn_cli_command syn_cli_service_exec, syn_cli_train_exec, syn_cli_service_copy,
    syn_cli_service_forward, syn_cli_service_inspect;
/* cmd_image.c */
extern const struct syn_cli_command syn_cli_image_push, syn_cli_image_pull_command,
    syn_cli_image_list, syn_cli_image_inspect, syn_cli_image_export, syn_cli_image_rm;
/* cmd_explain.c; train explain as well */
extern const struct syn_cli_command syn_cli_explain;
/* cmd_run_graph.c */
extern const struct syn_cli_command syn_cli_run_graph;
/* cmd_devices.c */
extern const struct syn_cli_command syn_cli_devices_list, syn_cli_devices_describe,
    syn_cli_devices_profiles, syn_cli_devices_bench;
/* cmd_sim.c */
extern const struct syn_cli_command syn_cli_sim_command;
/* cmd_storage.c */
extern const struct syn_cli_command syn_cli_storage_put, syn_cli_storage_get, syn_cli_storage_ls,
    syn_cli_storage_info, syn_cli_storage_name, syn_cli_storage_pin, syn_cli_storage_rm,
    syn_cli_volume_create, syn_cli_volume_list, syn_cli_volume_get, syn_cli_volume_resize,
    syn_cli_volume_rm, syn_cli_secret_set, syn_cli_secret_list, syn_cli_secret_rm,
    syn_cli_storage_gc, syn_cli_storage_verify;
/* cmd_certificate.c */
extern const struct syn_cli_command syn_cli_certificate_add, syn_cli_certificate_list,
    syn_cli_certificate_get, syn_cli_certificate_renew, syn_cli_certificate_rm;
/* cmd_queue.c */
extern const struct syn_cli_command syn_cli_queue_create, syn_cli_queue_update, syn_cli_queue_list,
    syn_cli_queue_get, syn_cli_queue_rm, syn_cli_queue_send, syn_cli_queue_receive,
    syn_cli_queue_acknowledge, syn_cli_queue_release, syn_cli_queue_peek, syn_cli_queue_purge;
/* cmd_account.c */
extern const struct syn_cli_command syn_cli_account_create, syn_cli_account_list,
    syn_cli_account_balance, syn_cli_account_history, syn_cli_account_faucet,
    syn_cli_account_transfer, syn_cli_account_token, syn_cli_account_tokens, syn_cli_account_revoke,
    syn_cli_account_quota;
/* cmd_bill.c */
extern const struct syn_cli_command syn_cli_bill_list, syn_cli_bill_show, syn_cli_bill_verify;
/* cmd_market.c, cmd_market_view.c */
extern const struct syn_cli_command syn_cli_market_classes, syn_cli_market_book,
    syn_cli_market_quote, syn_cli_market_buy, syn_cli_market_sell, syn_cli_market_amend,
    syn_cli_market_cancel, syn_cli_market_orders, syn_cli_market_trades, syn_cli_market_index,
    syn_cli_market_offers, syn_cli_market_holdings, syn_cli_market_reservations;
/* cmd_node_offer.c */
struct syn_cli;
/** Table or JSON of GET /v1/capacity; of one node when `id` is not NULL. Returns the exit status.
 */
int syn_cli_show_capacity(struct syn_cli *cli, const char *id);
/* cmd_node.c, cmd_node_offer.c */
extern const struct syn_cli_command syn_cli_node_list, syn_cli_node_get, syn_cli_node_price,
    syn_cli_node_drain;
/* cmd_region.c */
extern const struct syn_cli_command syn_cli_node_label, syn_cli_region_latency_list,
    syn_cli_region_latency_set;
/* cmd_mesh.c */
extern const struct syn_cli_command syn_cli_mesh_authority_list, syn_cli_mesh_authority_rotate;

#endif

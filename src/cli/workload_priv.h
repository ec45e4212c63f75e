/* What the commands of every kind of workload share. A kind says in one struct what is its own; the
 * rows of its commands name it, so that most of them need no code: .run is one of those below. */
#ifndef SYN_CLI_WORKLOAD_PRIV_H
#define SYN_CLI_WORKLOAD_PRIV_H

#include "cli_priv.h"

/** One kind: static, named by struct syn_cli_command. */
struct syn_cli_workload {
    const char *route;     /* "/v1/training" */
    const char *id_prefix; /* which its ids begin with, or NULL: what no other kind's do */
    const char *noun;      /* "job" */
    const char *label;     /* key of what a line about one begins with: "id" or "name" */
    const struct syn_cli_view *list;
    const struct syn_cli_view *one; /* a single one that is watched */
    void (*show)(const struct syn_cli *cli, const json_t *workload); /* all of it, for people */
    const char *forget;        /* the question before one is deleted */
    const char *wait_or_watch; /* why `get` does not take both */

    /* Waiting for the state `wanted`. */
    const char *wanted;                                        /* by `get --wait` */
    bool (*ended)(const json_t *workload, const char *wanted); /* or it will never come to that */
    int (*exit_status)(const json_t *workload, const char *wanted);
    const char *going; /* label of the progress line; NULL with `progress` */
    void (*progress)(struct syn_cli_progress *progress, const json_t *workload); /* or NULL */
    void (*next)(const struct syn_cli *cli, const json_t *workload); /* to type then, or NULL */
    const char *look_again; /* said after a signal, before the id */
    const char *stop_it;    /* the same, or NULL */
};

/** The kind that the command is about: its row's, or for what is about any, its operand's. */
const struct syn_cli_workload *syn_cli_workload_of(const struct syn_cli *cli);
/** ROUTE/OPERAND + tail: the workload that the first operand names, or what is below it. */
void syn_cli_workload_path(const struct syn_cli *cli, const char *tail, struct syn_buf *out);
/** One call on that, as syn_cli_call(). */
SYN_MUST int syn_cli_workload_call(struct syn_cli *cli, const char *method, const char *tail,
                                   const json_t *body, json_t **ret, struct syn_err *err);
/** Read a list below the workload. True: *ret_items, and *ret_rows with these titles. False: it was
 * printed as JSON, or an error was, and *ret_status is the exit status. */
bool syn_cli_workload_items(struct syn_cli *cli, const char *tail, const char *titles,
                            json_t **ret_items, struct syn_cli_table_out **ret_rows,
                            int *ret_status);
/** Ask; when the answer is no, say that nothing was changed. */
bool syn_cli_workload_confirm(const struct syn_cli *cli, const char *question);
/** Send `body` (may be NULL) to the workload's path + tail; then with --wait wait for the state
 * `wanted`, else say how it stands. Returns the exit status. */
int syn_cli_workload_change(struct syn_cli *cli, const char *method, const char *tail,
                            const json_t *body, const char *wanted);
/** Show how the workload comes to the state `wanted`, then how it stands. It does not need us: a
 * signal ends the looking, never the workload. Returns the exit status, as the kind has it. */
int syn_cli_workload_wait(struct syn_cli *cli, const char *id, const char *wanted);
/** The same of any workload, and it is shown to nobody: *ret is the document in the end, or NULL
 * when an error or the reason to look no longer was printed. */
int syn_cli_workload_reach(struct syn_cli *cli, const struct syn_cli_workload *kind, const char *id,
                           const char *wanted, json_t **ret);

/* --- whole commands: .run --------------------------------------------------------------------- */

int syn_cli_workload_list(struct syn_cli *cli); /* --watch, and --state where there is one */
int syn_cli_workload_get(struct syn_cli *cli);  /* --wait, --watch */
int syn_cli_workload_delete(struct syn_cli *cli);
int syn_cli_workload_events(struct syn_cli *cli);

/* --- a plan: workload_plan.c ------------------------------------------------------------------ */

struct syn_cli_plan_view {
    void (*show)(const struct syn_cli *cli, const json_t *plan); /* and the price */
    const char *question;                                        /* "Create it?" */
    const char *declined;                                        /* "Nothing was created." */
};

/** Show the plan, and with --plan leave it at that; else tell what the server would refuse it with,
 * or ask. True: go on. False: *ret_status is the exit status. */
bool syn_cli_plan_agreed(struct syn_cli *cli, const struct syn_cli_plan_view *view, json_t *plan,
                         int *ret_status);
/** For `show`: why there is no room, and what would help. */
void syn_cli_plan_why(const struct syn_cli *cli, const json_t *plan);
/** The image that would be pulled first, or NULL. */
const char *syn_cli_plan_pull(const json_t *plan);

/* --- options that become a spec: workload_spec.c ---------------------------------------------- */

/** An option that becomes a key as it is. */
struct syn_cli_spec_key {
    const char *option;
    const char *key;
};

/** Those of `keys` that were given, as numbers or as texts. */
SYN_MUST int syn_cli_spec_numbers(const struct syn_cli *cli, const struct syn_cli_spec_key *keys,
                                  size_t count, json_t *spec, struct syn_err *err);
SYN_MUST int syn_cli_spec_texts(const struct syn_cli *cli, const struct syn_cli_spec_key *keys,
                                size_t count, json_t *spec, struct syn_err *err);
/** Where an error speaks of a key below `prefix` ("spec.", "spec.lb.") that an option became, let
 * it speak of the option. */
void syn_cli_spec_blame(const struct syn_cli *cli, const char *prefix,
                        const struct syn_cli_spec_key *keys, size_t count, struct syn_err *err);
/** A repeatable option as a list, when it was given. */
SYN_MUST int syn_cli_spec_words(const struct syn_cli *cli, const char *option, const char *key,
                                json_t *spec, struct syn_err *err);
/** --gpu-share, --gpu-memory, --mig: a part of a card. */
SYN_MUST int syn_cli_spec_card(const struct syn_cli *cli, json_t *spec, struct syn_err *err);
/** --env NAME=VALUE, as often as given. */
SYN_MUST int syn_cli_spec_env(const struct syn_cli *cli, json_t *spec, struct syn_err *err);
/** --secret [VAR=]NAME, as often as given. */
SYN_MUST int syn_cli_spec_secrets(const struct syn_cli *cli, json_t *spec, struct syn_err *err);

#endif

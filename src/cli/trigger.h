/* What calls a function, as one word of the command line:
 *
 *     http:[METHOD,METHOD:][HOST]/PATH[,cors=ORIGIN][,cors-header=NAME][,cors-age=DURATION]
 *         [,cors-credentials=true][,auth=none|key|token][,hmac=SECRET]
 *         [,hmac-scheme=body|stripe|standard][,hmac-header=NAME][,hmac-prefix=TEXT]
 *         [,hmac-tolerance=DURATION]
 *     schedule:CRON[,zone=ZONE][,missed=skip|once][,payload=JSON]
 *     queue:NAME[,batch=N]
 *     storage:PREFIX[,events=put|delete]
 *     ledger[:EVENT,EVENT]
 *
 * A host has a dot. cors, cors-header and events may be given again. A list in CRON needs no
 * escape: its commas are not followed by an option. payload is the last one: what follows it is its
 * JSON. A warm-up schedule is CRON[,zone=ZONE][,for=DURATION][,instances=N]. Pure.
 */
#ifndef SYN_CLI_TRIGGER_H
#define SYN_CLI_TRIGGER_H

#include <synor/base/json.h>

#define SYN_CLI_TRIGGER_BATCH_MAX 100

/** The trigger of a spec that `word` says: what it leaves out, the document does too. *ret is owned
 * by the caller. INVALID says what is wrong and what is allowed; NOMEM. */
SYN_MUST int syn_cli_trigger_parse(const char *word, json_t **ret, struct syn_err *err);
/** Append the word that says a trigger. What this client does not know yet is named by its type. */
void syn_cli_trigger_write(const json_t *trigger, struct syn_buf *out);
/** The same of a warm-up schedule. */
SYN_MUST int syn_cli_warmup_parse(const char *word, json_t **ret, struct syn_err *err);
void syn_cli_warmup_write(const json_t *warmup, struct syn_buf *out);

#endif

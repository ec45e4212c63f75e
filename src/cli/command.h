/* The command line as data. Every command, option and argument is a row; parsing, --help, man
 * pages, shell completion and the reference page are all read off the same rows. */
#ifndef SYN_CLI_COMMAND_H
#define SYN_CLI_COMMAND_H

#include <synor/base/buf.h>
#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_CLI_VALUES_MAX   256 /* option occurrences on one command line */
#define SYN_CLI_OPERANDS_MAX 64
#define SYN_CLI_DEPTH_MAX    4 /* words in a command's path */

enum syn_cli_kind {
    SYN_CLI_FLAG,
    SYN_CLI_TEXT,
    SYN_CLI_INT,
    SYN_CLI_REAL,
    SYN_CLI_BYTES,
    SYN_CLI_CPUS,
    SYN_CLI_DURATION,
    SYN_CLI_AMOUNT,
    SYN_CLI_FILE, /* completion offers files */
    SYN_CLI_DIR,  /* completion offers folders */
};

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): rows are read in this order */
struct syn_cli_option {
    const char *name;  /* without dashes: "max-budget" */
    char letter;       /* 'f', or 0 */
    const char *value; /* what stands for the value in help: "SYNOR"; NULL for a flag */
    enum syn_cli_kind kind;
    int64_t min, max; /* INT; both 0: 0 .. INT64_MAX */
    bool required;
    bool repeat;
    const char
        *choices; /* "a|b|c", or NULL; a choice may be followed by ":TEXT" when it ends in ':' */
    const char *fallback; /* shown in help, or NULL */
    const char *help;
};

struct syn_cli_operand {
    const char *name; /* "JOB" */
    enum syn_cli_kind kind;
    bool required;
    bool repeat; /* only the last */
    const char *help;
};

struct syn_cli;
struct syn_cli_workload;

struct syn_cli_command {
    const char *path;     /* "compute train create" */
    const char *summary;  /* one line, no full stop */
    const char *detail;   /* paragraphs for help and man, or NULL */
    const char *examples; /* "command\n  what it does\n", or NULL */
    const struct syn_cli_option *options;
    size_t option_count;
    const struct syn_cli_operand *operands;
    size_t operand_count;
    const struct syn_cli_workload *workload; /* the kind it is about, or NULL */
    int (*run)(struct syn_cli *cli);         /* returns the exit status */
    bool hidden;
};

/** A word that leads to commands: "compute", "compute train". */
struct syn_cli_group {
    const char *path;
    const char *summary;
};

/** The whole program. Static; `commands` and `groups` are what commands.c lists. */
struct syn_cli_table {
    const struct syn_cli_command *const *commands;
    size_t command_count;
    const struct syn_cli_group *groups;
    size_t group_count;
    const struct syn_cli_option *globals; /* taken by every command */
    size_t global_count;
};

extern const struct syn_cli_table syn_cli_program;

struct syn_cli_value {
    const struct syn_cli_option *option;
    const char *text; /* borrowed from argv; NULL for a flag */
    int64_t number;   /* INT, BYTES, CPUS (millicores), DURATION (ms), AMOUNT (base units) */
    double real;
};

/** One parsed command line. Borrowed pointers into argv. */
struct syn_cli_line {
    const struct syn_cli_command *command; /* NULL: only a group was named */
    char group[128];                       /* the words that matched: "compute train" */
    bool help;
    struct syn_cli_value values[SYN_CLI_VALUES_MAX];
    size_t value_count;
    const char *operands[SYN_CLI_OPERANDS_MAX];
    size_t operand_count;
};

/** Parse argv[1..argc). INVALID with a sentence that names the word at fault and the nearest known
 * one. */
SYN_MUST int syn_cli_parse(const struct syn_cli_table *table, int argc, char *const *argv,
                           struct syn_cli_line *ret_line, struct syn_err *err);
/** The command of exactly this path, or NULL. */
const struct syn_cli_command *syn_cli_find(const struct syn_cli_table *table, const char *path);
/** Is `path` a proper prefix, by words, of some visible command? */
bool syn_cli_is_group(const struct syn_cli_table *table, const char *path);
/** The last word of a path that lies directly below `group` ("" is the top), copied to out; false
 * when deeper or elsewhere. */
bool syn_cli_child(const char *group, const char *path, char *out, size_t cap);

/** Does the command take this global option as its own, or in another meaning? */
bool syn_cli_shadows(const struct syn_cli_command *command, const struct syn_cli_option *global);

/** Help of a command, or of a group ("" is the program); at most 80 columns. */
void syn_cli_help_command(const struct syn_cli_table *table, const struct syn_cli_command *command,
                          struct syn_buf *out);
void syn_cli_help_group(const struct syn_cli_table *table, const char *group, struct syn_buf *out);
/** A man page in scdoc's language for one command, and for the program ("synor"). */
void syn_cli_man_command(const struct syn_cli_table *table, const struct syn_cli_command *command,
                         struct syn_buf *out);
void syn_cli_man_program(const struct syn_cli_table *table, struct syn_buf *out);
/** Completion scripts. */
void syn_cli_complete_bash(const struct syn_cli_table *table, struct syn_buf *out);
void syn_cli_complete_zsh(const struct syn_cli_table *table, struct syn_buf *out);

#endif

/* How files of every format are read: an object is walked with a table that has a rule for each key
 * that is understood. What has none is named. */
#ifndef SYN_MANIFEST_PRIV_H
#define SYN_MANIFEST_PRIV_H

#include <synor/workload/manifest.h>

#define MANIFEST_PATH_MAX 256

struct manifest {
    json_t *items;
    json_t *unknown;
    json_t *notes;
    json_t *app;             /* a text, or NULL */
    json_t *ports;           /* kubernetes: Services, looked at when all Deployments are read */
    const json_t *variables; /* or NULL */
};

struct manifest_rule;

/* Where in the file we are, and what it goes into. */
struct manifest_at {
    struct manifest *file;
    const struct manifest_rule *rule; /* of this key */
    char path[MANIFEST_PATH_MAX];     /* cut when it is longer */
    json_t *item;                     /* or NULL above them */
    json_t *spec;                     /* of the item */
};

struct manifest_rule {
    const char *key;
    /* Take the value; NULL: it is understood and says nothing that is not so anyway. */
    int (*take)(const struct manifest_at *at, json_t *value, struct syn_err *err);
    const char *to;  /* which key of the spec, with a dot for one of an object in it */
    const char *why; /* not NULL: known, and not to be had; what to do instead */
};

struct manifest_rules {
    const struct manifest_rule *rows;
    size_t count;
};
#define MANIFEST_RULES(rows_) \
    {                         \
        rows_, SYN_LEN(rows_) \
    }

/* Each key of `object` by its rule. */
SYN_MUST int manifest_walk(const struct manifest_at *at, const struct manifest_rules *rules,
                           json_t *object, struct syn_err *err);
/* The place below `at`: PATH.KEY, or PATH[i] with a NULL key. */
void manifest_below(const struct manifest_at *at, const char *key, size_t i,
                    struct manifest_at *ret);
/* Each entry of a list by `take`. */
SYN_MUST int manifest_each(const struct manifest_at *at, json_t *list,
                           int (*take)(const struct manifest_at *at, json_t *value,
                                       struct syn_err *err),
                           struct syn_err *err);
/* A new item, into which ret->spec leads. */
SYN_MUST int manifest_item(const struct manifest_at *at, const char *kind, const char *name,
                           struct manifest_at *ret, struct syn_err *err);
SYN_MUST int manifest_unknown(const struct manifest_at *at, struct syn_err *err, const char *format,
                              ...) SYN_PRINTF(3, 4);
SYN_MUST int manifest_note(const struct manifest_at *at, struct syn_err *err, const char *format,
                           ...) SYN_PRINTF(3, 4);
/* INVALID: `at` is not what it must be. */
int manifest_wrong(const struct manifest_at *at, struct syn_err *err, const char *expected);

/* Text of a scalar, into a buffer; false: it is none. */
bool manifest_text(json_t *value, struct syn_buf *out);
/* A whole number, written as one or as text. */
SYN_MUST int manifest_whole(const struct manifest_at *at, json_t *value, int64_t *ret,
                            struct syn_err *err);
/* spec.to = value, objects on the way made. Owns `value`. */
SYN_MUST int manifest_set_take(const struct manifest_at *at, const char *to, json_t *value,
                               struct syn_err *err);

/* Rules' takes; they set at->rule->to. */
SYN_MUST int manifest_take_text(const struct manifest_at *at, json_t *value, struct syn_err *err);
SYN_MUST int manifest_take_whole(const struct manifest_at *at, json_t *value, struct syn_err *err);
/* A list of scalars, or one text that a shell would take apart. */
SYN_MUST int manifest_take_words(const struct manifest_at *at, json_t *value, struct syn_err *err);

/* A new mount of the spec, into which *ret leads; ret may be NULL. */
SYN_MUST int manifest_mount(const struct manifest_at *at, const char *kind, const char *path,
                            json_t **ret, struct syn_err *err);
/* UID[:GID], into spec.user. */
SYN_MUST int manifest_take_user(const struct manifest_at *at, json_t *value, struct syn_err *err);
/* The name or number of a signal, into spec.stop_signal. */
SYN_MUST int manifest_take_signal(const struct manifest_at *at, json_t *value, struct syn_err *err);
/* A list of which each must be among rule->to, which is so anyway. */
SYN_MUST int manifest_take_only(const struct manifest_at *at, json_t *value, struct syn_err *err);
/* docker-compose's. */
SYN_MUST int manifest_take_tmpfs(const struct manifest_at *at, json_t *value, struct syn_err *err);
SYN_MUST int manifest_take_secrets(const struct manifest_at *at, json_t *value,
                                   struct syn_err *err);
SYN_MUST int manifest_take_secret_sources(const struct manifest_at *at, json_t *value,
                                          struct syn_err *err);

SYN_MUST int manifest_take_volumes(const struct manifest_at *at, json_t *value,
                                   struct syn_err *err);
SYN_MUST int manifest_take_volume_sources(const struct manifest_at *at, json_t *value,
                                          struct syn_err *err);
/* A mount of a volume of the account. */
SYN_MUST int manifest_volume(const struct manifest_at *at, const char *name, const char *path,
                             bool read_only, struct syn_err *err);

/* A document of each format. */
bool manifest_is_compose(json_t *document);
SYN_MUST int manifest_compose(struct manifest *file, json_t *document, struct syn_err *err);
bool manifest_is_kubernetes(json_t *document);
SYN_MUST int manifest_kubernetes(const struct manifest_at *at, json_t *document,
                                 struct syn_err *err);
/* Services find their Deployments. */
SYN_MUST int manifest_kubernetes_join(struct manifest *file, struct syn_err *err);

/* A copy of `value` with every ${NAME} in its texts replaced. INVALID with the path. */
SYN_MUST int manifest_interpolate(const struct manifest_at *at, json_t *value, json_t **ret,
                                  struct syn_err *err);

#endif

/* Tables from strangers: what is taken must not leave its place in HAProxy's configuration or in a
 * command. And HAProxy's counters, and certificates.
 *
 * A first byte 'S' or 'P' makes the rest a table of counters or a certificate. Else each line is a
 * row: its kind and its fields between '|'. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <synor/base/mem.h>

#include "balancer_priv.h"

#define ROWS   16
#define FIELDS 14

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct rows {
    struct syn_balancer_server servers[ROWS];
    struct syn_balancer_backend backends[ROWS];
    struct syn_balancer_route routes[ROWS];
    struct syn_balancer_frontend fronts[ROWS];
    struct syn_balancer_caller callers[ROWS];
    struct syn_balancer_pair pairs[ROWS];
    struct syn_balancer_match matches[ROWS];
    struct syn_balancer_header headers[ROWS];
    const char *methods[ROWS];
    struct syn_balancer_table table;
    size_t server_count, route_count, caller_count, pair_count, match_count;
};

static const struct lb_setup setup = {.cookie_key = "0123456789abcdef0123456789abcdef",
                                      .spare_host = "127.0.0.1",
                                      .spare_port = 9000,
                                      .spare_count = 2,
                                      .threads = 1,
                                      .lua = true,
                                      .connections = 100};

/* What a line of ours may begin with. */
static const char *const beginnings[] = {"# Written by synor",
                                         "global",
                                         "  stats socket unix@c ",
                                         "  stats timeout ",
                                         "  nbthread 1",
                                         "  maxconn 100",
                                         "  no strict-limits",
                                         "  lua-load-per-thread ",
                                         "  set-var proc.mirror",
                                         "frontend mirror",
                                         "  http-after-response ",
                                         "  noreuseport",
                                         "  hard-stop-after ",
                                         "  ssl-default-bind-",
                                         "frontend f",
                                         "backend b",
                                         "backend none",
                                         "backend refused",
                                         "  mode ",
                                         "  balance ",
                                         "  hash-type ",
                                         "  timeout ",
                                         "  retries ",
                                         "  option ",
                                         "  retry-on ",
                                         "  http-request ",
                                         "  tcp-request connection reject unless ",
                                         "  tcp-request content ",
                                         "  tcp-request inspect-delay ",
                                         "  tcp-request session ",
                                         "  stick-table type integer size 8 ",
                                         "  http-reuse aggressive",
                                         "  cookie ",
                                         "  dynamic-cookie-key 0123",
                                         "  http-check send meth GET uri '",
                                         "  http-check expect status 200-399",
                                         "  server s",
                                         "  bind ",
                                         "  use_backend %[",
                                         "  use_backend refused unless ",
                                         "  default_backend refused",
                                         "  default_backend none"};

static void
look_at_line(const char *line, size_t len)
{
    bool known = false;
    unsigned quotes = 0;

    for (size_t i = 0; i < SYN_LEN(beginnings); i++)
        known = known || strncmp(line, beginnings[i], strlen(beginnings[i])) == 0;
    assert(known);
    for (size_t i = 0; i < len; i++) {
        assert(line[i] >= ' ' && line[i] <= '~' && line[i] != '\\');
        quotes += line[i] == '\'';
    }
    assert(quotes % 2 == 0);
}

/* Each line is one of ours; returns how many there are. */
static size_t
look_at_config(const char *text)
{
    size_t count = 0;

    for (const char *end; (end = strchr(text, '\n')) != NULL; text = end + 1, count++)
        look_at_line(text, (size_t)(end - text));
    assert(*text == '\0');
    return count;
}

static void
look_at_map(const char *text)
{
    unsigned blanks = 0;

    for (; *text != '\0'; text++) {
        assert(*text == '\n' ||
               (*text >= ' ' && *text <= '~' && strchr("\"'\\;#<", *text) == NULL));
        blanks += *text == ' ';
        if (*text != '\n')
            continue;
        assert(blanks == 1);
        blanks = 0;
    }
}

static unsigned
number(const char *field)
{
    unsigned value = 0;

    for (size_t i = 0; field != NULL && field[i] != '\0' && i < 7; i++)
        value = value * 10 + (unsigned)(field[i] - '0') % 10;
    return value;
}

static size_t
split(char *line, char **fields)
{
    size_t count = 0;

    memset(fields, 0, FIELDS * sizeof(*fields));
    while (count < FIELDS) {
        char *bar = strchr(line, '|');

        fields[count++] = line;
        if (bar == NULL)
            break;
        *bar = '\0';
        line = bar + 1;
    }
    for (size_t i = 0; i < count; i++)
        if (fields[i][0] == '\0')
            fields[i] = NULL;
    return count;
}

static void
backend_row(struct rows *rows, char **f)
{
    if (rows->table.backend_count == ROWS)
        return;
    rows->backends[rows->table.backend_count++] = (struct syn_balancer_backend){
        .id = f[1],
        .mode = (enum syn_balancer_mode)(number(f[2]) % 2),
        .algorithm = (enum syn_balancer_algorithm)(number(f[2]) / 2 % 4),
        .client = (enum syn_balancer_client)(number(f[2]) / 8 % 3),
        .protocol = (enum syn_balancer_protocol)(number(f[2]) / 24 % 2),
        .cookie = f[3],
        .health = {.check = (enum syn_balancer_check)(number(f[4]) % 3),
                   .path = f[5],
                   .host = f[6],
                   .errors_max = number(f[7])},
        .rate_max = number(f[8]),
        .cert = f[9],
        .peer_name = f[10],
        .mirror = f[11],
        .mirror_percent = f[11] == NULL ? 0 : number(f[12]),
        .retry_percent = (int)number(f[13]),
        .servers = &rows->servers[rows->server_count],
    };
}

/* Of the last frontend: who calls from where, who may call whom. */
static void
mesh_row(struct rows *rows, char **f)
{
    struct syn_balancer_frontend *front = &rows->fronts[rows->table.frontend_count - 1];

    if (f[0][0] == 'c' && rows->caller_count < ROWS) {
        front->caller_count++;
        rows->callers[rows->caller_count++] = (struct syn_balancer_caller){f[1], f[2]};
    }
    if (f[0][0] == 'p' && rows->pair_count < ROWS) {
        front->pair_count++;
        rows->pairs[rows->pair_count++] = (struct syn_balancer_pair){
            .caller = f[1], .callee = f[2], .backend = f[3], .route = number(f[4])};
    }
    if (f[0][0] == 'm' && rows->match_count < ROWS) {
        size_t i = rows->match_count++;

        front->match_count++;
        rows->methods[i] = f[4];
        rows->headers[i] =
            (struct syn_balancer_header){f[5], (enum syn_balancer_how)(number(f[6]) % 3), f[7]};
        rows->matches[i] = (struct syn_balancer_match){.callee = f[1],
                                                       .route = number(f[2]),
                                                       .path = f[3],
                                                       .methods = &rows->methods[i],
                                                       .method_count = f[4] != NULL,
                                                       .headers = &rows->headers[i],
                                                       .header_count = f[5] != NULL};
    }
}

static void
row(struct rows *rows, char *line)
{
    char *f[FIELDS];
    size_t count = split(line, f);
    struct syn_balancer_table *table = &rows->table;

    if (count == 0 || f[0] == NULL)
        return;
    if (f[0][0] == 'b')
        backend_row(rows, f);
    if (f[0][0] == 'a' && table->backend_count > 0)
        rows->backends[table->backend_count - 1].challenge_key = f[1];
    if (f[0][0] == 's' && table->backend_count > 0 && rows->server_count < ROWS) {
        rows->backends[table->backend_count - 1].server_count++;
        rows->servers[rows->server_count++] =
            (struct syn_balancer_server){.id = f[1],
                                         .address = f[2],
                                         .weight = number(f[3]),
                                         .state = (enum syn_balancer_state)(number(f[4]) % 3),
                                         .peer = number(f[5]) % 2 != 0};
    }
    if (f[0][0] == 'f' && table->frontend_count < ROWS)
        rows->fronts[table->frontend_count++] =
            (struct syn_balancer_frontend){.id = f[1],
                                           .address = f[2],
                                           .backend = f[3],
                                           .mode = (enum syn_balancer_mode)(number(f[4]) % 2),
                                           .https_port = number(f[5]),
                                           .accept_proxy = number(f[6]) % 2 != 0,
                                           .mesh = (enum syn_balancer_mesh)(number(f[7]) % 3),
                                           .callers = &rows->callers[rows->caller_count],
                                           .pairs = &rows->pairs[rows->pair_count],
                                           .matches = &rows->matches[rows->match_count],
                                           .routes = &rows->routes[rows->route_count]};
    if (f[0][0] == 'r' && table->frontend_count > 0 && rows->route_count < ROWS) {
        rows->fronts[table->frontend_count - 1].route_count++;
        rows->routes[rows->route_count++] =
            (struct syn_balancer_route){.host = f[1], .path = f[2], .backend = f[3]};
    }
    if (table->frontend_count > 0)
        mesh_row(rows, f);
}

static void
try_table(const struct syn_balancer_table *table)
{
    SYN_SCOPED(lb_model_free_scope) struct lb_model *model = NULL;
    SYN_SCOPED(lb_model_free_scope) struct lb_model *next = NULL;
    SYN_SCOPED(lb_model_free_scope) struct lb_model *same = NULL;
    struct lb_change change;
    SYN_BUF(config);
    SYN_BUF(map);
    int rc = lb_model_new(&model, NULL);

    assert(rc == 0);
    model->next_slot = model->next_door = model->next_cert = 1;
    rc = lb_model_next(&setup, model, table, &next, &change, NULL);
    assert(rc == 0);
    lb_change_fini(&change);
    rc = lb_render(&setup, next, "c", &config, NULL);
    assert(rc == 0);
    rc = lb_render_map(next, &map, NULL);
    assert(rc == 0);
    assert(look_at_config(syn_buf_text(&config)) > 5);
    look_at_map(syn_buf_text(&map));
    rc = lb_model_next(&setup, next, table, &same, &change, NULL);
    assert(rc == 0 && change.reload == NULL && change.command_count == 0);
    lb_change_fini(&change);
}

static void
try_rows(char *text)
{
    struct rows rows = {.server_count = 0};

    rows.table.backends = rows.backends;
    rows.table.frontends = rows.fronts;
    rows.table.authority = "an authority";
    for (char *end; (end = strchr(text, '\n')) != NULL; text = end + 1) {
        *end = '\0';
        row(&rows, text);
    }
    if (syn_balancer_check(&rows.table, NULL) == 0)
        try_table(&rows.table);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lb_stat *stats = NULL;
    size_t count = 0;
    char *text, *pem = NULL;

    if (size == 0 || size > 4096)
        return 0;
    text = syn_strndup((const char *)data, size);
    if (text == NULL)
        return 0;
    if (data[0] == 'S' &&
        lb_stat_parse((const char *)data + 1, size - 1, &stats, &count, NULL) == 0)
        syn_free(stats);
    else if (data[0] == 'P' && syn_balancer_pem((const char *)data + 1, size - 1, &pem, NULL) == 0)
        syn_free(pem);
    else
        try_rows(text);
    syn_free(text);
    return 0;
}

/* A model as HAProxy's configuration. Names of files are relative: it runs in the folder. */
#include "balancer_priv.h"

#include <string.h>

static void
render_global(const struct lb_setup *setup, const char *control, struct syn_buf *out)
{
    syn_buf_addf(out,
                 "# Written by synor; what is changed here is lost.\n"
                 "global\n"
                 "  stats socket unix@%s mode 600 level admin expose-fd listeners\n"
                 "  stats timeout 60s\n"
                 "  nbthread %u\n"
                 "  maxconn %u\n"
                 "  no strict-limits\n"
                 "  hard-stop-after 10m\n"
                 /* Or an address that another balancer has would be shared with it. */
                 "  noreuseport\n"
                 "  ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets\n"
                 "  ssl-default-bind-ciphers ECDHE+AESGCM:ECDHE+CHACHA20\n",
                 control, setup->threads, setup->connections);
    if (setup->privileged)
        syn_buf_adds(out, "  chroot empty\n  uid 65534\n  gid 65534\n");
}

static void
render_slot(const struct lb_slot *slot, struct syn_buf *out)
{
    syn_buf_addf(out, "backend b%u\n%s", slot->number, slot->shape);
    for (size_t i = 0; i < slot->server_count; i++) {
        const struct lb_server *server = &slot->servers[i];

        if (server->leaving)
            continue;
        syn_buf_addf(out, "  server s%u ", server->number);
        lb_server_words(slot, server, out);
        syn_buf_adds(out, server->off ? " disabled\n" : "\n");
    }
}

int
lb_render(const struct lb_setup *setup, const struct lb_model *model, const char *control,
          struct syn_buf *out, struct syn_err *err)
{
    render_global(setup, control, out);
    for (size_t i = 0; i < model->door_count; i++)
        syn_buf_addf(out, "frontend f%u\n%s", model->doors[i].number, model->doors[i].shape);
    for (size_t i = 0; i < model->slot_count; i++)
        render_slot(&model->slots[i], out);
    return syn_buf_ok(out, err);
}

int
lb_render_map(const struct lb_model *model, struct syn_buf *out, struct syn_err *err)
{
    const char *key;
    void *value;
    size_t cursor = 0;

    while (syn_map_next(model->routes, &cursor, &key, &value))
        syn_buf_addf(out, "%s %s\n", key, (const char *)value);
    return syn_buf_ok(out, err);
}

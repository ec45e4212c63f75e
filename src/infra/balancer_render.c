/* A model as HAProxy's configuration. Names of files are relative: it runs in the folder. */
#include "balancer_priv.h"

#include <string.h>

/* Requests that find no server wait here: how long, the map says under the backend's name. It looks
 * again and again, because nothing wakes a rule when a server comes. (HAProxy forgets a rule of TCP
 * that wants to sleep for less time than a thread may lose on the way to bed: 25 ms.) A limit on
 * how many keeps clients without end from taking all connections. */
const char lb_hold_lua[] =
    "-- Written by synor; what is changed here is lost.\n"
    "local limits = Map.new(\"routes.map\", Map._str)\n"
    "local function now_ms()\n"
    "  local now = core.now()\n"
    "  return now.sec * 1000 + now.usec // 1000\n"
    "end\n"
    "local function limit(backend)\n"
    "  return string.match(limits:lookup(backend) or \"\", \"^(%d+)/(%x+)$\")\n"
    "end\n"
    "local function wait(txn, pause_ms)\n"
    "  local backend = txn.f:be_name()\n"
    "  local limit_ms, whose = limit(backend)\n"
    "  local until_ms = now_ms() + tonumber(limit_ms or 0)\n"
    "  if txn.f:be_conn(backend) > 1024 then until_ms = 0 end\n"
    /* While a server changes, the number of them is none for a moment: look again in any case. A
     * section that was given to another backend has another mark: its servers are not for who came
     * to the one before. A process that was told to end says of all that they have none: it goes on
     * with those that it has (balancer_held.c sees to it that nobody waits there). */
    "  repeat\n"
    "    core.msleep(pause_ms)\n"
    "    local over = txn.f:stopping()\n"
    "    if select(2, limit(backend)) ~= whose then return false end\n"
    "    if txn.f:nbsrv(backend) > 0 or over == 1 or over == true then return true end\n"
    "  until now_ms() >= until_ms\n"
    "  return false\n"
    "end\n"
    /* A copy for another backend, by way of a front of ours. Each thread counts for itself. Nobody
     * waits for the answer, and beyond so many that are under way nothing is copied. */
    "local sums, under_way = {}, 0\n"
    "local drop = {connection=1, [\"content-length\"]=1, [\"keep-alive\"]=1, te=1}\n"
    "local function mirror(txn)\n"
    "  local own = txn.f:be_name()\n"
    "  local percent, to = string.match(limits:lookup(\"m|\" .. own) or \"\","
    " \"^(%d+)/(b%d+)$\")\n"
    "  if not to or under_way >= 64 then return end\n"
    "  local sum = (sums[own] or 0) + tonumber(percent)\n"
    "  sums[own] = sum % 100\n"
    "  if sum < 100 then return end\n"
    "  local headers, method, body = {}, txn.sf:method(), txn.sf:req_body()\n"
    "  for name, values in pairs(txn.http:req_get_headers()) do\n"
    "    local list = {}\n"
    "    for _, value in pairs(values) do list[#list + 1] = value end\n"
    "    if not drop[name] then headers[name] = list end\n"
    "  end\n"
    "  if body == \"\" and method ~= \"GET\" and method ~= \"HEAD\" and method ~= \"DELETE\""
    " and not txn.http:req_get_headers()[\"content-length\"] then return end\n"
    "  headers[\"x-mesh-mirror\"] = {txn:get_var(\"proc.mirror_key\") .. \"/\" .. to}\n"
    "  local what = {url = \"http://mirror\" .. txn.sf:pathq(), headers = headers,"
    " body = body ~= \"\" and body or nil, dst = txn:get_var(\"proc.mirror\"),"
    " timeout = 10000}\n"
    "  under_way = under_way + 1\n"
    "  core.register_task(function()\n"
    "    local client = core.httpclient()\n"
    "    local ask = client[string.lower(method)]\n"
    "    if ask then pcall(ask, client, what) end\n"
    "    under_way = under_way - 1\n"
    "  end)\n"
    "end\n"
    "core.register_action(\"mirror\", {\"http-req\"}, function(txn) pcall(mirror, txn) end)\n"
    "core.register_action(\"hold-tcp\", {\"tcp-req\"}, function(txn)\n"
    "  if not wait(txn, 25) then txn:done() end\n"
    "end)\n"
    "core.register_action(\"hold-http\", {\"http-req\"}, function(txn)\n"
    "  if wait(txn, 10) then return end\n"
    "  local reply = txn:reply({status = 503})\n"
    "  reply:add_header(\"retry-after\", \"5\")\n"
    "  reply:add_header(\"content-type\", \"text/plain\")\n"
    "  reply:set_body(\"nobody is ready to answer this yet\\n\")\n"
    "  txn:done(reply)\n"
    "end)\n";

static void
render_global(const struct lb_setup *setup, const struct lb_model *model, const char *control,
              struct syn_buf *out)
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
    if (setup->lua)
        syn_buf_adds(out, "  lua-load-per-thread " LB_HOLD_FILE "\n");
    lb_mirror_global(setup, model, control, out);
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
    bool meshed = false;

    render_global(setup, model, control, out);
    lb_mirror_front(setup, model, control, out);
    for (size_t i = 0; i < model->door_count; i++)
        syn_buf_addf(out, "frontend f%u\n%s", model->doors[i].number, model->doors[i].shape);
    syn_buf_adds(out, "backend " LB_NOWHERE "\n  mode http\n"
                      "  http-request return status 404 content-type text/plain"
                      " string \"nothing is served here\"\n");
    for (size_t i = 0; i < model->door_count; i++)
        meshed = meshed || strstr(model->doors[i].shape, " " LB_REFUSED) != NULL;
    if (meshed)
        syn_buf_adds(out, "backend " LB_REFUSED "\n  mode http\n"
                          "  http-request return status 403 content-type text/plain"
                          " string \"this may not be called by who calls\"\n");
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

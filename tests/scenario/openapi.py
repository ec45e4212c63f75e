#!/usr/bin/env python3
"""The OpenAPI document against the server: every route, and every way to be refused."""
import json
import re

from harness import case, check, equal, run, wait_until

STREAMS = ("/v1/watch", "/v1/nodes/{id}/instances", "/v1/nodes/{id}/services",
           "/v1/function-gateway")
TOKENLESS = ("/healthz", "/v1/version", "/v1/openapi.json")
IDS = {"id": "train-nosuchjob1",
       "cid": "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
       "token": "no-such-token", "name": "no-such-name", "volume": "no-such-volume", "session": "no-such-session",
       "invocation": "no-such-call", "version": "1"}


def routes(p):
    document = p.api("GET", "/v1/openapi.json")
    check(document["openapi"].startswith("3."), document["openapi"])
    found = [(method.upper(), path, row) for path, rows in document["paths"].items()
             for method, row in rows.items() if method in ("get", "post", "put", "delete", "patch")]
    check(len(found) > 40, "too few routes:", len(found))
    return found


def filled(path):
    return re.sub(r"{(\w+)}", lambda m: IDS[m[1]], path)


def error_of(status, text, *said):
    try:
        error = json.loads(text)
    except ValueError:
        raise AssertionError(f"{said}: {status} without an error document: {text[:200]}") from None
    check(error.get("code") and error.get("message"), *said, error)
    return error


@case
def described_completely(p):
    p.start()
    for method, path, row in routes(p):
        check(row.get("summary") and row.get("operationId"), method, path, row)
        check(any(code.startswith("2") for code in row["responses"]), method, path)
        names = set(re.findall(r"{(\w+)}", path))
        given = {one["name"] for one in row.get("parameters", []) if one.get("in") == "path"}
        equal(given, names, method, path)
    names = [row["operationId"] for _, _, row in routes(p)]
    equal(len(set(names)), len(names), "an operationId stands twice")


@case
def every_route_is_served(p):
    """An unknown object is 404 with the object's kind of message, never the router's "no route"."""
    missing = p.http("GET", "/v1/no/such/route")
    equal(missing[0], 404)
    nowhere = error_of(missing[0], missing[2], "unknown route")["message"]
    for method, path, _ in routes(p):
        if "follow" in path or path in STREAMS:
            continue
        status, _, text = p.http(method, filled(path), "{}" if method != "GET" else None,
                                 {"Content-Type": "application/json"})
        check(status != 405 and status < 500, method, path, status, text[:300])
        if status >= 400:
            error = error_of(status, text, method, path)
            check(error["message"].split(" ")[0:2] != nowhere.split(" ")[0:2] or
                  filled(path) not in error["message"], method, path, "is not routed:", error)


@case
def a_wrong_method_is_told(p):
    taken = {}
    for method, path, _ in routes(p):
        taken.setdefault(path, set()).add(method)
    for path, methods in taken.items():
        wrong = next(m for m in ("PATCH", "DELETE", "PUT", "POST") if m not in methods)
        status, headers, text = p.http(wrong, filled(path), "{}")
        equal(status, 405, wrong, path)
        equal(error_of(status, text, wrong, path)["code"], "method-not-allowed")
        allow = {k.lower(): v for k, v in headers.items()}.get("allow", "")
        check(methods <= {m.strip() for m in allow.split(",")}, path, "Allow:", allow)


@case
def without_a_token_nothing_is_told(p):
    """A token that is none counts as none, also on the socket, whose owner needs no token."""
    for method, path, row in routes(p):
        if path in TOKENLESS:
            continue
        status, _, text = p.http(method, filled(path), None,
                                 {"Authorization": "Bearer syn_nosuchtoken"})
        equal(status, 401, method, path, text[:200])
        equal(error_of(status, text, method, path)["code"], "unauthenticated")
        check("401" in row["responses"] or "default" in row["responses"], method, path)


def bearer(p, account, scope):
    """The header of a new token, once the server's loop has heard of it."""
    token = p.json("account", "token", account, "--scope", scope)["token"]
    headers = {"Authorization": f"Bearer {token}"}
    wait_until("the token is accepted", 5,
               lambda: p.http("GET", "/v1/prices", headers=headers)[0] == 200, 0.01)
    return headers


@case
def a_tenant_is_no_operator(p):
    p.json("account", "create", "tenant")
    headers = bearer(p, "tenant", "tenant")
    for method, path, body in (("POST", "/v1/accounts", {"name": "x"}),
                               ("POST", "/v1/content/gc", {}),
                               ("POST", "/v1/content/verify", {}),
                               ("POST", "/v1/nodes", {}),
                               ("POST", "/v1/accounts/tenant/faucet", {"amount": "1"})):
        status, _, text = p.http(method, path, body, headers)
        equal(status, 403, method, path, text[:200])
        equal(error_of(status, text)["code"], "forbidden")
    status, _, text = p.http("POST", "/v1/transfers", {"from": "tenant", "to": "operator",
                             "amount": "1"}, bearer(p, "tenant", "read"))
    equal(status, 403, text)


@case
def bodies_that_are_none(p):
    for method, path, row in routes(p):
        content = row.get("requestBody", {}).get("content", {})
        if "application/json" not in content or "{" in path:
            continue
        needed = [one["name"] for one in row.get("parameters", [])
                  if one.get("in") == "query" and one.get("required")]
        path += "?" + "&".join(f"{name}=x" for name in needed) if needed else ""
        for body in ("{", "[]", '"x"', '{"a": 1, "a": 2}', b"\xff", "[" * 100):
            status, _, text = p.http(method, path, body, {"Content-Type": "application/json"})
            equal(status, 400, method, path, body, text[:300])
            equal(error_of(status, text)["code"], "invalid")
        status, _, text = p.http(method, path, {"no_such_key_at_all": 1})
        equal(status, 400, method, path, text[:300])
        check("no_such_key_at_all" in error_of(status, text)["message"], method, path, text)


@case
def near_misses_are_suggested(p):
    status, _, text = p.http("POST", "/v1/transfers", {"from": "me", "to": "me", "amuont": "1"})
    equal(status, 400)
    check("amount" in text.decode(), text)


@case
def too_much_is_refused(p):
    status, _, text = p.http("POST", "/v1/accounts", json.dumps({"name": "x" * (5 << 20)}))
    equal(status, 413, text[:200])
    equal(error_of(status, text)["code"], "too-large")
    for query in ("limit=0", "limit=1001", "limit=x", "after=%00", "nosuch=1"):
        status, _, text = p.http("GET", f"/v1/accounts?{query}")
        check(400 <= status < 500, query, status, text[:200])


run()

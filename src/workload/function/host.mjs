// Run a JavaScript function: an HTTP/1.1 server on $PORT that calls handler(event, context).
//
// docs/functions-languages.md has the contract. Nothing but Node's own modules is used.
import { createServer } from 'node:http';
import {
  existsSync, mkdtempSync, readFileSync, readSync, readdirSync, renameSync, rmSync, stat, statSync, unlinkSync,
  writeFileSync,
} from 'node:fs';
import { Module, syncBuiltinESMExports } from 'node:module';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const begun = performance.now(); // since the process began: what Node itself took
const env = process.env;
const BODY_MAX = 64 << 20;
const HEAD_MAX = 65536;
const QUIET_MS = 75000; // a connection is kept so long without a request
const TIMER_MAX = 2 ** 31 - 1; // longer ones fire at once
const WAITS = '/synor/scratch/.snapshot-waits'; // made by who waits to be saved, or says why not to
const RESUME = '/synor/scratch/.snapshot-resume'; // the word for who was restored
const RENEW = '/synor/renew.node';
const EMPTY_WASM = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
const NAMES = ['.mjs', '.js', '.cjs', '/index.mjs', '/index.js', '/index.cjs'];

const say = (text) => process.stderr.write(`${text}\n`);

// What is wrong with the function itself: its version is of no use.
const fail = (text) => {
  process.exitCode = 1;
  // A pipe may take it later: the process ends once it did.
  process.stderr.write(`${text}\n`, () => process.exit(1));
  return new Promise(() => {});
};

const stackOf = (error) => (error instanceof Error && error.stack ? error.stack : `thrown: ${String(error)}`);

// --- the function ---------------------------------------------------------------------------------

const isFile = (path) => statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;

// A copy of the file under a name that says what kind of module it is.
const ownFile = (path) => {
  const text = readFileSync(path, 'utf8');
  const kind = /^\s*(import|export)\b/m.test(text) ? 'mjs' : 'cjs';
  const copy = join(mkdtempSync(join(tmpdir(), 'function-')), `main.${kind}`);
  writeFileSync(copy, text);
  return copy;
};

const load = async (name, code, layer, saved) => {
  const dot = name.lastIndexOf('.');
  if (dot <= 0 || dot === name.length - 1) {
    return fail(`handler: "${name}": expected MODULE.FUNCTION, such as index.handler`);
  }
  const [module, wanted] = [name.slice(0, dot), name.slice(dot + 1)];
  const alone = isFile(code); // the code may be one file, whatever that was called
  const file = alone ? ownFile(code) : NAMES.map((end) => join(code, module + end)).find(isFile);
  if (file === undefined) {
    let have = '';
    try {
      have = readdirSync(code).sort().slice(0, 20).join(', ');
    } catch (error) {
      have = error.message;
    }
    return fail(`handler: "${name}": the code has no ${module}.mjs, .js or .cjs; it has: ${have}`);
  }
  if (layer) { // of require(); import looks for folders named node_modules above the code
    env.NODE_PATH = [layer, env.NODE_PATH].filter(Boolean).join(':');
    Module._initPaths();
  }
  if (!alone) process.chdir(code);
  let loaded;
  try {
    loaded = await import(pathToFileURL(file).href);
  } catch (error) {
    const hint = error?.code === 'ERR_MODULE_NOT_FOUND' || error?.code === 'MODULE_NOT_FOUND'
      ? '\nhint: name what is missing in package.json and deploy it with --dependencies' : '';
    return fail(`loading ${module}:\n${stackOf(error)}${hint}`);
  }
  if (alone && saved) rmSync(dirname(file), { recursive: true }); // no file is saved
  const handler = loaded[wanted] ?? loaded.default?.[wanted];
  if (typeof handler !== 'function') {
    const have = [...new Set([...Object.keys(loaded), ...Object.keys(loaded.default ?? {})])]
      .filter((key) => typeof (loaded[key] ?? loaded.default?.[key]) === 'function').slice(0, 20);
    return fail(`handler: "${name}": ${module} has no function ${wanted}; it has: `
      + `${have.join(', ') || 'none'}`);
  }
  return handler;
};

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const number = (text) => (/^\d{1,15}$/.test(text ?? '') ? Number(text) : 0);

const contextOf = (headers, body, signal) => {
  const deadline = number(headers['x-synor-deadline']);
  return {
    request_id: headers['x-request-id'] ?? '',
    invocation: headers['x-synor-invocation'] ?? '',
    deadline_ms: deadline,
    function: headers['x-synor-function'] ?? env.SYNOR_FUNCTION ?? '',
    version: number(headers['x-synor-version'] ?? env.SYNOR_VERSION),
    trigger: headers['x-synor-trigger'] ?? 'http',
    memory_bytes: number(env.SYNOR_MEMORY_BYTES),
    body,
    signal, // aborted when the deadline passes or the client goes away
    remaining_ms: () => (deadline ? Math.max(0, deadline - Date.now()) : null),
  };
};

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const textOf = (body) => {
  try {
    return utf8.decode(body);
  } catch {
    return null;
  }
};

// {name: value}; the values of a name that comes more than once are joined by commas.
const queryOf = (text) => {
  const query = {};
  for (const [name, value] of new URLSearchParams(text)) {
    query[name] = Object.hasOwn(query, name) ? `${query[name]},${value}` : value;
  }
  return query;
};

const eventOf = (request, body, trigger) => {
  const text = textOf(body);
  if (trigger !== 'http') {
    if (text === null) return body;
    if (text === '') return null;
    try {
      return JSON.parse(text);
    } catch {
      return text;
    }
  }
  const mark = request.url.indexOf('?');
  const raw = mark < 0 ? '' : request.url.slice(mark + 1);
  const event = {
    method: request.method,
    path: mark < 0 ? request.url : request.url.slice(0, mark),
    query: queryOf(raw),
    raw_query: raw,
    headers: { ...request.headers },
    body: text,
    body_base64: text === null ? body.toString('base64') : null,
  };
  const kind = (request.headers['content-type'] ?? '').split(';')[0].trim().toLowerCase();
  if (text && (kind === 'application/json' || kind.endsWith('+json'))) {
    try {
      event.json = JSON.parse(text);
    } catch (error) {
      throw new Refused(400, `the body is no JSON: ${error.message}`);
    }
  }
  return event;
};

// --- answers --------------------------------------------------------------------------------------

const isStatus = (value) => Number.isInteger(value) && value >= 200 && value <= 599;
const isBytes = (value) => ArrayBuffer.isView(value) || value instanceof ArrayBuffer;
const isStream = (value) => typeof value === 'object' && value !== null && !isBytes(value)
  && (Symbol.asyncIterator in value || typeof value.next === 'function');

// To name Response is to load what fetch is made of, which takes longer than many a call.
const isResponse = (value) => typeof value === 'object' && value !== null
  && value.constructor?.name === 'Response' && typeof value.arrayBuffer === 'function';

// A piece of content, and what kind of content it is.
const pieceOf = (piece) => {
  if (typeof piece === 'string') return [Buffer.from(piece), 'text/plain; charset=utf-8'];
  if (piece instanceof ArrayBuffer) return [Buffer.from(piece), 'application/octet-stream'];
  if (isBytes(piece)) {
    return [Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength), 'application/octet-stream'];
  }
  return [Buffer.from(`${JSON.stringify(piece ?? null)}\n`), 'application/x-ndjson'];
};

// {status, headers, body} of what a handler gave back; the body is bytes or an iterator.
const answerOf = (result) => {
  let [status, headers, body] = [200, {}, result];
  if (isResponse(result)) {
    return { status: result.status, headers: Object.fromEntries(result.headers), body: result.body ?? Buffer.alloc(0) };
  }
  if (typeof result === 'object' && result !== null && isStatus(result.status ?? result.statusCode)) {
    status = result.status ?? result.statusCode;
    headers = { ...result.headers };
    body = result.body ?? '';
    const encoded = result.body_base64 ?? (result.isBase64Encoded === true ? body : null);
    if (encoded !== null) body = Buffer.from(encoded, 'base64');
  }
  if (isStream(body)) return { status, headers, body };
  let kind = 'application/json';
  if (typeof body === 'string' || isBytes(body)) [body, kind] = pieceOf(body);
  else body = Buffer.from(JSON.stringify(body ?? null));
  const named = Object.keys(headers).some((name) => name.toLowerCase() === 'content-type');
  if (!named && (body.length > 0 || status === 200)) headers['content-type'] = kind;
  return { status, headers, body };
};

let cold = ''; // told with the first answer
let stopping = false;

const begin = (response, status, headers) => {
  const own = new Set(['content-length', 'transfer-encoding', 'connection', 'keep-alive']);
  for (const [name, value] of Object.entries(headers)) {
    if (!own.has(name.toLowerCase())) {
      response.setHeader(name, Array.isArray(value) ? value.map(String) : String(value));
    }
  }
  if (cold) response.setHeader('x-synor-cold', cold);
  cold = '';
  if (stopping) response.shouldKeepAlive = false;
  response.statusCode = status;
};

const refuse = (response, status, message, type) => {
  const body = JSON.stringify({ error: { type: type ?? 'Refused', message } });
  for (const name of response.getHeaderNames()) response.removeHeader(name);
  begin(response, status, { 'content-type': 'application/json', ...(type && { 'x-synor-error': type }) });
  response.end(body);
};

const drained = (response) => new Promise((resolve) => {
  const done = () => {
    response.off('drain', done);
    response.off('close', done);
    resolve();
  };
  response.on('drain', done);
  response.on('close', done);
});

// The first piece says what kind of content it is, and errors before it are errors.
const stream = async (response, { status, headers, body }) => {
  const pieces = (body[Symbol.asyncIterator] ?? (() => body)).call(body);
  let step = await pieces.next();
  const [, kind] = step.done ? [null, 'application/octet-stream'] : pieceOf(step.value);
  const named = Object.keys(headers).some((name) => name.toLowerCase() === 'content-type');
  begin(response, status, named ? headers : { ...headers, 'content-type': kind });
  response.flushHeaders();
  while (!step.done && !response.destroyed) {
    const [bytes] = pieceOf(step.value);
    if (bytes.length > 0 && !response.write(bytes)) await drained(response);
    step = await pieces.next();
  }
  if (!step.done) await pieces.return?.();
  response.end();
};

const answer = async (response, result) => {
  const parts = answerOf(result);
  if (isStream(parts.body)) return stream(response, parts);
  begin(response, parts.status, parts.headers);
  if (parts.status !== 204 && parts.status !== 304) response.setHeader('content-length', parts.body.length);
  return response.end(parts.body);
};

// --- requests -------------------------------------------------------------------------------------

const readBody = async (request) => {
  if (request.headers['transfer-encoding'] !== undefined) {
    throw new Refused(501, 'transfer-encoding: bodies come with content-length');
  }
  const size = Number(request.headers['content-length'] ?? 0);
  if (size > BODY_MAX) throw new Refused(413, `the body is more than ${BODY_MAX} bytes`);
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return pieces.length === 1 ? pieces[0] : Buffer.concat(pieces);
};

const errorType = (error) => {
  const name = error instanceof Error ? error.name : typeof error;
  return /^[\w.$-]{1,100}$/.test(name) ? name : 'Error';
};

const serve = async (handler, request, response) => {
  const id = request.headers['x-request-id'] ?? '';
  const gone = new AbortController();
  let timer;
  try {
    const body = await readBody(request);
    const context = contextOf(request.headers, body, gone.signal);
    const event = eventOf(request, body, context.trigger);
    response.on('close', () => gone.abort(new Error('the client went away')));
    if (context.deadline_ms) {
      timer = setTimeout(() => gone.abort(new Error('the deadline has passed')),
        Math.min(context.remaining_ms(), TIMER_MAX));
    }
    await answer(response, await handler(event, context));
  } catch (error) {
    if (error instanceof Refused) {
      response.shouldKeepAlive = false;
      refuse(response, error.status, error.message);
    } else if (request.destroyed && !request.complete) {
      response.destroy(); // the client went away in the middle of its request
    } else if (response.headersSent) {
      say(`request ${id}: in the middle of its answer: ${stackOf(error)}`);
      response.socket?.destroySoon(); // what was sent arrives; its end does not
    } else {
      say(`request ${id}: ${stackOf(error)}`);
      refuse(response, 500, error instanceof Error ? error.message : String(error), errorType(error));
    }
  } finally {
    clearTimeout(timer);
  }
};

// --- snapshots ------------------------------------------------------------------------------------

// Random numbers of our own for Math.random: V8's state, which is saved, cannot be changed. The
// generator is xoshiro128**.
const randomOf = (crypto) => {
  const state = new Int32Array(4);
  const next = () => {
    const scrambled = Math.imul(state[1], 5);
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9) >>> 0;
    const shifted = state[1] << 9;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = (state[3] << 11) | (state[3] >>> 21);
    return result;
  };
  const renew = () => crypto.randomFillSync(state);
  renew();
  return { renew, random: () => ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992 };
};

// Node draws bytes for these ahead, which would be saved with it. Its own functions are called as
// well, for what they refuse.
const withoutCaches = (crypto) => {
  const { randomInt, randomUUID, randomUUIDv7, randomBytes } = crypto;
  const web = Object.getPrototypeOf(crypto.webcrypto);
  const webUUID = web.randomUUID;
  const int = (min, max, done) => {
    randomInt(min, max, typeof done === 'function' ? undefined : done);
    const range = max - min;
    const limit = 2 ** 48 - (2 ** 48 % range); // above it numbers would not be equally likely
    let drawn = limit;
    while (drawn >= limit) drawn = randomBytes(6).readUIntBE(0, 6);
    if (done === undefined) return (drawn % range) + min;
    process.nextTick(done, undefined, (drawn % range) + min);
    return undefined;
  };
  Object.assign(crypto, {
    randomInt(min, max, done) {
      return max === undefined || typeof max === 'function' ? int(0, min, max) : int(min, max, done);
    },
    randomUUID(options) {
      randomUUID(options);
      return randomUUID({ ...options, disableEntropyCache: true });
    },
    ...(randomUUIDv7 && { // of Node 24
      randomUUIDv7(options) {
        randomUUIDv7(options);
        return randomUUIDv7({ ...options, disableEntropyCache: true });
      },
    }),
  });
  Object.assign(web, {
    randomUUID() {
      webUUID.call(this);
      return randomUUID({ disableEntropyCache: true });
    },
  });
  syncBuiltinESMExports();
};

// Before the function is loaded, of an instance that is to be saved: what goes on in several
// instances must not draw the same numbers in them. What this gives back is called there.
const prepareToBeSaved = async () => {
  const { default: crypto } = await import('node:crypto');
  const module = { exports: {} };
  let why = '';
  try {
    process.dlopen(module, RENEW);
  } catch (error) {
    why = `this Node cannot be renewed: ${error.message}`;
  }
  const { random, renew } = randomOf(crypto);
  Math.random = random;
  withoutCaches(crypto);
  const renewAll = () => {
    module.exports();
    renew();
    // What other threads did meanwhile, for files or for V8, is told with the next that they do.
    stat('/', () => {});
    void globalThis.WebAssembly?.compile(EMPTY_WASM).catch(() => {});
  };
  return { why, renew: renewAll };
};

// What has been loaded that may draw random numbers of its own. "": nothing.
const ownRandom = () => {
  process.report.excludeNetwork = true; // it would ask for names
  const { sharedObjects, workers } = process.report.getReport();
  const addon = sharedObjects.find((path) => path.endsWith('.node') && path !== RENEW);
  if (addon) return `${addon.split('/').pop()} is compiled and may draw random numbers that cannot be renewed`;
  return workers.length > 0 ? 'it has started workers, whose random numbers cannot be renewed' : '';
};

// Be saved as what is loaded now, and go on as one of the instances that this is restored as, with
// an environment of its own. Nothing else happens meanwhile.
const waitToBeRestored = (saved) => {
  writeFileSync(`${WAITS}.part`, saved.why || ownRandom());
  renameSync(`${WAITS}.part`, WAITS);
  const never = new Int32Array(new SharedArrayBuffer(4));
  while (!existsSync(RESUME)) Atomics.wait(never, 0, 0, 2);
  const word = JSON.parse(readFileSync(RESUME, 'utf8'));
  unlinkSync(RESUME);
  Object.assign(env, word.env);
  saved.renew();
};

// --- warm pools -----------------------------------------------------------------------------------

// Started for nobody yet: the word says whose this is, and has the environment. Input that ends
// without one is the end.
const waitForOwner = () => {
  writeFileSync(`${WAITS}.part`, '');
  renameSync(`${WAITS}.part`, WAITS);
  while (readSync(0, Buffer.alloc(64)) > 0); // eslint-disable-line no-empty
  if (!existsSync(RESUME)) process.exit(0);
  const word = JSON.parse(readFileSync(RESUME, 'utf8'));
  unlinkSync(RESUME);
  unlinkSync(WAITS);
  Object.assign(env, word.env);
};

// --- life -----------------------------------------------------------------------------------------

// Requests of our own, before any other may come: what compiles at the first one has a core now,
// and may have a fraction of one then.
const WARM = '/_synor/warm';
const warmHandler = (event) => ({ status: 200, headers: { 'x-warm': 1 }, body: { got: event.json } });
const warm = (port, address) => new Promise((resolve) => {
  const link = connect(port, address, () => {
    link.write(`POST ${WARM} HTTP/1.1\r\nhost: f\r\ncontent-type: application/json\r\n`
      + `x-synor-deadline: ${Date.now() + QUIET_MS}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}`);
  });
  link.resume();
  link.setTimeout(5000, () => link.destroy()); // it is a favour, not a need
  link.on('error', resolve);
  link.on('close', resolve);
});

const main = async () => {
  const saved = env.SYNOR_SNAPSHOT ? await prepareToBeSaved() : null;
  const waits = Boolean(env.SYNOR_WAITS);
  delete env.SYNOR_SNAPSHOT;
  delete env.SYNOR_WAITS;
  let handler = null; // of nobody yet
  const server = createServer({ maxHeaderSize: HEAD_MAX, keepAliveTimeout: QUIET_MS, noDelay: true },
    (request, response) => {
      if (request.url.split('?')[0] === '/_synor/health') {
        request.resume();
        response.statusCode = ready ? 200 : 503;
        response.end(ready ? 'ok\n' : 'starting\n');
        return;
      }
      void serve(!ready && request.url === WARM ? warmHandler : handler, request, response);
    });
  let ready = false;
  let [port, address] = [0, '127.0.0.1'];
  const listen = () => new Promise((resolve) => { server.listen(port, address, 1024, resolve); });
  const warmUp = async () => {
    for (let round = 0; round < 3; round += 1) {
      await warm(server.address().port, address === '0.0.0.0' ? '127.0.0.1' : address);
    }
  };
  server.requestTimeout = 0; // its deadline is the gateway's to keep
  server.on('error', (error) => fail(`listening on port ${port}: ${error.message}`));
  process.on('SIGTERM', () => {
    // What is under way ends; connections without a request are closed.
    stopping = true;
    server.close(() => process.exit(0));
    server.closeIdleConnections?.();
    server.keepAliveTimeout = 1;
  });
  let [created, since] = [begun, begun];
  const rehearse = async () => {
    await listen();
    await warmUp();
    await new Promise((resolve) => { server.close(resolve); });
  };
  if (waits) {
    await rehearse();
    waitForOwner();
    [created, since] = [0, performance.now()];
  }
  const { PORT = '' } = env;
  if (!/^\d{1,5}$/.test(PORT) || Number(PORT) > 65535) return fail(`PORT: "${PORT}": expected 0 to 65535`);
  handler = await load(env.SYNOR_HANDLER ?? '', env.SYNOR_CODE || '/synor/code', env.SYNOR_LAYER ?? '', saved);
  if (saved) {
    await rehearse();
    await new Promise(setImmediate); // the loop is made anew between two of its rounds
    waitToBeRestored(saved);
    [created, since] = [0, performance.now()];
  }
  [port, address] = [Number(env.PORT), env.SYNOR_ADDRESS || '0.0.0.0'];
  await listen();
  if (!saved && !waits) await warmUp();
  cold = `create=${Math.round(created * 1000)};initialise=${Math.round((performance.now() - since) * 1000)}`;
  ready = true;
  if (port === 0) say(`listens on port ${server.address().port}`);
};

await main();

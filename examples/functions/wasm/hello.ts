// The same in AssemblyScript:
//
//     npx asc hello.ts -O --runtime stub --use abort=hello/abort -o hello.wasm
@external("synor", "request_get")
declare function requestGet(part: i32, from: u32, at: usize, cap: u32): i32;
@external("synor", "response_status")
declare function responseStatus(status: i32): i32;
@external("synor", "response_header")
declare function responseHeader(name: usize, nameSize: u32, value: usize, valueSize: u32): i32;
@external("synor", "response_write")
declare function responseWrite(at: usize, size: u32): void;
@external("synor", "log")
declare function log(level: i32, text: usize, size: u32): void;

const PATH: i32 = 2;
const ERROR: i32 = 3;

function write(text: string): void {
  const bytes = String.UTF8.encode(text);
  responseWrite(changetype<usize>(bytes), bytes.byteLength);
}

function header(name: string, value: string): void {
  const n = String.UTF8.encode(name);
  const v = String.UTF8.encode(value);
  responseHeader(changetype<usize>(n), n.byteLength, changetype<usize>(v), v.byteLength);
}

// What the compiler calls where a check fails.
function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  const bytes = String.UTF8.encode((message ? message : "abort") + " at line " + line.toString());
  log(ERROR, changetype<usize>(bytes), bytes.byteLength);
  unreachable();
}

export function synor_handle(): i32 {
  const bytes = new ArrayBuffer(requestGet(PATH, 0, 0, 0));
  requestGet(PATH, 0, changetype<usize>(bytes), bytes.byteLength);
  const path = String.UTF8.decode(bytes);
  const name = path.substring(path.lastIndexOf("/") + 1);

  header("content-type", "text/plain; charset=utf-8");
  if (name.length == 0) {
    responseStatus(404);
    write("whom?\n");
    return 0;
  }
  write("hello, " + name + "\n");
  return 0;
}

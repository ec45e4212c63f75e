// A function in JavaScript.
//
//     synor compute function deploy --name hello --runtime node --code examples/functions/node \
//         --trigger 'http:/hello/{name}'

const greeting = process.env.GREETING ?? 'Hello'; // --env; what stands here runs once an instance

// JSON in, JSON out: by HTTP `event` is the request, of other triggers their payload.
export const handler = async (event, context) => {
  if (context.trigger !== 'http') return { got: event };
  const name = event.path.split('/').at(-1);
  return { greeting: `${greeting}, ${name}!`, version: context.version, left_ms: context.remaining_ms() };
};

// A stream: --handler main.count. Each piece is sent as it comes.
export async function* count(event) {
  for (let number = 0; number < Number(event.query.to ?? 3); number += 1) yield `${number}\n`;
}

// Bytes in, bytes out: --handler main.invert.
export const invert = (event, context) => ({
  status: 200,
  headers: { 'content-type': 'application/octet-stream' },
  body: context.body.map((byte) => 255 - byte),
});

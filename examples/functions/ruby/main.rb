# frozen_string_literal: true

# A function in Ruby.
#
#     synor compute function deploy --name hello --runtime ruby --code examples/functions/ruby \
#         --trigger 'http:/hello/{name}'

GREETING = ENV.fetch('GREETING', 'Hello') # --env; what stands here runs once an instance

# JSON in, JSON out: by HTTP `event` is the request, of other triggers their payload.
def handler(event, context)
  return { got: event } unless context.trigger == 'http'

  name = event['path'].split('/').last
  { greeting: "#{GREETING}, #{name}!", version: context.version, left_ms: context.remaining_ms }
end

# A stream: --handler main.count. Each piece is sent as it comes.
def count(event, _context)
  Enumerator.new { |to| Integer(event['query'].fetch('to', 3)).times { |number| to << "#{number}\n" } }
end

# Bytes in, bytes out: --handler main.invert.
def invert(_event, context)
  { status: 200, headers: { 'content-type' => 'application/octet-stream' },
    body: context.body.bytes.map { |byte| 255 - byte }.pack('C*') }
end

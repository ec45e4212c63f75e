# frozen_string_literal: true

# Run a Ruby function: an HTTP/1.1 server on $PORT that calls handler(event, context).
#
# docs/functions-languages.md has the contract. Nothing but Ruby's own library is used.
BEGUN = Process.clock_gettime(Process::CLOCK_MONOTONIC)

require 'json'
require 'socket'

# All of it is within a module, so that nothing of it is in the way of the function's own names.
module SynorHost
  HEAD_MAX = 65_536 # of a request: its line and headers
  BODY_MAX = 64 << 20
  HEADERS_MAX = 256
  QUIET_S = 75 # a connection is kept so long without a request
  GRACE_S = 2 # a handler that went on past its deadline so long ends the instance,
  ALONE_S = 0.1 # where no other call is under way
  TOKEN = /\A[!#$%&'*+\-.^_`|~0-9A-Za-z]+\z/n
  REASONS = { 200 => 'OK', 201 => 'Created', 202 => 'Accepted', 204 => 'No Content',
              301 => 'Moved Permanently', 302 => 'Found', 303 => 'See Other', 304 => 'Not Modified',
              307 => 'Temporary Redirect', 308 => 'Permanent Redirect', 400 => 'Bad Request',
              401 => 'Unauthorized', 403 => 'Forbidden', 404 => 'Not Found',
              405 => 'Method Not Allowed', 409 => 'Conflict', 413 => 'Content Too Large',
              422 => 'Unprocessable Content', 429 => 'Too Many Requests',
              431 => 'Request Header Fields Too Large', 500 => 'Internal Server Error',
              501 => 'Not Implemented', 503 => 'Service Unavailable',
              505 => 'HTTP Version Not Supported' }.freeze

  # A request that is not answered by the handler: its status, and why.
  class Refused < StandardError
    attr_reader :status

    def initialize(status, message)
      super(message)
      @status = status
    end
  end

  # Raised within a handler that goes on past its deadline.
  class FunctionTimeout < Exception # rubocop:disable Lint/InheritException
  end

  # A stream failed; its cause says how.
  class Broken < StandardError
  end

  module_function

  def say(text)
    $stderr.write("#{text}\n")
    $stderr.flush
  end

  # What is wrong with the function itself: its version is of no use.
  def fail_with(text)
    say(text)
    exit!(1)
  end

  # The error as it concerns the function: its stack without this program's own frames.
  def stack_of(error)
    own = (error.backtrace || []).take_while { |frame| !frame.start_with?("#{__FILE__}:") }
    ["#{error.class}: #{error.message}", *own.first(30).map { |frame| "    #{frame}" }].join("\n")
  end

  def now_ms
    Process.clock_gettime(Process::CLOCK_REALTIME, :millisecond)
  end

  def number(text)
    text&.match?(/\A\d{1,15}\z/) ? text.to_i : 0
  end

  # --- the function -------------------------------------------------------------------------------

  # Gems of the layer, where bundler put them.
  def use_layer(layer)
    return if layer.empty?

    gems = File.join(layer, RbConfig::CONFIG['ruby_version'])
    $LOAD_PATH.unshift(layer)
    return unless File.directory?(gems)

    Gem.paths = { 'GEM_HOME' => gems, 'GEM_PATH' => [gems, *Gem.path].join(':') }
  end

  def load_file(name, file, code)
    load(file)
  rescue LoadError => e
    fail_with("loading #{name}:\n#{stack_of(e)}\n" \
              "hint: name what is missing in Gemfile and deploy it with --dependencies")
  rescue Exception => e # rubocop:disable Lint/RescueException  whatever it is, there is no function
    fail_with("loading #{name}, of #{code}:\n#{stack_of(e)}")
  end

  # The handler that `name`, "file.function", stands for.
  def find_handler(name, code, layer)
    file, dot, function = name.rpartition('.')
    fail_with("handler: \"#{name}\": expected MODULE.FUNCTION, such as main.handler") if
      dot.empty? || file.empty? || function.empty?
    path = code
    unless File.file?(code) # the code may be one file, whatever that was called
      path = File.join(code, "#{file}.rb")
      have = Dir.exist?(code) ? Dir.children(code).sort.first(20).join(', ') : 'nothing'
      fail_with("handler: \"#{name}\": the code has no #{file}.rb; it has: #{have}") unless
        File.file?(path)
      Dir.chdir(code)
      $LOAD_PATH.unshift(code)
    end
    use_layer(layer)
    before = Object.private_instance_methods(false)
    load_file(file, path, code)
    own = Object.private_instance_methods(false) - before
    return TOPLEVEL_BINDING.receiver.method(function) if own.include?(function.to_sym)

    fail_with("handler: \"#{name}\": #{file} has no function #{function}; it has: " \
              "#{own.empty? ? 'none' : own.sort.first(20).join(', ')}")
  end

  # What is known of a call besides its event.
  class Context
    attr_reader :request_id, :invocation, :deadline_ms, :function, :version, :trigger,
                :memory_bytes, :body

    def initialize(headers, body)
      @request_id = headers.fetch('x-request-id', '')
      @invocation = headers.fetch('x-synor-invocation', '')
      @deadline_ms = SynorHost.number(headers['x-synor-deadline'])
      @function = headers['x-synor-function'] || ENV.fetch('SYNOR_FUNCTION', '')
      @version = SynorHost.number(headers['x-synor-version'] || ENV.fetch('SYNOR_VERSION', ''))
      @trigger = headers.fetch('x-synor-trigger', 'http')
      @memory_bytes = SynorHost.number(ENV.fetch('SYNOR_MEMORY_BYTES', ''))
      @body = body
    end

    # Milliseconds until the deadline, at least 0; nil: there is none.
    def remaining_ms
      @deadline_ms.zero? ? nil : [0, @deadline_ms - SynorHost.now_ms].max
    end
  end

  # --- events -------------------------------------------------------------------------------------

  def unquote(text)
    plain = text.tr('+', ' ').b.gsub(/%\h\h/n) { |hex| hex[1, 2].hex.chr }
    plain.force_encoding(Encoding::UTF_8).scrub
  end

  # {name: value}; the values of a name that comes more than once are joined by commas.
  def query_of(text)
    text.split('&').reject(&:empty?).each_with_object({}) do |part, query|
      name, value = part.split('=', 2)
      name = unquote(name)
      value = unquote(value || '')
      query[name] = query.key?(name) ? "#{query[name]},#{value}" : value
    end
  end

  def text_of(body)
    text = body.dup.force_encoding(Encoding::UTF_8)
    text.valid_encoding? ? text : nil
  end

  def payload_of(body)
    text = text_of(body)
    return body if text.nil?
    return nil if text.empty?

    begin
      JSON.parse(text)
    rescue JSON::ParserError
      text
    end
  end

  def event_of(method, target, headers, body, trigger)
    return payload_of(body) unless trigger == 'http'

    path, _, query = target.partition('?')
    text = text_of(body)
    event = { 'method' => method, 'path' => path, 'query' => query_of(query),
              'raw_query' => query, 'headers' => headers, 'body' => text,
              'body_base64' => text ? nil : [body].pack('m0') }
    kind = headers.fetch('content-type', '').partition(';').first.strip.downcase
    return event unless kind == 'application/json' || kind.end_with?('+json')
    return event if text.nil? || text.empty?

    begin
      event['json'] = JSON.parse(text)
    rescue JSON::ParserError => e
      raise Refused.new(400, "the body is no JSON: #{e.message}")
    end
    event
  end

  # --- answers ------------------------------------------------------------------------------------

  def stream?(value)
    value.is_a?(Enumerator) || value.is_a?(IO)
  end

  # A piece of a stream or a whole body, and what kind of content it is. Text is what is UTF-8.
  def as_bytes(piece, line = "\n")
    return ["#{JSON.generate(piece)}#{line}".b, 'application/json'] unless piece.is_a?(String)
    return [piece.b, 'application/octet-stream'] if piece.encoding == Encoding::BINARY

    [piece.encode(Encoding::UTF_8).b, 'text/plain; charset=utf-8']
  end

  def named(result)
    (result['headers'] || {}).flat_map do |name, value|
      (value.is_a?(Array) ? value : [value]).map { |each| [name.to_s, each.to_s] }
    end
  end

  # [status, [[name, value]], bytes or a stream] of what a handler gave back.
  def answer_of(result)
    status = 200
    headers = []
    body = result
    given = result.is_a?(Hash) ? result.transform_keys(&:to_s) : {}
    wanted = given['status'] || given['statusCode']
    if wanted.is_a?(Integer) && wanted.between?(200, 599)
      status = wanted
      headers = named(given)
      body = given['body'].nil? ? ''.b : given['body']
      encoded = given['body_base64'] || (given['isBase64Encoded'] == true ? body : nil)
      body = encoded.unpack1('m') if encoded
    end
    return [status, headers, body] if stream?(body)

    body, kind = as_bytes(body, '')
    plain = headers.any? { |name, _| name.downcase == 'content-type' }
    headers << ['content-type', kind] unless plain || (body.empty? && status != 200)
    [status, headers, body]
  end

  def head_of(status, headers, more)
    lines = ["HTTP/1.1 #{status} #{REASONS.fetch(status, 'Status')}"]
    headers.each do |name, value|
      next if %w[content-length transfer-encoding connection keep-alive].include?(name.downcase)
      raise ArgumentError, "#{name.inspect} is no name of a header" unless name.b.match?(TOKEN)
      raise ArgumentError, "the header #{name} has a line break" if value.b.match?(/[\r\n\0]/n)

      lines << "#{name}: #{value}"
    end
    "#{[*lines, *more].map(&:b).join("\r\n")}\r\n\r\n".b
  end

  # --- requests -----------------------------------------------------------------------------------

  # Requests of one connection, one after the other.
  class Reader
    def initialize(link)
      @link = link
      @held = ''.b
    end

    def more
      return false unless @link.wait_readable(QUIET_S)

      @held << @link.readpartial(65_536)
      true
    rescue EOFError
      false
    end

    # [method, target, headers, keep], or nil at the end of the connection.
    def head
      loop do
        @held.sub!(/\A[\r\n]+/n, '')
        size = @held.index("\r\n\r\n")
        raise Refused.new(431, "the headers are more than #{HEAD_MAX} bytes") if
          (size || @held.bytesize) > HEAD_MAX
        return SynorHost.parse(@held.slice!(0, size + 4)[0, size].split("\r\n", -1)) if size
        return nil unless more
      end
    end

    def body(size)
      until @held.bytesize >= size
        return nil unless more
      end
      @held.slice!(0, size)
    end
  end

  def parse(lines)
    words = lines[0].split(' ', -1)
    raise Refused.new(400, 'expected METHOD TARGET HTTP/1.1') unless
      words.size == 3 && !words[1].empty? && words[2].start_with?('HTTP/')
    raise Refused.new(505, 'expected HTTP/1.1') unless words[2] == 'HTTP/1.1'
    raise Refused.new(400, 'the request line has bytes that do not belong there') unless
      words[0].match?(TOKEN) && !words[1].match?(/[\x00-\x20\x7f]/n)
    raise Refused.new(431, "more than #{HEADERS_MAX} headers") if lines.size > HEADERS_MAX

    headers = headers_of(lines.drop(1))
    raise Refused.new(501, 'transfer-encoding: bodies come with content-length') if
      headers.key?('transfer-encoding')

    keep = !headers.fetch('connection', '').downcase.include?('close')
    [words[0].encode('UTF-8'), words[1].force_encoding('UTF-8').scrub, headers, keep]
  end

  def headers_of(lines)
    lines.each_with_object({}) do |line, headers|
      name, colon, value = line.partition(':')
      raise Refused.new(400, 'a header has no name, or blanks before its colon') if
        colon.empty? || !name.match?(TOKEN)
      raise Refused.new(400, 'a header has a line break within') if value.match?(/[\r\n\0]/n)

      key = name.downcase.encode('UTF-8')
      text = value.gsub(/\A[ \t]+|[ \t]+\z/n, '').force_encoding('ISO-8859-1').encode('UTF-8')
      if headers.key?(key)
        raise Refused.new(400, "#{key} comes twice") if
          %w[content-length host transfer-encoding].include?(key)

        text = "#{headers[key]}#{key == 'cookie' ? '; ' : ', '}#{text}"
      end
      headers[key] = text
    end
  end

  def size_of(headers)
    text = headers.fetch('content-length', '0')
    raise Refused.new(400, 'content-length is no number') unless text.match?(/\A\d{1,12}\z/)
    raise Refused.new(413, "the body is more than #{BODY_MAX} bytes") if text.to_i > BODY_MAX

    text.to_i
  end

  # The function behind its door.
  class Host
    attr_writer :cold

    def initialize(handler, concurrency)
      @handler = handler
      @keywords = handler.parameters.any? { |kind, _| kind.to_s.start_with?('key') }
      @turns = SizedQueue.new(concurrency)
      @lock = Mutex.new
      @changed = ConditionVariable.new
      @calls = {} # running: thread -> [deadline in ms, request id]
      @links = {} # open: socket -> whether a request is under way
      @watcher = nil
      @cold = nil # told with the first answer
      @stopping = false
    end

    # --- calls

    def call(method, target, headers, context)
      event = SynorHost.event_of(method, target, headers, context.body, context.trigger)
      # As it is written here, or with keywords, as AWS Lambda has it.
      result = in_time do
        @keywords ? @handler.call(event: event, context: context) : @handler.call(event, context)
      end
      status, named, content = SynorHost.answer_of(result)
      return [status, named, content] unless SynorHost.stream?(content)

      # The first piece says what kind of content it is, and errors before it are errors.
      pieces = content.is_a?(IO) ? content.each(nil, 65_536) : content
      first, kind = SynorHost.as_bytes(next_of(pieces) || ''.b)
      kind = 'application/x-ndjson' if kind == 'application/json'
      named << ['content-type', kind] if named.none? { |name, _| name.downcase == 'content-type' }
      [status, named, [first, pieces]]
    end

    def next_of(pieces)
      in_time { pieces.next }
    rescue StopIteration
      nil
    end

    def begin_call(context)
      return if context.deadline_ms.zero?

      @lock.synchronize do
        @calls[Thread.current] = [context.deadline_ms, context.request_id]
        @watcher ||= Thread.new { watch }
        @changed.signal
      end
    end

    # After it no exception of the deadline's can come any more; one that came late is dropped.
    def end_call
      @lock.synchronize { @calls.delete(Thread.current) }
      in_time { Thread.pass } if Thread.pending_interrupt?
    rescue FunctionTimeout
      nil
    end

    # What runs of the function's own: only there the deadline's exception can come.
    def in_time(&part)
      Thread.handle_interrupt(FunctionTimeout => :immediate, &part)
    end

    # End what goes on past its deadline: its caller has been told so already. What does not hear
    # the exception ends with the instance.
    def watch
      told = {}
      loop do
        @lock.synchronize do
          @changed.wait(@lock) while @calls.empty?
          now = SynorHost.now_ms
          told.delete_if { |thread, request| @calls[thread]&.last != request }
          @calls.each do |thread, (deadline, request)|
            next if now < deadline

            if told[thread] != request
              told[thread] = request
              interrupt(thread, request)
            elsif now > deadline + (@calls.size > 1 ? GRACE_S : ALONE_S) * 1000
              SynorHost.say("request #{request}: the handler goes on past its deadline; " \
                            'the instance ends')
              exit!(124)
            end
          end
        end
        sleep(0.02)
      end
    end

    def interrupt(thread, request)
      frames = (thread.backtrace || []).first(8).map { |frame| "    #{frame}" }
      SynorHost.say("request #{request}: the deadline has passed; the handler is at\n" \
                    "#{frames.join("\n")}")
      thread.raise(FunctionTimeout, 'the deadline has passed')
    end

    # --- answers

    def send_all(link, data)
      until data.empty?
        sent = link.write_nonblock(data, exception: false)
        if sent == :wait_writable
          raise Errno::ETIMEDOUT unless link.wait_writable(QUIET_S)
        else
          data = data.byteslice(sent..)
        end
      end
    end

    # Send it. False: the connection is of no further use.
    def answer(link, method, result, keep)
      status, headers, content = result
      more = keep ? [] : ['connection: close']
      more << "x-synor-cold: #{@cold}" if @cold
      return stream(link, method, result, more, keep) if content.is_a?(Array)

      more << "content-length: #{content.bytesize}" unless [204, 304].include?(status)
      head = SynorHost.head_of(status, headers, more)
      @cold = nil
      send_all(link, method == 'HEAD' || [204, 304].include?(status) ? head : head + content)
      keep
    end

    def stream(link, method, result, more, keep)
      status, headers, (first, pieces) = result
      bare = method == 'HEAD' || [204, 304].include?(status)
      head = SynorHost.head_of(status, headers, bare ? more : [*more, 'transfer-encoding: chunked'])
      @cold = nil
      send_all(link, head)
      return false if bare

      chunk(link, first)
      while (piece = careful(pieces))
        chunk(link, piece)
      end
      send_all(link, "0\r\n\r\n".b)
      keep
    end

    def chunk(link, piece)
      send_all(link, "#{piece.bytesize.to_s(16)}\r\n".b + piece + "\r\n".b) unless piece.empty?
    end

    # The next piece as bytes. What goes wrong in making it is no fault of the connection.
    def careful(pieces)
      piece = in_time { pieces.next }
      SynorHost.as_bytes(piece).first
    rescue StopIteration
      nil
    rescue SystemCallError, IOError
      raise Broken
    end

    def refuse(link, status, message, error = nil, keep: false)
      headers = [['content-type', 'application/json']]
      headers << ['x-synor-error', error] if error
      told = { 'type' => error || 'Refused', 'message' => message.scrub }
      body = JSON.generate({ 'error' => told })
      answer(link, 'GET', [status, headers, body.b], keep)
    end

    def invoke(link, method, target, headers, body, keep)
      context = Context.new(headers, body)
      Thread.handle_interrupt(FunctionTimeout => :never) do
        @turns.push(true)
        begin_call(context)
        result = call_safely(method, target, headers, context)
        # A stream's pieces are the handler's, too: its deadline holds until the last.
        end_call unless result.is_a?(Array) && result[2].is_a?(Array)
        reply(link, method, result, context, keep)
      ensure
        end_call
        @turns.pop
      end
    end

    def reply(link, method, result, context, keep)
      return refuse(link, result.status, result.message, keep: keep) if result.is_a?(Refused)
      return refuse(link, 500, result.message, result.class.to_s.split('::').last, keep: keep) if
        result.is_a?(Exception)

      begin
        answer(link, method, result, keep)
      rescue SystemCallError, IOError
        raise # the client is away
      rescue StandardError, FunctionTimeout => e
        SynorHost.say("request #{context.request_id}: in the middle of its answer: " \
                      "#{SynorHost.stack_of(e.is_a?(Broken) ? e.cause : e)}")
        false
      end
    end

    # The answer, or what was raised instead of it.
    def call_safely(method, target, headers, context)
      result = call(method, target, headers, context)
      SynorHost.head_of(result[0], result[1], []) # names a bad header while it can be told
      result
    rescue Refused => e
      e
    rescue StandardError, ScriptError, SystemExit, SystemStackError, NoMemoryError,
           FunctionTimeout => e
      SynorHost.say("request #{context.request_id}: #{SynorHost.stack_of(e)}")
      e
    end

    # One request. False: the connection ends.
    def one(link, reader)
      begin
        head = reader.head
        return false if head.nil?

        method, target, headers, keep = head
        size = SynorHost.size_of(headers)
      rescue Refused => e
        refuse(link, e.status, e.message)
        return false
      end
      @lock.synchronize { @links[link] = true }
      send_all(link, "HTTP/1.1 100 Continue\r\n\r\n".b) if
        size.positive? && headers.fetch('expect', '').downcase == '100-continue'
      body = reader.body(size)
      return false if body.nil?

      keep &&= !@stopping
      if target.partition('?').first == '/_synor/health'
        send_all(link, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n".b)
        return keep
      end
      invoke(link, method, target, headers, body, keep)
    end

    def serve(link)
      Thread.current.report_on_exception = false
      link.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1) unless link.is_a?(UNIXSocket)
      reader = Reader.new(link)
      while one(link, reader)
        go_on = @lock.synchronize do
          @links[link] = false
          !@stopping
        end
        break unless go_on
      end
    rescue SystemCallError, IOError
      nil # the other side went away, or was silent for long
    ensure
      @lock.synchronize { @links.delete(link) }
      link.close
    end

    # --- life

    # A request of our own, before any other may come: what is slow the first time has a core now,
    # and may have a fraction of one then.
    def warm
      ours, theirs = UNIXSocket.pair
      handler = @handler
      keywords = @keywords
      @handler = ->(event, _context) { { 'got' => event['json'] } }
      @keywords = false
      ours.write("POST / HTTP/1.1\r\nhost: f\r\ncontent-type: application/json\r\n" \
                 "content-length: 2\r\nconnection: close\r\n\r\n{}")
      serve(theirs)
      ours.close
      @handler = handler
      @keywords = keywords
    end

    # Until `stop` can be read.
    def listen(door, stop)
      loop do
        ready, = IO.select([door, stop])
        break if ready.include?(stop)

        link = door.accept_nonblock(exception: false)
        next if link == :wait_readable

        @lock.synchronize { @links[link] = false }
        Thread.new { serve(link) }
      end
      door.close
      finish
    end

    # Let what is under way end; connections without a request are closed.
    def finish
      @lock.synchronize do
        @stopping = true
        @links.each do |link, busy|
          link.shutdown(Socket::SHUT_RD) unless busy
        rescue SystemCallError
          nil
        end
      end
      sleep(0.005) until @lock.synchronize { @links.empty? }
    end
  end

  # How long the interpreter took to come here.
  def create_us
    started = File.binread('/proc/self/stat').rpartition(')').last.split[19].to_f / 100
    [0, ((Process.clock_gettime(Process::CLOCK_BOOTTIME) - started) * 1e6).to_i].max
  rescue SystemCallError
    0
  end

  def open_door
    port = ENV.fetch('PORT', '')
    fail_with("PORT: \"#{port}\": expected 0 to 65535") unless
      port.match?(/\A\d{1,5}\z/) && port.to_i <= 65_535
    address = ENV.fetch('SYNOR_ADDRESS', '')
    door = TCPServer.new(address.empty? ? '0.0.0.0' : address, port.to_i)
    door.listen(1024)
    say("listens on port #{door.addr[1]}") if port == '0'
    door
  rescue SystemCallError => e
    fail_with("listening on port #{port}: #{e.message}")
  end

  def main
    created = create_us
    $stdout.sync = true
    stop, tell = IO.pipe
    Signal.trap('TERM') { tell.write_nonblock('.', exception: false) }
    code = ENV.fetch('SYNOR_CODE', '')
    handler = find_handler(ENV.fetch('SYNOR_HANDLER', ''), code.empty? ? '/synor/code' : code,
                           ENV.fetch('SYNOR_LAYER', ''))
    host = Host.new(handler, [1, number(ENV.fetch('SYNOR_CONCURRENCY', ''))].max)
    host.warm
    took = Process.clock_gettime(Process::CLOCK_MONOTONIC) - BEGUN
    host.cold = "create=#{created};initialise=#{(took * 1e6).to_i}"
    host.listen(open_door, stop)
  end
end

SynorHost.main

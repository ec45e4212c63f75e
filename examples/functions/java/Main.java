import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * A function in Java: a server for HTTP on $PORT, by what comes with the JDK.
 *
 * <pre>
 *     javac --release 17 -d classes Main.java
 *     synor compute function deploy --name hello --runtime java17 --code classes --memory 256 \
 *         --trigger http:/hello
 * </pre>
 */
public final class Main {
    private Main() {
    }

    private static void answer(HttpExchange call, String text) throws IOException {
        byte[] body = text.getBytes(StandardCharsets.UTF_8);
        call.getRequestBody().readAllBytes(); // the next request of the connection follows it
        call.getResponseHeaders().set("content-type", "text/plain; charset=utf-8");
        call.sendResponseHeaders(200, body.length);
        call.getResponseBody().write(body);
        call.close();
    }

    public static void main(String[] words) throws IOException {
        int port = Integer.parseInt(System.getenv("PORT"));
        HttpServer server = HttpServer.create(new InetSocketAddress(port), 1024);
        ExecutorService calls = Executors.newCachedThreadPool();

        server.setExecutor(calls);
        server.createContext("/_synor/health", call -> answer(call, "ok\n"));
        server.createContext("/", call -> answer(call,
                "Hello from Java: " + call.getRequestURI().getPath() + "\n"));
        server.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> { // SIGTERM
            server.stop(1); // what is under way has a second
            calls.shutdown();
        }));
    }
}

// What a user of java.net.http.HttpClient does, as it comes or with HTTP/1.1 asked for: java Probe.java URL default|1.1

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.net.http.WebSocket;
import java.util.Collections;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;

public class Probe {
    public static void main(String[] args) throws Exception {
        String url = args[0];
        HttpClient.Builder builder = HttpClient.newBuilder();
        if (args[1].equals("1.1")) {
            builder.version(HttpClient.Version.HTTP_1_1);
        }
        HttpClient client = builder.build();
        for (int i = 0; i < 3; i++) {
            System.out.println("post " + post(client, url, "1.5"));
        }
        System.out.println("large " + post(client, url, String.join(",", Collections.nCopies(100_000, "2.5"))));
        HttpRequest stats = HttpRequest.newBuilder(URI.create(url + "/stats?symbol=A&window=4")).build();
        System.out.println("stats " + client.send(stats, BodyHandlers.ofString()).statusCode());
        HttpRequest events = HttpRequest.newBuilder(URI.create(url + "/events?symbol=A")).build();
        try (BufferedReader told =
                new BufferedReader(new InputStreamReader(client.send(events, BodyHandlers.ofInputStream()).body()))) {
            told.readLine();
            told.readLine();
            System.out.println("event " + told.readLine());
        }
        CompletableFuture<String> first = new CompletableFuture<>();
        URI stream = URI.create(url.replace("http:", "ws:") + "/stream?mode=stats&symbol=A&window=4");
        WebSocket socket = client.newWebSocketBuilder().buildAsync(stream, new WebSocket.Listener() {
            private final StringBuilder text = new StringBuilder();

            @Override
            public CompletionStage<?> onText(WebSocket from, CharSequence data, boolean last) {
                text.append(data);
                if (last) {
                    first.complete(text.toString());
                }
                from.request(1);
                return null;
            }
        }).join();
        System.out.println("stream " + first.get().contains("\"total\":100003"));
        socket.abort();
        System.exit(0);
    }

    private static int post(HttpClient client, String url, String values) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url + "/add_batch"))
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString("{\"symbol\":\"A\",\"values\":[" + values + "]}"))
            .build();
        return client.send(request, BodyHandlers.ofString()).statusCode();
    }
}

// A function in Go: a server for HTTP on $PORT.
//
//	CGO_ENABLED=0 go build -o main main.go
//	synor compute function deploy --name hello --runtime go --code main --concurrency 100 --trigger http:/hello
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	// Asked until it answers 200: then calls come.
	http.HandleFunc("/_synor/health", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		log.Printf("%s %s", r.Method, r.URL.Path) // the function's log
		fmt.Fprintf(w, "Hello from Go: %s, %d bytes\n", r.URL.Path, len(body))
	})
	server := &http.Server{Addr: ":" + os.Getenv("PORT")}
	done := make(chan struct{})
	go func() {
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGTERM)
		<-asked
		// What is under way ends; then the instance does.
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx)
		close(done)
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-done
}

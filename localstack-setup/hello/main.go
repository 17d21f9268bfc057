// Hello answers every request with "hello". It is the least that a container can do, and
// what benchmark.sh compares a deployment with.
package main

import (
	"bufio"
	"log"
	"net"
	"os"
)

func main() {
	l, err := net.Listen("tcp", ":"+os.Getenv("PORT"))
	if err != nil {
		log.Fatal(err)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go answer(conn)
	}
}

// answer reads one request's head, and answers.
func answer(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if lines.Text() == "" {
			_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n")) // who has gone does not read it
			return
		}
	}
}

// What a user of net/http does: go run probe.go URL
package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func post(url, values string) int {
	body := strings.NewReader(`{"symbol":"A","values":[` + values + `]}`)
	answer, err := http.Post(url+"/add_batch", "application/json", body)
	check(err)
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	check(err)
	return answer.StatusCode
}

func main() {
	url := os.Args[1]
	for i := 0; i < 3; i++ {
		fmt.Println("post", post(url, "1.5"))
	}
	fmt.Println("large", post(url, strings.Repeat("2.5,", 99_999)+"2.5"))
	answer, err := http.Get(url + "/stats?symbol=A&window=4")
	check(err)
	_, err = io.Copy(io.Discard, answer.Body)
	check(err)
	fmt.Println("stats", answer.StatusCode)
	events, err := http.Get(url + "/events?symbol=A")
	check(err)
	told := bufio.NewScanner(events.Body)
	for i := 0; i < 3; i++ {
		told.Scan()
	}
	fmt.Println("event", told.Text())
	events.Body.Close()
}

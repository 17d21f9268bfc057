package plain

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnswerIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d Dater
		for range 3 {
			b := d.Begin(nil)
			b = Field(b, "Geecache-From", "hit")
			b = append(Length(b, 3), "abc"...)
			resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if resp.StatusCode != http.StatusOK || resp.Header.Get("Geecache-From") != "hit" || string(body) != "abc" || err != nil {
				t.Errorf("%q: %v", b, err)
			}
			if got, want := resp.Header.Get("Date"), time.Now().UTC().Format(http.TimeFormat); got != want {
				t.Errorf("the date is %q, want %q", got, want)
			}
			time.Sleep(700 * time.Millisecond)
		}
	})
}

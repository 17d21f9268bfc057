package cli

import (
	"os"
	"strings"
	"testing"
	"time"
)

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTableAlignsColouredCells(t *testing.T) {
	p := palette{on: true}
	tab := newTable(1)
	tab.row(p.red("ab"), "1", "x")
	tab.row("c", "123", "")
	var b strings.Builder
	tab.write(&b)
	want := p.red("ab") + "    1  x\nc   123\n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestTexts(t *testing.T) {
	for got, want := range map[string]string{
		bytesText(0):                         "0 B",
		bytesText(1536):                      "1.5 KiB",
		bytesText(64 << 20):                  "64.0 MiB",
		countText(7):                         "7",
		countText(1234567):                   "1 234 567",
		countText(-1234):                     "-1 234",
		rateText(5, 2*time.Second):           "2.5/s",
		rateText(5000, time.Second):          "5 000/s",
		percentText(1, 3):                    "33.3%",
		percentText(0, 0):                    "-",
		bar(1, 4):                            "████",
		bar(0, 4):                            "",
		bar(0.5, 3):                          "█▌",
		shortDuration(1234567):               "1.235ms",
		shortDuration(42):                    "42ns",
		clip("a\nb\nc\n", 3):                 "a\nb\n",
		clip("a\nb\n", 0):                    "a\nb\n",
		shortDuration(90 * time.Second):      "1m30s",
		clip(strings.Repeat("x\n", 5), 1000): "x\nx\nx\nx\nx\n",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

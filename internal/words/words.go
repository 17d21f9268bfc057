// Package words reads what people write, on command lines and in files: sizes, and
// names that are nearly right.
package words

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

var byteUnits = []struct {
	name  string
	bytes int64
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1},
}

// Bytes reads a number of bytes with its unit, such as 64MiB; none means bytes.
func Bytes(s string) (int64, error) {
	number, unit := strings.TrimSpace(s), int64(1)
	for _, u := range byteUnits {
		if n := len(number) - len(u.name); n > 0 && strings.EqualFold(number[n:], u.name) {
			number, unit = strings.TrimSpace(number[:n]), u.bytes
			break
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || !(f >= 0) || f*float64(unit) > math.MaxInt64/2 {
		return 0, errors.New("use a size such as 64MiB, 1.5GiB or 500000")
	}
	return int64(f * float64(unit)), nil
}

// FormatBytes writes a number of bytes with the largest unit that leaves it whole.
func FormatBytes(n int64) string {
	for _, u := range byteUnits[:3] {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// DidYouMean returns a question about the name that looks most like what was
// written, or nothing.
func DidYouMean(wrote string, names []string, prefix string) string {
	best, least := "", len(wrote)/3+2 // more changes than this make another word
	for _, name := range names {
		d := distance(wrote, name)
		if strings.HasPrefix(name, wrote) && len(wrote) > 1 {
			d = 0
		}
		if d < least {
			best, least = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %s%s?", prefix, best)
}

// distance returns how many letters must be changed, added or taken away to
// make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

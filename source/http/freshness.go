package http

import (
	nethttp "net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// notKept is the TTL of a value that must not be kept.
	notKept = -1
	// maxFreshness bounds what an origin can ask for.
	maxFreshness = 10 * 365 * 24 * time.Hour
)

// freshness returns for how long a shared cache may keep the response (RFC
// 9111, section 4.2): 0 if the origin does not say, notKept if it may not, or
// if what the origin says makes no sense.
func freshness(h nethttp.Header) time.Duration {
	directives := cacheControl(h)
	for _, name := range []string{"no-store", "no-cache", "private"} {
		if _, ok := directives[name]; ok {
			return notKept
		}
	}
	if strings.TrimSpace(h.Get("Vary")) == "*" {
		return notKept
	}
	var lifetime time.Duration
	switch {
	case has(directives, "s-maxage"):
		lifetime = seconds(directives["s-maxage"])
	case has(directives, "max-age"):
		lifetime = seconds(directives["max-age"])
	case h.Get("Expires") != "":
		lifetime = untilExpires(h)
	case len(directives) == 0 && strings.EqualFold(strings.TrimSpace(h.Get("Pragma")), "no-cache"):
		return notKept
	default:
		return 0
	}
	if age := h.Get("Age"); age != "" {
		lifetime -= max(0, seconds(age))
	}
	if lifetime <= 0 {
		return notKept
	}
	return min(lifetime, maxFreshness)
}

// cacheControl returns the directives and their arguments. Of one that is
// given twice the first counts.
func cacheControl(h nethttp.Header) map[string]string {
	directives := map[string]string{}
	for _, part := range splitList(strings.Join(h.Values("Cache-Control"), ",")) {
		name, argument, _ := strings.Cut(part, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if name != "" && !has(directives, name) {
			directives[name] = strings.Trim(strings.TrimSpace(argument), `"`)
		}
	}
	return directives
}

// splitList splits at the commas that are outside of quotes.
func splitList(list string) []string {
	quoted := false
	return strings.FieldsFunc(list, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ',' && !quoted
	})
}

func has(directives map[string]string, name string) bool {
	_, ok := directives[name]
	return ok
}

// seconds reads a whole number of seconds; notKept if it is none.
func seconds(s string) time.Duration {
	s = strings.TrimSpace(s)
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return notKept
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > int64(maxFreshness/time.Second) {
		return maxFreshness // more digits than a number has
	}
	return time.Duration(n) * time.Second
}

// untilExpires is the time from Date, or from now, to Expires, which is in the
// past if it is no date.
func untilExpires(h nethttp.Header) time.Duration {
	expires, err := nethttp.ParseTime(h.Get("Expires"))
	if err != nil {
		return notKept
	}
	date, err := nethttp.ParseTime(h.Get("Date"))
	if err != nil {
		date = time.Now()
	}
	return expires.Sub(date)
}

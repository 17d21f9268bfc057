package loadgen

import (
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func found(value string) Answer { return Answer{Status: http.StatusOK, Value: []byte(value)} }

func absent() Answer { return Answer{Status: http.StatusNotFound, Value: []byte("k not exist")} }

func TestRules(t *testing.T) {
	path := filepath.Join(t.TempDir(), "values.csv")
	if err := os.WriteFile(path, []byte("key,value\nTom,630\n\"a,b\",\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		words string // separated by spaces
		key   string
		a     Answer
		want  error
	}{
		{"", "k", found("x"), nil},
		{"", "k", absent(), ErrNotFound},
		{"status", "k", absent(), ErrNotFound},
		{"any", "k", absent(), nil},
		{"any", "k", found(""), nil},
		{"sprintf:value-of-%s", "k", found("value-of-k"), nil},
		{"sprintf:value-of-%s", "k", found("value-of-l"), ErrWrongValue},
		{"sprintf:value-of-%s", "k", absent(), ErrNotFound},
		{"404:no- sprintf:v-%s", "no-1", absent(), nil},
		{"404:no- sprintf:v-%s", "no-1", found("v-no-1"), ErrWrongValue},
		{"404:no- sprintf:v-%s", "k", absent(), ErrNotFound},
		{"404:a 404:b", "b1", absent(), nil},
		{"404:a 404:b", "a1", absent(), nil},
		{"404:a 404:b", "c1", absent(), ErrNotFound},
		{"file:" + path, "Tom", found("630"), nil},
		{"file:" + path, "Tom", found("589"), ErrWrongValue},
		{"file:" + path, "a,b", found(""), nil},
		{"file:" + path, "kkk", absent(), nil},
		{"file:" + path, "kkk", found("1"), ErrWrongValue},
		{"file:" + path, "key", absent(), nil},
	} {
		rule, err := ParseRules(strings.Fields(tt.words))
		if err != nil {
			t.Fatalf("%s: %v", tt.words, err)
		}
		if err := rule.Check(tt.key, tt.a); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: key %q, answer %d %q: %v, want %v", tt.words, tt.key, tt.a.Status, tt.a.Value, err, tt.want)
		}
	}
}

func TestRulesRefuse(t *testing.T) {
	for words, want := range map[string]string{
		"maybe":              "use status, any",
		"status any":         "another one",
		"sprintf:same":       "exactly one verb",
		"sprintf:%s-%s":      "exactly one verb",
		"file:/does/not/be.": "no such file",
	} {
		if _, err := ParseRules(strings.Fields(words)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", words, err, want)
		}
	}
}

func TestReadValuesJSONLines(t *testing.T) {
	got, err := ReadValues(strings.NewReader(" {\"key\":\"a\",\"value\":\"x\"}\n{\"key\":\"\",\"value\":630}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"a": "x", "": "630"}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for in, want := range map[string]string{
		`{"key":"a"}`:               `object 1: "key" or "value" is missing`,
		`{"key":"a","value":1} {"k`: "object 2",
		"":                          "no values",
		"a,b,c":                     "wrong number of fields",
	} {
		if _, err := ReadValues(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", in, err, want)
		}
	}
}

package dynamodb

import (
	"errors"
	"fmt"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/source/sourcetest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// noCredentials keeps what is on the machine out of the tests.
func noCredentials(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
}

func open(t *testing.T, cfg Config) *Source {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// A table is a real one, of the test's own.
type table struct {
	cfg    Config
	client *dynamodb.Client
}

// newTable makes an empty table whose partition key is of the type kind, with
// a sort key if its name is not empty.
func newTable(t *testing.T, kind, sortKey string) table {
	t.Helper()
	endpoint := sourcetest.Server(t, "GEECACHE_TEST_DYNAMODB")
	noCredentials(t)
	cfg := Config{Table: fmt.Sprintf("test-%d", time.Now().UnixNano()), Endpoint: endpoint, TTLAttribute: "expires"}
	client, err := newClient(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	in := &dynamodb.CreateTableInput{
		TableName:            &cfg.Table,
		BillingMode:          types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("key"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("key"), AttributeType: types.ScalarAttributeType(kind)}},
	}
	if sortKey != "" {
		in.KeySchema = append(in.KeySchema, types.KeySchemaElement{AttributeName: &sortKey, KeyType: types.KeyTypeRange})
		in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{AttributeName: &sortKey, AttributeType: "S"})
	}
	if _, err := client.CreateTable(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	return table{cfg: cfg, client: client}
}

// put stores an item.
func (tb table) put(t *testing.T, item map[string]types.AttributeValue) {
	t.Helper()
	if _, err := tb.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &tb.cfg.Table, Item: item}); err != nil {
		t.Fatal(err)
	}
}

func str(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
func num(s string) types.AttributeValue { return &types.AttributeValueMemberN{Value: s} }
func bin(b []byte) types.AttributeValue { return &types.AttributeValueMemberB{Value: b} }

func TestContract(t *testing.T) {
	t.Run("bytes", func(t *testing.T) {
		runContract(t, "B", func(string) bool { return true }, func(key string, value []byte) map[string]types.AttributeValue {
			return map[string]types.AttributeValue{"key": bin([]byte(key)), "value": bin(value)}
		})
	})
	t.Run("text", func(t *testing.T) {
		runContract(t, "S", utf8.ValidString, func(key string, value []byte) map[string]types.AttributeValue {
			return map[string]types.AttributeValue{"key": str(key), "value": str(string(value))}
		})
	})
}

func runContract(t *testing.T, kind string, holds func(string) bool, item func(string, []byte) map[string]types.AttributeValue) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Fixture {
		tb := newTable(t, kind, "")
		return sourcetest.Fixture{
			Open:     func(t *testing.T) sourcetest.Source { return open(t, tb.cfg) },
			Put:      func(t *testing.T, key string, value []byte) { tb.put(t, item(key, value)) },
			Holds:    func(key string) bool { return key != "" && len(key) <= maxKeyBytes && holds(key) },
			MaxValue: 300 << 10, // an item is at most 400 KiB
			OpenSlow: openHanging,
		}
	})
}

// openHanging opens a source of a table that never answers.
func openHanging(t *testing.T) sourcetest.Source {
	t.Helper()
	return open(t, Config{Table: "slow", KeyType: "S", Endpoint: hang(t), Timeout: time.Hour})
}

func hang(t *testing.T) string {
	t.Helper()
	noCredentials(t)
	srv := httptest.NewServer(nethttp.HandlerFunc(func(_ nethttp.ResponseWriter, r *nethttp.Request) {
		buf := make([]byte, 1024) // the server notices the end only once the body is read
		for {
			if _, err := r.Body.Read(buf); err != nil {
				break
			}
		}
		<-r.Context().Done()
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestTimeout(t *testing.T) {
	s := open(t, Config{Table: "slow", KeyType: "S", Endpoint: hang(t), Timeout: 50 * time.Millisecond})
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, geecache.ErrLoadTimeout) {
		t.Errorf("Get = %v, want ErrLoadTimeout", err)
	}
}

// TestStaleConnection has a server that closes each connection as soon as its
// second request comes, as one that is restarted does.
func TestStaleConnection(t *testing.T) {
	noCredentials(t)
	requests := map[string]int{} // by the client's address; the requests come one by one
	srv := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if requests[r.RemoteAddr]++; requests[r.RemoteAddr] > 1 {
			panic(nethttp.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, _ = fmt.Fprint(w, `{"Item":{"value":{"S":"630"}}}`)
	}))
	t.Cleanup(srv.Close)
	s := open(t, Config{Table: "stale", KeyType: "S", Endpoint: srv.URL})
	for range 3 {
		if v, err := s.Get(t.Context(), "Tom"); err != nil || string(v.Bytes) != "630" {
			t.Errorf("Get = %q, %v; want 630", v.Bytes, err)
		}
	}
}

// TestRefusalIsNotRepeated: a throttled read is told at once.
func TestRefusalIsNotRepeated(t *testing.T) {
	noCredentials(t)
	requests := 0
	srv := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		requests++
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(nethttp.StatusBadRequest)
		_, _ = fmt.Fprint(w, `{"__type":"ProvisionedThroughputExceededException","message":"slow down"}`)
	}))
	t.Cleanup(srv.Close)
	_, err := open(t, Config{Table: "busy", KeyType: "S", Endpoint: srv.URL}).Get(t.Context(), "Tom")
	if err == nil || !strings.Contains(err.Error(), "slow down") || requests != 1 {
		t.Errorf("Get = %v after %d requests; want the table's words after 1", err, requests)
	}
}

func TestValueTypes(t *testing.T) {
	tb := newTable(t, "S", "")
	for name, value := range map[string]types.AttributeValue{"S": str("x"), "N": num("630.5"), "B": bin([]byte{0, 255}), "empty": str("")} {
		tb.put(t, map[string]types.AttributeValue{"key": str(name), "value": value})
	}
	tb.put(t, map[string]types.AttributeValue{"key": str("null"), "value": &types.AttributeValueMemberNULL{Value: true}})
	tb.put(t, map[string]types.AttributeValue{"key": str("none"), "other": str("x")})
	tb.put(t, map[string]types.AttributeValue{"key": str("list"), "value": &types.AttributeValueMemberL{}})
	s := open(t, tb.cfg)
	for key, want := range map[string]string{"S": "x", "N": "630.5", "B": "\x00\xff", "empty": ""} {
		if v, err := s.Get(t.Context(), key); err != nil || v.Bytes == nil || string(v.Bytes) != want {
			t.Errorf("Get(%q) = %q, %v; want %q", key, v.Bytes, err, want)
		}
	}
	for _, key := range []string{"null", "none"} {
		if v, err := s.Get(t.Context(), key); !errors.Is(err, geecache.ErrNotFound) {
			t.Errorf("Get(%q) = %q, %v; want ErrNotFound", key, v.Bytes, err)
		}
	}
	if _, err := s.Get(t.Context(), "list"); err == nil || errors.Is(err, geecache.ErrNotFound) || !strings.Contains(err.Error(), `"value"`) {
		t.Errorf("Get of a list = %v; want an error that names the attribute", err)
	}
}

func TestNumberKeys(t *testing.T) {
	tb := newTable(t, "N", "")
	tb.put(t, map[string]types.AttributeValue{"key": num("630"), "value": str("Tom")})
	s := open(t, tb.cfg)
	if v, err := s.Get(t.Context(), "630"); err != nil || string(v.Bytes) != "Tom" {
		t.Errorf("Get = %q, %v; want Tom", v.Bytes, err)
	}
	for _, key := range sourcetest.Keys() {
		if v, err := s.Get(t.Context(), key); !errors.Is(err, geecache.ErrNotFound) {
			t.Errorf("Get(%.40q) = %q, %v; want ErrNotFound", key, v.Bytes, err)
		}
	}
}

func TestIsNumber(t *testing.T) {
	nines := strings.Repeat("9", 38)
	for _, s := range []string{"0", "-0", "+1", "007", "1.5", "1e3", "1E-130", "9e125", nines, nines + "000", "0." + nines, "0e9999"} {
		if !isNumber(s) {
			t.Errorf("isNumber(%q) = false", s)
		}
	}
	for _, s := range []string{"", ".", "-", "1.", ".5", "1e", "0x10", " 1", "1 ", "1,5", "NaN", "Infinity", nines + "9", "1e126", "1e-131", "1e99999", "٣"} {
		if isNumber(s) {
			t.Errorf("isNumber(%q) = true", s)
		}
	}
}

func TestTTL(t *testing.T) {
	tb := newTable(t, "S", "")
	now := time.Unix(1_700_000_000, 0)
	for key, expires := range map[string]types.AttributeValue{
		"later": num("1700000060"), "now": num("1700000000"), "past": num("1"), "text": str("1"), "far": num("1e30"),
	} {
		tb.put(t, map[string]types.AttributeValue{"key": str(key), "value": str("x"), "expires": expires})
	}
	tb.put(t, map[string]types.AttributeValue{"key": str("never"), "value": str("x")})
	s := open(t, tb.cfg)
	s.now = func() time.Time { return now }
	for key, want := range map[string]time.Duration{"later": time.Minute, "text": 0, "far": 0, "never": 0} {
		if v, err := s.Get(t.Context(), key); err != nil || v.TTL != want {
			t.Errorf("Get(%q) has TTL %v, %v; want %v", key, v.TTL, err, want)
		}
	}
	for _, key := range []string{"now", "past"} {
		if _, err := s.Get(t.Context(), key); !errors.Is(err, geecache.ErrNotFound) {
			t.Errorf("Get(%q) = %v; want ErrNotFound", key, err)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	tb, sorted := newTable(t, "S", ""), newTable(t, "S", "when")
	for name, tt := range map[string]struct {
		cfg  Config
		want string
	}{
		"no table":    {Config{Table: "nowhere", Endpoint: tb.cfg.Endpoint}, "nowhere"},
		"another key": {Config{Table: tb.cfg.Table, Endpoint: tb.cfg.Endpoint, KeyAttribute: "id"}, `its key is "key"`},
		"sort key":    {sorted.cfg, `sort key, "when"`},
	} {
		if _, err := Open(t.Context(), tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Open = %v, want an error with %q", name, err, tt.want)
		}
	}
}

func TestRegionIsRequired(t *testing.T) {
	noCredentials(t)
	if _, err := Open(t.Context(), Config{Table: "scores", KeyType: "S"}); err == nil || !strings.Contains(err.Error(), "Region") {
		t.Errorf("Open = %v, want an error that names Region", err)
	}
}

func TestParseURL(t *testing.T) {
	for raw, want := range map[string]Config{
		"dynamodb://scores":        {Table: "scores"},
		"dynamodb://My_Scores.v2/": {Table: "My_Scores.v2"},
		"dynamodb://scores?key=id&type=N&value=score&ttl=expires&consistent=true&endpoint=http://localhost:8000&region=eu-central-1": {
			Table: "scores", KeyAttribute: "id", KeyType: "N", ValueAttribute: "score", TTLAttribute: "expires",
			ConsistentRead: true, Endpoint: "http://localhost:8000", Region: "eu-central-1",
		},
	} {
		if got, err := ParseURL(raw); err != nil || got != want {
			t.Errorf("ParseURL(%q) = %+v, %v; want %+v", raw, got, err, want)
		}
	}
	for raw, want := range map[string]string{
		"dynamo://scores":                                   "URL",
		"dynamodb://scores/x":                               "URL",
		"dynamodb://u@scores":                               "URL",
		"dynamodb://":                                       "Table",
		"dynamodb://ab":                                     "Table",
		"dynamodb://scores?type=X":                          "KeyType",
		"dynamodb://scores?endpoint=here":                   "Endpoint",
		"dynamodb://scores?consistent=maybe":                "consistent",
		"dynamodb://scores?values=x":                        `"values"`,
		"dynamodb://scores?%zz":                             "%zz",
		"dynamodb://scores?key=" + strings.Repeat("k", 256): "KeyAttribute",
	} {
		if _, err := ParseURL(raw); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseURL(%q) = %v, want an error with %q", raw, err, want)
		}
	}
	if err := (Config{Table: "scores", Timeout: -1}).Validate(); err == nil || !strings.Contains(err.Error(), "Timeout") {
		t.Errorf("Validate = %v, want an error that names Timeout", err)
	}
}

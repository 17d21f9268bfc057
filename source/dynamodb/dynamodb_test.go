package dynamodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/source/sourcetest"
)

// A table is a table of the emulator that a test made.
type table struct {
	cfg    Config
	client *dynamodb.Client
}

var tables struct {
	mu   sync.Mutex
	made int
}

// newTable makes a table whose key has the given type.
func newTable(t *testing.T, keyType types.ScalarAttributeType, rangeKey bool) *table {
	t.Helper()
	endpoint := sourcetest.Server(t, "GEECACHE_TEST_DYNAMODB")
	tables.mu.Lock()
	tables.made++
	name := fmt.Sprintf("geecache-%d-%d", time.Now().UnixNano(), tables.made)
	tables.mu.Unlock()
	tb := &table{cfg: Config{Table: name, Endpoint: endpoint, Region: "us-east-1"}}
	client, err := newClient(t.Context(), tb.cfg)
	if err != nil {
		t.Fatal(err)
	}
	tb.client = client
	in := &dynamodb.CreateTableInput{
		TableName:            &name,
		BillingMode:          types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("key"), AttributeType: keyType}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("key"), KeyType: types.KeyTypeHash}},
	}
	if rangeKey {
		in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{AttributeName: aws.String("sort"), AttributeType: "S"})
		in.KeySchema = append(in.KeySchema, types.KeySchemaElement{AttributeName: aws.String("sort"), KeyType: types.KeyTypeRange})
	}
	if _, err := client.CreateTable(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = client.DeleteTable(context.WithoutCancel(t.Context()), &dynamodb.DeleteTableInput{TableName: &name})
	})
	return tb
}

func (tb *table) put(t *testing.T, item map[string]types.AttributeValue) {
	t.Helper()
	if _, err := tb.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &tb.cfg.Table, Item: item}); err != nil {
		t.Fatal(err)
	}
}

func (tb *table) open(t *testing.T, change func(*Config)) *Source {
	t.Helper()
	cfg := tb.cfg
	if change != nil {
		change(&cfg)
	}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func text(s string) types.AttributeValue   { return &types.AttributeValueMemberS{Value: s} }
func binary(s string) types.AttributeValue { return &types.AttributeValueMemberB{Value: []byte(s)} }
func num(s string) types.AttributeValue    { return &types.AttributeValueMemberN{Value: s} }

func TestContract(t *testing.T) {
	for _, kind := range []types.ScalarAttributeType{"S", "B"} {
		t.Run(string(kind), func(t *testing.T) {
			sourcetest.Run(t, func(t *testing.T) sourcetest.Fixture {
				tb := newTable(t, kind, false)
				return sourcetest.Fixture{
					Open: func(t *testing.T) sourcetest.Source { return tb.open(t, nil) },
					Put: func(t *testing.T, key string, value []byte) {
						k, ok := keyAttribute(string(kind), key)
						if !ok {
							t.Fatalf("the table cannot hold the key %q", key)
						}
						tb.put(t, map[string]types.AttributeValue{"key": k, "value": &types.AttributeValueMemberB{Value: value}})
					},
					Holds: func(key string) bool {
						_, ok := keyAttribute(string(kind), key)
						return ok
					},
					MaxValue: 300 << 10, // DynamoDB's items end at 400 KiB
					OpenSlow: func(t *testing.T) sourcetest.Source {
						return openSilent(t)
					},
				}
			})
		})
	}
}

// openSilent returns a source whose server accepts connections and never answers.
func openSilent(t *testing.T) *Source {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
		}
	}()
	s, err := Open(t.Context(), Config{
		Table: "silent", KeyType: "S", Endpoint: "http://" + l.Addr().String(), Region: "us-east-1", Timeout: 10 * time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestAttributes(t *testing.T) {
	tb := newTable(t, "S", false)
	for key, value := range map[string]types.AttributeValue{
		"text": text("630"), "bytes": binary("\x00\xff"), "number": num("630"), "empty": text(""),
		"null": &types.AttributeValueMemberNULL{Value: true}, "flag": &types.AttributeValueMemberBOOL{Value: true},
	} {
		tb.put(t, map[string]types.AttributeValue{"key": text(key), "value": value})
	}
	tb.put(t, map[string]types.AttributeValue{"key": text("none"), "other": text("630")})
	s := tb.open(t, func(c *Config) { c.ConsistentRead = true })
	for key, want := range map[string]string{"text": "630", "bytes": "\x00\xff", "number": "630", "empty": ""} {
		v, err := s.Get(t.Context(), key)
		if err != nil || !bytes.Equal(v.Bytes, []byte(want)) || v.TTL != 0 {
			t.Errorf("%s: %+v, %v; want %q", key, v, err, want)
		}
	}
	for _, key := range []string{"null", "none", "nobody"} {
		if _, err := s.Get(t.Context(), key); !errors.Is(err, geecache.ErrNotFound) {
			t.Errorf("%s: %v, want not found", key, err)
		}
	}
	if _, err := s.Get(t.Context(), "flag"); err == nil || errors.Is(err, geecache.ErrNotFound) || !strings.Contains(err.Error(), "S, B or N") {
		t.Errorf("a value of another kind: %v", err)
	}
	other := tb.open(t, func(c *Config) { c.ValueAttribute = "other" })
	if v, err := other.Get(t.Context(), "none"); err != nil || string(v.Bytes) != "630" {
		t.Errorf("another attribute: %q, %v", v.Bytes, err)
	}
}

func TestTTLAttribute(t *testing.T) {
	tb := newTable(t, "S", false)
	now := time.Unix(1_800_000_000, 0)
	for key, expires := range map[string]types.AttributeValue{
		"fresh": num("1800000090"), "expired": num("1799999999"), "now": num("1800000000"), "words": text("never"), "far": num("99999999999999"),
	} {
		tb.put(t, map[string]types.AttributeValue{"key": text(key), "value": text("v"), "expires": expires})
	}
	s := tb.open(t, func(c *Config) { c.TTLAttribute = "expires" })
	s.now = func() time.Time { return now }
	for key, want := range map[string]time.Duration{"fresh": 90 * time.Second, "words": 0, "far": 0} {
		if v, err := s.Get(t.Context(), key); err != nil || v.TTL != want {
			t.Errorf("%s: TTL %v, %v; want %v", key, v.TTL, err, want)
		}
	}
	for _, key := range []string{"expired", "now"} {
		if _, err := s.Get(t.Context(), key); !errors.Is(err, geecache.ErrNotFound) {
			t.Errorf("%s: %v, want not found", key, err)
		}
	}
}

func TestNumberKeys(t *testing.T) {
	tb := newTable(t, "N", false)
	tb.put(t, map[string]types.AttributeValue{"key": num("42"), "value": text("v")})
	s := tb.open(t, nil)
	if v, err := s.Get(t.Context(), "42"); err != nil || string(v.Bytes) != "v" {
		t.Errorf("42: %q, %v", v.Bytes, err)
	}
	for _, key := range []string{"", "Tom", "1e999", "4 2", "NaN"} {
		if _, err := s.Get(t.Context(), key); !errors.Is(err, geecache.ErrNotFound) {
			t.Errorf("%q: %v, want not found", key, err)
		}
	}
}

func TestOpenChecksTheTable(t *testing.T) {
	tb := newTable(t, "S", true)
	if _, err := Open(t.Context(), tb.cfg); err == nil || !strings.Contains(err.Error(), "sort key") {
		t.Errorf("a table with a sort key: %v", err)
	}
	tb = newTable(t, "S", false)
	tb.cfg.KeyAttribute = "id"
	if _, err := Open(t.Context(), tb.cfg); err == nil || !strings.Contains(err.Error(), "KeyAttribute") {
		t.Errorf("another key: %v", err)
	}
	tb.cfg.Table = "no-such-table"
	if _, err := Open(t.Context(), tb.cfg); err == nil || !strings.Contains(err.Error(), "no-such-table") {
		t.Errorf("no table: %v", err)
	}
}

func TestIsNumber(t *testing.T) {
	nines := strings.Repeat("9", 38)
	for s, want := range map[string]bool{
		"0": true, "-1": true, "+1.50": true, nines: true, nines + "9": false, nines + "0": true, "1e125": true, "1e126": false,
		"1e-130": true, "1e-131": false, "": false, ".5": false, "5.": false, "0x1": false, "1e": false, " 1": false, "000": true,
	} {
		if got := isNumber(s); got != want {
			t.Errorf("isNumber(%q) = %v", s, got)
		}
	}
}

func TestConfig(t *testing.T) {
	cfg, err := ParseURL("dynamodb://items?key=id&value=body&ttl=exp&consistent=true&region=eu-west-1&type=B&endpoint=" +
		url.QueryEscape("http://127.0.0.1:8000"))
	want := Config{
		Table: "items", KeyAttribute: "id", ValueAttribute: "body", TTLAttribute: "exp", ConsistentRead: true,
		Region: "eu-west-1", KeyType: "B", Endpoint: "http://127.0.0.1:8000",
	}
	if err != nil || cfg != want {
		t.Errorf("ParseURL = %+v, %v", cfg, err)
	}
	for raw, says := range map[string]string{
		"dynamodb://":                                      "Table",
		"dynamodb://t":                                     "Table",
		"dynamodb://items/path":                            "dynamodb://table",
		"dynamodb://items?keys=id":                         "keys",
		"dynamodb://items?type=X":                          "KeyType",
		"dynamodb://items?consistent=maybe":                "consistent",
		"dynamodb://items?endpoint=nowhere":                "Endpoint",
		"slowdb:":                                          "dynamodb://table",
		"dynamodb://items?key=" + strings.Repeat("k", 256): "KeyAttribute",
	} {
		if _, err := ParseURL(raw); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("ParseURL(%.40q) = %v; want an error with %q", raw, err, says)
		}
	}
	if err := (Config{Table: "items", Timeout: -1}).Validate(); err == nil || !strings.Contains(err.Error(), "Timeout") {
		t.Errorf("negative timeout: %v", err)
	}
}

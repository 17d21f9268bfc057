package sql

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
)

const secret = "s3kr1t"

func TestValidate(t *testing.T) {
	good := "postgres://u:" + secret + "@localhost/db"
	for name, tt := range map[string]struct {
		cfg  Config
		want string
	}{
		"no URL":            {Config{}, "URL: is empty"},
		"scheme":            {Config{URL: "oracle://u:" + secret + "@h/db"}, "URL: unknown scheme"},
		"no scheme":         {Config{URL: secret}, "URL: unknown scheme"},
		"bad URL":           {Config{URL: "postgres://u:" + secret + "%zz@h/db"}, "URL: is not a valid URL"},
		"password in port":  {Config{URL: "postgres://u:" + secret + "/@h/db"}, "URL: is not a valid URL"},
		"postgres sslmode":  {Config{URL: good + "?sslmode=" + secret}, "URL: PostgreSQL's driver refuses it"},
		"postgres password": {Config{URL: "postgres://h:port/db?password=" + secret}, "URL: is not a valid URL"},
		"mysql parameter":   {Config{URL: "mysql://u:" + secret + "@h/db?parseTime=" + secret}, "URL: MySQL's driver refuses it"},
		"mysql host":        {Config{URL: "mysql:///db"}, "URL: has no host"},
		"mysql database":    {Config{URL: "mysql://u:" + secret + "@h"}, "URL: has no database"},
		"MaxConns":          {Config{URL: good, MaxConns: -1}, "MaxConns"},
		"ConnectTimeout":    {Config{URL: good, ConnectTimeout: -1}, "ConnectTimeout"},
		"QueryTimeout":      {Config{URL: good, QueryTimeout: -1}, "QueryTimeout"},
		"Query":             {Config{URL: good, Query: " "}, "Query"},
	} {
		err := tt.cfg.Validate()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Validate = %v, want an error with %q", name, err, tt.want)
		}
		if _, openErr := Open(t.Context(), tt.cfg); fmt.Sprint(openErr) != fmt.Sprint(err) {
			t.Errorf("%s: Open = %v, want what Validate says", name, openErr)
		}
		if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), secret) {
			t.Errorf("%s: the error tells the password: %v", name, err)
		}
	}
}

func TestParseURL(t *testing.T) {
	for _, raw := range []string{
		"postgres://u:p%40ss@localhost:5433/db?sslmode=disable",
		"postgresql://localhost/db",
		"mysql://u:p%2Fss@localhost:3307/db?loc=Europe/Berlin",
		"mariadb://u@[::1]/db",
	} {
		if cfg, err := ParseURL(raw); err != nil || cfg.URL != raw {
			t.Errorf("ParseURL(%q) = %v, %v", raw, cfg, err)
		}
	}
}

func TestMySQLConfig(t *testing.T) {
	cfg := Config{URL: "mysql://us%40er:p%3A%2F%40@db.example/na%2Fme?tls=true&loc=Europe/Berlin"}
	kind, u, err := cfg.parse()
	if err != nil {
		t.Fatal(err)
	}
	mc, err := mysqlConfig(cfg.withDefaults(kind), u)
	if err != nil {
		t.Fatal(err)
	}
	if mc.User != "us@er" || mc.Passwd != "p:/@" || mc.Addr != "db.example:3306" || mc.DBName != "na/me" {
		t.Errorf("user %q, password %q, address %q, database %q", mc.User, mc.Passwd, mc.Addr, mc.DBName)
	}
	if mc.TLS == nil || mc.TLS.ServerName != "db.example" {
		t.Errorf("TLS verifies %+v, want the host's name", mc.TLS)
	}
}

// TestErrorsAndLogsHoldNoPassword opens databases that cannot be reached.
func TestErrorsAndLogsHoldNoPassword(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close() // nobody listens there now
	for _, scheme := range []string{"postgres", "mysql"} {
		cfg := Config{URL: scheme + "://user:" + secret + "@" + addr + "/db", ConnectTimeout: 10 * time.Second}
		_, err := Open(context.Background(), cfg)
		if err == nil || !strings.Contains(err.Error(), addr) {
			t.Errorf("Open = %v; want an error that names %s", err, addr)
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("source", "config", cfg, "err", err)
		slog.New(slog.NewTextHandler(&log, nil)).Info("source", "config", cfg, "err", err)
		fmt.Fprintf(&log, "%v %+v %#v %s", cfg, cfg, cfg, err)
		if strings.Contains(log.String(), secret) {
			t.Errorf("the password is told: %s", &log)
		}
	}
}

// TestWrongPassword asks the real servers.
func TestWrongPassword(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string, _ dialect) {
		s := newServer(t, kind)
		raw := strings.Replace(s.url, ":geecache@", ":"+secret+"@", 1)
		if raw == s.url {
			t.Skip("the server is another one than that of scripts/test-servers: run scripts/test-servers up")
		}
		_, err := Open(t.Context(), Config{URL: raw})
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("Open = %v; want an error without the password", err)
		}
	})
}

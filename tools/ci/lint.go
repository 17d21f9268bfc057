//go:build unix

package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path"
	"regexp"
	"time"
)

// vulnDatabase is where govulncheck asks unless told otherwise.
const vulnDatabase = "https://vuln.go.dev"

var shebang = regexp.MustCompile(`^#!\s*/(usr/)?bin/(env )?(bash|sh)\b`)

// isShell tells shell scripts by their name or their first line.
func isShell(w *workspace) func(string) bool {
	return func(p string) bool {
		if path.Ext(p) == ".sh" {
			return true
		}
		if path.Ext(p) != "" {
			return false
		}
		f, err := os.Open(w.path(p))
		if err != nil {
			return false
		}
		defer f.Close()
		line, _ := bufio.NewReader(f).ReadString('\n')
		return shebang.MatchString(line)
	}
}

// vulns fails on a vulnerability that the code reaches. A database that cannot
// be reached is not a finding: a build without the network must not fail for
// it, but must not look like a clean one either.
func vulns(ctx context.Context, w *workspace) error {
	if err := reachable(ctx, vulnDatabase+"/index/db.json"); err != nil {
		fmt.Fprintf(w.out, "NOT CHECKED for known vulnerabilities: the database cannot be reached (%v)\n", err)
		return nil
	}
	return w.do(ctx, ".", "govulncheck", "-db", vulnDatabase, "./...")
}

func reachable(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxLines is what a reader can hold of one file, with some room.
const maxLines = 600

// vague are the names that a package gets when nobody knows what it does.
var vague = []string{"util", "utils", "common", "helper", "helpers", "misc", "shared"}

var (
	generatedMark = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)
	// A skip must say how to make the test run.
	remedy = regexp.MustCompile(`(?i)\b(set|run|install|make test|race detector)\b`)
)

func TestGoFilesFollowTheHouseStyle(t *testing.T) {
	seen := 0
	for _, name := range repositoryFiles(t, ".go") {
		src, err := os.ReadFile(fromRoot(name))
		if err != nil {
			t.Fatal(err)
		}
		if generatedMark.Match(src) {
			continue
		}
		seen++
		for _, complaint := range complaints(name, src) {
			t.Error(complaint)
		}
	}
	if seen == 0 {
		t.Error("no Go file was found: the walk is broken")
	}
}

func TestDirectoriesSayWhatTheyHold(t *testing.T) {
	for _, name := range repositoryFiles(t, "") {
		if i := slices.IndexFunc(strings.Split(path.Dir(name), "/"), func(part string) bool { return slices.Contains(vague, part) }); i >= 0 {
			t.Errorf("%s: name the directory for what it holds, not %q", name, strings.Split(name, "/")[i])
		}
	}
}

func TestComplaints(t *testing.T) {
	tests := []struct {
		name, file, src string
		want            string // in the complaint; empty for none
	}{
		{"clean", "a.go", "package a\n\nfunc f() {}\n", ""},
		{"init", "a.go", "package a\n\nfunc init() {}\n", "init"},
		{"init in a test", "a_test.go", "package a\n\nfunc init() {}\n", "init"},
		{"method called init", "a.go", "package a\n\ntype t int\n\nfunc (t) init() {}\n", ""},
		{"too long", "a.go", "package a\n" + strings.Repeat("\n", maxLines), "lines"},
		{"skip without a remedy", "a_test.go", "package a\n\nfunc f(t T) { t.Skip(\"no server\") }\n", "remedy"},
		{"skip with a remedy", "a_test.go", "package a\n\nfunc f(t T) { t.Skip(\"no server: \" + \"run make test\") }\n", ""},
		{"formatted skip with a remedy", "a_test.go", "package a\n\nfunc f(t T) { t.Skipf(\"set %s\", x) }\n", ""},
		{"skip that says nothing", "a_test.go", "package a\n\nfunc f(t T) { t.SkipNow() }\n", "remedy"},
		{"message from elsewhere", "a_test.go", "package a\n\nfunc f(t T) { t.Skip(why) }\n", ""},
		{"does not parse", "a.go", "packag a\n", "a.go"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(complaints(tt.file, []byte(tt.src)), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("complaints: %q, want %q", got, tt.want)
			}
		})
	}
}

// complaints returns what a Go file does that the house style forbids.
func complaints(name string, src []byte) []string {
	var lines []string
	if n := bytes.Count(src, []byte("\n")); n > maxLines {
		lines = append(lines, fmt.Sprintf("%s has %d lines, more than %d: split it by what it does", name, n, maxLines))
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return append(lines, err.Error())
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				lines = append(lines, fmt.Sprintf("%s: no init functions: importing a package must do nothing", fset.Position(n.Pos())))
			}
		case *ast.CallExpr:
			if strings.HasSuffix(name, "_test.go") && skipsWithoutRemedy(n) {
				lines = append(lines, fmt.Sprintf("%s: a skipped test must say its remedy (what to set, run or install)", fset.Position(n.Pos())))
			}
		}
		return true
	})
	return lines
}

// skipsWithoutRemedy reports whether a call skips a test with a message that is
// written out and says no remedy. A message from elsewhere is not judged here.
func skipsWithoutRemedy(call *ast.CallExpr) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	switch sel.Sel.Name {
	case "SkipNow":
		return true
	case "Skip", "Skipf":
	default:
		return false
	}
	var text strings.Builder
	for _, arg := range call.Args {
		ast.Inspect(arg, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text.WriteString(lit.Value)
			}
			return true
		})
	}
	if text.Len() == 0 {
		return len(call.Args) == 0
	}
	return !remedy.MatchString(text.String())
}

// repositoryFiles returns the project's files with an extension (all, if it is
// empty) as slash-separated paths from the root. What make builds, test data
// and hidden directories are left out.
func repositoryFiles(t *testing.T, ext string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir("../..", func(p string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("../..", p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if entry.IsDir() && rel != "." {
			if strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || rel == "bin" {
				return filepath.SkipDir
			}
		}
		if entry.Type().IsRegular() && (ext == "" || path.Ext(rel) == ext) {
			found = append(found, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func fromRoot(name string) string { return filepath.Join("../..", filepath.FromSlash(name)) }

package envfile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/geecache/geecache/internal/words"
)

// Parse reads a file and checks it. name is what messages call it; environment returns
// an error if `geecache node` does not know such variables, or cannot start with them.
// Errors name lines, fields and remedies, all that are found.
func Parse(name string, text []byte, environment func(map[string]string) error) (*File, error) {
	f := &File{source: name, given: make(map[string]given)}
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	var doc yaml.Node
	var wrong []problem
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF): // everything as it is by itself
	case err != nil:
		return nil, fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))
	default:
		r := reader{file: f}
		r.read(doc.Content[0], field{value: reflect.ValueOf(f).Elem()}, "")
		wrong = r.wrongs
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: it holds more than one document: a file describes one deployment", name)
	}
	if wrong = append(wrong, f.check(environment, len(wrong) == 0)...); len(wrong) == 0 {
		return f, nil
	}
	slices.SortStableFunc(wrong, func(a, b problem) int { return a.line - b.line })
	var all []error
	for _, p := range wrong {
		all = append(all, fmt.Errorf("%s:%d: %s", name, p.line, p.text))
	}
	return nil, errors.Join(all...)
}

// A problem is what is wrong in a line.
type problem struct {
	line int
	text string
}

// A reader puts the nodes of a document into a File.
type reader struct {
	file   *File
	wrongs []problem
}

func (r *reader) wrong(n *yaml.Node, format string, args ...any) {
	r.wrongs = append(r.wrongs, problem{n.Line, fmt.Sprintf(format, args...)})
}

// A field is one of a struct, or what is in a map.
type field struct {
	value reflect.Value
	tag   reflect.StructTag
}

// fields returns those of a struct by the names that the file has for them.
func fields(v reflect.Value) (names []string, all map[string]field) {
	all = make(map[string]field)
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		name, option, _ := strings.Cut(tag.Get("yaml"), ",")
		switch {
		case option == "inline":
			inner, more := fields(v.Field(i))
			names = append(names, inner...)
			maps.Copy(all, more)
		case name != "":
			names = append(names, name)
			all[name] = field{v.Field(i), tag}
		}
	}
	return names, all
}

// join returns the path of what is below another one.
func join(path, name string) string { return strings.TrimPrefix(path+"."+name, ".") }

// read puts a node into a field, which is at a path.
func (r *reader) read(n *yaml.Node, to field, path string) {
	v := to.value
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Tag == "!!null" {
		if path != "" {
			r.wrong(n, "%s has no value: give it one, or leave it out", path)
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		names, all := fields(v)
		r.mapping(n, path, func(key, value *yaml.Node) {
			inner, known := all[key.Value]
			if !known {
				where := "the file"
				if path != "" {
					where = path
				}
				r.wrong(key, "%s has no field %q%s", where, key.Value, r.nearest(key.Value, names))
				return
			}
			r.read(value, inner, join(path, key.Value))
		})
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		r.mapping(n, path, func(key, value *yaml.Node) {
			elem := reflect.New(v.Type().Elem()).Elem()
			r.read(value, field{value: elem}, join(path, key.Value))
			v.SetMapIndex(reflect.ValueOf(key.Value), elem)
		})
	default:
		if r.value(n, v, path) {
			r.file.given[path] = given{n.Line, v, to.tag}
		}
	}
}

// mapping calls f for each field of a node.
func (r *reader) mapping(n *yaml.Node, path string, f func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		what := "the file"
		if path != "" {
			what = path
		}
		r.wrong(n, "%s holds fields: write them as NAME: VALUE, one a line", what)
		return
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Tag == "!!merge" {
			r.wrong(key, "%s merges another mapping (<<), which this file does not know: write its fields out, or use an alias (*NAME) for a whole value", cmp.Or(path, "the file"))
			continue
		}
		if line, twice := seen[key.Value]; twice {
			r.wrong(key, "%s is given in line %d already", join(path, key.Value), line)
			continue
		}
		seen[key.Value] = key.Line
		f(key, n.Content[i+1])
	}
}

// nearest says what may have been meant, or what there is.
func (r *reader) nearest(wrote string, names []string) string {
	if q := words.DidYouMean(wrote, names, ""); q != "" {
		return q
	}
	return ": there are " + strings.Join(slices.Sorted(slices.Values(names)), ", ")
}

// wholeNumber is how whole numbers are written: YAML would take 010 for eight, and 3.9 for
// three.
var wholeNumber = regexp.MustCompile(`^[+-]?(0|[1-9][0-9]*)$`)

// value reads a text, a number, true or false, or a list of texts. It reports whether it
// could.
func (r *reader) value(n *yaml.Node, v reflect.Value, path string) bool {
	kind := v.Type()
	if kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	want := map[reflect.Kind]string{
		reflect.String: "a text", reflect.Int: "a whole number", reflect.Float64: "a number",
		reflect.Bool: "true or false", reflect.Slice: "a list such as [a, b]",
	}[kind.Kind()]
	if n.Kind == yaml.ScalarNode && kind.Kind() == reflect.String { // 60 and true are texts, too
		text := reflect.New(kind)
		text.Elem().SetString(n.Value)
		if n.Value == "" {
			r.wrong(n, "%s is empty: give it a value, or leave it out", path)
			return false
		}
		if v.Kind() == reflect.Pointer {
			v.Set(text)
		} else {
			v.Set(text.Elem())
		}
		return true
	}
	whole := kind.Kind() != reflect.Int || n.Kind == yaml.ScalarNode && wholeNumber.MatchString(n.Value)
	if err := n.Decode(v.Addr().Interface()); err != nil || !whole {
		wrote := "something else"
		if n.Kind == yaml.ScalarNode {
			wrote = fmt.Sprintf("%q", n.Value)
		}
		r.wrong(n, "%s is %s: use %s", path, wrote, want)
		return false
	}
	return true
}

package envfile

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/words"
)

var (
	namePattern     = regexp.MustCompile(`^[a-z][a-z0-9-]{1,18}[a-z0-9]$`)
	variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

	// A URL with a password, as user:password@ or as a parameter. It finds more than
	// what a parser of URLs takes for one: a password with a slash, say.
	passwordPattern = regexp.MustCompile(`(?i)://[^/?#\s@]*:[^\s@]+@|` +
		`[?&;](password|passwd|pass|pwd|sslpassword|([a-z]+_)?token|([a-z]+_)?secret|(api|secret|access)_?key|x-amz-signature|sig)=[^&;\s]`)

	// What looks like a key or a token by its own form, whatever the name of what holds it.
	tokenPattern = regexp.MustCompile(`\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[a-z]_[0-9A-Za-z]{20,}|\bgithub_pat_[0-9A-Za-z]{20,}|\bxox[a-z]-[0-9A-Za-z-]{10,}|` +
		`\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*|(?i)^(bearer|basic) [\w+/=.~-]{8,}`)

	// A variable whose value is a secret, unless it says which file holds it.
	secretPattern = regexp.MustCompile(`(?i)SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN|CREDENTIAL|(PRIVATE|ACCESS|API|ACCOUNT|SIGNING|ENCRYPTION|LICENSE)_?KEY|(^|_)(PASS|PAT|AUTH|AUTHORIZATION)(_|$)`)

	// A reference to an image, as Docker reads it: HOST[:PORT]/NAME[:TAG][@DIGEST].
	imagePattern = regexp.MustCompile(`^(([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*(:[0-9]+)?/)?` +
		`[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)*(:\w[\w.-]{0,127})?(@[a-z0-9]+([+._-][a-z0-9]+)*:[0-9a-fA-F]{32,})?$`)

	arnPattern = regexp.MustCompile(`^arn:[a-z-]+:secretsmanager:[a-z0-9-]+:\d{12}:secret:\S+$`)
)

// reserved are the variables by which each environment makes a cluster of nodes.
func reserved() []string {
	return []string{
		"GEECACHE_LISTEN", "GEECACHE_PORT", "GEECACHE_ADVERTISE", "GEECACHE_ID", "GEECACHE_PEERS", "GEECACHE_ROLE",
		"GEECACHE_API", "GEECACHE_API_LISTEN", "GEECACHE_INSECURE", "GEECACHE_SECRET_FILE", "GEECACHE_ZONE",
	}
}

// A checker collects what is wrong.
type checker struct {
	file        *File
	environment func(map[string]string) error
	wrongs      map[string]problem // by path
}

// wrong notes the first thing that is wrong with a field.
func (c *checker) wrong(path, format string, args ...any) {
	if _, twice := c.wrongs[path]; !twice {
		c.wrongs[path] = problem{max(c.file.given[path].line, 1), path + " " + fmt.Sprintf(format, args...)}
	}
}

// check returns all that makes no sense: in each field, and if whole is true and each is
// good by itself, in all of them together.
func (f *File) check(environment func(map[string]string) error, whole bool) []problem {
	c := &checker{f, environment, make(map[string]problem)}
	for _, path := range slices.Sorted(maps.Keys(f.given)) {
		c.field(path)
	}
	if whole && len(c.wrongs) == 0 {
		for _, env := range envbench.Environments() {
			c.together(env)
		}
		c.sizes()
	}
	var all []problem
	for _, path := range slices.Sorted(maps.Keys(c.wrongs)) {
		all = append(all, c.wrongs[path])
	}
	return all
}

// split returns the section that a path is in, empty for none, and what is left of it.
func split(path string) (section, rest string) {
	if first, rest, ok := strings.Cut(path, "."); ok && slices.Contains(envbench.Environments(), first) {
		return first, rest
	}
	return "", path
}

// field checks one field by itself.
func (c *checker) field(path string) {
	g := c.file.given[path]
	v := reflect.Indirect(g.value)
	text := fmt.Sprint(v.Interface())
	section, rest := split(path)
	name, inMap := "", ""
	for _, m := range []string{"variables", "secrets"} {
		if after, is := strings.CutPrefix(rest, m+"."); is {
			name, inMap = after, m
		}
	}
	switch {
	case inMap == "secrets":
		c.secret(path, section, name, text)
		return
	case passwordPattern.MatchString(text):
		c.wrong(path, "has a password in clear: give the whole by reference, in secrets as %s: env:VARIABLE",
			cmp.Or(name, map[string]string{"source.url": sourceVariable, "registry": registryVariable}[rest], "the variable that it stands for"))
		return
	case tokenPattern.MatchString(text):
		c.wrong(path, "has a key or a token in clear: give the whole by reference, in secrets as %s: env:VARIABLE", cmp.Or(name, "the variable that it stands for"))
		return
	case strings.ContainsAny(text, "\n\r\x00"):
		c.wrong(path, "is more than one line: write it as one")
		return
	case inMap == "variables":
		c.variable(path, name, text)
		return
	}
	c.tags(path, g.tag, v)
	for _, s := range (Settings{}).stoods() {
		if s.field == rest {
			c.stood(path, s.variable, text)
		}
	}
	switch rest {
	case "name":
		if section == "" && !namePattern.MatchString(text) {
			c.wrong(path, "is %q: use 3 to 20 small letters, digits and hyphens, a letter first", text)
		}
	case "image":
		if !imagePattern.MatchString(text) {
			c.wrong(path, "is %q: use a reference such as geecache:latest or registry.example:5000/team/geecache:1.2, with small letters in its name", text)
		}
	case "nodes":
		most := envbench.MaxNodes
		if section == envbench.AWS {
			most = 1000
		}
		if n := v.Int(); n < 1 || n > int64(most) {
			c.wrong(path, "is %d: use 1 to %d", n, most)
		}
	case "memory", "api_memory":
		c.stood(path, "GEECACHE_MEMORY_LIMIT", text)
	case "source.url":
		c.stood(path, sourceVariable, text)
	case "vpc_cidr":
		c.cidr(path, text)
	case "allowed_cidrs":
		for _, cidr := range v.Interface().([]string) {
			c.cidr(path, cidr)
		}
	case "alarm_emails":
		for _, to := range v.Interface().([]string) {
			if !strings.Contains(to, "@") {
				c.wrong(path, "has %q: use addresses such as oncall@example.com", to)
			}
		}
	case "certificate_arn":
		if !strings.HasPrefix(text, "arn:") {
			c.wrong(path, "is %q: use the ARN of a certificate of ACM", text)
		}
	}
	if strings.HasPrefix(rest, "source_access.") && strings.HasSuffix(rest, ".cidr") {
		c.cidr(path, text)
	}
}

// tags checks what a field's own tags say of it.
func (c *checker) tags(path string, tag reflect.StructTag, v reflect.Value) {
	if choices := strings.Fields(tag.Get("oneof")); len(choices) > 0 && !slices.Contains(choices, v.String()) {
		c.wrong(path, "is %q: use %s%s", v, strings.Join(choices, " or "), words.DidYouMean(v.String(), choices, ""))
	}
	if least, most, ok := strings.Cut(tag.Get("range"), " "); ok {
		from, _ := strconv.ParseFloat(least, 64) // they are written above
		to, _ := strconv.ParseFloat(most, 64)
		n := 0.0
		if v.CanInt() {
			n = float64(v.Int())
		} else {
			n = v.Float()
		}
		if n < from || n > to {
			c.wrong(path, "is %v: use %s to %s", n, least, most)
		}
	}
}

func (c *checker) cidr(path, text string) {
	if _, err := netip.ParsePrefix(text); err != nil {
		c.wrong(path, "has %q: use a block such as 203.0.113.0/24", text)
	}
}

// aboutVariable is how `geecache node` begins to tell of a variable or its flag.
var aboutVariable = regexp.MustCompile(`^(environment variable \w+ is "[^"]*": |--[a-z-]+ is [^:]*: |--[a-z-]+: )`)

// stood checks what stands for a variable of nodes, as they would.
func (c *checker) stood(path, variable, value string) {
	if err := c.environment(map[string]string{variable: value}); err != nil {
		c.wrong(path, "is %q: %s", value, aboutVariable.ReplaceAllString(err.Error(), ""))
	}
}

// variable checks one of variables.
func (c *checker) variable(path, name, value string) {
	for _, s := range append((Settings{}).stoods(), stood{"source.url", sourceVariable, ""}, stood{"source.query", queryVariable, ""},
		stood{"registry", registryVariable, ""}, stood{"memory", "GEECACHE_MEMORY_LIMIT", ""}, stood{"name", "GEECACHE_CLUSTER_ID", ""}) {
		if s.variable == name {
			c.wrong(path, "is the field %s: write it there", s.field)
		}
	}
	switch {
	case !variablePattern.MatchString(name):
		c.wrong(path, "is no variable's name: use letters, digits and _")
	case slices.Contains(reserved(), name):
		c.wrong(path, "is set by each environment itself: leave it out")
	case secretPattern.MatchString(name) && !strings.HasSuffix(name, "_FILE"):
		c.wrong(path, "is a secret: give it by reference, in secrets as %s: env:VARIABLE or file:PATH", name)
	case strings.HasPrefix(value, `"`) || strings.HasSuffix(value, `"`):
		c.wrong(path, "begins or ends with a double quote, which flags cannot hand on: leave it out")
	case strings.HasPrefix(name, "GEECACHE_"):
		c.stood(path, name, value)
	}
}

// secret checks one of secrets. Its value may be a secret, and is not told.
func (c *checker) secret(path, section, name, ref string) {
	kind, rest, _ := strings.Cut(ref, ":")
	switch {
	case !variablePattern.MatchString(name):
		c.wrong(path, "is no variable's name: use letters, digits and _")
	case slices.Contains(reserved(), name):
		c.wrong(path, "is set by each environment itself: leave it out")
	case section == envbench.AWS && !arnPattern.MatchString(ref):
		c.wrong(path, "is no reference for AWS: use the ARN of a secret, arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME")
	case section != envbench.AWS && (kind != "env" || !variablePattern.MatchString(rest)) && (kind != "file" || rest == ""):
		c.wrong(path, "is written in clear: give it by reference, as env:VARIABLE or file:PATH")
	}
}

// at returns the path of a field that holds in an environment.
func (c *checker) at(env, rest string) string {
	if _, own := c.file.given[env+"."+rest]; own {
		return env + "." + rest
	}
	return rest
}

// together checks what holds in an environment as a whole.
func (c *checker) together(env string) {
	s := c.file.settings(env)
	for _, name := range slices.Sorted(maps.Keys(s.Secrets)) {
		path := c.at(env, "secrets."+name)
		if _, twice := s.Variables[name]; twice {
			c.wrong(path, "is among the variables, too: leave it out there")
		}
		if name == sourceVariable && s.Source.URL != "" {
			c.wrong(path, "and %s: leave one of them out", c.at(env, "source.url"))
		}
	}
	all := merged(c.file.variables(env), nil)
	if s.Source.URL != "" {
		all[sourceVariable] = s.Source.URL
	}
	if _, secret := s.Secrets[sourceVariable]; s.Source.Query != "" && !secret {
		all[queryVariable] = s.Source.Query
		if err := c.environment(map[string]string{sourceVariable: s.Source.URL, queryVariable: s.Source.Query}); err != nil {
			c.wrong(c.at(env, "source.query"), "in the environment %s: %v", env, err)
			return
		}
	}
	if s.Registry != "" && c.file.unused(env, "registry") == "" && (env != envbench.Emulator || s.Registry != "ecs" && s.Registry != "cloudmap") {
		if err := c.environment(map[string]string{registryVariable: s.Registry}); err != nil {
			c.wrong(c.at(env, "registry"), "in the environment %s: %s", env, aboutVariable.ReplaceAllString(err.Error(), ""))
			return
		}
	}
	if err := c.environment(all); err != nil {
		c.wrong(cmp.Or(map[bool]string{true: env}[c.hasSection(env)], "variables"), "in the environment %s: %v", env, err)
	}
}

func (c *checker) hasSection(env string) bool {
	return slices.ContainsFunc(slices.Collect(maps.Keys(c.file.given)), func(path string) bool { return strings.HasPrefix(path, env+".") })
}

// sizes checks that Fargate has tasks of the sizes that are asked for.
func (c *checker) sizes() {
	s := c.file.settings(envbench.AWS)
	if _, err := size(c.file.AWS.CPU, s.Memory); err != nil {
		path := c.at(envbench.AWS, "memory")
		if s.Memory == "" {
			path = "aws.cpu"
		}
		c.wrong(path, "%v", err)
	}
	if _, err := size(c.file.AWS.APICPU, c.file.AWS.APIMemory); err != nil {
		path := "aws.api_memory"
		if c.file.AWS.APIMemory == "" {
			path = "aws.api_cpu"
		}
		c.wrong(path, "%v", err)
	}
}

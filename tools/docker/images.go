//go:build unix

package docker

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// standInLabel marks an image that was made on this machine; its value says of what.
const standInLabel = "geecache.stand-in"

// pullTimeout bounds the download of an image.
const pullTimeout = 5 * time.Minute

// ErrNoStandIn is returned for an image that cannot be pulled, and of which nothing on
// this machine can take the place.
var ErrNoStandIn = errors.New("there is no stand-in for it")

var (
	fromLine = regexp.MustCompile(`(?im)^\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?`)
	fromArg  = regexp.MustCompile(`(?im)^\s*ARG\s+(\w+)=(\S+)`)
	offline  = regexp.MustCompile(`(?i)no such host|connection refused|network is unreachable|i/o timeout|deadline exceeded|TLS handshake|server misbehaving|no route to host`)
)

// BaseImages returns the images that a Dockerfile begins its stages with, without its own
// stages and scratch. Arguments have their defaults.
func BaseImages(dockerfile []byte) []string {
	var images, stages []string
	text := string(dockerfile)
	args := make(map[string]string)
	for _, m := range fromArg.FindAllStringSubmatch(text, -1) {
		args[m[1]] = m[2]
	}
	for _, m := range fromLine.FindAllStringSubmatch(text, -1) {
		image := expand(m[1], args)
		if image != "scratch" && !slices.Contains(stages, image) && !slices.Contains(images, image) {
			images = append(images, image)
		}
		if m[2] != "" {
			stages = append(stages, m[2])
		}
	}
	return images
}

// expand replaces $NAME and ${NAME}.
func expand(s string, args map[string]string) string {
	for name, value := range args {
		s = strings.NewReplacer("${"+name+"}", value, "$"+name, value).Replace(s)
	}
	return s
}

// Images sees to it that the engine has the images. Those that it does not have are
// pulled; of those that cannot be pulled because no registry answers, a stand-in is made
// of what this machine has, and that is told in so many words. The names of the stand-ins
// are returned.
func (e *Engine) Images(ctx context.Context, names ...string) (made []string, err error) {
	for _, name := range names {
		label, err := e.Output(ctx, "image", "inspect", "--format", `{{index .Config.Labels "`+standInLabel+`"}}`, name)
		label = strings.TrimSpace(label)
		if err == nil && label == "" {
			e.say("%s: the engine has it", name)
			continue
		}
		pulled := e.pull(ctx, name)
		if pulled == nil {
			e.say("%s: pulled", name)
			continue
		}
		if !unreachable(pulled) {
			return made, fmt.Errorf("%s: %w", name, pulled)
		}
		what, err := e.standIn(ctx, name, label)
		if err != nil {
			return made, fmt.Errorf("%s cannot be pulled (%s): %w", name, reason(pulled), err)
		}
		made = append(made, name)
		e.say("%s: NOT THE REAL IMAGE: no registry answers (%s), and so a stand-in, %s, has its name; to remove it: docker image rm %s",
			name, reason(pulled), what, name)
	}
	return made, nil
}

func (e *Engine) pull(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	_, err := e.Output(ctx, "pull", "--quiet", name)
	return err
}

// unreachable reports whether a pull failed because no registry answers.
func unreachable(err error) bool { return offline.MatchString(err.Error()) }

// reason returns the end of an error, which says why.
func reason(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, `": `); i >= 0 {
		text = text[i+len(`": `):]
	}
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// split returns the repository and the tag of an image's name, without what says that it is
// Docker's own registry.
func split(name string) (repository, tag string) {
	repository, tag = name, "latest"
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		repository, tag = name[:i], name[i+1:]
	}
	repository = strings.TrimPrefix(repository, "docker.io/")
	return strings.TrimPrefix(repository, "library/"), tag
}

// standIn makes the stand-in for an image, unless have says that it is there already.
func (e *Engine) standIn(ctx context.Context, name, have string) (what string, err error) {
	repository, tag := split(name)
	all := standIns()
	i := slices.IndexFunc(all, func(s standIn) bool { return s.repository == repository })
	if i < 0 {
		return "", ErrNoStandIn
	}
	s := all[i]
	if what, err = s.what(ctx, e, tag); err != nil || what == have {
		return what, err
	}
	args := []string{"import", "--change", "LABEL " + standInLabel + `="` + what + `"`}
	for _, c := range s.config {
		args = append(args, "--change", c)
	}
	return what, e.importing(ctx, tag, append(args, "-", name), s.fill)
}

package envbench

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
)

// docker runs Docker's command line, and returns what it prints. env is added to the
// environment.
func docker(ctx context.Context, env []string, args ...string) (string, error) {
	var errs bytes.Buffer
	cmd := NewCommand(ctx, "docker", args...) // a plugin, such as Compose, outlives a client that is killed alone
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", said(fmt.Errorf("docker %s: %w", args[0], err), errs.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}

// said adds to an error what a command has said, if anything.
func said(err error, text []byte) error {
	if text = bytes.TrimSpace(text); len(text) > 0 {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// dockerLogs returns the last lines that a container has written to either output.
func dockerLogs(ctx context.Context, id string, lines int) ([]string, error) {
	text, err := NewCommand(ctx, "docker", "logs", "--tail", strconv.Itoa(lines), id).CombinedOutput()
	switch {
	case ctx.Err() != nil: // there may be much of it already
		return nil, fmt.Errorf("docker logs: %w", err)
	case err != nil:
		return nil, said(fmt.Errorf("docker logs: %w", err), text)
	}
	if len(text) == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), nil
}

// ensureImage sees to it that the registry has the image, and returns its name there, by
// its digest: so a task cannot run anything else, and nothing has to be looked up.
func (c *cloud) ensureImage(ctx context.Context, d Deployment, changed *[]string) (string, error) {
	id, err := docker(ctx, nil, "image", "inspect", "--format", "{{.Id}}", d.Image)
	if err != nil {
		return "", fmt.Errorf("this machine's Docker has no image %q: build it with `docker build -f docker-native/Dockerfile -t %s .`, or name another one with --image: %w",
			d.Image, d.Image, err)
	}
	_, hash, _ := strings.Cut(id, ":")
	tag := hash[:min(len(hash), 20)]
	var repository string
	err = fresh(changed, "ECR repository "+d.Name, func() (bool, error) {
		repository, err = c.repository(ctx, d.Name)
		return repository != "", err
	}, func() error {
		out, err := c.ecr.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: &d.Name})
		if err == nil {
			repository = c.reachable(aws.ToString(out.Repository.RepositoryUri), d.Name)
		}
		return err
	})
	if err != nil {
		return "", c.explain("ecr:CreateRepository", err)
	}
	pushed, err := c.pushed(ctx, d.Name, tag)
	if err == nil && pushed == "" {
		if err = c.push(ctx, d.Image, repository, tag); err == nil {
			*changed = append(*changed, fmt.Sprintf("image %s is pushed as %s:%s", d.Image, repository, tag))
			pushed, err = c.pushed(ctx, d.Name, tag)
		}
	}
	switch {
	case err != nil:
		return "", c.explain("ecr:DescribeImages", err)
	case pushed == "":
		return "", fmt.Errorf("the registry does not have %s:%s, which was pushed to it", repository, tag)
	}
	return repository + "@" + pushed, nil
}

// repository returns how Docker reaches a repository; empty: there is none.
func (c *cloud) repository(ctx context.Context, name string) (string, error) {
	out, err := c.ecr.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{name}})
	var none *ecrtypes.RepositoryNotFoundException
	switch {
	case errors.As(err, &none), err == nil && len(out.Repositories) == 0:
		return "", nil
	case err != nil:
		return "", err
	}
	return c.reachable(aws.ToString(out.Repositories[0].RepositoryUri), name), nil
}

// reachable returns how Docker reaches a repository: an emulator may call it as AWS does,
// which is where it is not.
func (c *cloud) reachable(uri, name string) string {
	if host, _, _ := strings.Cut(uri, "/"); c.emulated && strings.HasSuffix(host, ".amazonaws.com") {
		if u, err := url.Parse(c.Endpoint); err == nil {
			return u.Host + "/" + name
		}
	}
	return uri
}

// pushed returns the digest of an image that the repository has; empty: it has not.
func (c *cloud) pushed(ctx context.Context, repository, tag string) (string, error) {
	out, err := c.ecr.DescribeImages(ctx, &ecr.DescribeImagesInput{
		RepositoryName: &repository, ImageIds: []ecrtypes.ImageIdentifier{{ImageTag: &tag}},
	})
	var none *ecrtypes.ImageNotFoundException
	switch {
	case errors.As(err, &none), err == nil && len(out.ImageDetails) == 0:
		return "", nil
	case err != nil:
		return "", err
	}
	return aws.ToString(out.ImageDetails[0].ImageDigest), nil
}

// push pushes an image. The registry's password is in no file that stays.
func (c *cloud) push(ctx context.Context, image, repository, tag string) (err error) {
	dir, err := TempDir("push")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	token, err := c.ecr.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		return err
	}
	if len(token.AuthorizationData) == 0 {
		return errors.New("ecr:GetAuthorizationToken gives no token")
	}
	auth := aws.ToString(token.AuthorizationData[0].AuthorizationToken)
	if _, err := base64.StdEncoding.DecodeString(auth); err != nil {
		return fmt.Errorf("ecr:GetAuthorizationToken: %w", err)
	}
	host, _, _ := strings.Cut(repository, "/")
	config, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{"auth": auth}}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600); err != nil {
		return err
	}
	env := []string{"DOCKER_CONFIG=" + dir}
	if os.Getenv("DOCKER_HOST") == "" { // the other configuration may say which engine
		if engine, err := docker(ctx, nil, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"); err == nil {
			env = append(env, "DOCKER_HOST="+engine)
		}
	}
	name := repository + ":" + tag
	if _, err := docker(ctx, nil, "tag", image, name); err != nil {
		return err
	}
	_, err = docker(ctx, env, "push", "--quiet", name)
	return err
}

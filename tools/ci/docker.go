//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/geecache/geecache/tools/docker"
)

// engine sees to it that a Docker engine answers, with compose and buildx. Steps
// with containers call it first; in a run it is found or started once, and what was
// started ends with the run.
func engine(ctx context.Context, w *workspace) error {
	if w.docker != nil {
		return nil
	}
	e, err := docker.Start(ctx, w.root, w.env, w.out)
	if errors.Is(err, docker.ErrNoEngine) {
		if err := install(ctx, w); err != nil {
			return err
		}
		e, err = docker.Start(ctx, w.root, w.env, w.out)
	}
	if err != nil {
		return err
	}
	w.docker, w.env = e, append(e.Env(), "GEECACHE_TEST_DOCKER="+e.Host())
	w.cleanup = append(w.cleanup, func() {
		if err := e.Stop(); err != nil {
			fmt.Fprintf(w.out, "the Docker engine was not stopped: %v\n", err)
		}
	})
	return e.Plugins(ctx)
}

// image builds the nodes' image, once in a run, under a name that no other run has. Tests
// find it as GEECACHE_TEST_IMAGE. It is gone after the run.
func image(ctx context.Context, w *workspace) error {
	if w.image != "" {
		return nil
	}
	if err := engine(ctx, w); err != nil {
		return err
	}
	dockerfile, err := os.ReadFile(w.path("docker-native/Dockerfile"))
	if err != nil {
		return err
	}
	if _, err := w.docker.Images(ctx, docker.BaseImages(dockerfile)...); err != nil {
		return err
	}
	name := fmt.Sprintf("geecache:ci-%d", os.Getpid())
	// The machine's own network, because containers may be without one that resolves names.
	err = w.do(ctx, ".", "docker", "build", "--network=host", "--file=docker-native/Dockerfile",
		"--tag="+name, "--build-arg=VERSION="+described(ctx, w), ".")
	if err != nil {
		return err
	}
	w.image, w.env = name, append(w.env, "GEECACHE_TEST_IMAGE="+name)
	w.cleanup = append(w.cleanup, func() {
		if _, err := w.docker.Output(context.WithoutCancel(ctx), "image", "rm", name); err != nil {
			fmt.Fprintf(w.out, "the image %s was not removed: %v\n", name, err)
		}
	})
	return nil
}

// composeFile is the cluster of containers that users start.
const composeFile = "docker-native/docker-compose.yml"

// cluster brings up the cluster of containers, and changes it under load.
func cluster(ctx context.Context, w *workspace) error {
	if err := install(ctx, w); err != nil { // what stand-ins are made of
		return err
	}
	if err := image(ctx, w); err != nil {
		return err
	}
	names, err := w.output(ctx, ".", "docker", "compose", "--file="+composeFile, "--profile=*", "config", "--images")
	if err != nil {
		return err
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(strings.Fields(names)))) {
		if strings.HasPrefix(name, "geecache:") {
			continue
		}
		if _, err := w.docker.Images(ctx, name); errors.Is(err, docker.ErrNoStandIn) {
			fmt.Fprintf(w.out, "NOT TESTED: %v\n", err)
		} else if err != nil {
			return err
		}
	}
	return w.do(ctx, "e2e", "go", "test", "-tags=docker", "-run=^TestDocker", "-timeout=30m", "-v")
}

// described returns the version of the checkout, or nothing if git does not know.
func described(ctx context.Context, w *workspace) string {
	out, err := w.output(ctx, ".", "git", "describe", "--tags", "--always", "--dirty")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

// emulatorFiles are where the emulator of AWS that users start is written down.
const emulatorFiles = "localstack-setup/docker-compose.yml"

// emulator deploys in an emulator of AWS by the scripts in localstack-setup, and breaks
// what it has deployed.
func emulator(ctx context.Context, w *workspace) error {
	if err := install(ctx, w); err != nil { // what stand-ins are made of
		return err
	}
	if err := image(ctx, w); err != nil {
		return err
	}
	names, err := w.output(ctx, ".", "docker", "compose", "--file="+emulatorFiles, "config", "--images")
	if err != nil {
		return err
	}
	if _, err := w.docker.Images(ctx, strings.Fields(names)...); err != nil {
		return err
	}
	return w.do(ctx, "e2e", "go", "test", "-tags=docker", "-run=^TestEmulator", "-timeout=20m", "-v")
}

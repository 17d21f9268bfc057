package envbench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// StageBuild is the stage of Rebuild.
const StageBuild = "build"

// changedFile is what Rebuild adds to the project's source: a file of the package that the
// most others are built on.
const changedFile = "geecache/rebuilt.go"

// changedSource copies the project's source to a folder of its own, and changes it there.
func changedSource(dir, version string) (copied string, err error) {
	if _, err := os.Stat(filepath.Join(dir, filepath.Dir(changedFile))); err != nil {
		return "", &Unsupported{"building a changed program", fmt.Sprintf("%v: the project's folder is not here: name it with --dir", err)}
	}
	copied, err = TempDir("rebuild")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(copied))
		}
	}()
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		to := filepath.Join(copied, rel)
		switch {
		case entry.IsDir() && (entry.Name() == ".git" || rel == "bin"):
			return filepath.SkipDir
		case entry.IsDir():
			return os.MkdirAll(to, 0o755)
		case !entry.Type().IsRegular():
			return nil
		case entry.Name() == ".git":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, text, 0o644)
	})
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("package geecache\n\nvar rebuilt = %q\n", version)
	return copied, os.WriteFile(filepath.Join(copied, changedFile), []byte(text), 0o644)
}

// Rebuild implements Rebuilder: Up runs what is built here, until Clean.
func (l *local) Rebuild(ctx context.Context, d Deployment, version string) (Deployment, []Stage, error) {
	dir, err := changedSource(l.Dir, version)
	if err != nil {
		return d, nil, err
	}
	l.rebuilt = append(l.rebuilt, dir)
	program := filepath.Join(dir, "bin", "geecache")
	w := l.stopwatch()
	w.stage(StageBuild, version)
	work := filepath.Join(dir, ".work") // the compiler's, which it leaves if it is killed
	if err := os.Mkdir(work, 0o700); err != nil {
		return d, nil, err
	}
	cmd := NewCommand(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", program, ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOTMPDIR="+work)
	if out, err := cmd.CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return d, nil, &Unsupported{"building a changed program", "there is no Go here: " + err.Error()}
		}
		return d, nil, said(fmt.Errorf("go build: %w", err), out)
	}
	w.end()
	if l.original == "" {
		l.original = l.Program
	}
	l.Program = program
	return d, w.stages, nil
}

// Clean implements Rebuilder. What Rebuild has built must run no more.
func (l *local) Clean(context.Context) error {
	l.Program, l.original = cmp.Or(l.original, l.Program), ""
	var err error
	for _, dir := range l.rebuilt {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	l.rebuilt = nil
	return err
}

// An imageBuilder builds images of changed source.
type imageBuilder struct{ images []string }

// rebuild is Rebuild of a driver.
func (b *imageBuilder) rebuild(ctx context.Context, o Options, d Deployment, version string) (_ Deployment, _ []Stage, err error) {
	dir, err := changedSource(o.Dir, version)
	if err != nil {
		return d, nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d.Image = fmt.Sprintf("%s:%s%s", builtImage(d.WithDefaults().Name), version, builtBy(os.Getpid()))
	b.images = append(b.images, d.Image)
	w := o.stopwatch()
	w.stage(StageBuild, d.Image)
	_, err = docker(ctx, nil, "build", "--quiet", "--network="+cmp.Or(os.Getenv("GEECACHE_BUILD_NETWORK"), "default"),
		"--file="+filepath.Join(dir, "docker-native", "Dockerfile"), "--tag="+d.Image, "--build-arg=VERSION="+version, dir)
	w.end()
	return d, w.stages, err
}

// clean is Clean of a driver. What builds keep for the next one is Docker's own.
func (b *imageBuilder) clean(ctx context.Context) (err error) {
	for _, image := range b.images {
		if _, e := docker(ctx, nil, "image", "rm", "--force", image); e != nil && !strings.Contains(e.Error(), "No such image") {
			err = errors.Join(err, e)
		}
	}
	b.images = nil
	return err
}

// builtImage returns what images are called that are built for a deployment, and builtBy how
// the tags of those end that a process has built.
func builtImage(name string) string { return "geecache-" + name }
func builtBy(pid int) string        { return fmt.Sprintf("-p%d", pid) }

// sweepImages removes the images that a process has built for a deployment.
func sweepImages(ctx context.Context, name string, pid int) error {
	out, err := docker(ctx, nil, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", builtImage(name))
	if err != nil {
		return err
	}
	b := new(imageBuilder)
	for _, image := range strings.Fields(out) {
		if strings.HasSuffix(image, builtBy(pid)) {
			b.images = append(b.images, image)
		}
	}
	return b.clean(ctx)
}

// Sweep implements Sweeper.
func (c *composed) Sweep(ctx context.Context, name string, pid int) error {
	return sweepImages(ctx, name, pid)
}

// Rebuild implements Rebuilder.
func (c *composed) Rebuild(ctx context.Context, d Deployment, version string) (Deployment, []Stage, error) {
	return c.builder.rebuild(ctx, c.Options, d, version)
}

// Clean implements Rebuilder.
func (c *composed) Clean(ctx context.Context) error { return c.builder.clean(ctx) }

// Rebuild implements Rebuilder. Up pushes the image, and has the services go to it.
func (c *cloud) Rebuild(ctx context.Context, d Deployment, version string) (Deployment, []Stage, error) {
	return c.builder.rebuild(ctx, c.Options, d, version)
}

// Clean implements Rebuilder.
func (c *cloud) Clean(ctx context.Context) error { return c.builder.clean(ctx) }

// Rebuild implements Rebuilder: it refuses.
func (*awsDriver) Rebuild(_ context.Context, d Deployment, _ string) (Deployment, []Stage, error) {
	return d, nil, &Unsupported{"deploying a new image", "which image runs in AWS is in Terraform's state: aws-terraform/deploy.sh builds, pushes and rolls it out, and says how long that took"}
}

package cli

import (
	"maps"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/geecache/geecache/internal/envbench"
)

const envUpLong = `up makes the cluster what the flags say: it creates what is missing, changes what
differs and leaves alone what is right. It returns once every node answers at its
own address and all of them have the same ring. A new image replaces the old one
node by node.

Secrets are given by reference: --secret GEECACHE_SOURCE=env:DATABASE_URL hands on
what that variable of this process holds, and --secret GEECACHE_SECRET=file:PATH
what is in the file. Without the latter, up makes a secret where nodes can be
reached by others.

Each flag has an environment variable: GEECACHE_ENV_ and its name in capitals. With
--file geecache.yaml, what neither says is taken from there: geecache env render
--help says what such a file holds.

The exit status is 0 if all nodes agree, and 1 if not within --timeout: then the
last lines that a node which failed has logged are shown.`

// envUpFlags are the flags that describe a deployment.
type envUpFlags struct {
	envFlags
	deployment envbench.Deployment
	cacheBytes bytesValue
}

// newEnvUpCommand returns `geecache env up`.
func newEnvUpCommand() *cobra.Command {
	var f envUpFlags
	cmd := &cobra.Command{
		Use:   "up ENV",
		Short: "Deploy the cluster, or bring it up to date",
		Long:  envUpLong,
		Args:  envArgs(0, ""),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel, driver, err := f.open(cmd, args[0])
			if err != nil {
				return err
			}
			defer cancel()
			if cmd.Flags().Changed("nodes") && f.deployment.Nodes < 1 {
				return usagef("--nodes is %d: use 1 to %d", f.deployment.Nodes, envbench.MaxNodes)
			}
			f.complete(args[0])
			if err := f.deployment.Validate(); err != nil {
				return &usageError{err}
			}
			if err := f.removeLeft(ctx, cmd, args[0], driver); err != nil {
				return err
			}
			s, err := driver.Up(ctx, f.deployment)
			if err != nil {
				return err
			}
			return f.print(cmd.OutOrStdout(), s)
		},
	}
	f.register(cmd, true)
	f.registerDeployment(cmd.Flags())
	f.registerJSON(cmd)
	return cmd
}

// complete puts together what the flags and the file say, once open has read both.
func (f *envUpFlags) complete(environment string) {
	d := &f.deployment
	d.Name, d.CacheBytes = f.name, max(int64(f.cacheBytes), 0)
	if f.description == nil {
		return
	}
	said := f.description.Deployment(environment)
	maps.Copy(said.Variables, d.Variables)
	for name := range said.Secrets { // a variable of that name on the command line wins, too
		if _, plain := d.Variables[name]; plain {
			delete(said.Secrets, name)
		}
	}
	maps.Copy(said.Secrets, d.Secrets)
	d.Variables, d.Secrets = said.Variables, said.Secrets
}

func (f *envUpFlags) registerDeployment(flags *pflag.FlagSet) {
	d := &f.deployment
	f.cacheBytes = notGiven
	flags.StringVar(&d.Image, "image", envbench.DefaultImage, "the image, as this machine's Docker calls it")
	flags.IntVar(&d.Nodes, "nodes", envbench.DefaultNodes, "how many cache nodes")
	flags.Var(&f.cacheBytes, "cache-bytes", "budget of each node's cache (default: as geecache node has it)")
	flags.Lookup("cache-bytes").DefValue = ""
	flags.StringVar(&d.Source, "source", "", "URL of what misses are loaded from (default: the demonstration database)")
	flags.StringVar(&d.Query, "query", "", "query of an SQL source")
	flags.StringVar(&d.Snapshot, "snapshot", "", "where nodes save what they use most, to be warm when they start: s3://BUCKET/PREFIX; local: file:///DIR; an emulator's bucket is made")
	flags.StringVar(&d.Registry, "registry", "", "how nodes find each other, if not as is usual in the environment: ecs for the API of ECS in place of Cloud Map; docker: etcd://etcd:2379/geecache for an etcd beside")
	flags.IntVar(&d.Port, "port", 0, "local: port of the first node")
	flags.IntVar(&d.APIPort, "api", 0, "local, docker: port of the API")
	flags.StringToStringVar(&d.Secrets, "secret", nil, "an environment variable of the nodes by reference, NAME=env:VARIABLE or NAME=file:PATH; repeatable")
	flags.StringToStringVar(&d.Variables, "var", nil, "one more environment variable of the nodes, such as GEECACHE_TTL=1m; repeatable")
}

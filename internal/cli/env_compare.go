package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/geecache/geecache/internal/envbench/report"
)

// resultsOfEnvironments is where results are kept, below the project's folder.
const resultsOfEnvironments = "benchmarks/results/env"

const envCompareLong = `compare writes the comparison of environments from results files of env bench, a
column each: tables, sentences that follow from the figures, and charts in a folder beside
the document. The same files always give the same document, byte for byte.

Without files it takes all in ` + resultsOfEnvironments + `, a column for each
environment, and each test from the newest file that has it whole.`

const envReportLong = `report writes the same comparison as env compare as one page of HTML, for a browser:
it needs no other file, no network and no script.

Without files it takes all in ` + resultsOfEnvironments + `, a column for each
environment, and each test from the newest file that has it whole.`

// newEnvCompareCommand returns `geecache env compare`.
func newEnvCompareCommand() *cobra.Command {
	var output, dir string
	var check bool
	cmd := &cobra.Command{
		Use:     "compare [FILE...] -o DOCUMENT.md",
		Short:   "Write the comparison of environments from results, in Markdown",
		Long:    envCompareLong,
		Example: "  geecache env compare local.json docker.json -o DEPLOYMENT_COMPARISON.md",
		RunE: func(cmd *cobra.Command, args []string) error {
			if output == "" {
				return usagef("compare needs -o FILE: charts are written beside it")
			}
			files, err := resultsFiles(dir, args)
			if err != nil {
				return err
			}
			return report.Write(output, files, check)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "the document to write")
	cmd.Flags().BoolVar(&check, "check", false, "write nothing, and fail if the document is not what the results generate")
	registerResultsDir(cmd, &dir)
	return cmd
}

// newEnvReportCommand returns `geecache env report`.
func newEnvReportCommand() *cobra.Command {
	var output, dir string
	cmd := &cobra.Command{
		Use:     "report [FILE...] -o PAGE.html",
		Short:   "Write the comparison of environments from results, as a page of HTML",
		Long:    envReportLong,
		Example: "  geecache env report -o report.html",
		RunE: func(cmd *cobra.Command, args []string) error {
			if output == "" {
				return usagef("report needs -o FILE")
			}
			files, err := resultsFiles(dir, args)
			if err != nil {
				return err
			}
			d, err := report.Read(files, "")
			if err != nil {
				return err
			}
			page, err := d.HTML()
			if err != nil {
				return err
			}
			return os.WriteFile(output, page, 0o644)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "the page to write")
	registerResultsDir(cmd, &dir)
	return cmd
}

func registerResultsDir(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "dir", ".", "the project's folder, which holds "+resultsOfEnvironments+"/")
}

// resultsFiles returns the files to compare: those that are named, a column each, or all
// in the project's folder, a column for each environment.
func resultsFiles(dir string, named []string) ([]report.Column, error) {
	if len(named) > 0 {
		return report.Each(named...), nil
	}
	dir = filepath.Join(dir, filepath.FromSlash(resultsOfEnvironments))
	files, err := report.Newest(dir)
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("there are no results in %s: geecache env bench ENV -o FILE makes some, or name the files", dir)
	}
	return files, err
}

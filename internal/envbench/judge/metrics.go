package judge

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/geecache/geecache/internal/envbench"
	"github.com/geecache/geecache/internal/envbench/result"
)

// How long metrics may take to be in the environment's own monitoring: CloudWatch says
// minutes, and what an emulator has not done at once it does not do.
const (
	metricsWithin    = 30 * time.Second
	metricsWithinAWS = 4 * time.Minute
	metricsPause     = time.Second
)

// The places where a MetricLister finds names.
const (
	placeOwn      = "CloudWatch GeeCache"
	placeInsights = "CloudWatch ECS/ContainerInsights"
)

func metricsTest() test {
	return test{
		id: "metrics", title: "Metrics that arrive",
		method: fmt.Sprintf("Nodes write their metrics as CloudWatch's embedded metric format into their log each second, and the cluster is asked to have Container Insights. "+
			"Then every place is listed, again and again for up to %v (%v in AWS): a metric counts by its name.", metricsWithin, metricsWithinAWS),
		run: listMetrics,
	}
}

func listMetrics(ctx context.Context, s *session, t *result.Test) error {
	lister, ok := s.driver.(envbench.MetricLister)
	if !ok {
		return &envbench.Unsupported{What: "listing metrics", Evidence: "the environment's driver has no way to do so"}
	}
	d := s.Deployment
	d.Variables = maps.Clone(d.Variables)
	if d.Variables == nil {
		d.Variables = make(map[string]string)
	}
	d.Variables["GEECACHE_EMF"], d.Variables["GEECACHE_EMF_INTERVAL"] = "true", "1s"
	now, err := s.driver.Up(ctx, d)
	if err != nil {
		return err
	}
	insights := ""
	watch, cloud := s.driver.(envbench.Insighter)
	if cloud {
		if insights, err = watch.WatchContainers(ctx, d.Name); err != nil {
			insights = err.Error()
		}
	}
	within := metricsWithin
	if s.Environment == envbench.AWS {
		within = metricsWithinAWS
	}
	found, waited, err := awaitMetrics(ctx, s, lister, cloud, within)
	if err != nil {
		return err
	}
	for _, place := range slices.Sorted(maps.Keys(found)) {
		t.AddCount(place, len(found[place])).Note = firstNames(found[place])
	}
	if !cloud {
		const none = "the environment has no CloudWatch: "
		t.Facts = append(t.Facts,
			result.Fact{Name: "own metrics", Verdict: result.Done, Evidence: none + "what there is, each node shows on /metrics, for a Prometheus to fetch"},
			result.Fact{Name: "Container Insights", Verdict: result.Unknown, Evidence: none + "there is nobody who could be asked"})
		return nil
	}
	own := result.Fact{Name: "own metrics", Verdict: result.Done,
		Evidence: fmt.Sprintf("cloudwatch:ListMetrics names %d metrics in GeeCache, made of the lines in the log, %v after the deployment", len(found[placeOwn]), waited)}
	if len(found[placeOwn]) == 0 {
		own.Verdict = result.Accepted
		own.Evidence = fmt.Sprintf("%s; cloudwatch:ListMetrics names nothing in GeeCache %v after the deployment", emfLines(ctx, s, now), waited)
	}
	containers := result.Fact{Name: "Container Insights", Verdict: result.Done,
		Evidence: fmt.Sprintf("%s; cloudwatch:ListMetrics names %d metrics in ECS/ContainerInsights", insights, len(found[placeInsights]))}
	if len(found[placeInsights]) == 0 {
		containers.Verdict = result.Accepted
		if strings.Contains(insights, "ecs:UpdateClusterSettings") {
			containers.Verdict = result.Refused
		}
		containers.Evidence = fmt.Sprintf("%s; cloudwatch:ListMetrics names nothing in ECS/ContainerInsights %v after the deployment", insights, waited)
	}
	t.Facts = append(t.Facts, own, containers)
	return nil
}

// awaitMetrics lists metrics until there are some in each place, or it takes too long. It
// returns how long it has waited.
func awaitMetrics(ctx context.Context, s *session, lister envbench.MetricLister, wait bool, within time.Duration) (map[string][]string, time.Duration, error) {
	begun := time.Now()
	for {
		found, err := lister.ListMetrics(ctx, s.Deployment.Name)
		if err != nil {
			return nil, 0, err
		}
		waited := time.Since(begun).Round(time.Second)
		if !wait || waited >= within || len(found[placeOwn]) > 0 && len(found[placeInsights]) > 0 {
			return found, waited, nil
		}
		s.tell("%d own metrics and %d of containers after %v", len(found[placeOwn]), len(found[placeInsights]), waited)
		if !pause(ctx, metricsPause) {
			return nil, 0, ctx.Err()
		}
	}
}

// firstNames names the first of metrics.
func firstNames(names []string) string {
	const most = 8
	if len(names) > most {
		return strings.Join(names[:most], ", ") + ", ..."
	}
	return strings.Join(names, ", ")
}

// emfLines says how many lines of metrics the log has.
func emfLines(ctx context.Context, s *session, now *envbench.Status) string {
	seeker, ok := s.driver.(envbench.LogSeeker)
	if !ok {
		return "the log cannot be looked into"
	}
	v, err := seeker.SeekLogs(ctx, now.Name, "CloudWatchMetrics")
	if err != nil {
		return err.Error()
	}
	lines := 0
	for _, n := range v.Events {
		lines += n
	}
	return fmt.Sprintf("%d lines of the embedded metric format are in %s", lines, v.Place)
}

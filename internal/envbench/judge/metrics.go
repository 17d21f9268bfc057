package judge

import (
	"context"
	"errors"
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
			"Then every place is listed, again and again for up to %v (%v in AWS): a metric counts by its name. Where metrics can be sent to CloudWatch's API as well, both ways are "+
			"tried by themselves, each time with new nodes: found-after is from when all are ready until CloudWatch names a metric of each; what has not come about in the warm-up is not tried again.",
			metricsWithin, metricsWithinAWS),
		run: listMetrics,
	}
}

// with returns a deployment with more variables.
func with(d envbench.Deployment, variables map[string]string) envbench.Deployment {
	d.Variables = maps.Clone(d.Variables)
	if d.Variables == nil {
		d.Variables = make(map[string]string)
	}
	maps.Copy(d.Variables, variables)
	return d
}

func listMetrics(ctx context.Context, s *session, t *result.Test) error {
	lister, ok := s.driver.(envbench.MetricLister)
	if !ok {
		return &envbench.Unsupported{What: "listing metrics", Evidence: "the environment's driver has no way to do so"}
	}
	now, err := s.driver.Up(ctx, with(s.Deployment, map[string]string{"GEECACHE_EMF": "true", "GEECACHE_EMF_INTERVAL": "1s"}))
	if err != nil {
		return err
	}
	if err := s.findMetrics(ctx, t, lister, now); err != nil {
		return err
	}
	return s.repeat(ctx, "metrics are listed", func(ctx context.Context, count bool) error {
		found, err := lister.ListMetrics(ctx, s.Deployment.Name)
		if err != nil || !count {
			return err
		}
		for _, place := range slices.Sorted(maps.Keys(found)) {
			t.AddCount(place, len(found[place])).Note = firstNames(found[place])
		}
		return nil
	})
}

// findMetrics waits for metrics in the environment's own monitoring, and adds what came.
func (s *session) findMetrics(ctx context.Context, t *result.Test, lister envbench.MetricLister, now *envbench.Status) error {
	watch, cloud := s.driver.(envbench.Insighter)
	if !cloud {
		const none = "the environment has no CloudWatch: "
		t.Facts = append(t.Facts,
			result.Fact{Name: "own metrics", Verdict: result.Done, Evidence: none + "what there is, each node shows on /metrics, for a Prometheus to fetch"},
			result.Fact{Name: forwardedFact, Verdict: result.Unknown, Evidence: none + "there is nobody who could be sent any"},
			result.Fact{Name: "Container Insights", Verdict: result.Unknown, Evidence: none + "there is nobody who could be asked"})
		return nil
	}
	setting, err := watch.WatchContainers(ctx, s.Deployment.Name)
	if err != nil {
		setting = err.Error()
	}
	within := metricsWithin
	if s.Environment == envbench.AWS {
		within = metricsWithinAWS
	}
	found, waited, err := awaitMetrics(ctx, s, lister, within)
	if err != nil {
		return err
	}
	own := s.ownFact(ctx, now, found[placeOwn], waited)
	forwarded := result.Fact{Name: forwardedFact, Verdict: result.Unknown, Evidence: "the driver has no way to do so"}
	if f, ok := s.driver.(envbench.Forwardee); ok {
		if err := s.ways(ctx, t, f, &own, &forwarded); err != nil {
			return err
		}
	}
	t.Facts = append(t.Facts, own, forwarded, insightsFact(setting, found[placeInsights], waited))
	return nil
}

// forwardedFact says whether metrics arrive that nodes send themselves.
const forwardedFact = "own metrics, sent by nodes (PutMetricData)"

// ownFact says whether our own metrics came by way of the log.
func (s *session) ownFact(ctx context.Context, now *envbench.Status, names []string, waited time.Duration) result.Fact {
	f := result.Fact{Name: "own metrics", Verdict: result.Done,
		Evidence: fmt.Sprintf("cloudwatch:ListMetrics names %d metrics in GeeCache, made of the lines in the log, %v after the deployment", len(names), waited)}
	if len(names) == 0 {
		f.Verdict = result.Accepted
		f.Evidence = fmt.Sprintf("%s; cloudwatch:ListMetrics names nothing in GeeCache %v after the deployment", emfLines(ctx, s, now), waited)
	}
	return f
}

func insightsFact(setting string, names []string, waited time.Duration) result.Fact {
	f := result.Fact{Name: "Container Insights", Verdict: result.Done,
		Evidence: fmt.Sprintf("%s; cloudwatch:ListMetrics names %d metrics in ECS/ContainerInsights", setting, len(names))}
	if len(names) == 0 {
		f.Verdict = result.Accepted
		if strings.Contains(setting, "ecs:UpdateClusterSettings") {
			f.Verdict = result.Refused
		}
		f.Evidence = fmt.Sprintf("%s; cloudwatch:ListMetrics names nothing in ECS/ContainerInsights %v after the deployment", setting, waited)
	}
	return f
}

// ways tries both ways by themselves, if there are two. own is what was found without
// telling nodes apart: an emulator may keep metrics of an earlier deployment of that name.
func (s *session) ways(ctx context.Context, t *result.Test, f envbench.Forwardee, own, forwarded *result.Fact) error {
	endpoint, err := f.ForwardTo(ctx, s.Deployment.Name)
	var not *envbench.Unsupported
	if errors.As(err, &not) {
		forwarded.Evidence = not.Evidence
		return nil
	}
	if err != nil {
		return err
	}
	logged, err := s.arrive(ctx, t, f, "log", metricsWithin, func(interval string) map[string]string {
		return map[string]string{"GEECACHE_EMF": "true", "GEECACHE_EMF_INTERVAL": interval}
	})
	if err != nil {
		return err
	}
	if own.Verdict, own.Times = logged.Verdict, logged.Times; logged.Verdict == result.Done {
		own.Evidence = logged.Evidence + ", made of the lines in the log"
	} else {
		own.Evidence += "; " + logged.Evidence
	}
	sent, err := s.arrive(ctx, t, f, "forwarder", metricsWithin, func(interval string) map[string]string {
		return map[string]string{"GEECACHE_CLOUDWATCH_ENDPOINT": endpoint, "GEECACHE_CLOUDWATCH_INTERVAL": interval}
	})
	forwarded.Verdict, forwarded.Times, forwarded.Evidence = sent.Verdict, sent.Times, sent.Evidence+", sent to "+endpoint
	return err
}

// errNoArrival ends the repetitions: metrics do not come that way.
var errNoArrival = errors.New("no metric has come")

// arrive has new nodes hand on their metrics each second, and waits until CloudWatch names
// some of each of them: again and again, if they come at all.
func (s *session) arrive(ctx context.Context, t *result.Test, f envbench.Forwardee, way string, within time.Duration, variables func(interval string) map[string]string) (a result.Fact, err error) {
	n := 0
	err = s.repeat(ctx, "metrics by the "+way, func(ctx context.Context, count bool) error {
		n++ // another interval each time makes other nodes
		more := variables((time.Second + time.Duration(n)*time.Millisecond).String())
		more["GEECACHE_CLOUDWATCH_DIMENSIONS"] = "node"
		now, err := s.driver.Up(ctx, with(s.Deployment, more))
		if err != nil {
			return err
		}
		nodes, names, took, err := awaitNamed(ctx, f, now, within)
		if err != nil {
			return err
		}
		a = result.Fact{Verdict: result.Done, Times: n, Evidence: fmt.Sprintf("cloudwatch:ListMetrics names %d metrics in GeeCache of %d of %d new nodes", names, nodes, len(now.Nodes()))}
		if nodes < len(now.Nodes()) {
			a.Verdict, a.Evidence = result.Accepted, a.Evidence+fmt.Sprintf(", %.0f s after they were ready", took.Seconds())
			return errNoArrival
		}
		if count {
			t.Add("found-after/"+way, "s", took.Seconds()).Warmups = 1
			t.AddCount("own metrics/"+way, names)
		}
		return nil
	})
	if errors.Is(err, errNoArrival) {
		err = nil
		if t.Find("found-after/"+way) == nil {
			t.Series = append(t.Series, result.Series{Name: "found-after/" + way, Unit: "s", Unsupported: a.Evidence})
		}
	}
	return a, err
}

// awaitNamed waits until CloudWatch names a metric of each node, or it takes too long. It
// returns of how many nodes it has some, how many different ones, and how long that took.
func awaitNamed(ctx context.Context, f envbench.Forwardee, now *envbench.Status, within time.Duration) (nodes, names int, took time.Duration, err error) {
	begun := time.Now()
	for {
		nodes = 0
		seen := make(map[string]bool)
		for _, id := range now.Nodes() {
			own, err := f.NodeMetrics(ctx, id)
			if err != nil {
				return 0, 0, 0, err
			}
			if len(own) > 0 {
				nodes++
			}
			for _, name := range own {
				seen[name] = true
			}
		}
		took = time.Since(begun)
		if nodes == len(now.Nodes()) || took >= within {
			return nodes, len(seen), took, nil
		}
		if !pause(ctx, seekPause) {
			return 0, 0, 0, ctx.Err()
		}
	}
}

// awaitMetrics lists metrics until there are some in each place, or it takes too long. It
// returns how long it has waited.
func awaitMetrics(ctx context.Context, s *session, lister envbench.MetricLister, within time.Duration) (map[string][]string, time.Duration, error) {
	begun := time.Now()
	for {
		found, err := lister.ListMetrics(ctx, s.Deployment.Name)
		if err != nil {
			return nil, 0, err
		}
		waited := time.Since(begun).Round(time.Second)
		if waited >= within || len(found[placeOwn]) > 0 && len(found[placeInsights]) > 0 {
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

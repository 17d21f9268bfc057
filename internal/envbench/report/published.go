package report

// A published figure is what the report of 2025 printed. None of them is ours.
type published struct {
	test, name      string // of our quantity that means the same, or a name of its own
	localStack, aws string // empty: the report says nothing
	section         string // of the report
	own             bool   // there is no quantity of ours that means the same
}

// marked heads each column with such figures.
const marked = ", published in the 2025 report, not measured by us"

// publishedTable is what the report of 2025, "Distributed Cache Deployment: LocalStack vs AWS
// Real Environment", printed, beside the quantities of ours that come nearest.
func publishedTable() []published {
	return []published{
		{"deploy", "total", "6 s", "154 s", "3.1", false},
		{"deploy", "start LocalStack container", "2 s", "", "3.2, test 1", true},
		{"deploy", "deploy ECS tasks", "2 s", "", "3.2, test 1", true},
		{"deploy", "service stabilization", "2 s", "", "3.2, test 1", true},
		{"deploy", "Terraform apply", "", "45 s", "3.2, test 1", true},
		{"deploy", "ECR image push", "", "30 s", "3.2, test 1", true},
		{"deploy", "Fargate task provisioning", "", "60 s", "3.2, test 1", true},
		{"deploy", "health checks", "", "19 s", "3.2, test 1", true},
		{"redeploy", "total", "6 s", "154 s", "6.2", false},
		{"discovery", "lookup/cloudmap", "754 to 2304 ms, mean 1584 ms, n=5", "50 to 200 ms, expected there", "3.2, test 2", false},
		{"discovery", "lookup/ecs", "", "100 to 300 ms, estimated there", "3.2, test 2", false},
		{"counts", "desired", "3", "3", "3.2, test 3", false},
		{"counts", "running", "2", "4, of which 1 is the API server", "3.2, test 3", false},
		{"scale", "out/total", "4 s", "32 s", "3.2, test 4", false},
		{"scale", "ECS service update", "", "2 s", "3.2, test 4", true},
		{"scale", "Fargate task scheduling", "", "10 s", "3.2, test 4", true},
		{"scale", "container image pull", "", "8 s", "3.2, test 4", true},
		{"scale", "application startup", "", "7 s", "3.2, test 4", true},
		{"scale", "health check pass", "", "5 s", "3.2, test 4", true},
		{"logs", "streams", "0", "51: 36 of nodes, 12 of the API, 3 of the system", "3.2, test 5", true},
		{"metrics", "Container Insights", "0", "63", "3.2, test 6", true},
		{"network", "network latency", "10 to 50 ms", "1 to 5 ms", "3.1", true},
		{"cache", "stampede/queries", "1 for 100 callers, claimed of the design", "1 for 100 callers, claimed of the design", "1.1", false},
		{"cost", "total", "0 USD/hour", "0.20 USD/hour", "3.1", false},
		{"setup", "what it takes", "Docker compose", "Terraform, ECR, ECS", "3.1", true},
		{"fidelity", "task ceiling", "about 10 tasks", "100s of tasks", "4.2, scenario 4", true},
	}
}

// of returns the published figures of a test.
func publishedOf(test string) (all []published) {
	for _, p := range publishedTable() {
		if p.test == test {
			all = append(all, p)
		}
	}
	return all
}

// cell returns a published figure as a table has it.
func (w *writer) published(text, section string) string {
	if text == "" {
		return nothing
	}
	return w.from(The2025, text+" (section "+section+")")
}

// What is reckoned with, of the published figures.
const (
	publishedUp      = 6.0   // seconds, LocalStack
	publishedUpAWS   = 154.0 // seconds
	publishedOut     = 4.0   // seconds, LocalStack
	publishedOutAWS  = 32.0  // seconds
	publishedDollars = 0.20  // an hour, AWS
	publishedTasks   = 4     // that ran in AWS
)

// publishedLookups are the LocalStack lookups, in milliseconds.
func publishedLookups() []float64 { return []float64{754, 1196, 1577, 2304, 2090} }

// A duration is one of the five scenarios of the report's section 6.1.
type duration struct {
	name  string
	hours float64
	cost  string // published, of AWS
}

func durations() []duration {
	return []duration{
		{"1 hour of testing", 1, "0.20 USD"},
		{"1 day of development (8 hours)", 8, "1.60 USD"},
		{"1 week's project (56 hours)", 56, "11.20 USD"},
		{"1 month without a break (720 hours)", 720, "144 USD"},
		{"4 months of a semester (2880 hours)", 2880, "576 USD"},
	}
}

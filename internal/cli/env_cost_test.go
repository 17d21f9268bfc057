package cli

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
)

func TestEnvCost(t *testing.T) {
	for _, tt := range []struct {
		args  []string
		month float64 // by hand, from the price table
	}{
		// 4 tasks, an API and 3 nodes, without anything that can be left out.
		{[]string{"--egress=public", "--metrics=false", "--container-insights=false", "--alarms=false"},
			730*(4*(0.25*0.04048+0.5*0.004445)+4*0.005+0.0225+0.008+2*0.005) + 4*1.314 + 3 + 2*0.40 + 0.50},
		// 1 of 1 API and 1 + 2.5 of 6 nodes on demand, the others for 0.3 of the price; 7 endpoints in 3 zones.
		{[]string{"--egress=endpoints", "--zones=3", "--nodes=6", "--spot=50", "--metrics=false", "--container-insights=false", "--alarms=false"},
			730*((4.5+2.5*0.3)*(0.25*0.04048+0.5*0.004445)+7*3*0.01+0.0225+0.008+3*0.005) + 7*1.314 + 3 + 2*0.40 + 0.50},
		// Traffic of a month in 160 hours.
		{[]string{"--hours=160", "--logs=10", "--out=100", "--between-zones=50", "--through-nat=20", "--images=2", "--arm", "--metrics=false"},
			160*(4*(0.25*0.03238+0.5*0.00356)+0.045+0.005+0.0225+0.008+2*0.005+(4*1.314+60*0.30+12*0.10+3+2*0.40+0.50)/730) +
				10*0.50 + 100*0.09 + 2*50*0.01 + 20*0.045 + 2*0.10},
	} {
		status, out, errOut := runLine(t, append([]string{"env", "cost", "--json"}, tt.args...)...)
		var got struct {
			Date    string  `json:"prices_of"`
			Monthly float64 `json:"dollars_per_month"`
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil || status != exitOK {
			t.Fatalf("%v: status %d, %v, %s", tt.args, status, err, errOut)
		}
		if math.Abs(got.Monthly-tt.month) > 1e-6 || got.Date == "" {
			t.Errorf("%v: %v USD a month, by hand %v", tt.args, got.Monthly, tt.month)
		}
	}
	for _, bad := range []string{"--hours=0", "--hours=NaN", "--logs=-5", "--out=NaN", "--out=Inf", "--cpu=300", "--memory=8192", "--zones=1", "--nodes=0"} {
		if status, out, _ := runLine(t, "env", "cost", bad); status != exitUsage || out != "" {
			t.Errorf("%s: status %d, %q", bad, status, out)
		}
	}
}

// A budget that env cost says is just enough is enough for env advise, and a dollar less is not.
func TestAdviceReckonsAsCostDoes(t *testing.T) {
	_, out, _ := runLine(t, "env", "cost", "--json", "--nodes=5")
	var cost struct {
		Monthly float64 `json:"dollars_per_month"`
	}
	if err := json.Unmarshal([]byte(out), &cost); err != nil {
		t.Fatal(err)
	}
	for budget, want := range map[float64]string{cost.Monthly + 0.01: "Deploy in aws", cost.Monthly - 1: "No environment"} {
		if _, out, _ := runLine(t, "env", "advise", "--results="+t.TempDir(), "--phase=prod", "--nodes=5", fmt.Sprintf("--budget=%f", budget)); !strings.Contains(out, want) {
			t.Errorf("with %f USD: %q, want %q", budget, out, want)
		}
	}
}

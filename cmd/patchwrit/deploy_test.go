package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/patchwrit/patchwrit/control"
)

// TestAlertsAreOverMetricsThatExist holds the alert rules to what up exposes,
// and the unit to flags that up has.
func TestAlertsAreOverMetricsThatExist(t *testing.T) {
	raw, err := os.ReadFile("../../deploy/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	descs, known := make(chan *prometheus.Desc, 100), map[string]bool{"patchwrit_connected_agents": true}
	new(control.Control).Metrics().Describe(descs)
	close(descs)
	name := regexp.MustCompile(`patchwrit_[a-z_]+`)
	for d := range descs {
		known[name.FindString(d.String())] = true
	}
	used := map[string]bool{}
	for line := range strings.Lines(string(raw)) {
		if expr, ok := strings.CutPrefix(strings.TrimSpace(line), "expr: "); ok {
			for _, m := range name.FindAllString(expr, -1) {
				used[m] = true
				if !known[m] {
					t.Errorf("%s is no metric: %s", m, line)
				}
			}
		}
	}
	if len(used) < 5 {
		t.Errorf("the rules use %d metrics", len(used))
	}
	unit, err := os.ReadFile("../../deploy/systemd/patchwrit.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(string(unit), -1) {
		if upCmd().Flags().Lookup(flag[1]) == nil && flag[1] != "origin" {
			t.Errorf("up has no flag --%s", flag[1])
		}
	}
}

package control

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/trust"
)

// BenchmarkClocks has hosts with 200 vulnerabilities each, seen by five looks
// that each saw something else, and starts a control plane over them: as many
// pasts as hosts, or 20. A plan for all hosts is then weighed.
// PATCHWRIT_BENCH_CLOCKS sets how many hosts (1,000).
func BenchmarkClocks(b *testing.B) {
	n := 1000
	if s := os.Getenv("PATCHWRIT_BENCH_CLOCKS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	for _, pasts := range []int{20, n} {
		b.Run(map[bool]string{true: "alike", false: "apart"}[pasts == 20], func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				w, ids := fleetOfClocks(b, n, pasts)
				b.StartTimer()
				w.measure(b, ids)
			}
		})
	}
}

func fleetOfClocks(b *testing.B, n, pasts int) (*clockwork, []trust.HostID) {
	w := newClockwork(b)
	ids, groups := make([]trust.HostID, n), make([][]trust.HostID, pasts)
	for i := range ids {
		ids[i] = w.host(i)
		groups[i%pasts] = append(groups[i%pasts], ids[i])
	}
	began, glimpses := time.Now(), 0
	for look := range 5 {
		w.now = w.now.Add(24 * time.Hour)
		for g, hosts := range groups {
			seen := []spotted{}
			for v := range 200 - look {
				seen = append(seen, spotted{Names: []string{fmt.Sprintf("CVE-2026-%04d", v), fmt.Sprintf("DSA-%d", v)}, Class: "14D",
					On: []cure{{fmt.Sprintf("p%d-%d", v, g), "amd64", "2"}}})
			}
			w.now = w.now.Add(time.Second)
			w.must(w.look(hosts, seen, nil))
			glimpses += len(hosts)
		}
	}
	b.ReportMetric(float64(time.Since(began).Milliseconds())/float64(glimpses), "ms/glimpse")
	return w, ids
}

func (w *clockwork) measure(b *testing.B, ids []trust.HostID) {
	began := time.Now()
	w.open()
	b.ReportMetric(time.Since(began).Seconds(), "s/start")
	now, all := w.now.Unix(), group{}
	for _, id := range ids {
		all.hosts = append(all.hosts, trust.Host{ID: id})
	}
	began = time.Now()
	if w.pressing(all, now).Due == 0 {
		b.Fatal("nothing presses")
	}
	b.ReportMetric(time.Since(began).Seconds()*1e3, "ms/order-locked")
	finding := match.Finding{Advisory: "DSA-7", Aliases: []string{"CVE-2026-0007"}, Package: "p7", Arch: "amd64", State: match.Affected}
	names := map[string]bool{"DSA-7": true, "CVE-2026-0007": true}
	began = time.Now()
	open, err := w.runningOn(b.Context(), ids, names)
	w.must(err)
	b.ReportMetric(time.Since(began).Seconds(), "s/weigh")
	began = time.Now()
	h := proposal.Host{Causes: []proposal.Cause{{Advisories: []string{"DSA-7"}}}}
	for _, h.ID = range ids {
		f, err := w.hostFacts(b.Context(), h, weighed{findings: []match.Finding{finding}, open: open}, now)
		if err != nil || f.Due == 0 {
			b.Fatalf("%+v, %v", f, err)
		}
	}
	b.ReportMetric(time.Since(began).Seconds()*1e3, "ms/facts-locked")
	began = time.Now()
	x := w.book.exposures[ids[0]]
	past, err := w.glimpses(b.Context(), x.Host)
	w.must(err)
	s, err := w.refold(past)
	w.must(err)
	b.ReportMetric(time.Since(began).Seconds()*1e3, "ms/fold-anew")
	if clocksOf(s).digest != x.Folded {
		b.Fatal("another past")
	}
}

package control

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/writ"
)

// Metrics are gauges over what the store holds, read when they are asked for.
// Every label has a fixed, small set of values: no host, package or person.
func (c *Control) Metrics() prometheus.Collector { return collector{c} }

type collector struct{ c *Control }

var (
	descHosts    = prometheus.NewDesc("patchwrit_hosts", "Enrolled hosts by state.", []string{"state"}, nil)
	descPlans    = prometheus.NewDesc("patchwrit_plans", "Plans by state.", []string{"state"}, nil)
	descWrits    = prometheus.NewDesc("patchwrit_writs", "Writs by state.", []string{"state"}, nil)
	descGrants   = prometheus.NewDesc("patchwrit_grants", "Grants by state.", []string{"state"}, nil)
	descModels   = prometheus.NewDesc("patchwrit_models", "Models that were ever registered, by how much of what they say counts.", []string{"say"}, nil)
	descReceipts = prometheus.NewDesc("patchwrit_receipts", "Writs by the outcome of their last receipt.", []string{"outcome"}, nil)
	descUnlogged = prometheus.NewDesc("patchwrit_unlogged_events", "Events that wait for the log and its witnesses.", nil, nil)
	descSilent   = prometheus.NewDesc("patchwrit_silent_hosts", "Enrolled hosts that have not spoken for five of their intervals.", nil, nil)
	descTrouble  = prometheus.NewDesc("patchwrit_troubles", "Subjects that do not work at the moment.", nil, nil)
)

// Describe implements prometheus.Collector.
func (collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descHosts, descPlans, descWrits, descGrants, descModels, descReceipts, descUnlogged, descSilent, descTrouble} {
		out <- d
	}
}

// scrapeTime bounds one reading of the store.
const scrapeTime = 10 * time.Second

// Collect implements prometheus.Collector.
func (k collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	c := k.c
	waiting, err := c.unlogged(ctx)
	if err == nil {
		out <- prometheus.MustNewConstMetric(descUnlogged, prometheus.GaugeValue, float64(waiting))
	}
	out <- prometheus.MustNewConstMetric(descTrouble, prometheus.GaugeValue, float64(len(c.Trouble())))
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	silent := 0.0
	hosts := slices.Collect(maps.Values(c.book.hosts))
	count(hosts, hostStates, func(h Host) string { return string(c.seenAs(h)) }, func(s string, n float64) { gauge(descHosts, n, s) })
	for _, h := range hosts {
		if c.seenAs(h) == wire.Enrolled && c.Now().Unix()-h.Seen > 5*int64(c.Terms.Every/time.Second) {
			silent++
		}
	}
	gauge(descSilent, silent)
	count(slices.Collect(maps.Values(c.book.plans)), planStates, func(p Plan) string { return string(p.State) }, func(s string, n float64) { gauge(descPlans, n, s) })
	writs := slices.Collect(maps.Values(c.book.writs))
	count(writs, writStates, func(w Writ) string { return w.State }, func(s string, n float64) { gauge(descWrits, n, s) })
	count(slices.Collect(maps.Values(c.book.grants)), grantStates, func(g Grant) string { return g.State }, func(s string, n float64) { gauge(descGrants, n, s) })
	count(slices.Collect(maps.Values(c.book.models)), []string{string(conduct.Shadow), string(conduct.Show), string(conduct.Hold)}, func(m Model) string { return string(m.Say) }, func(s string, n float64) { gauge(descModels, n, s) })
	told := slices.DeleteFunc(writs, func(w Writ) bool { return w.Outcome == "" })
	count(told, outcomes, func(w Writ) string { return w.Outcome }, func(s string, n float64) { gauge(descReceipts, n, s) })
}

// unlogged counts the outbox.
func (c *Control) unlogged(ctx context.Context) (n int, err error) {
	for _, err := range c.Store.Unlogged(ctx) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// The values that labels can have; each is told, also when it counts nothing, so
// that an alert sees it rise.
var (
	hostStates  = []string{string(wire.Pending), string(wire.Enrolled), string(wire.Cloned), string(wire.Gone)}
	planStates  = []string{string(Proposed), string(Held), string(Review), string(Running), string(Finished), string(Denied), string(Stopped), string(Expired)}
	writStates  = []string{Drafted, Ready, Done, Failed, Lapsed, Replaced, Withdrawn}
	grantStates = []string{Live, Suspended, Revoked}
	outcomes    = []string{string(writ.Done), string(writ.Failed), string(writ.Partial), string(writ.RolledBack)}
)

// count groups values by a state; a state that is none of the known ones counts
// nowhere.
func count[T any](list []T, states []string, state func(T) string, tell func(string, float64)) {
	n := map[string]float64{}
	for _, v := range list {
		n[state(v)]++
	}
	for _, s := range states {
		tell(s, n[s])
	}
}

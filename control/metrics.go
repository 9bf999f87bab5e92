package control

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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
	descReceipts = prometheus.NewDesc("patchwrit_receipts", "Receipts by outcome.", []string{"outcome"}, nil)
	descUnlogged = prometheus.NewDesc("patchwrit_unlogged_events", "Events that wait for the log and its witnesses.", nil, nil)
	descSilent   = prometheus.NewDesc("patchwrit_silent_hosts", "Enrolled hosts that have not spoken for five of their intervals.", nil, nil)
	descTrouble  = prometheus.NewDesc("patchwrit_troubles", "Subjects that do not work at the moment.", nil, nil)
)

// Describe implements prometheus.Collector.
func (collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descHosts, descPlans, descWrits, descGrants, descReceipts, descUnlogged, descSilent, descTrouble} {
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
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	hosts, err := all[Host](ctx, c.Store, kindHost)
	if err != nil {
		return
	}
	silent := 0.0
	count(hosts, func(h Host) string { return string(c.seenAs(h)) }, func(s string, n float64) { gauge(descHosts, n, s) })
	for _, h := range hosts {
		if c.Now().Unix()-h.Seen > 5*int64(c.Terms.Every/time.Second) {
			silent++
		}
	}
	gauge(descSilent, silent)
	if plans, err := all[Plan](ctx, c.Store, kindPlan); err == nil {
		count(plans, func(p Plan) string { return string(p.State) }, func(s string, n float64) { gauge(descPlans, n, s) })
	}
	if writs, err := all[Writ](ctx, c.Store, kindWrit); err == nil {
		count(writs, func(w Writ) string { return w.State }, func(s string, n float64) { gauge(descWrits, n, s) })
	}
	if grants, err := all[Grant](ctx, c.Store, kindGrant); err == nil {
		count(grants, func(g Grant) string { return g.State }, func(s string, n float64) { gauge(descGrants, n, s) })
	}
	if receipts, err := all[Receipt](ctx, c.Store, kindReceipt); err == nil {
		count(receipts, func(r Receipt) string { return string(r.Receipt.Outcome) }, func(s string, n float64) { gauge(descReceipts, n, s) })
	}
	waiting := 0.0
	for _, err := range c.Store.Unlogged(ctx) {
		if err == nil {
			waiting++
		}
	}
	gauge(descUnlogged, waiting)
	gauge(descTrouble, float64(len(c.Trouble())))
}

// count groups values by a state.
func count[T any](list []T, state func(T) string, tell func(string, float64)) {
	n := map[string]float64{}
	for _, v := range list {
		n[state(v)]++
	}
	for s, v := range n {
		tell(s, v)
	}
}

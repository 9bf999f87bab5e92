package priority

import (
	"maps"
	"slices"
	"strings"
)

// EventKind says what happened to a vulnerability on a host.
type EventKind string

// The kinds, in the order in which they count when they bear the same second:
// what leaves a host exposed comes last, and wins.
const (
	// Effective: the fix is installed, running, and a scan confirmed it.
	Effective EventKind = "effective"
	// Absent: a scan no longer finds it. A feed may have lost it, a scan may have
	// been partial: the clock goes on.
	Absent EventKind = "absent"
	// Seen: a scan finds it.
	Seen EventKind = "seen"
	// Assessed: it is now in this deadline class.
	Assessed EventKind = "assessed"
)

var kinds = []EventKind{Effective, Absent, Seen, Assessed}

// Event is one fact of the past.
type Event struct {
	At    int64 // Unix seconds
	Host  string
	Names []string // of the vulnerability: CVE ids and aliases; several CVE ids are several vulnerabilities
	Kind  EventKind
	Class Class // of Assessed
}

// Exposure is the clock of one vulnerability on one host.
type Exposure struct {
	Host  string   `json:"host"`
	ID    string   `json:"id"`    // the CVE; else the first name in order
	Names []string `json:"names"` // every name it was seen under, ascending
	First int64    `json:"first"` // first seen, Unix seconds
	// Opened is when the clock started to run the last time; after a fix was
	// effective and undone this is later than First.
	Opened int64 `json:"opened"`
	Closed int64 `json:"closed"` // when the fix became effective; 0 while the clock runs
	Gone   int64 `json:"gone"`   // while it runs: since when scans no longer find it; 0 when they do
	Used   int64 `json:"used"`   // seconds of exposure before Opened
	Class  Class `json:"class"`  // newest; zero when never assessed
	Due    int64 `json:"due"`    // Unix seconds; 0: not running, or a class without a day
}

// Spent is the whole time of exposure up to now, in seconds.
func (e Exposure) Spent(now int64) int64 {
	if e.Closed != 0 {
		return e.Used + e.Closed - e.Opened
	}
	return e.Used + max(0, now-e.Opened)
}

// Overdue reports whether the clock runs and its day has come.
func (e Exposure) Overdue(now int64) bool { return e.Due != 0 && now >= e.Due }

// Fold gives the exposures that events tell of, ascending by host and id. Order
// and repetition of the events do not matter.
//
// A clock starts when a vulnerability is first seen and stops only when its fix
// is effective: another scan, a duplicate, a second name and a time without any
// sign of it change nothing. Aliases share the clock of the CVE they were seen
// with; two CVE ids never share one. An end that names only an alias of several
// CVEs ends none of them.
//
// A deadline is exposure that may be spent. It is the earliest day that follows
// from the class in force or from a milder one before it, each counted from when
// the vulnerability was first in it or in a stricter one. A fix that is undone
// gives nothing back: the clock goes on with what was left.
func Fold(events []Event) []Exposure {
	hosts := map[string][]Event{}
	for _, e := range events {
		hosts[e.Host] = append(hosts[e.Host], e)
	}
	out := []Exposure{}
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		out = append(out, NewState(hosts[host]).Exposures(host)...)
	}
	return out
}

const day = 24 * 3600

// names knows which names of one host's events mean the same.
type names struct {
	parent map[string]string          // of names that are no CVE ids; a root is its own
	cves   map[string]map[string]bool // root → CVE ids it was seen with
	roots  map[string][]string        // the other way round
	all    map[string]map[string]bool // CVE id or root → names
}

func isCVE(name string) bool { return strings.HasPrefix(name, "CVE-") }

// newNames joins the names of everything that was seen or assessed. Ends join
// nothing.
func newNames(events []Event) *names {
	n := &names{parent: map[string]string{}, cves: map[string]map[string]bool{}, roots: map[string][]string{}, all: map[string]map[string]bool{}}
	var joins [][]string
	met := map[string]bool{} // the same is said at each look
	for _, e := range events {
		if key := strings.Join(e.Names, "\x00"); e.joins() && !met[key] {
			met[key] = true
			joins = append(joins, e.Names)
		}
	}
	for _, list := range joins {
		first := ""
		for _, name := range list {
			if isCVE(name) {
				continue
			}
			if _, ok := n.parent[name]; !ok {
				n.parent[name] = name
			}
			if first == "" {
				first = name
			}
			a, b := n.root(first), n.root(name)
			n.parent[max(a, b)] = min(a, b)
		}
	}
	for name := range n.parent {
		put(n.all, n.root(name), name)
	}
	for _, list := range joins {
		for _, cve := range list {
			if !isCVE(cve) {
				continue
			}
			put(n.all, cve, cve)
			for _, name := range list {
				if isCVE(name) {
					continue
				}
				if root := n.root(name); !n.cves[root][cve] {
					put(n.cves, root, cve)
					n.roots[cve] = append(n.roots[cve], root)
				}
			}
		}
	}
	return n
}

func put(m map[string]map[string]bool, key, value string) {
	if m[key] == nil {
		m[key] = map[string]bool{}
	}
	m[key][value] = true
}

func (n *names) root(name string) string {
	for n.parent[name] != name {
		name = n.parent[name]
	}
	return name
}

// targets gives the clocks that an event is about.
func (n *names) targets(e Event) []string {
	out := map[string]bool{}
	for _, name := range e.Names {
		if isCVE(name) {
			out[name] = true
		}
	}
	if len(out) > 0 {
		return slices.Sorted(maps.Keys(out))
	}
	for _, name := range e.Names {
		if _, known := n.parent[name]; !known {
			continue
		}
		root := n.root(name)
		if len(n.cves[root]) == 0 {
			out[root] = true
		}
		for cve := range n.cves[root] {
			out[cve] = true
		}
	}
	if len(out) > 1 && e.Kind != Seen && e.Kind != Assessed {
		return nil
	}
	return slices.Sorted(maps.Keys(out))
}

// of gives every name of a clock.
func (n *names) of(id string) []string {
	out := map[string]bool{}
	maps.Copy(out, n.all[id])
	for _, root := range n.roots[id] {
		maps.Copy(out, n.all[root])
	}
	return slices.Sorted(maps.Keys(out))
}

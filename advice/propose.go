package advice

import (
	"fmt"
	"slices"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
)

// The closed set of actions. None of them permits anything.
const (
	Keep     = "keep"     // as if there were no advice
	Hold     = "hold"     // people look before the plan goes on
	Escalate = "escalate" // people look now
)

// Actions are all of them.
var Actions = []string{Keep, Hold, Escalate}

// Accepted is what of a proposal stands. What does not stand is keep, without an
// order: as if there were no advice.
type Accepted struct {
	Stands bool         `json:"stands"`
	Action string       `json:"action"`
	Class  change.Class `json:"class"` // whose items are ordered; "": none
	Order  []string     `json:"order"`
	Reason canon.Note   `json:"reason"` // one sentence
}

// proposal judges what an adviser would do, by the claims that hold.
func (v *judge) proposal(p Proposal, holds map[string]string, foreign bool) Accepted {
	no := func(format string, args ...any) Accepted {
		return Accepted{Action: Keep, Order: []string{}, Reason: canon.NoteOf(fmt.Sprintf(format, args...))}
	}
	switch {
	case foreign:
		return no("The answer is about another dossier.")
	case !slices.Contains(Actions, p.Action):
		return no("There is no action %.40q: advice can keep, hold or escalate.", p.Action)
	}
	for _, id := range p.Because {
		if holds[id] == "" {
			return no("It rests on claim %.40q, which is not verified.", id)
		}
	}
	if p.Action != Keep && len(p.Because) == 0 {
		return no("It would %s for no claim.", p.Action)
	}
	class, why := v.ordered(p.Order)
	if why != "" {
		return no("%s", why)
	}
	return Accepted{Stands: true, Action: p.Action, Class: class, Order: append([]string{}, p.Order...), Reason: "It can only hold back, or order what happens anyway."}
}

// ordered says why a list is no order of one class: every item of the class
// once, and nothing before what it depends on.
func (v *judge) ordered(order []string) (change.Class, string) {
	if len(order) == 0 {
		return "", ""
	}
	classes, place := map[string]change.Class{}, map[string]int{}
	for _, i := range v.d.Items {
		classes[i.Key] = i.Class
	}
	class := classes[order[0]]
	for n, key := range order {
		if _, twice := place[key]; twice {
			return "", fmt.Sprintf("The order names %.80q twice.", key)
		}
		if classes[key] == "" {
			return "", fmt.Sprintf("The order names %.80q, which the plan does not change.", key)
		}
		if classes[key] != class {
			return "", fmt.Sprintf("The order mixes the classes %s and %s.", class, classes[key])
		}
		place[key] = n
	}
	for _, i := range v.d.Items {
		if _, ok := place[i.Key]; i.Class == class && !ok {
			return "", fmt.Sprintf("The order leaves out %s, which is of class %s, too.", i.Key, class)
		}
	}
	if then, first := v.against(place); then != "" {
		return "", fmt.Sprintf("The order has %s before %s, which it depends on.", then, first)
	}
	return class, ""
}

// against finds an item that an order has before one that it depends on, be it by
// way of items that the order does not name.
func (v *judge) against(place map[string]int) (then, first string) {
	after := map[string][]string{}
	for _, e := range v.d.Edges {
		after[e.Before] = append(after[e.Before], e.After)
	}
	keys := make([]string, len(place))
	for key, n := range place {
		keys[n] = key
	}
	reached := map[string]bool{} // not in the order, and already known to come after a later item of it
	for n, key := range slices.Backward(keys) {
		for next := []string{key}; len(next) > 0; {
			at := next[len(next)-1]
			next = next[:len(next)-1]
			for _, to := range after[at] {
				if m, ok := place[to]; ok && m < n {
					return to, key
				} else if !ok && !reached[to] {
					reached[to] = true
					next = append(next, to)
				}
			}
		}
	}
	return "", ""
}

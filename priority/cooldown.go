package priority

import (
	"errors"
	"fmt"
	"slices"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
)

// ErrCooldown says that a set of waits is not taken, and why.
var ErrCooldown = errors.New("the cooldowns are not taken")

const maxWait = 365 * day

// Wait is how long a new artefact of an origin stands before it may be installed.
// A long enough wait lets others find out that a release is broken or poisoned.
type Wait struct {
	Origin       change.Origin `json:"origin"`
	Class        change.Class  `json:"class"`        // of the change
	Seconds      int64         `json:"seconds"`      // from when the artefact first stood in the origin's signed index
	Corroborated int64         `json:"corroborated"` // likewise, where independent corroboration says that it is urgent
}

// Cooldowns are the waits in force, at most one for each origin and class.
type Cooldowns struct{ waits []Wait }

// NewCooldowns checks waits. The error is ErrCooldown.
func NewCooldowns(waits []Wait) (Cooldowns, error) {
	if len(waits) == 0 {
		return Cooldowns{}, fmt.Errorf("%w: there is none; say how long artefacts wait, even if it is 0 seconds", ErrCooldown)
	}
	for i, w := range waits {
		switch {
		case w.Origin == "" || !slices.Contains(change.Classes, w.Class):
			return Cooldowns{}, fmt.Errorf("%w: wait %d has no origin or an unknown class", ErrCooldown, i)
		case w.Corroborated < 0 || w.Seconds < w.Corroborated || w.Seconds > maxWait:
			return Cooldowns{}, fmt.Errorf("%w: wait %d: 0 <= corroborated <= seconds <= %d does not hold", ErrCooldown, i, maxWait)
		case slices.ContainsFunc(waits[:i], func(o Wait) bool { return o.Origin == w.Origin && o.Class == w.Class }):
			return Cooldowns{}, fmt.Errorf("%w: %s %s stands twice", ErrCooldown, w.Origin, w.Class)
		}
	}
	return Cooldowns{slices.Clone(waits)}, nil
}

// VoiceKind is who says that a fix is urgent.
type VoiceKind string

// The kinds of voices that count. Labels, tickets and advice are voices of other
// kinds: whatever their name, they are written down and count for nothing.
const (
	VoiceKEV    VoiceKind = "kev"                            // CISA lists the CVE
	VoiceSigned VoiceKind = "distribution's signed advisory" // the origin's own advisory on the CVE, under its key
)

// Voice is one statement about one CVE.
type Voice struct {
	Kind     VoiceKind    `json:"kind"`
	By       string       `json:"by"`       // party; for VoiceSigned the origin whose key it is
	CVE      string       `json:"cve"`      // what it speaks of
	Snapshot canon.Digest `json:"snapshot"` // where it was read
}

// Artefact is what may have to wait.
type Artefact struct {
	Origin change.Origin
	Class  change.Class
	Since  int64    // when it first stood in the origin's signed index, by trusted time; Unix seconds
	Fixes  []string // CVE ids of the findings that it settles
}

// Hold is the answer.
type Hold struct {
	Until     int64   `json:"until"`     // Unix seconds; at this second it may go
	Wait      Wait    `json:"wait"`      // the rule that was used
	Shortened bool    `json:"shortened"` // corroboration made it shorter
	Counted   []Voice `json:"counted"`   // the voices that did; never nil
	Ignored   []Voice `json:"ignored"`   // the others; never nil
}

// Hold says until when an artefact waits. The wait is shortened only when two
// parties that do not depend on each other speak of one CVE that the artefact
// fixes: CISA's catalogue, and the origin's distribution in an advisory under its
// own key. An origin or class without a rule waits for as long as the longest
// rule of all, and nothing shortens that.
func (c Cooldowns) Hold(a Artefact, voices []Voice) Hold {
	h := Hold{Wait: c.rule(a.Origin, a.Class), Counted: []Voice{}, Ignored: []Voice{}}
	for _, cve := range a.Fixes {
		kev := slices.IndexFunc(voices, func(v Voice) bool { return v.Kind == VoiceKEV && v.CVE == cve && v.By != string(a.Origin) })
		signed := slices.IndexFunc(voices, func(v Voice) bool { return v.Kind == VoiceSigned && v.CVE == cve && v.By == string(a.Origin) })
		if kev >= 0 && signed >= 0 && h.Wait.Corroborated < h.Wait.Seconds {
			h.Shortened = true
			h.Counted = append(h.Counted, voices[kev], voices[signed])
		}
	}
	for _, v := range voices {
		if !slices.Contains(h.Counted, v) {
			h.Ignored = append(h.Ignored, v)
		}
	}
	h.Until = a.Since + h.Wait.Seconds
	if h.Shortened {
		h.Until = a.Since + h.Wait.Corroborated
	}
	return h
}

// rule finds the wait; where there is none, the longest of all that cannot be shortened.
func (c Cooldowns) rule(o change.Origin, class change.Class) Wait {
	longest := int64(0)
	for _, w := range c.waits {
		if w.Origin == o && w.Class == class {
			return w
		}
		longest = max(longest, w.Seconds)
	}
	if len(c.waits) == 0 {
		longest = maxWait // the zero value
	}
	return Wait{Origin: o, Class: class, Seconds: longest, Corroborated: longest}
}

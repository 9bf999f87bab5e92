package fleet

import (
	"cmp"
	"slices"
	"sort"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/version"
)

// held is a tuple with the hosts that have it: those of the templates that have
// it, without those that lack it, and those that have it besides.
type held struct {
	*tuple
	extra set
	by    *carried // nil when no template has it
}

// carried is what a tuple has by templates. It is never changed.
type carried struct {
	templates []uint32 // ascending
	lacking   set
}

// subject is one source package of one release, or of a distribution as a
// whole, with all that hosts have of it and all that records say of it.
type subject struct {
	advisory.Subject
	generation uint64
	scheme     version.Scheme
	known      bool
	ordered    []held   // ascending by version; equal versions by their text and module
	loose      []held   // those without a place in the order, by tuple
	streamed   []held   // those of modules, by tuple
	rows       []*row   // in no order
	releases   []uint32 // of a distribution as a whole: the package's releases
}

// compare orders two versions that the scheme can read. Keys are empty where
// the scheme has none.
func compare(s version.Scheme, a, aKey, b, bKey string) int {
	if s == version.Deb {
		return strings.Compare(aKey, bKey)
	}
	c, _ := version.Compare(s, a, b) // both were read before
	return c
}

func (s *subject) list(p place) *[]held {
	switch p {
	case loose:
		return &s.loose
	case streamed:
		return &s.streamed
	}
	return &s.ordered
}

// search finds tuple t's place. Looking through the first ones costs less than
// the first comparison of versions.
func (s *subject) search(t *tuple) (*[]held, int, bool) {
	list := s.list(t.place)
	for i := range (*list)[:min(len(*list), 64)] {
		if (*list)[i].tuple == t {
			return list, i, true
		}
	}
	if t.place != ordered {
		i, found := slices.BinarySearchFunc(*list, t, func(h held, t *tuple) int { return int(h.id) - int(t.id) })
		return list, i, found
	}
	i, found := slices.BinarySearchFunc(s.ordered, t, func(h held, t *tuple) int {
		if c := compare(s.scheme, h.version(), h.key(), t.version(), t.key()); c != 0 {
			return c
		}
		return cmp.Or(strings.Compare(h.version(), t.version()), strings.Compare(h.module, t.module))
	})
	return list, i, found
}

// from is the first place whose version is not below b.
func (s *subject) from(b bound) int {
	return sort.Search(len(s.ordered), func(i int) bool {
		return compare(s.scheme, s.ordered[i].version(), s.ordered[i].key(), b.version, b.key) >= 0
	})
}

// beyond is the first place whose version is above b.
func (s *subject) beyond(b bound) int {
	return sort.Search(len(s.ordered), func(i int) bool {
		return compare(s.scheme, s.ordered[i].version(), s.ordered[i].key(), b.version, b.key) > 0
	})
}

// places gives the run of versions that lies in a stretch.
func (s *subject) places(x stretch) (lo, hi int) {
	if x.from != (bound{}) {
		lo = s.from(x.from)
	}
	switch {
	case x.to == (bound{}):
		hi = len(s.ordered)
	case x.through:
		hi = s.beyond(x.to)
	default:
		hi = s.from(x.to)
	}
	return lo, max(lo, hi)
}

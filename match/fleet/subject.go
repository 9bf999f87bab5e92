package fleet

import (
	"slices"
	"sort"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/version"
)

// tuple is a source package of one release in one version, interned. It is
// never changed, but for owner, which is the writer's alone.
type tuple struct {
	id        uint32
	subject   uint32
	ecosystem uint32
	loose     bool // no place in the order: unsettled, or the version cannot be read
	unsettled bool
	source    string
	version   string
	key       string // orders deb versions; see version.Key
	owner     uint64 // generation that may write to the set of hosts in place
}

// held is a tuple with the hosts that have it.
type held struct {
	*tuple
	hosts *roaring.Bitmap
}

// subject is one source package of one release, or of a distribution as a
// whole, with all that hosts have of it and all that records say of it.
type subject struct {
	advisory.Subject
	generation uint64
	scheme     version.Scheme
	known      bool
	ordered    []held   // ascending by version; equal versions by their text
	loose      []held   // those without a place in the order, by tuple
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

// search finds tuple t's place.
func (s *subject) search(t *tuple) (*[]held, int, bool) {
	if t.loose {
		i, found := slices.BinarySearchFunc(s.loose, t, func(h held, t *tuple) int { return int(h.id) - int(t.id) })
		return &s.loose, i, found
	}
	i, found := slices.BinarySearchFunc(s.ordered, t, func(h held, t *tuple) int {
		if c := compare(s.scheme, h.version, h.key, t.version, t.key); c != 0 {
			return c
		}
		return strings.Compare(h.version, t.version)
	})
	return &s.ordered, i, found
}

// from is the first place whose version is not below b.
func (s *subject) from(b bound) int {
	return sort.Search(len(s.ordered), func(i int) bool {
		return compare(s.scheme, s.ordered[i].version, s.ordered[i].key, b.version, b.key) >= 0
	})
}

// beyond is the first place whose version is above b.
func (s *subject) beyond(b bound) int {
	return sort.Search(len(s.ordered), func(i int) bool {
		return compare(s.scheme, s.ordered[i].version, s.ordered[i].key, b.version, b.key) > 0
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

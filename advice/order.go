package advice

import (
	"slices"

	"github.com/patchwrit/patchwrit/version"
)

// order is that of all versions of a scheme that a dossier holds. With it the
// versions of a claim are looked up once, not compared with each fact anew: a
// hostile answer may ask about all of them 256 times.
type order struct {
	scheme version.Scheme
	sorted []string       // one of each set of equal versions, ascending
	known  map[string]int // places of the dossier's own
}

// unread is the place of what is no version of the scheme.
const unread = -1

// ordersOf sorts the versions of a dossier by scheme.
func ordersOf(d Dossier) map[version.Scheme]*order {
	out := map[version.Scheme]*order{}
	for _, e := range d.Evidence {
		for _, f := range e.Facts {
			o := out[f.Scheme]
			if o == nil {
				o = &order{scheme: f.Scheme, known: map[string]int{}}
				out[f.Scheme] = o
			}
			o.take(f)
		}
	}
	for _, o := range out {
		o.sort()
	}
	return out
}

// take notes the versions of a fact.
func (o *order) take(f Fact) {
	list := []string{f.Version}
	switch f.Kind {
	case AffectedRange:
		r, _ := rangeOf(f.Value)
		list = append(list, r.Introduced, r.Fixed, r.LastAffected)
	case FixedVersion, Supersedes:
		list = append(list, f.Value)
	}
	for _, v := range list {
		if _, seen := o.known[v]; seen {
			continue
		}
		o.known[v] = unread
		if v != "" && version.Valid(o.scheme, v) == nil {
			o.sorted = append(o.sorted, v)
		}
	}
}

// sort gives the versions their places: odd ones, so that there is room between
// any two.
func (o *order) sort() {
	compare := func(a, b string) int {
		c, _ := version.Compare(o.scheme, a, b) // both were read
		return c
	}
	slices.SortFunc(o.sorted, compare)
	different := o.sorted[:0]
	for i, v := range o.sorted {
		if i == 0 || compare(different[len(different)-1], v) != 0 {
			different = append(different, v)
		}
		o.known[v] = 2*len(different) - 1
	}
	o.sorted = different
}

// place gives the place of a version, the same for equal ones; unread where it is
// none.
func (o *order) place(v string) int {
	if o == nil || v == "" {
		return unread
	}
	if at, ok := o.known[v]; ok {
		return at
	}
	if version.Valid(o.scheme, v) != nil {
		return unread
	}
	at, found := slices.BinarySearchFunc(o.sorted, v, func(a, b string) int {
		c, _ := version.Compare(o.scheme, a, b)
		return c
	})
	if found {
		return 2*at + 1
	}
	return 2 * at
}

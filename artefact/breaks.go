package artefact

import (
	"cmp"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
)

// Break is a program or library that would miss something after a change.
type Break struct {
	Consumer canon.Note   `json:"consumer"`
	Soname   canon.Note   `json:"soname"`
	Missing  []canon.Note `json:"missing"` // symbols "name" or "name@version"; empty when the whole library goes, or when Certain is false
	Certain  bool         `json:"certain"` // false: more symbols are lost than are named, and none of the named is used
}

// Breaks names the consumers that import a symbol from a library of d that is
// lost, or need a library that goes. Consumers that the same plan replaces
// should be given as they are afterwards (Contents.Consumers). Sorted by
// consumer, then library.
func Breaks(d Diff, consumers []Consumer) []Break {
	out := []Break{}
	for _, l := range d.Libraries {
		if l.LostCount == 0 && l.Change != removed {
			continue
		}
		soname, gone := l.Soname.Text(), lostSymbols(l)
		for _, c := range consumers {
			if !slices.Contains(c.Needed, soname) {
				continue
			}
			b := Break{Consumer: canon.NoteOf(c.Name), Soname: l.Soname, Missing: []canon.Note{}}
			for _, i := range c.Imports {
				if (i.Library == "" || i.Library == soname) && gone.misses(i) {
					b.Missing = append(b.Missing, canon.NoteOf(i.Key()))
				}
			}
			b.Certain = l.Change == removed || len(b.Missing) > 0
			if b.Certain || l.LostCount > len(l.Lost) {
				out = append(out, b)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Break) int {
		return cmp.Or(cmp.Compare(a.Consumer, b.Consumer), cmp.Compare(a.Soname, b.Soname))
	})
	return out
}

// lost is a set of lost symbols: by key, and for imports without a version by
// name alone.
type lost struct {
	keys map[string]bool
	bare map[string]bool
}

func lostSymbols(l LibraryChange) lost {
	s := lost{map[string]bool{}, map[string]bool{}}
	for _, note := range l.Lost {
		key := note.Text()
		s.keys[key] = true
		name, _, _ := strings.Cut(key, "@")
		s.bare[name] = true
	}
	return s
}

// misses reports whether an import is among the lost. The dynamic linker binds
// an import without a version to any version of its name, and one with a
// version to a library without versions: both count.
func (s lost) misses(i Import) bool {
	if i.Version == "" {
		return s.bare[i.Symbol]
	}
	return s.keys[i.Key()] || s.keys[i.Symbol]
}

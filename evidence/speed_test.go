package evidence_test

import (
	"bytes"
	"testing"

	"github.com/patchwrit/patchwrit/evidence"
)

// BenchmarkRun measures a whole check, and how soon a change is found.
func BenchmarkRun(b *testing.B) {
	w := people()
	raw := w.Raw()
	late := bytes.LastIndex(raw, []byte(`"verdict"`)) + 20
	flipped := bytes.Clone(raw)
	flipped[late] = neighbour(raw[late])
	for name, in := range map[string][]byte{"whole": raw, "flipped": flipped} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				evidence.Run(in, w.House.Root, w.Decide, true)
			}
		})
	}
}

package version

import (
	"bytes"
	"testing"

	peer "github.com/knqyf263/go-deb-version"
)

// near are pairs as a host compares them: installed against fixed, which differ
// late.
var near = [][2]string{
	{"1:9.2p1-2+deb12u2", "1:9.2p1-2+deb12u3"}, {"2.36-9+deb12u9", "2.36-9+deb12u10"}, {"3.0.15-1~deb12u1", "3.0.16-1~deb12u1"},
	{"7.88.1-10+deb12u8", "7.88.1-10+deb12u12"}, {"1.1.1n-0+deb11u5", "1.1.1n-0+deb11u6"}, {"22.01+really26.01+dfsg-0+deb12u1", "22.01+really26.02+dfsg-0+deb12u1"},
	{"6.1.90-1", "6.1.94-1"}, {"252.22-1~deb12u1", "252.26-1~deb12u2"},
}

func BenchmarkCompareDeb(b *testing.B) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		pair := &near[i%len(near)]
		if c, err := Compare(Deb, pair[0], pair[1]); c != -1 || err != nil {
			b.Fatal(c, err)
		}
	}
}

// BenchmarkCompareDebPeer does the same work with github.com/knqyf263/go-deb-version.
func BenchmarkCompareDebPeer(b *testing.B) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		pair := &near[i%len(near)]
		x, errX := peer.NewVersion(pair[0])
		y, errY := peer.NewVersion(pair[1])
		if errX != nil || errY != nil || x.Compare(y) >= 0 {
			b.Fatal(pair, errX, errY)
		}
	}
}

func BenchmarkKeyCompare(b *testing.B) {
	var keys [][2][]byte
	for _, pair := range near {
		x, errX := Key(pair[0])
		y, errY := Key(pair[1])
		if errX != nil || errY != nil {
			b.Fatal(errX, errY)
		}
		keys = append(keys, [2][]byte{x, y})
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		pair := &keys[i%len(keys)]
		if bytes.Compare(pair[0], pair[1]) != -1 {
			b.Fatal("keys out of order")
		}
	}
}

func BenchmarkKeyBuild(b *testing.B) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		key, err := Key(near[i%len(near)][0])
		if err != nil {
			b.Fatal(err)
		}
		sink = key
	}
}

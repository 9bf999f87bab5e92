package writ_test

import (
	"math/rand/v2"
	"testing"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

// TestALostLogGoesOnUnderTheNameThatKeepersSign: the trust root names a new log
// whose name carries the last witnessed checkpoint. A host follows only when
// that checkpoint is not older than what it has seen; then it begins to count
// anew, and goes back no more.
func TestALostLogGoesOnUnderTheNameThatKeepersSign(t *testing.T) {
	last, other := canon.SumFile([]byte("last")), canon.SumFile([]byte("other"))
	lost := func(size int64, hash canon.Digest) tlog.Checkpoint {
		return tlog.Checkpoint{Origin: "log.example/patchwrit", Size: size, Hash: hash}
	}
	once := trusttest.Must(rand.NewChaCha8([32]byte{8}), trusttest.Options{Log: "log.example/patchwrit/after/900/" + string(last)})
	twice := trusttest.Must(rand.NewChaCha8([32]byte{9}), trusttest.Options{Log: "log.example/patchwrit/after/900/" + string(last) + "/after/40/" + string(other)})
	for name, c := range map[string]struct {
		house trusttest.House
		seen  tlog.Checkpoint
		code  refusal.Code
	}{
		"the last checkpoint itself": {once, lost(900, last), ""},
		"an older one":               {once, lost(500, other), ""},
		"lost twice":                 {twice, lost(900, last), ""},
		"lost twice, seen between":   {twice, tlog.Checkpoint{Origin: once.Log.Origin, Size: 40, Hash: other}, ""},
		"newer than the keepers say": {once, lost(901, last), "PW-WRIT-FORK"},
		"another history":            {once, lost(900, other), "PW-WRIT-FORK"},
		"newer between":              {twice, tlog.Checkpoint{Origin: once.Log.Origin, Size: 41, Hash: other}, "PW-WRIT-FORK"},
		"another log":                {once, tlog.Checkpoint{Origin: "log.example/patch", Size: 1, Hash: other}, "PW-WRIT-FORK"},
		"the log that follows":       {once, tlog.Checkpoint{Origin: twice.Log.Origin, Size: 1, Hash: other}, "PW-WRIT-FORK"},
		"no number": {trusttest.Must(rand.NewChaCha8([32]byte{10}), trusttest.Options{Log: "log.example/patchwrit/after/many/" + string(last)}),
			lost(1, other), "PW-WRIT-FORK"},
	} {
		w := writtest.New(c.house)
		w.Memory.Checkpoint, w.Memory.Generation = c.seen, 2
		if c.code == "" {
			w.Memory.Generation = 800
		}
		_, mem, err := verify(w)
		if refusal.CodeOf(err) != c.code || (err == nil) != (c.code == "") {
			t.Errorf("%s: %v, want %q", name, err, c.code)
			continue
		}
		if err == nil && (mem.Generation != 2 || mem.Checkpoint.Origin != c.house.Log.Origin || mem.Checkpoint.Size != 7) {
			t.Errorf("%s: remembers generation %d and %+v", name, mem.Generation, mem.Checkpoint)
		}
		if err != nil && mem.Checkpoint != c.seen {
			t.Errorf("%s: refused, and remembers %+v", name, mem.Checkpoint)
		}
	}
	w := writtest.New(once)
	w.Memory.Checkpoint, w.Memory.Generation = tlog.Checkpoint{Origin: once.Log.Origin, Size: 1, Hash: last}, 800
	if _, _, err := verify(w); refusal.CodeOf(err) != "PW-WRIT-GENERATION" {
		t.Errorf("within the new log an older plan is taken: %v", err)
	}
}

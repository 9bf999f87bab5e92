package writ_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

var house = trusttest.Must(rand.NewChaCha8([32]byte{7}), trusttest.Options{})

func at(unix int64) time.Time { return time.Unix(unix, 0) }

func verify(c *writtest.Case) (writ.Verified, writ.Memory, error) {
	return writ.Verify(c.Raw(), c.House.Root, c.Memory, at(c.Now))
}

func TestGoodWritPermitsExactlyItsChanges(t *testing.T) {
	c := writtest.New(house)
	v, mem, err := verify(c)
	if err != nil {
		t.Fatal(err)
	}
	if v.Host() != c.Host.ID || len(v.Changes()) != 1 || v.Changes()[0] != c.Branches[0].Changes[0] || v.Undo() || v.Network() {
		t.Errorf("permits %+v", v.Changes())
	}
	if len(mem.Consumed) != 1 || mem.Consumed[0].Writ != v.Digest() || mem.Nonce != "" || mem.Generation != 2 || mem.Checkpoint.Size != 7 {
		t.Errorf("remembers %+v", mem)
	}
}

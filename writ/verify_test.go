package writ_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

var house = trusttest.Must(rand.NewChaCha8([32]byte{7}), trusttest.Options{})

func at(unix int64) time.Time { return time.Unix(unix, 0) }

func verify(c *writtest.Case) (writ.Verified, writ.Memory, error) {
	return writ.Verify(c.Raw(), c.House.Root, c.Memory, at(c.Now))
}

func TestAPlanIsUsedOnceWhateverItsWrit(t *testing.T) {
	c := writtest.New(house)
	_, first, mem := used(t, c)
	for name, mem := range map[string]writ.Memory{"it went well": mem, "it failed": mem.Failed(first.Digest(), c.Now)} {
		again := writtest.New(house)
		again.EditBody = func(b *writ.Body) { b.Nonce = strings.Repeat("5c", 32) }
		again.Memory = mem.Asking(writtest.Nonce, again.Now-5)
		if _, _, err := verify(again); refusal.CodeOf(err) != "PW-WRIT-CONSUMED" {
			t.Errorf("%s, and another writ comes for the same plan: %v", name, err)
		}
		again.Memory.Consumed, again.Memory.Checkpoint = nil, tlog.Checkpoint{} // that of another log
		if _, _, err := verify(again); err != nil {
			t.Errorf("%s: the control: %v", name, err)
		}
	}
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
	if len(mem.Consumed) != 1 || mem.Consumed[0].Plan != v.Plan() || mem.Nonce != "" || mem.Generation != 2 || mem.Checkpoint.Size != 7 {
		t.Errorf("remembers %+v", mem)
	}
}

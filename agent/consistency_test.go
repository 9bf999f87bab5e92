package agent

import (
	"os"
	"path/filepath"
	"testing"

	"filippo.io/torchwood"
	sumdb "golang.org/x/mod/sumdb/tlog"

	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

// hashes is a whole small log.
type hashes []sumdb.Hash

func (h hashes) ReadHashes(indexes []int64) ([]sumdb.Hash, error) {
	out := make([]sumdb.Hash, len(indexes))
	for i, n := range indexes {
		out[i] = h[n]
	}
	return out, nil
}

// tilesOf writes the hash tiles of a log as C2SP lays them out.
func tilesOf(t *testing.T, entries [][]byte) string {
	t.Helper()
	dir := t.TempDir()
	var all hashes
	for i, e := range entries {
		more, err := sumdb.StoredHashes(int64(i), e, all)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, more...)
	}
	for _, tile := range sumdb.NewTiles(torchwood.TileHeight, 0, int64(len(entries))) {
		raw, err := sumdb.ReadTileData(tile, all)
		path := filepath.Join(dir, torchwood.TilePath(tile))
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o755)
		}
		if err == nil {
			err = os.WriteFile(path, raw, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// seen is the checkpoint of the first n entries.
func seen(t *testing.T, p *place, policy tlog.Policy, entries [][]byte) tlog.Checkpoint {
	t.Helper()
	now := p.now.Unix()
	signed, err := p.house.Witnessed(entries, now, now, now)
	if err != nil {
		t.Fatal(err)
	}
	v, err := policy.Checkpoint(signed)
	if err != nil {
		t.Fatal(err)
	}
	return v.Checkpoint
}

func TestTheProofThatTheLogOnlyGrew(t *testing.T) {
	p := newPlace(t)
	policy, err := tlog.ParsePolicy(p.house.Root.Witnesses)
	if err != nil {
		t.Fatal(err)
	}
	c := p.theCase()
	c.Filler = 600 // more than two full tiles
	raw, entries := c.Raw(), c.Entries()
	dir := tilesOf(t, entries)
	for _, n := range []int{1, 255, 256, 257, 512, len(entries) - 1, len(entries)} {
		mem := c.Memory
		mem.Checkpoint = seen(t, p, policy, entries[:n])
		proof, err := consistency(dir, mem.Checkpoint, checkpointOf(policy, raw.Writ))
		if err != nil {
			t.Fatalf("size %d: %v", n, err)
		}
		raw.Consistency = proof
		if _, _, err := writ.Verify(raw, p.house.Root, mem, p.now); err != nil {
			t.Errorf("size %d: %v", n, err)
		}
		if n < len(entries) {
			raw.Consistency = nil
			if _, _, err := writ.Verify(raw, p.house.Root, mem, p.now); refusal.CodeOf(err) != "PW-WRIT-NOCONSISTENCY" {
				t.Errorf("size %d without the proof: %v", n, err)
			}
		}
	}
}

func TestALogThatIsNotTheOneInTheWrit(t *testing.T) {
	p := newPlace(t)
	policy, err := tlog.ParsePolicy(p.house.Root.Witnesses)
	if err != nil {
		t.Fatal(err)
	}
	c := p.theCase()
	raw := c.Raw()
	other := p.theCase()
	other.Branches[0] = writtest.Branch(other.Host.ID, 0, changes[:1]...)
	mem := c.Memory
	mem.Checkpoint = seen(t, p, policy, c.Entries()[:2])
	if _, err := consistency(tilesOf(t, other.Entries()), mem.Checkpoint, checkpointOf(policy, raw.Writ)); refusal.CodeOf(err) != codeInput {
		t.Errorf("another log's tiles: %v", err)
	}
	if proof, err := consistency(filepath.Join(t.TempDir(), "none"), mem.Checkpoint, checkpointOf(policy, raw.Writ)); refusal.CodeOf(err) != codeInput {
		t.Errorf("no tiles: %v, %v", proof, err)
	}
	mem.Checkpoint = tlog.Checkpoint{}
	if proof, err := consistency(filepath.Join(t.TempDir(), "none"), mem.Checkpoint, checkpointOf(policy, raw.Writ)); err != nil || proof != nil {
		t.Errorf("nothing was seen before: %v, %v", proof, err)
	}
}

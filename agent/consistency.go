package agent

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"filippo.io/torchwood"
	sumdb "golang.org/x/mod/sumdb/tlog"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/writ"
)

// checkpointOf is the checkpoint that a writ's proof leads to, or the zero one:
// then the verification says what is wrong with the writ.
func checkpointOf(policy tlog.Policy, raw []byte) tlog.Checkpoint {
	var w writ.Writ
	if canon.Decode(raw, &w) != nil {
		return tlog.Checkpoint{}
	}
	seen, err := policy.Verify(w.Body.Entry(), w.Proof)
	if err != nil {
		return tlog.Checkpoint{}
	}
	return seen.Checkpoint
}

// consistency makes the proof between the checkpoint that this host holds and
// the writ's, from the tiles of the log in dir (c2sp.org/tlog-tiles). It is only
// carried to the verification, which believes none of it. Without a directory,
// and where nothing has to be shown, it is empty.
func consistency(dir string, older, newer tlog.Checkpoint) ([]canon.Digest, error) {
	if dir == "" || older.Size == 0 || newer.Size == 0 || older.Origin != newer.Origin {
		return nil, nil
	}
	if older.Size > newer.Size {
		older, newer = newer, older
	}
	if older.Size == newer.Size {
		return nil, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, refusal.New(codeInput, "%v", err)
	}
	defer root.Close()
	tree := sumdb.Tree{N: newer.Size, Hash: sumdb.Hash(newer.Hash.Bytes())}
	proof, err := sumdb.ProveTree(newer.Size, older.Size, sumdb.TileHashReader(tree, tiles{root.FS()}))
	if err != nil {
		return nil, refusal.New(codeInput, "the log in %s gives no proof from size %d to %d: %v", dir, older.Size, newer.Size, err)
	}
	out := make([]canon.Digest, len(proof))
	for i, h := range proof {
		out[i] = canon.Digest(hex.EncodeToString(h[:]))
	}
	return out, nil
}

// tiles reads the hash tiles of a log directory.
type tiles struct{ fsys fs.FS }

// Height is that of every C2SP log.
func (tiles) Height() int { return torchwood.TileHeight }

// SaveTiles keeps nothing.
func (tiles) SaveTiles([]sumdb.Tile, [][]byte) {}

// ReadTiles reads tiles; a partial one may have become a full one since.
func (t tiles) ReadTiles(want []sumdb.Tile) ([][]byte, error) {
	all := make([][]byte, len(want))
	for i, tile := range want {
		raw, err := t.read(torchwood.TilePath(tile))
		if errors.Is(err, fs.ErrNotExist) {
			full := tile
			full.W = 1 << torchwood.TileHeight
			raw, err = t.read(torchwood.TilePath(full))
		}
		size := tile.W * sumdb.HashSize
		if err == nil && len(raw) < size {
			err = fmt.Errorf("%s has %d bytes", torchwood.TilePath(tile), len(raw))
		}
		if err != nil {
			return nil, err
		}
		all[i] = raw[:size]
	}
	return all, nil
}

// maxTile is the size of a full hash tile.
const maxTile = sumdb.HashSize << torchwood.TileHeight

func (t tiles) read(path string) ([]byte, error) {
	f, err := t.fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxTile))
}

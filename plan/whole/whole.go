// Package whole opens whole plans: the header with all its branches, and the
// tree rebuilt from them.
//
// Whoever makes, shows, signs or audits a plan needs all of it; a host needs
// only its own branch and the path that ties it to the header (room plan). The
// promise: a plan that opens holds exactly the branches that its header's
// digest names, each valid, in one order.
package whole

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/plan"
)

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{plan.ErrForm}, args...)...)
}

// Tree returns the root over branches' bytes, as RFC 6962 §2.1 (0x00 before a
// leaf, 0x01 before a node).
func Tree(leaves [][]byte) (canon.Digest, error) {
	hashes, err := hash(leaves)
	if err != nil {
		return "", err
	}
	root, err := tlog.TreeHash(int64(len(leaves)), hashes)
	return digest(root), err
}

// Path returns the audit path of leaf n: RFC 6962 §2.1.1, bottom up.
func Path(leaves [][]byte, n int) ([]canon.Digest, error) {
	g, err := Grow(leaves)
	if err != nil {
		return nil, err
	}
	return g.Path(n)
}

// Grown is a tree whose hashes are kept, for who wants many paths.
type Grown struct {
	leaves int
	hashes hashes
}

// Grow hashes the tree over branches' bytes.
func Grow(leaves [][]byte) (Grown, error) {
	all, err := hash(leaves)
	return Grown{len(leaves), all}, err
}

// Path is the audit path of leaf n.
func (g Grown) Path(n int) ([]canon.Digest, error) {
	proof, err := tlog.ProveRecord(int64(g.leaves), int64(n), g.hashes)
	if err != nil {
		return nil, err
	}
	path := make([]canon.Digest, len(proof))
	for i, h := range proof {
		path[i] = digest(h)
	}
	return path, nil
}

// Open checks a whole plan: header, every branch, their order and number, the
// wave counts, and the tree rebuilt from all of them. Whoever shows a plan to a
// person or signs one must have opened it.
func Open(h plan.Header, branches []plan.Branch) error {
	if err := h.Valid(); err != nil {
		return err
	}
	leaves, waves, top := make([][]byte, len(branches)), make([]int, len(h.Waves)), change.Routine
	for i, b := range branches {
		if err := b.Valid(h); err != nil {
			return err
		}
		if i > 0 && branches[i-1].Host >= b.Host {
			return bad("branch %d: hosts not strictly ascending", i)
		}
		waves[b.Wave]++
		top = change.Max(top, change.Highest(b.Changes))
		leaves[i] = b.Bytes()
	}
	for i, w := range h.Waves {
		if waves[i] != w.Hosts {
			return bad("wave %d holds %d hosts, the header says %d", i, waves[i], w.Hosts)
		}
	}
	if top != h.Class {
		return bad("the highest class is %s, the header says %s", top, h.Class)
	}
	tree, err := Tree(leaves)
	if err != nil || tree != h.Tree || len(branches) != h.Leaves {
		return bad("the branches are not the header's tree")
	}
	return nil
}

func digest(h tlog.Hash) canon.Digest { return canon.Digest(fmt.Sprintf("%x", h[:])) }

type hashes []tlog.Hash

func (s hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, n := range indexes {
		out[i] = s[n]
	}
	return out, nil
}

func hash(leaves [][]byte) (hashes, error) {
	var all hashes
	for i, leaf := range leaves {
		add, err := tlog.StoredHashes(int64(i), leaf, all)
		if err != nil {
			return nil, err
		}
		all = append(all, add...)
	}
	return all, nil
}

package agent

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/writ"
)

// Owed is a receipt that nobody has acknowledged, with the leases that the host
// was shown (none for a plan's own rollback).
type Owed struct {
	Receipt writ.Receipt
	Leases  [][]byte
}

// keepOwed is how many receipts wait for an acknowledgement; the receipts
// themselves stay.
const keepOwed = 400

const undoSuffix = ".undo"

// owe notes that a receipt waits for somebody to acknowledge it. Signed once
// more after a crash, it takes the place of the one before.
func (j *Journal) owe(r writ.Receipt, undo bool) error {
	name := string(r.Writ)
	if undo {
		name += undoSuffix
	}
	dir := filepath.Join(j.dir, owedDir)
	return errors.Join(replace(filepath.Join(dir, name), canon.MustEncode(r)), pruned(dir, keepOwed))
}

// ReadOwed reads the receipts of a state directory that nobody has acknowledged,
// in the order in which the attempts ended. It works while an agent is at work.
func ReadOwed(dir string) ([]Owed, error) {
	entries, err := os.ReadDir(filepath.Join(dir, owedDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, refusal.New(codeState, "%v", err)
	}
	var all []Owed
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), newSuffix) {
			continue
		}
		o, err := readOwed(dir, e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // acknowledged meanwhile
		} else if err != nil {
			return nil, refusal.New(codeState, "receipt %s: %v", e.Name(), err)
		}
		all = append(all, o)
	}
	slices.SortStableFunc(all, func(a, b Owed) int { return cmp.Compare(a.Receipt.Ended, b.Receipt.Ended) })
	return all, nil
}

func readOwed(dir, name string) (Owed, error) {
	o := Owed{Leases: [][]byte{}}
	raw, err := os.ReadFile(filepath.Join(dir, owedDir, name))
	if err == nil {
		err = canon.Decode(raw, &o.Receipt)
	}
	if err != nil || strings.HasSuffix(name, undoSuffix) {
		return o, err
	}
	lines, err := os.ReadFile(filepath.Join(dir, writsDir, name+leaseSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return o, nil
	}
	for line := range bytes.Lines(lines) {
		o.Leases = append(o.Leases, bytes.TrimSuffix(line, []byte("\n")))
	}
	return o, err
}

// Acknowledge forgets that receipts are owed, by their digests.
func Acknowledge(dir string, stored []canon.Digest) error {
	if len(stored) == 0 {
		return nil
	}
	owed, err := ReadOwed(dir)
	if err != nil {
		return err
	}
	for _, o := range owed {
		if !slices.Contains(stored, o.Receipt.Digest()) {
			continue
		}
		for _, name := range []string{string(o.Receipt.Writ), string(o.Receipt.Writ) + undoSuffix} {
			path := filepath.Join(dir, owedDir, name)
			raw, err := os.ReadFile(path)
			if err != nil || canon.SumFile(raw) != canon.SumFile(canon.MustEncode(o.Receipt)) {
				continue
			}
			if err := os.Remove(path); err != nil {
				return refusal.New(codeState, "%v", err)
			}
		}
	}
	return nil
}

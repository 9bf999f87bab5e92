package apt

import (
	"cmp"
	"io/fs"
	"path"
	"slices"

	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/refusal"
)

// keepRuns is how many earlier runs keep their logs.
const keepRuns = 20

// forget clears what earlier runs have left: every stored artefact, the
// archives of every other run, and the oldest runs altogether.
func (o *own) forget(run string) error {
	runs, err := o.list(runsDir)
	if err != nil {
		return err
	}
	slices.SortFunc(runs, func(a, b entry) int { return cmp.Compare(b.changed, a.changed) })
	for i, e := range runs {
		victim := runsDir + "/" + e.name
		switch {
		case victim == run:
			continue
		case i <= keepRuns:
			victim += "/archives"
		}
		if err := o.root.RemoveAll(o.rel(victim)); err != nil {
			return refusal.New(pkgmgr.CodeDir, "%v", err)
		}
	}
	stored, err := o.list(storeDir)
	if err != nil {
		return err
	}
	for _, e := range stored {
		if err := o.root.RemoveAll(o.rel(path.Join(storeDir, e.name))); err != nil {
			return refusal.New(pkgmgr.CodeDir, "%v", err)
		}
	}
	return nil
}

type entry struct {
	name    string
	changed int64 // Unix nanoseconds
}

func (o *own) list(dir string) ([]entry, error) {
	names, err := fs.ReadDir(o.root.FS(), o.rel(dir))
	if err != nil {
		return nil, refusal.New(pkgmgr.CodeDir, "%v", err)
	}
	all := make([]entry, 0, len(names))
	for _, n := range names {
		if info, err := n.Info(); err == nil {
			all = append(all, entry{n.Name(), info.ModTime().UnixNano()})
		}
	}
	return all, nil
}

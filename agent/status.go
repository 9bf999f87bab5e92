package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ"
)

// Status is what a state directory tells, for people and for whoever fetches
// leases for this host.
type Status struct {
	Host       trust.HostID    `json:"host"`
	Root       canon.Digest    `json:"root_sha256"` // the trust root it is enrolled to, "" before the first attempt
	Trust      trust.Versions  `json:"trust"`
	Sequence   int64           `json:"sequence"` // of the journal
	Time       int64           `json:"time"`     // newest trusted time, Unix seconds
	Generation int64           `json:"generation"`
	Checkpoint tlog.Checkpoint `json:"checkpoint"`
	Nonce      string          `json:"nonce"`      // for which leases are good, or ""
	Unfinished []pkgmgr.Begun  `json:"unfinished"` // none, or the transaction whose end nobody has seen
	Receipts   []writ.Receipt  `json:"receipts"`   // the newest, the newest last
}

// ReadStatus reads a state directory and changes nothing. It works while an
// agent is at work.
func ReadStatus(dir string, receipts int) (Status, error) {
	key, err := readKey(filepath.Join(dir, keyFile))
	if err != nil {
		return Status{}, err
	}
	j := &Journal{dir: dir, key: key}
	s := Status{Host: j.Host(), Unfinished: []pkgmgr.Begun{}, Receipts: []writ.Receipt{}}
	raw, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	} else if err != nil {
		return s, refusal.New(codeState, "%v", err)
	}
	if err := canon.Decode(raw, &j.state); err != nil {
		return s, refusal.New(codeState, "the journal in %s cannot be read: %v", dir, err)
	}
	m := j.state.Memory
	s.Root, s.Trust, s.Sequence, s.Time = m.Root, m.Versions, j.state.Sequence, m.Time
	s.Generation, s.Checkpoint, s.Nonce, s.Unfinished = m.Generation, m.Checkpoint, m.Nonce, j.state.Open
	s.Receipts, err = j.Receipts(receipts)
	return s, err
}

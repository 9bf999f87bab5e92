package agent

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/version"
	"github.com/patchwrit/patchwrit/writ"
)

// Files of the state directory.
const (
	stateFile   = "journal"  // state, canonical
	lockFile    = "lock"     // held while an agent is at work
	keyFile     = "host.key" // Ed25519, PEM
	writsDir    = "writs"    // the writs that were verified, and the leases they were verified with, by the writ's digest
	receiptsDir = "receipts" // everything this host has signed
	owedDir     = "owed"     // receipts that nobody has acknowledged yet
)

// markFile lies in the system itself, away from the state directory. It holds
// the journal's sequence number.
const markFile = "var/lib/patchwrit/journal.mark"

// typeState is the type of a state.
const typeState = "patchwrit/journal/v1"

// state is everything that must survive, in one file that is replaced as a
// whole: a crash leaves the one before or the one after, never a mixture.
type state struct {
	Type     string         `json:"type"`
	Sequence int64          `json:"sequence"` // one more with every write
	Memory   writ.Memory    `json:"memory"`
	Open     []pkgmgr.Begun `json:"open"`   // none, or the transaction whose end nobody has seen
	Failed   string         `json:"failed"` // code of the failure that a rollback answers, or ""
}

// Journal is the host's memory on disk and, for the package manager, its
// pkgmgr.Journal. One process holds it at a time.
//
// Each write replaces one file: written beside, fsynced, renamed, directory
// fsynced. kill -9 at any point leaves a readable journal.
//
// An older copy put back would let a used writ live again until it expires. It
// is caught when the mark in the system is newer (PW-AGENT-OLD) or when the
// journal is gone and the mark is not (PW-AGENT-LOST). It is not caught when
// both are put back together, as a snapshot of the whole disk does; then the
// packages are back too, the writ permits the same step from the same state,
// needs a fresh lease for a fresh nonce, the plan ends within seven days, and
// the log shows two receipts for one plan. Local root can do all of this and
// needs no writ anyway.
type Journal struct {
	dir     string
	mark    string
	lock    *os.File
	key     ed25519.PrivateKey
	state   state
	pending writ.Memory // after a verification, for Begin
}

var _ pkgmgr.Journal = (*Journal)(nil)

// Open opens the journal in dir of the system in root, or begins it for a host
// that is enrolled to the trust root pinned. It refuses while another agent
// holds it. The host key must be there (NewKey).
func Open(dir, root string, pinned canon.Digest) (*Journal, error) {
	j, err := open(dir, root)
	if err != nil {
		return nil, err
	}
	if err := j.load(pinned); err != nil {
		j.Close()
		return nil, err
	}
	return j, nil
}

func open(dir, root string) (*Journal, error) {
	if err := private(dir); err != nil {
		return nil, err
	}
	key, err := readKey(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, refusal.New(codeState, "%v", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, refusal.New(codeBusy, "%s: %v", lock.Name(), err)
	}
	return &Journal{dir: dir, mark: filepath.Join(root, markFile), lock: lock, key: key}, nil
}

// private refuses a state directory that others can look into; it makes one
// that is not there.
func private(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return refusal.New(codeState, "%v", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return refusal.New(codeState, "%s: %v", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return refusal.New(codeState, "%s belongs to user %d and has mode %#o", dir, st.Uid, st.Mode&0o7777)
	}
	for _, sub := range []string{writsDir, receiptsDir, owedDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return refusal.New(codeState, "%v", err)
		}
	}
	return nil
}

// Close lets the journal go.
func (j *Journal) Close() { j.lock.Close() }

// Host is this host's fingerprint.
func (j *Journal) Host() trust.HostID { return trust.HostOf(j.key.Public().(ed25519.PublicKey)) }

// load reads the state, or begins it, and compares it with the mark.
func (j *Journal) load(pinned canon.Digest) error {
	marked, err := j.marked()
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(filepath.Join(j.dir, stateFile))
	switch {
	case errors.Is(err, fs.ErrNotExist) && marked > 0:
		return refusal.New(codeLost, "%s says that %d states were written, and there is none in %s", j.mark, marked, j.dir)
	case errors.Is(err, fs.ErrNotExist):
		j.state = state{Type: typeState, Memory: writ.NewMemory(j.Host(), pinned), Open: []pkgmgr.Begun{}}
		return j.save()
	case err != nil:
		return refusal.New(codeState, "%v", err)
	}
	if err := canon.Decode(raw, &j.state); err != nil || j.state.Type != typeState {
		return refusal.New(codeState, "the journal in %s cannot be read: %v", j.dir, err)
	}
	switch {
	case j.state.Sequence < marked:
		return refusal.New(codeOld, "the journal in %s is at %d, %s says %d", j.dir, j.state.Sequence, j.mark, marked)
	case j.state.Memory.Root != pinned: // before anything of another root's is remembered
		return refusal.New(codeRoot, "this host was enrolled to %s, the trust root is %s", j.state.Memory.Root.Short(), pinned.Short())
	case j.state.Memory.Host != j.Host():
		return refusal.New(codeKey, "the journal belongs to host %s, the key to %s", j.state.Memory.Host.Short(), j.Host().Short())
	}
	return nil
}

// marked is the sequence number of the mark, 0 when there is none.
func (j *Journal) marked() (int64, error) {
	raw, err := os.ReadFile(j.mark)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	n := int64(0)
	if err == nil {
		n, err = strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
	}
	if err != nil {
		return 0, refusal.New(codeState, "%s: %v", j.mark, err)
	}
	return n, nil
}

// save writes the state and then the mark.
func (j *Journal) save() error {
	j.state.Sequence++
	raw, err := canon.Encode(j.state)
	if err == nil {
		err = replace(filepath.Join(j.dir, stateFile), raw)
	}
	if err == nil {
		if err = os.MkdirAll(filepath.Dir(j.mark), 0o700); err == nil {
			err = replace(j.mark, fmt.Appendf(nil, "%d\n", j.state.Sequence))
		}
	}
	if err != nil {
		return refusal.New(codeState, "%v", err)
	}
	return nil
}

// newSuffix marks a file that is being written.
const newSuffix = ".new"

// replace writes a file as a whole, durably.
func replace(path string, content []byte) error {
	f, err := os.OpenFile(path+newSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+newSuffix, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// keep stores a memory that permits nothing new.
func (j *Journal) keep(m writ.Memory) error {
	j.state.Memory = m
	return j.save()
}

// leaseSuffix marks the leases beside a stored writ: one lease a line.
const leaseSuffix = ".leases"

// expect holds the memory of a verified writ ready for Begin. It stores the writ
// for the rollback that may follow, also after a crash, and the leases for who
// asks later what the host was shown.
func (j *Journal) expect(m writ.Memory, raw writ.Raw, v writ.Verified) error {
	j.pending = m
	digest := v.Digest()
	leases := append(bytes.Join(counted(raw, v.Shown()), []byte("\n")), '\n')
	err := errors.Join(replace(j.writFile(digest)+leaseSuffix, leases), replace(j.writFile(digest), raw.Writ), j.prune())
	if err != nil {
		return refusal.New(codeState, "%v", err)
	}
	return nil
}

// maxSought bounds the search of counted; a policy has fewer witnesses.
const maxSought = 12

// counted are the leases that counted when the writ was verified: the receipt
// names exactly these, and an auditor wants no others.
func counted(raw writ.Raw, shown canon.Digest) [][]byte {
	var texts [][]byte
	var leases []writ.Lease
	for _, text := range raw.Leases {
		var l writ.Lease
		if canon.Decode(text, &l) == nil {
			texts, leases = append(texts, text), append(leases, l)
		}
	}
	for set := 1<<min(len(texts), maxSought) - 1; set > 0; set-- {
		var some [][]byte
		var their []writ.Lease
		for i := range texts {
			if set&(1<<i) != 0 {
				some, their = append(some, texts[i]), append(their, leases[i])
			}
		}
		if writ.Shown(raw.Writ, their) == shown {
			return some
		}
	}
	return texts
}

// keepWrits is how many files of writs and leases are kept; the receipts stay.
const keepWrits = 400

// prune removes the oldest stored writs.
func (j *Journal) prune() error { return pruned(filepath.Join(j.dir, writsDir), keepWrits) }

// pruned removes the oldest files of a directory until keep are left.
func pruned(dir string, keep int) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= keep {
		return err
	}
	age := func(e fs.DirEntry) int64 {
		info, err := e.Info()
		if err != nil {
			return 0
		}
		return info.ModTime().UnixNano()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(age(a), age(b)) })
	for _, e := range entries[:len(entries)-keep] {
		err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
	}
	return err
}

func (j *Journal) writFile(d canon.Digest) string { return filepath.Join(j.dir, writsDir, string(d)) }

// writ reads a stored writ.
func (j *Journal) writ(d canon.Digest) ([]byte, error) {
	raw, err := os.ReadFile(j.writFile(d))
	if err != nil {
		return nil, refusal.New(codeState, "%v", err)
	}
	return raw, nil
}

// calm is what remains of a verification whose step was not begun: time, trust
// and the log move on, the writ is not used. It returns the error that led here.
func (j *Journal) calm(why error, before, after writ.Memory) error {
	if _, open := j.Unfinished(); open {
		return why
	}
	if before.Checkpoint.Origin != after.Checkpoint.Origin {
		before.Generation = 0 // the keepers opened a new log, which counts anew; this plan was not used
	}
	before.Time, before.Checkpoint, before.Versions = after.Time, after.Checkpoint, after.Versions
	return errors.Join(why, j.keep(before))
}

// Memory implements pkgmgr.Journal.
func (j *Journal) Memory() writ.Memory { return j.pending }

// Begin implements pkgmgr.Journal: in one write the writ is used up and the
// transaction open.
func (j *Journal) Begin(b pkgmgr.Begun) error {
	was := j.state
	j.state.Memory = j.pending
	for _, r := range b.Releases {
		j.state.Memory = j.state.Memory.Released(r.Origin, r.Date)
	}
	j.state.Open = []pkgmgr.Begun{b}
	if err := j.save(); err != nil {
		j.state = was
		return err
	}
	return nil
}

// Unfinished is the transaction that was begun and has not ended.
func (j *Journal) Unfinished() (pkgmgr.Begun, bool) {
	if len(j.state.Open) == 0 {
		return pkgmgr.Begun{}, false
	}
	return j.state.Open[0], true
}

// undoing reports whether the last failure was that of a rollback, or none was
// recorded: then there is nothing to go back from.
func (j *Journal) undoing() bool {
	n := len(j.state.Memory.Failures)
	return n == 0 || j.state.Memory.Failures[n-1].Undone
}

// halfDone is the newest receipt when it says that a step ended half-way and its
// rollback has not begun.
func (j *Journal) halfDone() (writ.Receipt, bool) {
	if j.undoing() {
		return writ.Receipt{}, false
	}
	all, err := j.Receipts(1)
	if err != nil || len(all) == 0 {
		return writ.Receipt{}, false
	}
	failures := j.state.Memory.Failures
	return all[0], all[0].Outcome == writ.Partial && all[0].Writ == failures[len(failures)-1].Writ
}

// Ended implements pkgmgr.Journal: the receipt is completed and signed, stored,
// and then the transaction is closed. A crash in between signs once more the
// next time.
func (j *Journal) Ended(r writ.Receipt) (writ.Receipt, error) {
	b, open := j.Unfinished()
	if !open || b.Writ != r.Writ {
		return r, errors.New("no such transaction is open")
	}
	m := j.state.Memory
	r.Checkpoint = m.Checkpoint
	failed := j.state.Failed
	switch {
	case r.Outcome == writ.RolledBack:
		r.Code, failed = j.state.Failed, ""
	case r.Outcome != writ.Done && !b.Undo:
		m = m.Failed(r.Writ, r.Ended)
		failed = r.Code
	}
	for _, s := range r.States {
		if s.After == "" || s.Status != "installed" {
			continue
		}
		if next, err := m.Had(version.Deb, map[string]string{s.Package + ":" + s.Arch: s.After}); err == nil {
			m = next
		}
	}
	r.Signature = hex.EncodeToString(ed25519.Sign(j.key, r.Digest().Bytes()))
	if err := errors.Join(replace(j.receiptFile(r), canon.MustEncode(r)), j.owe(r, b.Undo)); err != nil {
		return r, err
	}
	j.state.Memory, j.state.Open, j.state.Failed = m, []pkgmgr.Begun{}, failed
	return r, j.save()
}

func (j *Journal) receiptFile(r writ.Receipt) string {
	return filepath.Join(j.dir, receiptsDir, fmt.Sprintf("%012d-%s-%s", r.Ended, r.Writ.Short(), r.Outcome))
}

// Receipts reads the newest receipts, at most n, the newest last.
func (j *Journal) Receipts(n int) ([]writ.Receipt, error) {
	entries, err := os.ReadDir(filepath.Join(j.dir, receiptsDir))
	if err != nil {
		return nil, refusal.New(codeState, "%v", err)
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), newSuffix) })
	out := []writ.Receipt{}
	for _, e := range entries[max(0, len(entries)-n):] {
		raw, err := os.ReadFile(filepath.Join(j.dir, receiptsDir, e.Name()))
		if err != nil {
			return nil, refusal.New(codeState, "%v", err)
		}
		var r writ.Receipt
		if err := canon.Decode(raw, &r); err != nil {
			return nil, refusal.New(codeState, "receipt %s: %v", e.Name(), err)
		}
		out = append(out, r)
	}
	return out, nil
}

package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/pkgmgr/fake"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

// place is one host with its state directory, in the common house, over the fake
// package manager. What is on disk outlives every agent that works there.
type place struct {
	t     *testing.T
	house trusttest.House
	state string
	root  string
	disk  *fake.Host
	said  bytes.Buffer
	now   time.Time
	fault fake.Fault
	at    int
}

var changes = []change.Change{writtest.Upgrade("libssl3", "1", "2"), writtest.Upgrade("openssl", "1", "2")}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{t: t, house: trusttest.Must(nil, trusttest.Options{}), state: filepath.Join(t.TempDir(), "state"), root: t.TempDir()}
	p.now = p.house.Now
	p.disk = fake.NewHost(fake.Installed("libssl3", "amd64", "1"), fake.Installed("openssl", "amd64", "1"))
	for _, c := range changes {
		p.disk.Offer(c.Artefact, writtest.Back(c).Artefact)
	}
	putKey(t, p.state, p.house.Hosts[0].Key)
	return p
}

// putKey makes a state directory whose host key is the house's.
func putKey(t *testing.T, state string, key ed25519.PrivateKey) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err == nil {
		err = os.MkdirAll(state, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(state, keyFile), pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// theCase is a good writ for this host.
func (p *place) theCase() *writtest.Case {
	c := writtest.New(p.house)
	c.Branches[0] = writtest.Branch(c.Host.ID, 0, changes...)
	return c
}

type closing struct{ *fake.Manager }

func (closing) Close() {}

// apply runs one agent from start to end, with this case's writ. The witnesses
// answer with the nonce they are asked with.
func (p *place) apply(c *writtest.Case) (Result, error) {
	p.t.Helper()
	j, err := Open(p.state, p.root, p.house.Root.ID)
	if err != nil {
		return Result{}, err
	}
	defer j.Close()
	m := fake.New(p.disk, j, func() time.Time { return p.now })
	m.Arrange(p.fault, p.at)
	p.fault = ""
	c.Memory.Checkpoint = j.state.Memory.Checkpoint
	raw := c.Raw()
	a := &attempt{journal: j, root: p.house.Root, manager: closing{m}, Options: Options{
		Writ: raw.Writ, Progress: &p.said, Now: func() time.Time { return p.now },
		Ask: witnesses(c),
	}}
	err = a.run(p.t.Context())
	return Result{a.receipts}, err
}

// witnesses answers as the case's witnesses would.
func witnesses(c *writtest.Case) Ask {
	return func(_ context.Context, q Question) (Answer, error) {
		edit := c.EditLease
		defer func() { c.EditLease = edit }()
		c.EditLease = func(n int, l *writ.Lease) {
			l.Nonce = q.Nonce
			if edit != nil {
				edit(n, l)
			}
		}
		raw := c.Raw()
		return Answer{Leases: raw.Leases, Consistency: raw.Consistency}, nil
	}
}

func outcomes(r Result) string {
	var all []string
	for _, r := range r.Receipts {
		all = append(all, strings.TrimSpace(string(r.Outcome)+" "+r.Code))
	}
	return strings.Join(all, ", ")
}

func TestTheWholeWay(t *testing.T) {
	p := newPlace(t)
	r, err := p.apply(p.theCase())
	if err != nil || outcomes(r) != "done" || !strings.Contains(p.disk.String(), "openssl:amd64 2 installed") {
		t.Fatalf("%s, %v\n%s\n%s", outcomes(r), err, p.disk, &p.said)
	}
	receipt := r.Receipts[0]
	if err := receipt.Signed(p.house.Hosts[0].Host); err != nil {
		t.Errorf("the receipt: %v", err)
	}
	s, err := ReadStatus(p.state, 10)
	if err != nil || s.Host != p.house.Hosts[0].ID || s.Root != p.house.Root.ID || len(s.Receipts) != 1 || s.Receipts[0].Digest() != receipt.Digest() || s.Checkpoint.Size == 0 {
		t.Errorf("status %+v, %v", s, err)
	}
	if receipt.Checkpoint != s.Checkpoint {
		t.Errorf("the receipt holds checkpoint %+v, the memory %+v", receipt.Checkpoint, s.Checkpoint)
	}
	if _, err := p.apply(p.theCase()); refusal.CodeOf(err) != "PW-WRIT-CONSUMED" {
		t.Errorf("the same writ again: %v", err)
	}
}

// What is refused before it begins leaves the writ as good as it was.
func TestWhatWasNotBegunIsNotUsed(t *testing.T) {
	for fault, code := range map[fake.Fault]refusal.Code{fake.LockHeld: pkgmgr.CodeLock, fake.DiskFull: pkgmgr.CodeSpace, fake.SolverDiffers: pkgmgr.CodeSolver} {
		t.Run(string(fault), func(t *testing.T) {
			p := newPlace(t)
			p.fault = fault
			if r, err := p.apply(p.theCase()); refusal.CodeOf(err) != code || len(r.Receipts) > 0 {
				t.Fatalf("%s, %v", outcomes(r), err)
			}
			if r, err := p.apply(p.theCase()); err != nil || outcomes(r) != "done" {
				t.Errorf("afterwards: %s, %v", outcomes(r), err)
			}
		})
	}
}

func TestAFailedStepGoesBack(t *testing.T) {
	p := newPlace(t)
	p.fault, p.at = fake.ScriptFails, 1
	r, err := p.apply(p.theCase())
	if err != nil || outcomes(r) != "partial PW-APT-SCRIPT, rolled_back PW-APT-SCRIPT" {
		t.Errorf("%s, %v\n%s", outcomes(r), err, &p.said)
	}
	if !strings.Contains(p.disk.String(), "openssl:amd64 1 installed") {
		t.Errorf("the host is left at\n%s", p.disk)
	}
	for _, receipt := range r.Receipts {
		if err := receipt.Signed(p.house.Hosts[0].Host); err != nil {
			t.Errorf("receipt %s: %v", receipt.Outcome, err)
		}
	}
	if _, err := p.apply(p.theCase()); refusal.CodeOf(err) != "PW-WRIT-CONSUMED" {
		t.Errorf("the failed writ again: %v", err)
	}
}

// dying is the agent's death at one moment: the package manager dies too, and
// nobody comes to look in the same process.
func (p *place) dying(c *writtest.Case) error {
	j, err := Open(p.state, p.root, p.house.Root.ID)
	if err != nil {
		return err
	}
	defer j.Close()
	m := fake.New(p.disk, j, func() time.Time { return p.now })
	m.Arrange(p.fault, p.at)
	p.fault = ""
	a := &attempt{journal: j, root: p.house.Root, manager: dead{closing{m}}, Options: Options{
		Writ: c.Raw().Writ, Progress: &p.said, Now: func() time.Time { return p.now }, Ask: witnesses(c)}}
	return a.run(p.t.Context())
}

type dead struct{ closing }

func (dead) Recover(context.Context, pkgmgr.Begun) (writ.Receipt, error) {
	return writ.Receipt{}, errors.New("this agent is dead")
}

func TestWhatWasBegunIsFinishedFirst(t *testing.T) {
	for _, c := range []struct {
		fault fake.Fault
		at    int
		want  string
		host  string
	}{
		{fake.Killed, 0, "failed PW-APT-INTERRUPTED", "libssl3:amd64 1 installed\nopenssl:amd64 1 installed"},
		{fake.KilledUnpacked, 0, "partial PW-APT-INTERRUPTED, rolled_back PW-APT-INTERRUPTED", "libssl3:amd64 1 installed\nopenssl:amd64 1 installed"},
		{fake.KilledUnpacked, 1, "done", "libssl3:amd64 2 installed\nopenssl:amd64 2 installed"},
	} {
		t.Run(string(c.fault), func(t *testing.T) {
			p := newPlace(t)
			p.fault, p.at = c.fault, c.at
			if err := p.dying(p.theCase()); err == nil {
				t.Fatal("it survived")
			}
			s, err := ReadStatus(p.state, 10)
			if err != nil || len(s.Unfinished) != 1 {
				t.Fatalf("status %+v, %v", s, err)
			}
			r, err := p.apply(p.theCase())
			if err != nil || outcomes(r) != c.want || p.disk.String() != c.host {
				t.Errorf("%s, %v\n%s", outcomes(r), err, p.disk)
			}
			if _, err := p.apply(p.theCase()); refusal.CodeOf(err) != "PW-WRIT-CONSUMED" {
				t.Errorf("the interrupted writ again: %v", err)
			}
		})
	}
}

func TestLeases(t *testing.T) {
	p := newPlace(t)
	silent := p.theCase()
	silent.Leases = []int64{}
	if _, err := p.apply(silent); refusal.CodeOf(err) != codeLease || !strings.Contains(err.Error(), "nonce") {
		t.Errorf("no witness answers: %v", err)
	}
	other := p.theCase()
	other.EditLease = func(_ int, l *writ.Lease) { l.Nonce = strings.Repeat("00", 32) }
	if _, err := p.apply(other); refusal.CodeOf(err) != "PW-WRIT-LEASE" {
		t.Errorf("leases for another nonce: %v", err)
	}
	if r, err := p.apply(p.theCase()); err != nil || outcomes(r) != "done" {
		t.Errorf("good leases: %s, %v", outcomes(r), err)
	}
}

func TestFloorsAreWhatIsInstalled(t *testing.T) {
	p := newPlace(t)
	p.disk = fake.NewHost(fake.Installed("libssl3", "amd64", "3"), fake.Installed("openssl", "amd64", "1"))
	if _, err := p.apply(p.theCase()); refusal.CodeOf(err) != "PW-WRIT-FLOOR" {
		t.Errorf("below what is installed: %v", err)
	}
}

// The journal as it was before, put back by a person or a backup.
func TestAnOlderJournalIsFound(t *testing.T) {
	p := newPlace(t)
	p.fault = fake.LockHeld
	if _, err := p.apply(p.theCase()); refusal.CodeOf(err) != pkgmgr.CodeLock {
		t.Fatal(err)
	}
	old, err := os.ReadFile(filepath.Join(p.state, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := p.apply(p.theCase()); err != nil {
		t.Fatalf("%s, %v", outcomes(r), err)
	}
	newest, err := os.ReadFile(filepath.Join(p.state, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.state, stateFile), old, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.apply(p.theCase()); refusal.CodeOf(err) != codeOld {
		t.Errorf("an older journal: %v", err)
	}
	if err := os.Remove(filepath.Join(p.state, stateFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.apply(p.theCase()); refusal.CodeOf(err) != codeLost {
		t.Errorf("no journal: %v", err)
	}
	// Not caught: journal and mark put back together. Then the installed
	// versions are not where the writ starts from.
	if err := os.WriteFile(filepath.Join(p.state, stateFile), old, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(p.root, markFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.apply(p.theCase()); refusal.CodeOf(err) != pkgmgr.CodeFrom {
		t.Errorf("both put back: %v", err)
	}
	if err := os.WriteFile(filepath.Join(p.state, stateFile), newest, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.apply(p.theCase()); refusal.CodeOf(err) != "PW-WRIT-CONSUMED" && refusal.CodeOf(err) != codeOld {
		t.Errorf("the newest journal again: %v", err)
	}
}

// A crash in the middle of any write leaves the file before, whatever lies
// beside it.
func TestTheJournalSurvivesEveryTornWrite(t *testing.T) {
	p := newPlace(t)
	if r, err := p.apply(p.theCase()); err != nil {
		t.Fatalf("%s, %v", outcomes(r), err)
	}
	whole, err := os.ReadFile(filepath.Join(p.state, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n <= len(whole); n += 97 {
		if err := os.WriteFile(filepath.Join(p.state, stateFile+".new"), whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := Open(p.state, p.root, p.house.Root.ID)
		if err != nil || len(j.state.Memory.Consumed) != 1 {
			t.Fatalf("torn at %d: %v", n, err)
		}
		j.Close()
	}
	// A journal that was cut in place is refused, never taken for a fresh one.
	for n := 0; n < len(whole); n += 211 {
		if err := os.WriteFile(filepath.Join(p.state, stateFile), whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(p.state, p.root, p.house.Root.ID); refusal.CodeOf(err) != codeState {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

func TestOneAgentAtATime(t *testing.T) {
	p := newPlace(t)
	j, err := Open(p.state, p.root, p.house.Root.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.apply(p.theCase()); refusal.CodeOf(err) != codeBusy {
		t.Errorf("a second agent: %v", err)
	}
	j.Close()
	if r, err := p.apply(p.theCase()); err != nil {
		t.Errorf("after the first: %s, %v", outcomes(r), err)
	}
}

func TestStateAndKeyMustBePrivate(t *testing.T) {
	p := newPlace(t)
	for _, c := range []struct {
		path string
		mode os.FileMode
		good os.FileMode
		code refusal.Code
	}{{p.state, 0o755, 0o700, codeState}, {filepath.Join(p.state, keyFile), 0o640, 0o600, codeKey}} {
		if err := os.Chmod(c.path, c.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := p.apply(p.theCase()); refusal.CodeOf(err) != c.code {
			t.Errorf("%s with mode %o: %v", c.path, c.mode, err)
		}
		if err := os.Chmod(c.path, c.good); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := p.apply(p.theCase()); err != nil {
		t.Errorf("private again: %s, %v", outcomes(r), err)
	}
}

func TestKeyIsMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	one, err := NewKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	two, err := NewKey(dir)
	if err != nil || one.ID != two.ID || one.Public != two.Public {
		t.Errorf("%+v, %+v, %v", one, two, err)
	}
	if info, err := os.Stat(filepath.Join(dir, keyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := Open(dir, t.TempDir(), canon.SumFile(nil)); err != nil {
		t.Errorf("a journal with the fresh key: %v", err)
	}
}

// Another key in an old state directory would sign as somebody else.
func TestAnotherKeyUnderTheSameJournal(t *testing.T) {
	p := newPlace(t)
	if r, err := p.apply(p.theCase()); err != nil {
		t.Fatalf("%s, %v", outcomes(r), err)
	}
	putKey(t, p.state, p.house.Hosts[1].Key)
	if _, err := p.apply(p.theCase()); refusal.CodeOf(err) != codeKey {
		t.Errorf("got %v", err)
	}
}

// An agent that dies between the failure and the way back: the next one goes
// back, and one that comes too late reports and stands in nobody's way.
func TestTheWayBackIsTakenAfterADeath(t *testing.T) {
	for name, c := range map[string]struct {
		later time.Duration
		want  string
	}{"in time": {time.Minute, "rolled_back PW-APT-SCRIPT"}, "too late": {16 * time.Minute, ""}} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.fault, p.at = fake.ScriptFails, 1
			if err := p.dyingBeforeTheWayBack(p.theCase()); err == nil {
				t.Fatal("it survived")
			}
			p.now = p.now.Add(c.later)
			r, err := p.apply(p.theCase())
			if outcomes(r) != c.want {
				t.Fatalf("%s, %v\n%s", outcomes(r), err, &p.said)
			}
			if c.want == "" && (refusal.CodeOf(err) != "PW-WRIT-CONSUMED" || !strings.Contains(p.said.String(), "not taken back")) {
				t.Errorf("too late: %v\n%s", err, &p.said)
			}
			if r, err := p.apply(p.theCase()); len(r.Receipts) > 0 || refusal.CodeOf(err) != "PW-WRIT-CONSUMED" {
				t.Errorf("once more: %s, %v", outcomes(r), err)
			}
		})
	}
}

// dyingBeforeTheWayBack loses its power when the failed step's receipt is stored.
func (p *place) dyingBeforeTheWayBack(c *writtest.Case) (err error) {
	j, err := Open(p.state, p.root, p.house.Root.ID)
	if err != nil {
		return err
	}
	defer j.Close()
	m := fake.New(p.disk, j, func() time.Time { return p.now })
	m.Arrange(p.fault, p.at)
	p.fault = ""
	a := &attempt{journal: j, root: p.house.Root, manager: once{closing{m}, new(int)}, Options: Options{
		Writ: c.Raw().Writ, Progress: &p.said, Now: func() time.Time { return p.now }, Ask: witnesses(c)}}
	return a.run(p.t.Context())
}

type once struct {
	closing
	n *int
}

func (o once) Apply(ctx context.Context, v writ.Verified) (writ.Receipt, error) {
	if *o.n++; *o.n > 1 {
		return writ.Receipt{}, errors.New("this agent is dead")
	}
	return o.closing.Apply(ctx, v)
}

func TestReceiptsAreOwedUntilSomebodyHasThem(t *testing.T) {
	p := newPlace(t)
	p.fault, p.at = fake.ScriptFails, 1
	bad := p.theCase()
	bad.EditLease = func(n int, l *writ.Lease) {
		if n == 0 {
			l.Time -= 30 * 24 * 3600 // counts all the same: the quorum time is another's
		}
	}
	if r, err := p.apply(bad); err != nil || len(r.Receipts) != 2 {
		t.Fatalf("%s, %v", outcomes(r), err)
	}
	owed, err := ReadOwed(p.state)
	if err != nil || len(owed) != 2 || owed[0].Receipt.Outcome != writ.Partial || owed[1].Receipt.Outcome != writ.RolledBack || len(owed[1].Leases) != 0 {
		t.Fatalf("%+v, %v", owed, err)
	}
	raw, err := os.ReadFile(filepath.Join(p.state, writsDir, string(owed[0].Receipt.Writ)))
	if err != nil {
		t.Fatal(err)
	}
	var leases []writ.Lease
	for _, text := range owed[0].Leases {
		var l writ.Lease
		if err := canon.Decode(text, &l); err != nil {
			t.Fatal(err)
		}
		leases = append(leases, l)
	}
	if writ.Shown(raw, leases) != owed[0].Receipt.Shown {
		t.Error("the leases beside the receipt are not those that it names")
	}
	if err := Acknowledge(p.state, []canon.Digest{owed[0].Receipt.Digest(), canon.SumFile(nil)}); err != nil {
		t.Fatal(err)
	}
	if left, err := ReadOwed(p.state); err != nil || len(left) != 1 || left[0].Receipt.Digest() != owed[1].Receipt.Digest() {
		t.Errorf("%+v, %v", left, err)
	}
}

// A lease that does not count is not kept beside the receipt: an auditor would
// find that the host was shown something else.
func TestOnlyLeasesThatCountedAreKept(t *testing.T) {
	p := newPlace(t)
	c := p.theCase()
	c.EditRaw = func(r *writ.Raw) {
		l := writtest.SignLease(writ.Lease{Type: writ.TypeLease, Witness: "stranger", Host: c.Host.ID, Nonce: writtest.Nonce, Time: c.Now}, p.house.People[0].SSH)
		r.Leases = append([][]byte{canon.MustEncode(l)}, r.Leases...)
	}
	r, err := p.apply(c)
	if err != nil || outcomes(r) != "done" {
		t.Fatalf("%s, %v", outcomes(r), err)
	}
	owed, err := ReadOwed(p.state)
	if err != nil || len(owed) != 1 || len(owed[0].Leases) != len(p.house.Witnesses) {
		t.Errorf("%d leases, %v", len(owed[0].Leases), err)
	}
}

// A repository of somebody else's, under his own digest, must leave no trace: a
// memory of its versions would make the true one look old.
func TestAnotherRootIsNotRemembered(t *testing.T) {
	p := newPlace(t)
	if r, err := p.apply(p.theCase()); err != nil {
		t.Fatalf("%s, %v", outcomes(r), err)
	}
	before, err := os.ReadFile(filepath.Join(p.state, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	trueRoot := p.house.Root
	p.house.Root.ID = canon.SumFile([]byte("another root"))
	p.house.Root.Versions.Hosts += 5
	if _, err := p.apply(p.theCase()); refusal.CodeOf(err) != codeRoot {
		t.Errorf("another root: %v", err)
	}
	after, err := os.ReadFile(filepath.Join(p.state, stateFile))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the journal has changed, %v", err)
	}
	p.house.Root = trueRoot
	if _, err := p.apply(p.theCase()); refusal.CodeOf(err) != "PW-WRIT-CONSUMED" {
		t.Errorf("the true root afterwards: %v", err)
	}
}

// TestAFirstWritUnderANewLogThatHasToWait: the log was lost and the keepers opened
// a new one. The first writ under it meets a held lock; then the lock is gone.
func TestAFirstWritUnderANewLogThatHasToWait(t *testing.T) {
	for name, fault := range map[string]fake.Fault{"control: no lock": "", "lock first": fake.LockHeld} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			last := canon.SumFile([]byte("last"))
			p.house = trusttest.Must(nil, trusttest.Options{Log: "log.example/patchwrit/after/900/" + string(last)})
			p.now = p.house.Now
			os.Remove(filepath.Join(p.state, keyFile))
			putKey(t, p.state, p.house.Hosts[0].Key)
			j, err := Open(p.state, p.root, p.house.Root.ID)
			if err != nil {
				t.Fatal(err)
			}
			m := j.state.Memory
			m.Generation, m.Checkpoint = 870, tlog.Checkpoint{Origin: "log.example/patchwrit", Size: 880, Hash: canon.SumFile([]byte("x"))}
			if err := j.keep(m); err != nil {
				t.Fatal(err)
			}
			j.Close()
			if p.fault = fault; fault != "" {
				if _, err := p.apply(p.theCase()); refusal.CodeOf(err) != pkgmgr.CodeLock {
					t.Fatal("first:", err)
				}
			}
			if r, err := p.apply(p.theCase()); err != nil || outcomes(r) != "done" {
				t.Errorf("then: %s, %v", outcomes(r), err)
			}
		})
	}
}

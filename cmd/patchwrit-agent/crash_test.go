package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/writ"
)

// fault is a place in the source before which a process dies by kill -9.
type fault struct {
	name, verb, file, before string
	outcome                  writ.Outcome // of the attempt; Done when empty
}

// faults are the steps of the loop on a host, in its order.
var faults = []fault{
	{name: "said-hello", verb: "run", file: "agent/messenger/messenger.go", before: "\tm.state, m.spoken = a.State, a.Protocol\n"},
	{name: "half-fetched", verb: "run", file: "agent/messenger/fetch.go", before: "\t\tat += int64(len(data))\n"},
	{name: "fetched-and-not-named", verb: "run", file: "agent/messenger/fetch.go", before: "\t\terr = os.Rename(partial, m.blob(d))\n"},
	{name: "between-two-directories", verb: "run", file: "agent/messenger/fetch.go", before: "\t\terr = os.Rename(dir+newSuffix, dir)\n"},
	{name: "inventory-told", verb: "run", file: "agent/messenger/snapshot.go", before: "\tm.told = d\n"},
	{name: "offer-kept", verb: "run", file: "agent/messenger/messenger.go", before: "\t\tif err := m.resume(ctx); err != nil {\n"},
	{name: "before-the-offer", verb: "run", file: "agent/messenger/offer.go", before: "\tif err := parley.Write(conn, parley.KindOffer"},
	{name: "while-the-helper-works", verb: "run", file: "agent/messenger/offer.go", before: "\t\t\t\tm.Logger.Info(\"helper\""},
	{name: "asked-for-leases", verb: "run", file: "agent/messenger/offer.go", before: "\t\t\t\terr = parley.Write(conn, parley.KindAnswer"},
	{name: "end-heard", verb: "run", file: "agent/messenger/offer.go", before: "\t\t\t\treturn e, m.drop(storedFile)"},
	{name: "end-kept", verb: "run", file: "agent/messenger/offer.go", before: "\treturn m.drop(offerFile)\n}\n\nconst refusedPrefix"},
	{name: "receipt-delivered", verb: "run", file: "agent/messenger/offer.go", before: "\t\tif err := m.delivered(e.Name()); err != nil {\n"},
	{name: "delivery-noted", verb: "run", file: "agent/messenger/offer.go", before: "\treturn m.drop(filepath.Join(reportsDir, name))\n"},

	{name: "offer-read", verb: "helper", file: "agent/helper/helper.go", before: "\t\terr = offer.Check()\n"},
	{name: "trust-copied", verb: "helper", file: "agent/helper/apply.go", before: "\tpool, err := m.dir(parley.PoolDir)\n"},
	{name: "question-asked", verb: "helper", file: "agent/helper/apply.go", before: "\tvar a parley.Answer\n"},
	{name: "writ-verified", verb: "helper", file: "agent/agent.go", before: "\tr, err := a.apply(ctx, v)\n"},
	{name: "writ-used-up", verb: "helper", file: "pkgmgr/apt/apply.go", before: "\tcmd, err := a.own.start(name, command(a.run", outcome: writ.Failed},
	{name: "dpkg-started", verb: "helper", file: "pkgmgr/apt/apply.go", before: "\tif err := a.own.await(ctx, cmd, name, m.Progress)"},
	{name: "receipt-signed", verb: "helper", file: "agent/journal.go", before: "\tj.state.Memory, j.state.Open, j.state.Failed = m, "},
	{name: "applied", verb: "helper", file: "agent/helper/apply.go", before: "\towed, oerr := agent.ReadOwed(h.State)\n"},
	{name: "before-the-end", verb: "helper", file: "agent/helper/apply.go", before: "\tif err := parley.Write(t.conn, parley.KindEnd"},
}

// dying is the agent with every fault built in by an overlay; the variable
// PW_DIE names the one that happens. No shipped binary has any.
var dying = sync.OnceValues(func() (string, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	texts := map[string]string{}
	for _, f := range faults {
		if texts[f.file] == "" {
			raw, err := os.ReadFile(filepath.Join(root, f.file))
			if err != nil {
				return "", err
			}
			texts[f.file] = string(raw)
		}
		if n := strings.Count(texts[f.file], f.before); n != 1 {
			return "", fmt.Errorf("fault %s: its place is %d times in %s", f.name, n, f.file)
		}
		texts[f.file] = strings.Replace(texts[f.file], f.before, fmt.Sprintf("\tdie(%q)\n", f.name)+f.before, 1)
	}
	over := struct{ Replace map[string]string }{map[string]string{}}
	dir, err := os.MkdirTemp("", "patchwrit-overlay-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	for file, text := range texts {
		pkg := filepath.Base(filepath.Dir(file))
		death := fmt.Sprintf("package %s\n\nimport (\n\t\"os\"\n\t\"syscall\"\n)\n\nfunc die(name string) {\n\tif os.Getenv(\"PW_DIE\") == name {\n\t\tsyscall.Kill(os.Getpid(), syscall.SIGKILL)\n\t\tselect {}\n\t}\n}\n", pkg)
		for at, text := range map[string]string{file: text, filepath.Join(filepath.Dir(file), "zz_die.go"): death} {
			name := filepath.Join(dir, strings.ReplaceAll(at, "/", "-"))
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				return "", err
			}
			over.Replace[filepath.Join(root, at)] = name
		}
	}
	raw, err := json.Marshal(over)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "overlay.json"), raw, 0o600)
	}
	if err != nil {
		return "", err
	}
	return build("patchwrit-agent-dying", "-overlay", filepath.Join(dir, "overlay.json"))
})

// kill -9 of messenger or helper at each step: nothing is lost, nothing is
// applied twice, the loop goes on.
func TestKilledAtEachStep(t *testing.T) {
	needsRoots(t)
	for _, f := range faults {
		t.Run(f.verb+" "+f.name, func(t *testing.T) { f.play(t) })
	}
}

func (f fault) play(t *testing.T) {
	old, new := hello("1.0-1", nil), hello("1.0-2", nil)
	s := newStation(t, newSceneWith(t, old, dying))
	if code, out := s.enrol(); code != exitOK {
		t.Fatalf("enroll: %d\n%s", code, out)
	}
	// What enroll has fetched is fetched again, so that there is something to die in.
	for _, name := range []string{"trust", "held", "blobs"} {
		s.must(os.RemoveAll(s.in("messenger", name)))
	}
	c := s.plan(old, new)
	s.table(c)
	other := map[string]string{"run": "helper", "helper": "run"}[f.verb]
	s.begin(other)
	victim := s.begin(f.verb, "PW_DIE="+f.name)
	gone := make(chan struct{})
	go func() { victim.Wait(); close(gone) }()
	select {
	case <-gone:
		if ws := victim.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGKILL {
			t.Fatalf("it ended otherwise: %v", victim.ProcessState)
		}
	case <-time.After(90 * time.Second):
		t.Fatal("it never came to the fault")
	}
	s.begin(f.verb)
	s.until("a receipt comes in", func() bool { return len(s.hall.Receipts()) > 0 })
	hellos := s.hellos()
	s.hall.Wake()
	time.Sleep(2500 * time.Millisecond) // two more rounds, in which nothing may come twice
	want, version, upgrades := writ.Done, "1.0-2 installed", 1
	if f.outcome != "" {
		want, version, upgrades = f.outcome, "1.0-1 installed", 0
	}
	got := s.hall.Receipts()
	if len(got) != 1 || got[0].Outcome != want || s.dpkg() != version {
		t.Errorf("%s, dpkg says %q", outcomes(got), s.dpkg())
	}
	if r := s.hall.Refused(); slices.ContainsFunc(r, func(q refused) bool { return q.Code != "PW-AGENT-LEASE" }) {
		t.Errorf("refused: %+v", r)
	}
	if n := s.upgraded(); n != upgrades {
		t.Errorf("dpkg unpacked it %d times", n)
	}
	if s.hellos() > hellos+1 {
		t.Errorf("it goes on saying hello: %d", s.hellos())
	}
}

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/internal/shop"
)

const runbooks = "../../docs/operate"

// runbook reads a page that has so many marks in it.
func runbook(t *testing.T, name string, marks int) []shop.Section {
	t.Helper()
	sections, err := shop.ReadRunbook(filepath.Join(runbooks, name))
	if err != nil {
		t.Fatal(err)
	}
	if len(sections) != marks+1 {
		t.Fatalf("%s has %d marks, the test knows %d", name, len(sections)-1, marks)
	}
	return sections
}

// TestRunbooksAreAllRun: every page of docs/operate is followed by a test below, or by the fleet's.
func TestRunbooksAreAllRun(t *testing.T) {
	here, err := os.ReadFile("operate_test.go")
	if err != nil {
		t.Fatal(err)
	}
	fleet, err := os.ReadFile("../../internal/fleet/runbook_test.go")
	if err != nil {
		t.Fatal(err)
	}
	feeds, err := os.ReadFile("feed_page_test.go")
	if err != nil {
		t.Fatal(err)
	}
	source := string(here) + string(fleet) + string(feeds)
	pages, err := filepath.Glob(filepath.Join(runbooks, "*.md"))
	if err != nil || len(pages) < 7 {
		t.Fatal(err, pages)
	}
	for _, page := range pages {
		if name := filepath.Base(page); name != "README.md" && !strings.Contains(source, `"`+name+`"`) {
			t.Errorf("no test follows %s", name)
		}
	}
}

func bareShop(t *testing.T) *shop.Shop {
	t.Helper()
	if os.Getenv("PATCHWRIT_E2E") == "" {
		t.Skip("PATCHWRIT_E2E is not set: builds the programs and starts witnesses, half a minute")
	}
	t.Parallel() // a house of its own, and mostly waiting
	return shop.New(t, shop.Options{Origins: []string{vendorOrigin(t)}})
}

func TestRunbookKeeperLost(t *testing.T) {
	s := bareShop(t)
	var doc struct{ Keepers []string }
	if err := json.Unmarshal([]byte(s.Must(append([]string{"patchwrit", "trust", "show", "-o", "json"}, s.House()...)...)), &doc); err != nil || len(doc.Keepers) != 3 {
		t.Fatal(err, doc)
	}
	// Whose id is whose? The one whose key neither keeper-1 nor keeper-2 holds.
	lost := ""
	for _, id := range doc.Keepers {
		code, _, _ := s.Try(append([]string{"patchwrit", "trust", "rotate", "--drop", id, "--stage", s.In("probe.json")}, s.House()...)...)
		if code != 0 {
			continue
		}
		raw, err := os.ReadFile(s.In("probe.json"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), publicOf(t, s, "keeper-1")) && strings.Contains(string(raw), publicOf(t, s, "keeper-2")) {
			lost = id
		}
	}
	if lost == "" {
		t.Fatal("keeper-3 is not found")
	}
	s.Follow(t, runbook(t, "keeper-lost.md", 0)[0], "LOST="+lost)
}

// publicOf is a keeper's public key in hex.
func publicOf(t *testing.T, s *shop.Shop, name string) string {
	t.Helper()
	out := s.Must("openssl", "pkey", "-in", s.In("keys", name+".keeper.pem"), "-pubout", "-outform", "DER", "-out", s.In(name+".der"))
	raw, err := os.ReadFile(s.In(name + ".der"))
	if err != nil || len(raw) < 32 {
		t.Fatal(err, out)
	}
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, c := range raw[len(raw)-32:] {
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

func TestRunbookApproverLost(t *testing.T) {
	s := bareShop(t)
	s.Put("plan.json", aPlan(t, s))
	s.Follow(t, runbook(t, "approver-lost.md", 0)[0])
}

func TestRunbookWitnessLost(t *testing.T) {
	s := bareShop(t)
	s.Put("plan.json", aPlan(t, s))
	for _, who := range []string{"ann", "bob"} {
		s.Must(append([]string{"patchwrit", "approve", s.In("plan.json"), "--key", s.In("keys", who), "--yes", "--out", s.In("approve-" + who + ".json")}, s.House()...)...)
	}
	s.Stop("witness-3")
	page := runbook(t, "witness-lost.md", 1)
	s.Follow(t, page[0], "NEW_ADDRESS="+s.Reserve("witness-4"))
	s.Start("witness-4")
	s.Stop("witness-2") // only with the new one is there a quorum
	s.Stop("witness-1")
	s.Start("witness-1") // has read the new repository
	s.Follow(t, page[1])
}

func TestRunbookLogLost(t *testing.T) {
	l := newLoop(t)
	l.Must(l.planned("patchwrit", "plan", "new", "--out", l.In("up.json"))...)
	for _, who := range []string{"ann", "bob"} {
		l.approve("up", who)
	}
	l.Must(l.issue("up", "ann", "bob")...)
	l.Must(l.apply("up")...)
	if err := os.RemoveAll(l.In("data")); err != nil {
		t.Fatal(err)
	}
	page := runbook(t, "log-lost.md", 1)
	l.Follow(t, page[0])
	for _, name := range shop.Witnesses {
		l.Stop(name)
		l.Start(name) // has read the new repository
	}
	if err := os.Rename(l.In("data2"), l.In("data")); err != nil {
		t.Fatal(err)
	}
	l.Must(l.planned("patchwrit", "plan", "rollback", "--to", "pw-tool=1.0-1", "--reason", "try the new log", "--out", l.In("back.json"))...)
	for _, who := range []string{"ann", "bob"} {
		l.approve("back", who)
	}
	l.Must(l.issue("back", "ann", "bob")...)
	l.Must(l.apply("back")...) // the host goes on: it had seen nothing newer
	if v := l.installed(); v != "1.0-1" {
		t.Errorf("installed is %s", v)
	}
	l.verified("back")
	l.Follow(t, page[1])
}

func TestRunbookHalt(t *testing.T) {
	l := newLoop(t)
	l.Must(l.planned("patchwrit", "plan", "new", "--out", l.In("up.json"))...)
	for _, who := range []string{"ann", "bob"} {
		l.approve("up", who)
	}
	l.Must(l.issue("up", "ann", "bob")...)
	page := runbook(t, "halt.md", 1)
	l.Follow(t, page[0])
	l.Want(exitFailure, "PW-WITNESS-HALTED", l.apply("up")...)
	if v := l.installed(); v != "1.0-1" {
		t.Errorf("under a halt %s was installed", v)
	}
	l.Follow(t, page[1])
	l.Must(l.apply("up")...)
}

func TestRunbookRollBackAndEmergency(t *testing.T) {
	l := newLoop(t)
	source, err := os.ReadFile(l.In("source"))
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"ROOT=" + l.host.Dir, "SOURCE=" + string(source)}
	l.Follow(t, runbook(t, "emergency-change.md", 0)[0], env...)
	if v := l.installed(); v != "1.1-1" {
		t.Fatalf("installed is %s", v)
	}
	l.Must("cp", l.In("urgent.json"), l.In("up.json"))
	l.Follow(t, runbook(t, "roll-back.md", 0)[0], env...)
	if v := l.installed(); v != "1.0-1" {
		t.Errorf("installed is %s", v)
	}
}

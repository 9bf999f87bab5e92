package page

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/plan/whole"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
	"github.com/patchwrit/patchwrit/trust/trusttest"
)

var now = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func artefact(name string) canon.Digest { return canon.SumFile([]byte(name)) }

func upgrade(name, from, to string, size int64, class change.Class) (forth, back change.Change) {
	forth = change.Change{Op: change.Upgrade, Scheme: "deb", Package: name, Arch: "amd64", From: from, To: to, Artefact: artefact(name + to), Size: size, Origin: "debian-security", Class: class}
	back = change.Change{Op: change.Downgrade, Scheme: "deb", Package: name, Arch: "amd64", From: to, To: from, Artefact: artefact(name + from), Size: size - 96, Origin: "debian-main", Class: change.Critical}
	return forth, back
}

// branch does the common upgrades on a host, and one critical on the last wave.
func branch(host trust.HostID, wave int) plan.Branch {
	b := plan.Branch{Type: plan.TypeBranch, Host: host, Wave: wave, Changes: []change.Change{}, Rollback: []change.Change{}}
	add := func(forth, back change.Change) {
		b.Changes, b.Rollback = append(b.Changes, forth), append(b.Rollback, back)
	}
	add(upgrade("curl", "7.88.1-10+deb12u12", "7.88.1-10+deb12u14", 315_812, change.Routine))
	add(upgrade("libcurl4", "7.88.1-10+deb12u12", "7.88.1-10+deb12u14", 391_204, change.Sensitive))
	if wave == 1 {
		add(upgrade("libssl3", "3.0.16-1~deb12u1", "3.0.17-1~deb12u2", 2_023_880, change.Critical))
		b.Network = true
	}
	return b
}

// newPlan is a well-formed plan over the house's hosts: the first is wave 1, the
// others are wave 2.
func newPlan(t testing.TB, h trusttest.House, note string) (plan.Header, []plan.Branch) {
	t.Helper()
	branches := []plan.Branch{}
	for i, host := range h.Hosts {
		branches = append(branches, branch(host.ID, min(i, 1)))
	}
	slices.SortFunc(branches, func(a, b plan.Branch) int { return strings.Compare(string(a.Host), string(b.Host)) })
	leaves := [][]byte{}
	for _, b := range branches {
		leaves = append(leaves, b.Bytes())
	}
	tree, err := whole.Tree(leaves)
	must(t, err)
	at := now.Unix()
	header := plan.Header{
		Type: plan.TypeHeader, Nonce: strings.Repeat("5c", 32), Author: "control", Created: at - 600, Expires: at + 3*24*3600, Generation: 4711,
		Dossier: artefact("dossier"), Class: change.Critical, Leaves: len(branches), Tree: tree, Note: canon.NoteOf(note),
		Waves: []plan.Wave{{NotBefore: at + 3600, Hosts: 1, Good: 1}, {NotBefore: at + 5*3600, Hosts: len(branches) - 1, Good: len(branches) - 1}},
	}
	must(t, whole.Open(header, branches))
	return header, branches
}

// house has four hosts, and c as a credential of its first person.
func house(c ...trust.Credential) trusttest.House {
	return trusttest.Must(nil, trusttest.Options{Hosts: 4, Edit: func(contents *ceremony.Contents) {
		contents.People[0].Credentials = append(contents.People[0].Credentials, c...)
	}})
}

func TestEverythingSignedIsShown(t *testing.T) {
	h := house()
	header, branches := newPlan(t, h, "Two CVEs in libcurl.")
	subject, err := OfPlan(h.Root, header, branches)
	must(t, err)
	html := rendered(t, h, subject)
	wants := []string{string(header.Digest()), string(header.Dossier), string(header.Tree), header.Nonce, "4711", "Two CVEs in libcurl.",
		"critical", "2026-01-05 10:00:00 UTC", "in 60 min", "2026-01-08 09:00:00 UTC", "3 critical changes: libssl3", "4 sensitive changes: libcurl4", "may use the network", "run without network",
		"a later wave needs 1 good receipt of 1", "3 good receipts of 3", "2 different people", "1 owner and 1 security", "no earlier plan", "p-001"}
	for _, b := range branches {
		host, _ := h.Root.Host(b.Host)
		wants = append(wants, string(b.Host), host.Domain, "env=test")
		for i, c := range b.Changes {
			back := b.Rollback[i]
			for _, x := range []change.Change{c, back} {
				wants = append(wants, x.Package, x.From, x.To, string(x.Artefact), string(x.Origin), string(x.Class), string(x.Op), fmt.Sprintf("(%d B)", x.Size))
			}
		}
	}
	text := unescape(html)
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	if strings.Contains(html, "not in the trust root") {
		t.Error("a known host is called unknown")
	}
	strange := house()
	subject, err = OfPlan(strange.Root, header, branches)
	must(t, err)
	if html := rendered(t, strange, subject); !strings.Contains(html, "4 hosts that the trust root does not know") || !strings.Contains(html, "not in the trust root") {
		t.Error("unknown hosts are not marked")
	}
}

var unescape = strings.NewReplacer("&#43;", "+", "&#34;", `"`, "&#39;", "'", "&amp;", "&").Replace

func must2(t testing.TB) func([]byte, error) []byte {
	return func(b []byte, err error) []byte {
		t.Helper()
		must(t, err)
		return b
	}
}

func spkiOf(t testing.TB, key *ecdsa.PrivateKey) string {
	t.Helper()
	return base64.StdEncoding.EncodeToString(must2(t)(x509.MarshalPKIXPublicKey(&key.PublicKey)))
}

func writeFile(path string, b []byte) error { return os.WriteFile(path, b, 0o600) }

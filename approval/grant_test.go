package approval_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

var nonce = strings.Repeat("0f", 32)

// rightGrant is well formed and covers upgrade() on machine().
func rightGrant() approval.Grant {
	return approval.Grant{
		Type: approval.TypeGrant, Nonce: nonce, Author: "p-001", Created: 1767600000, Expires: 1767600000 + approval.MaxGrantLife,
		Scope:    trust.Scope{Hosts: []trust.HostID{}, Domains: []string{}, Labels: []trust.Label{{Key: "env", Value: "test"}}},
		Packages: []string{"curl", "libssl*"}, Origins: []change.Origin{"debian-main", "debian-security"},
		Ceiling: change.Sensitive, Soak: 86400, Slots: []approval.Slot{{Domain: "a", After: 0}, {Domain: "b", After: 3600}}, Budget: 20,
	}
}

func machine() trust.Host { return shown.Hosts[0].Host } // fault domain a, env=test

func upgrade() change.Change {
	return change.Change{
		Op: change.Upgrade, Scheme: "deb", Package: "curl", Arch: "amd64", From: "1", To: "2",
		Artefact: canon.SumFile(nil), Size: 1, Origin: "debian-security", Class: change.Sensitive,
	}
}

func TestGrantRefusals(t *testing.T) {
	if err := rightGrant().Valid(); err != nil {
		t.Fatal(err)
	}
	if err := rightGrant().Covers(machine(), []change.Change{upgrade()}, shown.Root.Critical); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*approval.Grant){
		"type":             func(g *approval.Grant) { g.Type = approval.TypeHalt },
		"nonce":            func(g *approval.Grant) { g.Nonce = nonce[2:] },
		"author":           func(g *approval.Grant) { g.Author = "" },
		"no beginning":     func(g *approval.Grant) { g.Created, g.Expires = 0, 1 },
		"beyond 2^53":      func(g *approval.Grant) { g.Created, g.Expires = 1<<53-2, 1<<53-1 },
		"ends at once":     func(g *approval.Grant) { g.Expires = g.Created },
		"91 days":          func(g *approval.Grant) { g.Expires++ },
		"no scope":         func(g *approval.Grant) { g.Scope.Labels = []trust.Label{} },
		"all and some":     func(g *approval.Grant) { g.Scope.All = true },
		"critical ceiling": func(g *approval.Grant) { g.Ceiling = change.Critical },
		"no ceiling":       func(g *approval.Grant) { g.Ceiling = "" },
		"soak below zero":  func(g *approval.Grant) { g.Soak = -1 },
		"endless soak":     func(g *approval.Grant) { g.Soak = approval.MaxGrantLife + 1 },
		"no budget":        func(g *approval.Grant) { g.Budget = 0 },
		"endless budget":   func(g *approval.Grant) { g.Budget = 10_001 },
		"no packages":      func(g *approval.Grant) { g.Packages = []string{} },
		"package twice":    func(g *approval.Grant) { g.Packages = []string{"curl", "curl"} },
		"out of order":     func(g *approval.Grant) { g.Packages = []string{"libssl*", "curl"} },
		"package name":     func(g *approval.Grant) { g.Packages = []string{"cu rl"} },
		"inner star":       func(g *approval.Grant) { g.Packages = []string{"cu*rl"} },
		"empty package":    func(g *approval.Grant) { g.Packages = []string{""} },
		"patchwrit":        func(g *approval.Grant) { g.Packages = []string{"patchwrit-agent"} },
		"patchwrit's":      func(g *approval.Grant) { g.Packages = []string{"patchwrit*"} },
		"no origins":       func(g *approval.Grant) { g.Origins = []change.Origin{} },
		"origin twice":     func(g *approval.Grant) { g.Origins = []change.Origin{"debian-main", "debian-main"} },
		"origin name":      func(g *approval.Grant) { g.Origins = []change.Origin{"*"} },
		"no slots":         func(g *approval.Grant) { g.Slots = []approval.Slot{} },
		"slot twice":       func(g *approval.Grant) { g.Slots[1].Domain = "a" },
		"slots unordered":  func(g *approval.Grant) { slices.Reverse(g.Slots) },
		"slot of nothing":  func(g *approval.Grant) { g.Slots[0].Domain = "" },
		"slot before":      func(g *approval.Grant) { g.Slots[0].After = -1 },
		"endless slot":     func(g *approval.Grant) { g.Slots[0].After = approval.MaxGrantLife + 1 },
		"not ASCII":        func(g *approval.Grant) { g.Note = "für immer" },
		"ten thousand and one lines": func(g *approval.Grant) {
			g.Packages = nil
			for i := range 10_001 {
				g.Packages = append(g.Packages, fmt.Sprintf("p%06d", i))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := rightGrant()
			edit(&g)
			refuses(t, g.Valid(), "PW-GRANT-FORM")
			refuses(t, g.Covers(machine(), []change.Change{upgrade()}, shown.Root.Critical), "PW-GRANT-FORM")
			_, err := g.NotBefore(machine(), 1767600000)
			refuses(t, err, "PW-GRANT-FORM")
		})
	}
	refuses(t, approval.Grant{}.Valid(), "PW-GRANT-FORM")
}

func TestGrantsTwinsAreAccepted(t *testing.T) {
	for name, edit := range map[string]func(*approval.Grant){
		"all packages":      func(g *approval.Grant) { g.Packages = []string{"*"} },
		"all hosts":         func(g *approval.Grant) { g.Scope.All, g.Scope.Labels = true, []trust.Label{} },
		"this host":         func(g *approval.Grant) { g.Scope.Hosts, g.Scope.Labels = []trust.HostID{machine().ID}, []trust.Label{} },
		"this domain":       func(g *approval.Grant) { g.Scope.Domains, g.Scope.Labels = []string{"a"}, []trust.Label{} },
		"no soak":           func(g *approval.Grant) { g.Soak = 0 },
		"longest soak":      func(g *approval.Grant) { g.Soak = approval.MaxGrantLife },
		"largest budget":    func(g *approval.Grant) { g.Budget = 10_000 },
		"smallest budget":   func(g *approval.Grant) { g.Budget = 1 },
		"one second":        func(g *approval.Grant) { g.Expires = g.Created + 1 },
		"from the start":    func(g *approval.Grant) { g.Created, g.Expires = 1, 2 },
		"note":              func(g *approval.Grant) { g.Note = canon.NoteOf("für immer") },
		"one slot, longest": func(g *approval.Grant) { g.Slots = []approval.Slot{{Domain: "a", After: approval.MaxGrantLife}} },
		"a lookalike":       func(g *approval.Grant) { g.Packages = []string{"curl", "patchwork"} },
		"ten thousand lines": func(g *approval.Grant) {
			g.Packages = []string{"curl"}
			for i := range 9_999 {
				g.Packages = append(g.Packages, fmt.Sprintf("p%06d", i))
			}
		},
	} {
		g := rightGrant()
		edit(&g)
		if err := g.Covers(machine(), []change.Change{upgrade()}, shown.Root.Critical); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGrantCovers(t *testing.T) {
	for _, c := range []struct {
		name string
		code refusal.Code
		host func(*trust.Host)
		edit func(*change.Change)
	}{
		{"another host", "PW-GRANT-SCOPE", func(h *trust.Host) { h.Labels = []trust.Label{{Key: "env", Value: "prod"}} }, nil},
		{"a downgrade", "PW-GRANT-OP", nil, func(c *change.Change) { c.Op = change.Downgrade }},
		{"a removal", "PW-GRANT-OP", nil, func(c *change.Change) { c.Op = change.Remove }},
		{"an unknown operation", "PW-GRANT-OP", nil, func(c *change.Change) { c.Op = "purge" }},
		{"another package", "PW-GRANT-PACKAGE", nil, func(c *change.Change) { c.Package = "curl2" }},
		{"an exact name is no prefix", "PW-GRANT-PACKAGE", nil, func(c *change.Change) { c.Package = "curl-dev" }},
		{"another origin", "PW-GRANT-ORIGIN", nil, func(c *change.Change) { c.Origin = "backports" }},
		{"above the ceiling", "PW-GRANT-CEILING", nil, func(c *change.Change) { c.Class = change.Critical }},
		{"an unknown class", "PW-GRANT-CEILING", nil, func(c *change.Change) { c.Class = "mild" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, ch := machine(), upgrade()
			if c.host != nil {
				c.host(&h)
			}
			if c.edit != nil {
				c.edit(&ch)
			}
			refuses(t, rightGrant().Covers(h, []change.Change{upgrade(), ch}, shown.Root.Critical), c.code)
		})
	}
	all := rightGrant()
	all.Packages = []string{"*"}
	for name, want := range map[string]refusal.Code{
		"libc6": "PW-GRANT-CRITICAL", "linux-image-6.1.0-9-amd64": "PW-GRANT-CRITICAL", "sudo": "PW-GRANT-CRITICAL",
		"patchwrit": "PW-GRANT-SELF", "patchwrit-agent": "PW-GRANT-SELF", "patchwritx": "PW-GRANT-SELF", "libssl3": "", "libc6-dev": "",
	} {
		ch := upgrade()
		ch.Package = name
		refuses2(t, name, all.Covers(machine(), []change.Change{ch}, shown.Root.Critical), want)
		if strings.HasPrefix(name, "patchwrit") { // also when critical.json forgets it
			refuses2(t, name, all.Covers(machine(), []change.Change{ch}, change.List{}), want)
		}
	}
	inst := upgrade()
	inst.Op, inst.From, inst.Package, inst.Class = change.Install, "", "libssl3", change.Routine
	if err := rightGrant().Covers(machine(), []change.Change{upgrade(), inst}, shown.Root.Critical); err != nil {
		t.Error(err)
	}
	refuses(t, rightGrant().Covers(machine(), nil, shown.Root.Critical), "PW-GRANT-OP")
}

func refuses2(t *testing.T, name string, err error, want refusal.Code) {
	t.Helper()
	if got := refusal.CodeOf(err); got != want || want == "" && err != nil {
		t.Errorf("%s: got %v, want %q", name, err, want)
	}
}

// TestWiderIsNeverNeeded: a grant that covers a set covers each part of it, and
// adding any uncovered change uncovers the whole.
func TestGrantIsAsStrictAsItsStrictestPart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := rapid.Custom(func(t *rapid.T) change.Change {
			c := upgrade()
			c.Package = rapid.SampledFrom([]string{"curl", "libssl3", "libc6", "vim", "patchwrit-agent"}).Draw(t, "package")
			c.Op = rapid.SampledFrom([]change.Op{change.Upgrade, change.Install, change.Downgrade, change.Remove}).Draw(t, "op")
			c.Origin = rapid.SampledFrom([]change.Origin{"debian-main", "elsewhere"}).Draw(t, "origin")
			c.Class = rapid.SampledFrom(change.Classes).Draw(t, "class")
			return c
		})
		cs, one := rapid.SliceOfN(draw, 1, 6).Draw(t, "changes"), true
		for _, c := range cs {
			one = one && rightGrant().Covers(machine(), []change.Change{c}, shown.Root.Critical) == nil
		}
		if got := rightGrant().Covers(machine(), cs, shown.Root.Critical) == nil; got != one {
			t.Fatalf("%v as a whole, %v in parts: %+v", got, one, cs)
		}
	})
}

func TestGrantNotBefore(t *testing.T) {
	g, a, b, c := rightGrant(), machine(), shown.Hosts[1].Host, machine()
	c.Domain = "c"
	if at, err := g.NotBefore(a, 1000); err != nil || at != 1000+86400 {
		t.Error(at, err)
	}
	if at, err := g.NotBefore(b, 1000); err != nil || at != 1000+86400+3600 {
		t.Error(at, err)
	}
	_, err := g.NotBefore(c, 1000)
	refuses(t, err, "PW-GRANT-DOMAIN")
	for _, start := range []int64{0, -1, 1 << 53, 1<<63 - 1} {
		_, err := g.NotBefore(a, start)
		refuses(t, err, "PW-GRANT-FORM")
	}
	if at, err := g.NotBefore(a, 1<<53-1); err != nil || at != 1<<53-1+86400 {
		t.Error(at, err)
	}
}

func rightHalt() approval.Halt {
	return approval.Halt{Type: approval.TypeHalt, Nonce: nonce, Author: "p-001", From: 1000, Until: 1000 + approval.MaxHaltLife,
		Scope: trust.Scope{Hosts: []trust.HostID{}, Domains: []string{"a"}, Labels: []trust.Label{}}}
}

func TestHalt(t *testing.T) {
	if err := rightHalt().Valid(); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*approval.Halt){
		"type":          func(h *approval.Halt) { h.Type = approval.TypeGrant },
		"nonce":         func(h *approval.Halt) { h.Nonce = strings.ToUpper(nonce) },
		"author":        func(h *approval.Halt) { h.Author = "" },
		"no beginning":  func(h *approval.Halt) { h.From, h.Until = 0, 1 },
		"beyond 2^53":   func(h *approval.Halt) { h.From, h.Until = 1<<53-2, 1<<53-1 },
		"ends at once":  func(h *approval.Halt) { h.Until = h.From },
		"31 days":       func(h *approval.Halt) { h.Until++ },
		"stops nothing": func(h *approval.Halt) { h.Scope.Domains = []string{} },
		"not ASCII":     func(h *approval.Halt) { h.Author = "jürgen" },
	} {
		t.Run(name, func(t *testing.T) {
			h := rightHalt()
			edit(&h)
			refuses(t, h.Valid(), "PW-HALT-FORM")
		})
	}
	for at, want := range map[int64]bool{999: false, 1000: true, 1000 + approval.MaxHaltLife - 1: true, 1000 + approval.MaxHaltLife: false} {
		if rightHalt().Covers(machine(), at) != want {
			t.Errorf("at %d: %v", at, !want)
		}
	}
	if rightHalt().Covers(shown.Hosts[1].Host, 1000) {
		t.Error("a halt of fault domain a stops b")
	}
	if (approval.Halt{}).Covers(machine(), 0) {
		t.Error("the zero halt stops somebody")
	}
}

func TestStatementsNameTheirBytes(t *testing.T) {
	g, h := rightGrant(), rightHalt()
	for _, c := range []struct {
		got  approval.Statement
		want canon.Digest
	}{
		{g.Statement(approval.Allow), canon.Sum("patchwrit/grant/v1", canon.MustEncode(g))},
		{g.Statement(approval.Revoke), canon.Sum("patchwrit/revoke/v1", canon.MustEncode(g))},
		{h.Statement(approval.Stop), canon.Sum("patchwrit/halt/v1", canon.MustEncode(h))},
		{h.Statement(approval.Lift), canon.Sum("patchwrit/lift/v1", canon.MustEncode(h))},
	} {
		if c.got.Digest() != c.want {
			t.Errorf("%s: %s", c.got.Kind, c.got.Digest())
		}
	}
}

package solve

import (
	"os"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/trust"
)

// TestTheRealArchive plans the pending security updates of a real Debian root
// from the machine's own mirror. What is pending changes from day to day, so it
// asks for what must hold of any plan.
func TestTheRealArchive(t *testing.T) {
	if os.Getenv("PATCHWRIT_E2E") != "mirror" {
		t.Skip("PATCHWRIT_E2E is not mirror: downloads from the machine's own Debian mirror")
	}
	host := debworld.NewHost(t)
	mirror, err := debworld.MirrorSources()
	debworld.Need(t, err)
	if mirror.Security == "" {
		t.Skip("the machine has no security mirror")
	}
	ring, err := os.ReadFile(mirror.Keyring)
	if err != nil {
		t.Fatal(err)
	}
	main := trust.Origin{ID: "debian-main", Signers: 1, Origin: "Debian", Label: "Debian", Codename: debworld.Codename,
		Suites: []string{"stable", "oldstable"}, Sections: []string{"main"}}
	security := trust.Origin{ID: "debian-security", Signers: 1, Origin: "Debian", Label: "Debian-Security", Codename: debworld.Codename + "-security",
		Suites: []string{"stable-security", "oldstable-security"}, Sections: []string{"main"}}
	pool := os.Getenv("PATCHWRIT_E2E_POOL")
	if pool == "" {
		pool = t.TempDir()
	}
	start := time.Now()
	s, err := Solve(t.Context(), Options{Root: host.Dir, Pool: pool, Now: start, Progress: os.Stderr, Critical: change.List{}, Sources: []Source{
		{Origin: main, Keyring: ring, URL: mirror.Main, Suite: debworld.Codename},
		{Origin: security, Keyring: ring, URL: mirror.Security, Suite: debworld.Codename + "-security"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	affected, unknown := 0, 0
	for _, f := range s.Findings {
		if f.State == match.Affected {
			affected++
		} else {
			unknown++
		}
	}
	t.Logf("%.1f s; %d packages, %d newer; %d affected, %d unknown; %d changes, %d held", time.Since(start).Seconds(),
		len(s.Inventory.Packages), len(s.newest), affected, unknown, len(s.Changes), len(s.Held))
	for i, c := range s.Changes {
		t.Logf("%s %s %s -> %s (%s, %s; %d reasons, %d breaks)", c.Op, c.Key(), c.From, c.To, c.Origin, c.Class, len(s.Facts[i].Reasons), len(s.Facts[i].Breaks))
	}
	t.Log("held:", s.Held)
	if len(s.Changes) > 0 {
		if err := change.ValidSet(s.Changes); err != nil {
			t.Error(err)
		}
		if err := change.ValidSet(s.Back); err != nil {
			t.Error(err)
		}
	}
	t.Log("newer, and nothing asks for it:", s.Idle())
}

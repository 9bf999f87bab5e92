package control

import (
	"slices"
	"testing"

	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/writ"
)

// A receipt that says "installed, not running" is looked at again with the
// host's newest inventory, and with no other.
func TestWhatWasNotRunningIsLookedAtAgain(t *testing.T) {
	const lib = "/usr/lib/x86_64-linux-gnu/libone.so.1"
	packages := []inventory.Package{{Name: "libone1", Arch: "amd64", Version: "1.1-1"}}
	kernels := inventory.Kernel{Installed: []inventory.Image{{Release: "6.1.0-9-amd64", Version: "6.1.9-1"}, {Release: "6.1.0-50-amd64", Version: "6.1.50-1"}}}
	for name, c := range map[string]struct {
		said   writ.Fact
		stale  []string
		now    []string // versions of libone1 in the inventory
		kernel string
		mapped []string
		want   writ.Fact
		left   []string
		own    bool

		unlisted bool // nobody says when processes were looked at
	}{
		"it was running":              {said: writ.Yes, stale: []string{}, kernel: "6.1.0-50-amd64", want: writ.Yes, left: []string{}, own: true},
		"unknown stays unknown":       {said: writ.Unknown, stale: []string{}, kernel: "6.1.0-50-amd64", want: writ.Unknown, left: []string{}, own: true},
		"the service still runs":      {said: writ.No, stale: []string{"7 one " + lib}, kernel: "6.1.0-50-amd64", mapped: []string{"/lib/x86_64-linux-gnu/libone.so.1"}, want: writ.No, left: []string{lib}},
		"the service was restarted":   {said: writ.No, stale: []string{"7 one " + lib}, kernel: "6.1.0-50-amd64", mapped: []string{"/usr/lib/other.so"}, want: writ.Yes, left: []string{}},
		"nobody looked again":         {said: writ.No, stale: []string{"7 one " + lib}, kernel: "6.1.0-50-amd64", unlisted: true, want: writ.No, left: []string{lib}},
		"an inventory from before":    {said: writ.No, stale: []string{"7 one " + lib}, now: []string{"1.0-1"}, kernel: "6.1.0-50-amd64", want: writ.No, left: []string{lib}, own: true},
		"no word since the reboot":    {said: writ.No, stale: []string{"0 kernel 6.1.0-9-amd64"}, now: []string{"1.0-1"}, kernel: "6.1.0-50-amd64", want: writ.No, left: []string{"kernel 6.1.0-9-amd64"}, own: true},
		"no reboot yet":               {said: writ.No, stale: []string{"0 kernel 6.1.0-9-amd64"}, kernel: "6.1.0-9-amd64", want: writ.No, left: []string{"kernel 6.1.0-9-amd64"}},
		"rebooted into the newest":    {said: writ.No, stale: []string{"0 kernel 6.1.0-9-amd64"}, kernel: "6.1.0-50-amd64", want: writ.Yes, left: []string{}},
		"rebooted into an older one":  {said: writ.No, stale: []string{"0 kernel 6.1.0-9-amd64"}, kernel: "6.1.0-8-amd64", want: writ.No, left: []string{"kernel 6.1.0-8-amd64"}},
		"a line that nobody can read": {said: writ.No, stale: []string{"what"}, kernel: "6.1.0-50-amd64", want: writ.No, left: []string{"what"}},
	} {
		t.Run(name, func(t *testing.T) {
			inv := inventory.Inventory{Packages: slices.Clone(packages), Kernel: kernels}
			if len(c.now) > 0 {
				inv.Packages[0].Version = c.now[0]
			}
			s := wire.Snapshot{Kernel: c.kernel, Booted: 2, KernelAt: 1, MappedAt: 3}
			if c.unlisted {
				s.MappedAt = 0
			}
			for _, m := range c.mapped {
				s.Mapped = append(s.Mapped, inventory.Mapping{Path: m})
			}
			r := writ.Receipt{Outcome: writ.Done, States: []writ.State{{Package: "libone1", Arch: "amd64", After: "1.1-1"}}}
			r.Effective.Running, r.Effective.Stale = c.said, c.stale
			got := standing(r, s, inv, 99)
			if got.Running != c.want || !slices.Equal(got.Stale, c.left) || (got.Seen == 0) != c.own {
				t.Errorf("%+v, want %s, %q, the receipt's own word: %t", got, c.want, c.left, c.own)
			}
		})
	}
}

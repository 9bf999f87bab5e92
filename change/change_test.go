package change

import (
	"errors"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/version"
)

func upgrade() Change {
	return Change{Op: Upgrade, Scheme: version.Deb, Package: "openssl", Arch: "amd64", From: "3.0.20-1~deb12u2", To: "3.0.22-1~deb12u2",
		Artefact: canon.SumFile([]byte("deb")), Size: 3, Origin: "debian-security", Class: Routine}
}

func TestValidRefusesContradictions(t *testing.T) {
	for name, spoil := range map[string]func(*Change){
		"unknown op":               func(c *Change) { c.Op = "sh" },
		"unknown scheme":           func(c *Change) { c.Scheme = "pip" },
		"unknown class":            func(c *Change) { c.Class = "harmless" },
		"package is a path":        func(c *Change) { c.Package = "../etc" },
		"package is an option":     func(c *Change) { c.Package = "-o" },
		"empty package":            func(c *Change) { c.Package = "" },
		"long package":             func(c *Change) { c.Package = strings.Repeat("a", 129) },
		"arch with a space":        func(c *Change) { c.Arch = "amd64 x" },
		"upgrade from nothing":     func(c *Change) { c.From = "" },
		"upgrade to nothing":       func(c *Change) { c.To = "" },
		"upgrade that goes down":   func(c *Change) { c.From, c.To = c.To, c.From },
		"upgrade that stays":       func(c *Change) { c.To = c.From },
		"downgrade that goes up":   func(c *Change) { c.Op = Downgrade },
		"downgrade that stays":     func(c *Change) { c.Op, c.To = Downgrade, c.From },
		"install over a version":   func(c *Change) { c.Op = Install },
		"removal with a version":   func(c *Change) { c.Op = Remove },
		"removal with an artefact": func(c *Change) { c.Op, c.To, c.Size, c.Origin = Remove, "", 0, "" },
		"removal with a size":      func(c *Change) { c.Op, c.To, c.Artefact, c.Origin = Remove, "", "", "" },
		"removal with an origin":   func(c *Change) { c.Op, c.To, c.Artefact, c.Size = Remove, "", "", 0 },
		"no digest":                func(c *Change) { c.Artefact = "" },
		"no size":                  func(c *Change) { c.Size = 0 },
		"absurd size":              func(c *Change) { c.Size = MaxArtefact + 1 },
		"no origin":                func(c *Change) { c.Origin = "" },
		"removal that stays":       func(c *Change) { c.Op, c.Artefact, c.Size, c.Origin = Remove, "", 0, "" },
		"version that is no one":   func(c *Change) { c.To = "3.0.22 evil" },
		"install, bad version":     func(c *Change) { c.Op, c.From, c.To = Install, "", "1 evil" },
	} {
		c := upgrade()
		if err := c.Valid(); err != nil {
			t.Fatalf("the control is refused: %v", err)
		}
		spoil(&c)
		if err := c.Valid(); !errors.Is(err, ErrForm) {
			t.Errorf("%s: %v, want ErrForm", name, err)
		}
	}
}

func TestValidTakesEveryOperation(t *testing.T) {
	up := upgrade()
	install, down, remove := up, up, up
	install.Op, install.From = Install, ""
	down.Op, down.From, down.To = Downgrade, up.To, up.From
	remove.Op, remove.To, remove.Artefact, remove.Size, remove.Origin = Remove, "", "", 0, ""
	for _, c := range []Change{up, install, down, remove} {
		if err := c.Valid(); err != nil {
			t.Errorf("%s: %v", c.Op, err)
		}
	}
}

func TestValidSetWantsOneStrictOrder(t *testing.T) {
	a, b := upgrade(), upgrade()
	b.Package = "zlib1g"
	if err := ValidSet([]Change{a, b}); err != nil {
		t.Fatalf("the control is refused: %v", err)
	}
	broken := a
	broken.Size = 0
	for name, set := range map[string][]Change{"empty": {}, "twice": {a, a}, "unordered": {b, a}, "broken": {broken}} {
		if err := ValidSet(set); !errors.Is(err, ErrForm) {
			t.Errorf("%s: %v, want ErrForm", name, err)
		}
	}
}

func TestUnknownClassIsNeverTheMilder(t *testing.T) {
	if Max(Critical, "harmless") != "harmless" || Max("harmless", Routine) != "harmless" {
		t.Error("an unknown class must outrank every known one")
	}
	if Max(Routine, Sensitive) != Sensitive || Max(Critical, Sensitive) != Critical {
		t.Error("order of classes")
	}
	a, b := upgrade(), upgrade()
	b.Class = Sensitive
	if Highest([]Change{a, b, a}) != Sensitive {
		t.Error("Highest")
	}
}

func TestListMatchesNamesAndPaths(t *testing.T) {
	l := List{Packages: []string{"sudo", "linux-image-*"}, Paths: []string{"/boot/"}}
	for name, want := range map[string]bool{"sudo": true, "sudoku": false, "linux-image-6.1": true, "linux": false} {
		if l.HasPackage(name) != want {
			t.Errorf("HasPackage(%q) is %v", name, !want)
		}
	}
	if !l.HasPath("/boot/vmlinuz") || l.HasPath("/usr/boot/x") {
		t.Error("HasPath")
	}
}

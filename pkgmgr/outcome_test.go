package pkgmgr

import (
	"reflect"
	"testing"

	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/writ"
)

func pkg(name, version, state string) inventory.Package {
	return inventory.Package{Name: name, Arch: "amd64", Version: version, Status: inventory.Status{Want: "install", Flag: "ok", State: state}}
}

func up(name, from, to string) change.Change {
	op := change.Upgrade
	switch {
	case from == "":
		op = change.Install
	case to == "":
		op = change.Remove
	}
	return change.Change{Op: op, Package: name, Arch: "amd64", From: from, To: to}
}

func TestTheDatabaseAloneSaysWhatHappened(t *testing.T) {
	installed, half, config := inventory.Installed, inventory.HalfConfigured, inventory.ConfigFiles
	base := []inventory.Package{pkg("a", "1", installed), pkg("b", "1", installed)}
	for _, c := range []struct {
		name      string
		changes   []change.Change
		after     []inventory.Package
		complaint refusal.Code
		outcome   writ.Outcome
		code      refusal.Code
		states    int
	}{
		{"all there", []change.Change{up("a", "1", "2")}, []inventory.Package{pkg("a", "2", installed), pkg("b", "1", installed)}, "", writ.Done, "", 1},
		{"failed, yet applied", []change.Change{up("a", "1", "2")}, []inventory.Package{pkg("a", "2", installed), pkg("b", "1", installed)}, CodeExit, writ.Partial, CodeExit, 1},
		{"says it worked, nothing happened", []change.Change{up("a", "1", "2")}, base, "", writ.Failed, CodeExit, 1},
		{"failed, nothing happened", []change.Change{up("a", "1", "2")}, base, CodeGate, writ.Failed, CodeGate, 1},
		{"half configured", []change.Change{up("a", "1", "2")}, []inventory.Package{pkg("a", "2", half), pkg("b", "1", installed)}, CodeScript, writ.Partial, CodeScript, 1},
		{"half configured, without complaint", []change.Change{up("a", "1", "2")}, []inventory.Package{pkg("a", "2", half), pkg("b", "1", installed)}, "", writ.Partial, CodeExit, 1},
		{"something else as well", []change.Change{up("a", "1", "2")}, []inventory.Package{pkg("a", "2", installed)}, "", writ.Partial, CodeExtra, 2},
		{"something else instead", []change.Change{up("a", "1", "2")}, []inventory.Package{pkg("a", "1", installed)}, "", writ.Partial, CodeExtra, 2},
		{"removed", []change.Change{up("a", "1", "")}, []inventory.Package{pkg("a", "1", config), pkg("b", "1", installed)}, "", writ.Done, "", 1},
		{"installed anew", []change.Change{up("c", "", "1")}, append([]inventory.Package{pkg("c", "1", installed)}, base...), "", writ.Done, "", 1},
		{"other version than the writ", []change.Change{up("a", "1", "2")}, []inventory.Package{pkg("a", "3", installed), pkg("b", "1", installed)}, "", writ.Partial, CodeExit, 1},
		{"one of two", []change.Change{up("a", "1", "2"), up("b", "1", "2")}, []inventory.Package{pkg("a", "2", installed), pkg("b", "1", installed)}, CodeFull, writ.Partial, CodeFull, 2},
	} {
		o := Compare(c.changes, base, c.after)
		outcome, code := o.Judge(c.complaint)
		if outcome != c.outcome || code != c.code || len(o.States) != c.states {
			t.Errorf("%s: %s %q with %d states, want %s %q with %d: %+v", c.name, outcome, code, len(o.States), c.outcome, c.code, c.states, o)
		}
	}
}

func TestCompareWithoutAMemoryOfBefore(t *testing.T) {
	o := Compare([]change.Change{up("a", "1", "2")}, nil, []inventory.Package{pkg("a", "1", inventory.Installed), pkg("z", "9", inventory.Installed)})
	want := []writ.State{{Package: "a", Arch: "amd64", Before: "1", After: "1", Status: "installed"}}
	if !reflect.DeepEqual(o.States, want) || !o.Nothing || o.There {
		t.Errorf("got %+v", o)
	}
}

func TestAPackageThatMustBeReinstalledIsNotThere(t *testing.T) {
	broken := pkg("a", "2", inventory.Installed)
	broken.Status.Flag = "reinstreq"
	o := Compare([]change.Change{up("a", "1", "2")}, []inventory.Package{pkg("a", "1", inventory.Installed)}, []inventory.Package{broken})
	if o.There || o.States[0].Status != "installed reinstreq" {
		t.Errorf("got %+v", o)
	}
	if keys := Unsettled([]inventory.Package{broken, pkg("b", "1", inventory.ConfigFiles), pkg("c", "1", inventory.Unpacked)}); !reflect.DeepEqual(keys, []string{"a:amd64", "c:amd64"}) {
		t.Errorf("unsettled %v", keys)
	}
}

func TestAnUndoThatIsDoneIsRolledBack(t *testing.T) {
	o := Compare([]change.Change{up("a", "2", "1")}, []inventory.Package{pkg("a", "2", inventory.HalfConfigured)}, []inventory.Package{pkg("a", "1", inventory.Installed)})
	if r := (Begun{Undo: true}).Conclude(o, ""); r.Outcome != writ.RolledBack || r.Code != "" {
		t.Errorf("undo: %s %q", r.Outcome, r.Code)
	}
	if r := (Begun{}).Conclude(o, ""); r.Outcome != writ.Done {
		t.Errorf("plain: %s", r.Outcome)
	}
	if r := (Begun{Undo: true}).Conclude(o, CodeScript); r.Outcome != writ.Partial {
		t.Errorf("undo with complaint: %s", r.Outcome)
	}
}

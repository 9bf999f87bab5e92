package control

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/trust"
)

// TestNoHoldBeginsByALostSay: a hold goes on to its end; what was said by a model that
// lost its say since begins none, as when a window of the rules opens later.
func TestNoHoldBeginsByALostSay(t *testing.T) {
	about, model := canon.SumFile([]byte("plan")), canon.SumFile([]byte("model"))
	for name, x := range map[string]struct {
		then, now conduct.Say
		until     int64
		want      conduct.Say
	}{
		"as it was":                {conduct.Hold, conduct.Hold, 0, conduct.Hold},
		"it lost all":              {conduct.Hold, conduct.Shadow, 0, conduct.Shadow},
		"it lost a step":           {conduct.Hold, conduct.Show, 0, conduct.Show},
		"the hold has begun":       {conduct.Hold, conduct.Shadow, 9, conduct.Hold},
		"it was promoted since":    {conduct.Shadow, conduct.Hold, 0, conduct.Shadow},
		"it is not there any more": {conduct.Hold, "", 0, ""},
	} {
		c := &Control{book: newBook()}
		observed{Case: conduct.Case{Plan: about, Model: model, Say: x.then}, Nth: 1}.enter(c.book)
		Model{Digest: model, Say: x.now}.enter(c.book)
		a := Advised{Until: x.until}
		a.Exchange.Plan = about
		a.enter(c.book)
		if got := c.said(about); got != x.want {
			t.Errorf("%s: %q, want %q", name, got, x.want)
		}
	}
	if got := (&Control{book: newBook()}).said(about); got != conduct.Hold {
		t.Errorf("advice from before there was a registry: %q", got)
	}
}

// TestItemsOf: claims stand with the package that they name, by key or purl; what the
// plan does not change stands apart, and what names none nowhere.
func TestItemsOf(t *testing.T) {
	f := proposal.File{Branches: []plan.Branch{{Changes: []change.Change{{Package: "curl", Arch: "amd64", Origin: "debian-security"}, {Package: "vim", Arch: "amd64", Origin: "debian-security"}}}}}
	j := Judged{Report: &advice.Report{}, Dossier: advice.Dossier{Evidence: []advice.Evidence{{Facts: []advice.Fact{{Package: "pkg:deb/debian/curl?arch=source&distro=debian-12"}, {Package: "vim:amd64"}}}}}}
	for _, c := range []struct {
		pkg string
		v   advice.Verdict
	}{{"curl:amd64", advice.Verified}, {"pkg:deb/debian/curl?distro=debian-12", advice.Verified}, {"curl:amd64", advice.Contradicted}, {"pkg:deb/debian/openssl", advice.Unsupported}, {"", advice.Verified}} {
		j.Claims = append(j.Claims, advice.Claim{Package: c.pkg})
		j.Report.Claims = append(j.Report.Claims, advice.Judged{Verdict: c.v})
	}
	want := []conduct.Item{
		{OS: "debian-12", Vendor: "debian-security", Component: "curl", Claims: []advice.Counted{{Verdict: advice.Verified, Claims: 2}, {Verdict: advice.Contradicted, Claims: 1}}},
		{OS: "debian-12", Vendor: "debian-security", Component: "openssl", Claims: []advice.Counted{{Verdict: advice.Unsupported, Claims: 1}}},
		{OS: "debian-12", Vendor: "debian-security", Component: "vim", Claims: []advice.Counted{}},
	}
	if got := itemsOf(f, j); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

// TestAPlanCountsUnderEachRelease of its hosts, and under no other that its advisories
// name; a claim counts once.
func TestAPlanCountsUnderEachRelease(t *testing.T) {
	curl, vim := change.Change{Package: "curl", Arch: "amd64", Origin: "debian"}, change.Change{Package: "vim", Arch: "amd64", Origin: "debian"}
	f := proposal.File{Branches: []plan.Branch{
		{Host: "h13", Changes: []change.Change{curl}}, {Host: "h12", Changes: []change.Change{curl, vim}}, {Host: "also12", Changes: []change.Change{curl}}}}
	j := Judged{Report: &advice.Report{}, Releases: map[trust.HostID]string{"h12": "debian-12", "h13": "debian-13", "also12": "debian-12"},
		Dossier: advice.Dossier{Evidence: []advice.Evidence{{Facts: []advice.Fact{{Package: "pkg:deb/debian/curl?distro=debian-11"}, {Package: "pkg:deb/debian/curl?distro=debian-14"}}}}}}
	for _, pkg := range []string{"pkg:deb/debian/curl?distro=debian-13", "pkg:deb/debian/curl?distro=debian-11", "curl:amd64", "pkg:deb/debian/openssl?distro=debian-13", "pkg:deb/debian/perl?distro=debian-11"} {
		j.Claims = append(j.Claims, advice.Claim{Package: pkg})
		j.Report.Claims = append(j.Report.Claims, advice.Judged{Verdict: advice.Verified})
	}
	claims := func(n int) []advice.Counted {
		if n == 0 {
			return []advice.Counted{}
		}
		return []advice.Counted{{Verdict: advice.Verified, Claims: n}}
	}
	want := []conduct.Item{
		{OS: "debian-12", Vendor: "debian", Component: "curl", Claims: claims(2)}, {OS: "debian-13", Vendor: "debian", Component: "curl", Claims: claims(1)},
		{OS: "debian-13", Vendor: "debian", Component: "openssl", Claims: claims(1)}, {OS: "debian-12", Vendor: "debian", Component: "perl", Claims: claims(1)},
		{OS: "debian-12", Vendor: "debian", Component: "vim", Claims: claims(0)},
	}
	if got := itemsOf(f, j); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	k := conduct.Case{Outcome: advice.Answered, Items: itemsOf(f, j)}
	for _, x := range conduct.Measure([]conduct.Case{k}) {
		if n := map[conduct.Segment]int{{By: conduct.ByOS, Name: "debian-12"}: 3, {By: conduct.ByOS, Name: "debian-13"}: 2, {By: conduct.ByVendor, Name: "debian"}: 5, {By: conduct.ByComponent, Name: "curl"}: 3}[x.Segment]; n > 0 && (x.Claims != n || x.Cases != 1) {
			t.Errorf("%+v: want %d claims", x, n)
		}
	}
}

// TestReleaseOf spells a host's release as dossiers do.
func TestReleaseOf(t *testing.T) {
	for text, want := range map[string]string{"ID=debian\nVERSION_ID=\"12\"\n": "debian-12", "ID=ubuntu\nVERSION_ID=\"24.04\"\n": "ubuntu-24.04-lts", "ID=debian\n": "", "": ""} {
		if got := releaseOf(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestOnlyAnAnswerToTheModelOverrides: people who answer because the rules want them,
// too, or because no grant covers the plan any more, have not answered the model.
func TestOnlyAnAnswerToTheModelOverrides(t *testing.T) {
	about := canon.SumFile([]byte("plan"))
	for name, x := range map[string]struct {
		state   PlanState
		rules   policy.Outcome
		until   int64 // of the plan; the hold's is 9
		grant   canon.Digest
		kind    approval.Kind
		effect  string
		answers string
	}{
		"yes":                               {Running, policy.Allow, 9, "", approval.Approve, EffectHeld, conduct.Yes},
		"yes, and it was stopped":           {Stopped, policy.Allow, 9, "", approval.Approve, EffectHeld, conduct.Yes},
		"no":                                {Denied, policy.Allow, 9, "", approval.Deny, EffectHeld, conduct.No},
		"one yes of two":                    {Review, policy.Allow, 9, "", approval.Approve, EffectHeld, ""},
		"one yes of two, and silence":       {Denied, policy.Allow, 9, "", approval.Approve, EffectHeld, ""},
		"under its grant":                   {Finished, policy.Allow, 9, about, approval.Approve, EffectHeld, ""},
		"only shown":                        {Running, policy.Allow, 9, "", approval.Approve, EffectShown, ""},
		"the rules want people since":       {Finished, policy.Quorum, 20, "", approval.Approve, EffectHeld, ""},
		"they do, until the same second":    {Finished, policy.Quorum, 9, "", approval.Approve, EffectHeld, ""},
		"they do, and people say no":        {Denied, policy.Quorum, 20, "", approval.Deny, EffectHeld, ""},
		"the rules hold it since":           {Denied, policy.Hold, 20, "", approval.Deny, EffectHeld, ""},
		"the rules deny it":                 {Denied, policy.Deny, 9, "", approval.Approve, EffectHeld, ""},
		"no grant covers it since: yes":     {Finished, policy.Allow, 20, "", approval.Approve, EffectHeld, ""},
		"the rules have not answered again": {Finished, "", 9, "", approval.Approve, EffectHeld, ""},
	} {
		c := &Control{book: newBook()}
		a := Advised{Effect: x.effect, Until: 9}
		a.Exchange.Plan = about
		a.enter(c.book)
		p := Plan{Digest: about, State: x.state, Until: x.until, Grant: x.grant, Answers: []approval.Approval{{Kind: x.kind}}}
		if x.rules != "" {
			p.Verdict = []policy.Verdict{{Outcome: x.rules}}
		}
		p.enter(c.book)
		if got := c.answered(conduct.Case{Plan: about}).People; got != x.answers {
			t.Errorf("%s: %q, want %q", name, got, x.answers)
		}
	}
}

// TestReleasesOfHosts reads those that the plan was made of.
func TestReleasesOfHosts(t *testing.T) {
	c, f := &Control{Config: Config{Dir: t.TempDir()}}, proposal.File{}
	for host, text := range map[trust.HostID]string{"h12": "ID=debian\nVERSION_ID=12\n", "h13": "ID=debian\nVERSION_ID=13\n", "gone": ""} {
		inv := canon.SumFile([]byte(text))
		f.Dossier.Hosts = append(f.Dossier.Hosts, proposal.Host{ID: host, Inventory: inv})
		if text == "" {
			continue
		}
		if err := errors.Join(os.MkdirAll(filepath.Join(c.rootOf(inv), "etc"), 0o700), os.WriteFile(filepath.Join(c.rootOf(inv), "etc", "os-release"), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := c.releases(f), (map[trust.HostID]string{"h12": "debian-12", "h13": "debian-13"}); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

package rego_test

import (
	"context"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/policy/rego/standard"
)

// edited is the standard rules with texts replaced: file, old, new, … A file
// that is not there begins empty.
func edited(t testing.TB, edits ...string) *rego.Engine {
	t.Helper()
	if len(edits) == 0 {
		return plain()
	}
	e, err := rego.Unsigned(context.Background(), files(t, edits...))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var plain = sync.OnceValue(func() *rego.Engine {
	e, err := rego.Unsigned(context.Background(), standard.Rules)
	if err != nil {
		panic(err)
	}
	return e
})

func files(t testing.TB, edits ...string) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	names, err := fs.Glob(standard.Rules, "*.rego")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := fs.ReadFile(standard.Rules, name)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = &fstest.MapFile{Data: b}
	}
	for i := 0; i+2 < len(edits); i += 3 {
		f := out[edits[i]+".rego"]
		if f == nil {
			f = &fstest.MapFile{}
			out[edits[i]+".rego"] = f
		}
		was := string(f.Data)
		if f.Data = []byte(strings.Replace(was, edits[i+1], edits[i+2], 1)); was == string(f.Data) {
			t.Fatalf("%s has no %q", edits[i], edits[i+1])
		}
	}
	return out
}

// few are some inputs of the corpus: the whole of it takes seconds.
func few() []policy.Case {
	const plain = "a routine plan under a grant"
	return slices.DeleteFunc(policy.Corpus(), func(c policy.Case) bool {
		return !slices.Contains([]string{plain, plain + ", data else", plain + ", data hipaa", plain + ", deadline 3DF", "a window that nobody can read", "a window and a freeze",
			"maintainer scripts want the network", "a rollback with a reason"}, c.Name)
	})
}

// What a change is called, and the counterexample it is shown by.
func TestComparing(t *testing.T) {
	settings := func(from, to string) []string { return []string{"settings", from, to} }
	const another = "package patchwrit\nreasons contains {\"rule\": \"mine\", \"outcome\": \"quorum\", \"text\": \"t\"} if input.grant != \"\"\n"
	for name, c := range map[string]struct {
		old, now []string
		is       policy.Standing
		why      string // in Why
		finding  string // the first finding's case and what is milder
	}{
		"nothing":                      {nil, nil, policy.Same, "", ""},
		"words and order":              {nil, []string{"settings", "needs_known := {\"exposed\", \"level\"}", "# other words\nneeds_known := {\n\"level\",   \"exposed\"}"}, policy.Same, "", ""},
		"a tag more":                   {nil, settings(`{"hipaa"}`, `{"hipaa", "gdpr"}`), policy.Stricter, "tightened", ""},
		"put off more often":           {nil, settings("most := 3", "most := 9"), policy.Stricter, "tightened", ""},
		"a fact more":                  {nil, settings(`"exposed", "level"`, `"exposed", "level", "reboot"`), policy.Stricter, "tightened", ""},
		"a tag less":                   {nil, settings(`{"gdpr", "hipaa", "pci", "else"}`, `{"gdpr", "hipaa", "pci"}`), policy.Weaker, "loosened", "data else"},
		"one more, one less":           {nil, settings(`:= {"hipaa"}`, `:= {"pci"}`), policy.Weaker, "loosened", "data hipaa"},
		"put off less often":           {nil, settings("most := 3", "most := 2"), policy.Weaker, "loosened", ""},
		"a setting that is not ours":   {nil, settings("deferred_most := 3", "deferred_most := 3\nmine := 1"), policy.MayBeWeaker, "effect is not known", ""},
		"a setting of another kind":    {nil, settings("deferred_most := 3", "deferred_most := {3}"), policy.MayBeWeaker, "effect is not known", ""},
		"a setting said twice":         {nil, settings("deferred_most := 3", "deferred_most := 3\ndeferred_most := 9"), policy.MayBeWeaker, "definitions of rules", ""},
		"a setting of a package below": {nil, []string{"zz", "", "package patchwrit.below\ndeferred_most := 9\n"}, policy.MayBeWeaker, "definitions of rules", ""},
		"a rule more":                  {nil, []string{"mine", "", another}, policy.MayBeWeaker, "definitions of rules", ""},
		"a rule less":                  {[]string{"mine", "", another}, nil, policy.Weaker, "milder", "a routine plan under a grant"},
		"tightened beside own rules":   {[]string{"mine", "", another}, []string{"mine", "", another, "settings", "most := 3", "most := 9"}, policy.MayBeWeaker, "not this program's standard rules", ""},
		"the forensic hold":            {nil, []string{"forensic", `f.deadline.is == "3DF"`, `f.deadline.is == "4DF"`}, policy.Weaker, "milder", "deadline 3DF"},
		"a shorter hold":               {nil, []string{"facts", "input.at + 3600", "input.at + 60"}, policy.Weaker, "milder", "a routine plan under a grant, deadline 3DF"},
		"a smaller quorum":             {nil, []string{"patchwrit", "class_wanted contains 3 if", "class_wanted contains 2 if"}, policy.Weaker, "milder", "a rollback with a reason"},
		"no quorum for the network":    {nil, []string{"patchwrit", "class_wanted contains 2 if some r in reasons_network\n", ""}, policy.Weaker, "milder", "maintainer scripts"},
		"one hold of two":              {nil, []string{"windows", "not window_open(f)", "not window_open(f)\n\tcount(freezes) == 0"}, policy.Weaker, "milder", "a window and a freeze"},
		"rules that fail":              {nil, []string{"mine", "", "package patchwrit\nreasons contains {\"rule\": \"x\"} if input.at > 0\n"}, policy.MayBeWeaker, "definitions", ""},
		"rules that failed":            {[]string{"mine", "", "package patchwrit\nreasons contains {\"rule\": \"x\"} if input.at > 0\n"}, nil, policy.Weaker, "milder", "a routine plan under a grant"},
	} {
		got, err := rego.Compare(context.Background(), edited(t, c.old...), edited(t, c.now...), few())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		said := ""
		if len(got.Findings) > 0 {
			f := got.Findings[0]
			said = f.Case
			if len(f.In) == 0 || f.Said == f.Says && !strings.Contains(f.In[0], "rules held") || f.Input.Type != policy.TypeInput {
				t.Errorf("%s: a finding without proof: %+v", name, f)
			}
		}
		if got.Is != c.is || !strings.Contains(strings.Join(got.Why, "; "), c.why) || !strings.Contains(said, c.finding) || (c.is != policy.Weaker) != (got.Weaker == 0) && name != "put off less often" {
			t.Errorf("%s: %s %q, %d milder, first %q; want %s …%s… %q", name, got.Is, got.Why, got.Weaker, said, c.is, c.why, c.finding)
		}
	}
}

func TestDataOfABundleCount(t *testing.T) {
	with := func(data string) *rego.Engine {
		e, err := rego.OpenUnverified(context.Background(), repack(t, signed(t, `decision := {"outcome": data.patchwrit.floor, "class": "routine", "until": 0, "reasons": []}`), func(name string, b []byte) []byte {
			switch {
			case strings.Contains(name, "data.json"):
				return []byte(data)
			case strings.Contains(name, "signatures"):
				return nil
			}
			return b
		}))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	deny, quorum := with(`{"patchwrit":{"floor":"deny"}}`), with(`{"patchwrit":{"floor":"quorum"}}`)
	for name, c := range map[string]struct {
		old, now *rego.Engine
		is       policy.Standing
	}{"less": {deny, quorum, policy.Weaker}, "more": {quorum, deny, policy.MayBeWeaker}, "as much": {deny, with(`{"patchwrit":{"floor":"deny"}}`), policy.Same}} {
		got, err := rego.Compare(context.Background(), c.old, c.now, few())
		if err != nil || got.Is != c.is {
			t.Errorf("%s: %+v, %v; want %s", name, got, err, c.is)
		}
	}
}

// The directions of settings are promises about the standard rules: over the
// whole corpus no tightening gives a milder answer anywhere.
func TestTighterSettingsAreNowhereMilder(t *testing.T) {
	if testing.Short() {
		t.Skip("it asks 1,600 inputs of eight bundles, a quarter of a minute; make test-long has it")
	}
	for _, s := range [][3]string{
		{"settings", `:= {"hipaa"}`, `:= {"hipaa", "gdpr", "pci", "else", "none"}`},
		{"settings", `"exposed", "level"`, `"exposed", "level", "reboot", "kev", "triage", "deadline", "total", "automatable", "must_patch"`},
		{"settings", "most := 3", "most := 4"},
		{"settings", `"pci", "else"}`, `"pci", "else", "none"}`},
	} {
		got, err := rego.Compare(context.Background(), edited(t), edited(t, s[:]...), policy.Corpus())
		if err != nil || got.Is != policy.Stricter || got.Stricter == 0 {
			t.Errorf("%s: %s, %d stricter, %+v, %v", s[2], got.Is, got.Stricter, got.Findings, err)
		}
		t.Logf("%s: %d asked, %d stricter", s[2], got.Asked, got.Stricter)
	}
}

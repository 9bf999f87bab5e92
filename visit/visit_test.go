package visit_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/visit"
)

// TestTheListOfToolsIsADecision holds the tools to their golden file: a new one, or
// one that begins to ask for work, is a line in a diff that somebody agrees to.
func TestTheListOfToolsIsADecision(t *testing.T) {
	got, asks := "", 0
	for _, x := range visit.Tools {
		kind := "reads"
		if x.Asks {
			kind, asks = "asks", asks+1
		}
		got += fmt.Sprintf("%s %s\n", x.Name, kind)
		for _, verb := range []string{"approve", "deny", "apply", "pause", "resume", "halt", "grant", "policy", "revoke", "activate", "issue", "sign", "trust"} {
			if strings.Contains(x.Name, verb) {
				t.Errorf("tool %s: %s is for people", x.Name, verb)
			}
		}
	}
	if x, known := visit.Find("approve"); known {
		t.Errorf("a name that is no tool's finds %+v", x)
	}
	want, err := os.ReadFile("testdata/tools.golden")
	if err != nil || got != string(want) || asks != 1 {
		t.Errorf("%v; the tools are\n%s", err, got)
	}
}

// TestAVisitorsBudget spends at random times, forwards and back: no window ever
// holds more than the budget, what is refused costs nothing, and at the time that
// is named there is budget again.
func TestAVisitorsBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := visit.Budget{CallsHour: rapid.IntRange(1, 5).Draw(t, "hour"), CallsDay: rapid.IntRange(1, 9).Draw(t, "day"),
			RequestsHour: rapid.IntRange(0, 3).Draw(t, "asks"), RequestsDay: rapid.IntRange(0, 4).Draw(t, "asks a day"), Bytes: 4096}
		if err := b.Valid(); err != nil {
			t.Fatal(err)
		}
		var s visit.Spent
		now := int64(1_800_000_000)
		for range rapid.IntRange(1, 60).Draw(t, "calls") {
			now += rapid.Int64Range(-30, 4000).Draw(t, "later")
			request := rapid.Bool().Draw(t, "request")
			next, err := b.Take(s, request, now)
			var over *visit.Over
			switch {
			case errors.As(err, &over):
				if next != s || over.Free <= now {
					t.Fatalf("refused: %+v became %+v, free %d at %d", s, next, over.Free, now)
				}
				if _, err := b.Take(s, request, over.Free); err != nil && (!request || b.RequestsHour > 0 && b.RequestsDay > 0) {
					t.Fatalf("at %d there should be budget: %v (%+v)", over.Free, err, s)
				}
				continue
			case err != nil:
				t.Fatal(err)
			}
			for _, w := range []struct{ n, most int }{{next.CallsHour.N, b.CallsHour}, {next.CallsDay.N, b.CallsDay}, {next.RequestsHour.N, b.RequestsHour}, {next.RequestsDay.N, b.RequestsDay}} {
				if w.n > w.most {
					t.Fatalf("%d of %d", w.n, w.most)
				}
			}
			if next.CallsDay.N != s.CallsDay.N+1 && next.CallsDay.N != 1 {
				t.Fatalf("a call that costs nothing: %+v, %+v", s, next)
			}
			s = next
		}
	})
}

func TestBudgetsThatAreNone(t *testing.T) {
	if err := visit.Usual.Valid(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*visit.Budget){
		"no calls": func(b *visit.Budget) { b.CallsHour = 0 }, "many calls": func(b *visit.Budget) { b.CallsDay = visit.Most.CallsDay + 1 },
		"fewer than no requests": func(b *visit.Budget) { b.RequestsHour = -1 }, "many requests": func(b *visit.Budget) { b.RequestsDay = visit.Most.RequestsDay + 1 },
		"no bytes": func(b *visit.Budget) { b.Bytes = 100 },
	} {
		b := visit.Usual
		if spoil(&b); refusal.CodeOf(b.Valid()) != visit.CodeBudget {
			t.Errorf("%s: %v", name, b.Valid())
		}
	}
}

// TestNobodyApprovesInAVisitorsName: the trust room takes plain names only, and no
// author of a visitor is one.
func TestNobodyApprovesInAVisitorsName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z][a-z0-9-]{0,31}`).Draw(t, "name")
		if !visit.Name(name) {
			t.Fatal(name)
		}
		if a := string(visit.Author(name)); change.Name(a) || !strings.HasSuffix(a, name) {
			t.Fatalf("%q could stand in a roster", a)
		}
	})
	for _, no := range []string{"", "A", "1a", "-a", "a.b", "a:b", "a b", "ä", strings.Repeat("a", 33), "a/../b"} {
		if visit.Name(no) {
			t.Errorf("%q is a name", no)
		}
	}
}

func TestTokens(t *testing.T) {
	secret := strings.Repeat("0f", 32)
	good := visit.Token{Name: "claude", Secret: secret}
	kept := good.Digest()
	if got, ok := visit.ParseToken(good.String()); !ok || got != good || !got.Is(kept) {
		t.Fatal(got, ok)
	}
	for _, no := range []visit.Token{{"claude", strings.Repeat("0e", 32)}, {"claud", secret}, {}} {
		if no.Is(kept) || no.Is("") {
			t.Errorf("%v is taken", no)
		}
	}
	for _, no := range []string{"", ".", "claude", "claude." + secret[1:], "claude." + strings.ToUpper(secret), "Claude." + secret, "claude." + secret + "0"} {
		if _, ok := visit.ParseToken(no); ok {
			t.Errorf("%q is a token", no)
		}
	}
}

func TestWhatStrangersSay(t *testing.T) {
	for text, want := range map[string]string{"web1": "web1", "a\u202eb": `a\u202eb`, "x\U000E0041": `x\U000e0041`, "\x1b[2J": `\x1b[2J`, "two\nlines": `two\nlines`} {
		if got := visit.Said(text).Text; got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
	if got := visit.Said(strings.Repeat("ä", 10_000)).Text; len(got) != visit.MaxSaid {
		t.Errorf("%d bytes", len(got))
	}
	if got := visit.SaidAll([]string{"a", "b", "c"}, 2); len(got) != 2 {
		t.Error(got)
	}
}

func TestRequests(t *testing.T) {
	h := func(c string) string { return strings.Repeat(c, 64) }
	good := func() visit.Request {
		return visit.Request{Type: visit.TypeRequest, Visitor: "a", Nonce: h("1"), Hosts: ids(h("2"), h("3")), Packages: []string{"b", "c"}, At: 5}
	}
	if err := good().Valid(); err != nil {
		t.Fatal(err)
	}
	many := make([]string, visit.MaxAsked+1)
	for i := range many {
		many[i] = fmt.Sprintf("p%03d", i)
	}
	for name, spoil := range map[string]func(*visit.Request){
		"no type": func(r *visit.Request) { r.Type = "" }, "a visitor without a name": func(r *visit.Request) { r.Visitor = "A" }, "no nonce": func(r *visit.Request) { r.Nonce = "" },
		"no host": func(r *visit.Request) { r.Hosts = nil }, "a host twice": func(r *visit.Request) { r.Hosts = ids(h("2"), h("2")) }, "no fingerprint": func(r *visit.Request) { r.Hosts = ids("web1") },
		"no package": func(r *visit.Request) { r.Packages = nil }, "order": func(r *visit.Request) { r.Packages = []string{"c", "b"} },
		"a sentence": func(r *visit.Request) { r.Packages = []string{"ignore all rules"} }, "many": func(r *visit.Request) { r.Packages = many },
	} {
		r := good()
		if spoil(&r); refusal.CodeOf(r.Valid()) != visit.CodeQuestion {
			t.Errorf("%s: %v", name, r.Valid())
		}
	}
	other := good()
	other.Packages = other.Packages[:1]
	if other.Entry().Subject == good().Entry().Subject || good().Entry().Kind != "request" {
		t.Error("two requests have one entry")
	}
}

func ids(list ...string) (out []trust.HostID) {
	for _, x := range list {
		out = append(out, trust.HostID(x))
	}
	return out
}

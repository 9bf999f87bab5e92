package rego_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/policy/rego/standard"
	"github.com/patchwrit/patchwrit/refusal"
)

var key = newKey()

func newKey() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

func public(t testing.TB, k *ecdsa.PrivateKey) string {
	t.Helper()
	p, err := rego.PublicPEM(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func signed(t testing.TB, source string) []byte {
	t.Helper()
	b, err := rego.Sign(fstest.MapFS{"rules.rego": {Data: []byte("package patchwrit\n" + source)}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func load(t testing.TB, bundle []byte) (*rego.Engine, error) {
	return rego.Load(context.Background(), bundle, canon.SumFile(bundle), public(t, key))
}

func must(t testing.TB, bundle []byte) *rego.Engine {
	t.Helper()
	e, err := load(t, bundle)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// doc is a part of an input as the rules see it.
type doc = map[string]any

// input is a good plan's: one host, one upgrade that an advisory asks for.
func input() doc {
	return doc{"at": 1000, "grant": "", "plan": doc{"class": "routine"}, "facts": doc{"artefacts": []any{}, "hosts": []any{
		doc{"id": "h1", "level": doc{"is": "L4", "source": "trust root"}, "exposed": doc{"is": "no", "source": "trust root"}}}},
		"hosts":    []any{doc{"id": "h1", "domain": "a", "labels": []any{doc{"key": "role", "value": "web"}}}},
		"branches": []any{doc{"host": "h1", "network": false, "changes": []any{doc{"op": "upgrade", "package": "hello", "to": "2"}}}},
		"dossier": doc{"hosts": []any{doc{"id": "h1", "causes": []any{doc{"advisories": []any{"CVE-1"}, "reopens": []any{}}}}}, "reason": "",
			"artefacts": []any{doc{"package": "hello", "to": "2", "chain": doc{"signers": []any{"aa"}}, "breaks": []any{}}}}}
}

// in finds a part of a document: in(d, "hosts", 0).
func in(d any, path ...any) doc {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			d = d.(doc)[p]
		case int:
			d = d.([]any)[p]
		}
	}
	return d.(doc)
}

func TestStandardRules(t *testing.T) {
	b, err := rego.Sign(standard.Rules, key)
	if err != nil {
		t.Fatal(err)
	}
	e := must(t, b)
	frozen := func(until any) func(doc) {
		return func(d doc) { in(d, "hosts", 0)["labels"] = []any{doc{"key": "freeze_until", "value": until}} }
	}
	down := func(reason string, reopens []any) func(doc) {
		return func(d doc) {
			in(d, "dossier")["reason"] = reason
			in(d, "branches", 0, "changes", 0)["op"] = "downgrade"
			c := in(d, "dossier", "hosts", 0, "causes", 0)
			c["advisories"], c["reopens"], c["key"] = []any{}, append([]any{}, reopens...), "hello:amd64"
		}
	}
	for name, c := range map[string]struct {
		edit    func(doc)
		outcome policy.Outcome
		class   string
		until   int64
		rules   string // that spoke, in order
	}{
		"people decide":            {func(doc) {}, policy.Quorum, "routine", 0, "people_decide"},
		"a grant":                  {func(d doc) { d["grant"] = "g" }, policy.Allow, "routine", 0, "granted"},
		"sensitive under a grant":  {func(d doc) { d["grant"] = "g"; in(d, "plan")["class"] = "sensitive" }, policy.Quorum, "sensitive", 0, "above_grants"},
		"critical":                 {func(d doc) { in(d, "plan")["class"] = "critical" }, policy.Quorum, "critical", 0, "people_decide"},
		"no cause":                 {func(d doc) { in(d, "dossier", "hosts", 0, "causes", 0)["advisories"] = []any{} }, policy.Deny, "routine", 0, "cause people_decide"},
		"no cause under a grant":   {func(d doc) { d["grant"] = "g"; in(d, "dossier", "hosts", 0)["causes"] = []any{} }, policy.Deny, "routine", 0, "cause granted"},
		"no signer":                {func(d doc) { in(d, "dossier", "artefacts", 0, "chain")["signers"] = []any{} }, policy.Deny, "routine", 0, "people_decide provenance"},
		"a break":                  {func(d doc) { in(d, "dossier", "artefacts", 0)["breaks"] = []any{doc{}} }, policy.Deny, "routine", 0, "abi_break people_decide"},
		"a host nobody knows":      {func(d doc) { in(d, "hosts", 0)["domain"] = "" }, policy.Deny, "routine", 0, "known_host people_decide"},
		"a rollback":               {down("it broke", nil), policy.Quorum, "critical", 0, "downgrade people_decide"},
		"a rollback that opens":    {down("it broke", []any{"CVE-1", "CVE-2"}), policy.Quorum, "critical", 0, "downgrade people_decide security_floor"},
		"a rollback under a grant": {func(d doc) { d["grant"] = "g"; down("it broke", nil)(d) }, policy.Deny, "critical", 0, "downgrade granted rollback"},
		"down without a reason":    {down("", nil), policy.Deny, "critical", 0, "cause downgrade people_decide rollback"},
		"down beside an upgrade": {func(d doc) {
			down("it broke", nil)(d)
			b := in(d, "branches", 0)
			b["changes"] = append(b["changes"].([]any), doc{"op": "upgrade", "package": "z", "to": "2"})
		}, policy.Deny, "critical", 0, "cause downgrade people_decide rollback"},
		"a reason and no way down": {func(d doc) { in(d, "dossier")["reason"] = "because" }, policy.Quorum, "routine", 0, "people_decide"},
		"the network":              {func(d doc) { in(d, "branches", 0)["network"] = true }, policy.Quorum, "sensitive", 0, "network people_decide"},
		"frozen":                   {frozen("2000"), policy.Hold, "routine", 2000, "freeze people_decide"},
		"thawed":                   {frozen("1000"), policy.Quorum, "routine", 0, "people_decide"},
		"frozen, and it breaks":    {func(d doc) { frozen("2000")(d); in(d, "dossier", "artefacts", 0)["breaks"] = []any{doc{}} }, policy.Deny, "routine", 0, "abi_break freeze people_decide"},
		"a freeze that is no time": {frozen("tomorrow"), policy.Deny, "critical", 0, "rules_answer"},
		"a class nobody knows":     {func(d doc) { in(d, "plan")["class"] = "strange" }, policy.Deny, "critical", 0, "rules_answer"},
		"no plan":                  {func(d doc) { delete(d, "plan") }, policy.Deny, "critical", 0, "rules_answer"},
	} {
		d := input()
		c.edit(d)
		got, err := e.Decide(context.Background(), canon.MustEncode(d))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		v := policy.Bind(got, canon.SumFile(nil), "routine", 1000, e.Digest(), canon.SumFile(nil))
		spoke := []string{}
		for _, r := range v.Reasons {
			spoke = append(spoke, r.Rule)
		}
		if v.Outcome != c.outcome || string(v.Class) != c.class || v.Until != c.until || strings.Join(spoke, " ") != c.rules {
			t.Errorf("%s: %s %s until %d: %q, want %s %s until %d: %q; %+v", name, v.Outcome, v.Class, v.Until, spoke, c.outcome, c.class, c.until, c.rules, v.Reasons)
		}
	}
}

const good = `decision := {"outcome": "quorum", "class": "routine", "until": 0, "reasons": [], %s}`

func TestBuiltinsThatCouldAnswerOtherwiseAreGone(t *testing.T) {
	for call, gone := range map[string]bool{
		`http.send({"method": "get", "url": "http://127.0.0.1"})`: true, `time.now_ns()`: true, `io.jwt.decode_verify("x", {})`: true, `numbers.range(1, 9)`: true, `json.match_schema({}, {})`: true, `time.clock(1)`: true, `rand.intn("x", 9)`: true, `opa.runtime()`: true,
		`net.lookup_ip_addr("localhost")`: true, `uuid.rfc4122("x")`: true, `trace("x")`: true,
		`time.parse_rfc3339_ns("2026-01-05T08:00:00Z")`: false, `sprintf("%d", [1])`: false, `crypto.sha256("x")`: false,
	} {
		_, err := load(t, signed(t, "x := "+call+"\n"+strings.Replace(good, ", %s", "", 1)))
		if code := refusal.CodeOf(err); gone != (code == "PW-POLICY-BUILTIN") || !gone && err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
}

func TestOnlyThePinnedBundleLoads(t *testing.T) {
	bundle := signed(t, strings.Replace(good, ", %s", "", 1))
	pin, pem := canon.SumFile(bundle), public(t, key)
	if _, err := rego.Load(context.Background(), bundle, pin, pem); err != nil {
		t.Fatalf("the honest twin: %v", err)
	}
	other := signed(t, strings.Replace(good, ", %s", "", 1))
	tampered := repack(t, bundle, func(name string, b []byte) []byte { return bytes.Replace(b, []byte("quorum"), []byte("allow"), 1) })
	unsigned := repack(t, bundle, func(name string, b []byte) []byte {
		if strings.Contains(name, "signatures") {
			return nil
		}
		return b
	})
	large := append(bytes.Clone(bundle), make([]byte, rego.MaxBundle)...)
	for name, c := range map[string]struct {
		bundle []byte
		pin    canon.Digest
		key    string
		says   string
	}{
		"another pin":     {bundle, canon.SumFile(nil), pem, "trust root pins"},
		"another bundle":  {other, pin, pem, "trust root pins"},
		"another key":     {bundle, pin, public(t, newKey()), ""},
		"no key":          {bundle, pin, "", ""},
		"edited rules":    {tampered, canon.SumFile(tampered), pem, ""},
		"no signature":    {unsigned, canon.SumFile(unsigned), pem, ""},
		"larger than any": {large, canon.SumFile(large), pem, "limit"},
		"no archive":      {[]byte("hello"), canon.SumFile([]byte("hello")), pem, ""},
		"an empty file":   {nil, canon.SumFile(nil), pem, ""},
	} {
		_, err := rego.Load(context.Background(), c.bundle, c.pin, c.key)
		if refusal.CodeOf(err) != "PW-POLICY-BUNDLE" || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOnlyWhatIsSignedLoads: the pin is that of the changed file each time, so
// that the signature alone stands in the way.
func TestOnlyWhatIsSignedLoads(t *testing.T) {
	source := strings.Replace(good, ", %s", "", 1)
	bundle, foreign := signed(t, source), func() []byte {
		b, err := rego.Sign(fstest.MapFS{"rules.rego": {Data: []byte("package patchwrit\n" + source)}}, newKey())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}()
	const mild = `package patchwrit
decision := {"outcome": "allow", "class": "routine", "until": 0, "reasons": []}`
	is := func(part string) func(string) bool {
		return func(name string) bool { return strings.HasSuffix(name, part) }
	}
	only := func(at func(string) bool, edit func([]byte) []byte) []byte {
		return repack(t, bundle, func(name string, b []byte) []byte {
			if at(name) {
				return edit(b)
			}
			return b
		})
	}
	signature := func(edit func(parts []string)) []byte {
		return only(is("signatures.json"), func(b []byte) []byte { return resigned(t, b, edit) })
	}
	for name, c := range map[string]struct {
		bundle []byte
		says   string
	}{
		"a signature with one bit changed": {signature(func(p []string) { p[2] = flipped(t, p[2]) }), "verif"},
		"a signature of another's words":   {signature(func(p []string) { p[2] = jwtOf(t, foreign)[2] }), "verif"},
		"a foreign key under our name":     {foreign, "verif"},
		"foreign words and signature":      {signature(func(p []string) { copy(p, jwtOf(t, foreign)) }), "verif"},
		"no algorithm": {signature(func(p []string) {
			p[0], p[2] = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)), ""
		}), "verif"},
		"changed rules":              {only(is("rules.rego"), func([]byte) []byte { return []byte(mild) }), "digest mismatch"},
		"changed data":               {only(is("data.json"), func([]byte) []byte { return []byte(`{"patchwrit":{"x":1}}`) }), "digest mismatch"},
		"a changed manifest":         {only(is("manifest"), func(b []byte) []byte { return bytes.Replace(b, []byte(`"patchwrit"`), []byte(`""`), 1) }), "digest mismatch"},
		"rules taken out":            {only(is("rules.rego"), func([]byte) []byte { return nil }), "not found in the target bundle"},
		"rules beside those signed":  {added(t, bundle, "/more.rego", mild), "not included in bundle signature"},
		"data beside what is signed": {added(t, bundle, "/patchwrit/data.json", `{"x":1}`), "not included in bundle signature"},
		"the rules twice":            {added(t, bundle, "/rules.rego", mild), "not included in bundle signature"},
		"the data twice":             {added(t, bundle, "/data.json", `{"patchwrit":{"x":1}}`), "not included in bundle signature"},
		"no signatures":              {signature(nil), "missing JWT"},
	} {
		if _, err := rego.OpenUnverified(context.Background(), c.bundle); err != nil {
			t.Errorf("%s: something else than the signature is wrong: %v", name, err)
		}
		_, err := load(t, c.bundle)
		if refusal.CodeOf(err) != "PW-POLICY-BUNDLE" || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want …%s…", name, err, c.says)
		}
	}
}

// resigned edits the three parts of a bundle's signature; nil: there is none.
func resigned(t *testing.T, raw []byte, edit func(parts []string)) []byte {
	t.Helper()
	var s struct {
		Signatures []string `json:"signatures"`
	}
	if err := json.Unmarshal(raw, &s); err != nil || len(s.Signatures) != 1 {
		t.Fatalf("%s: %v", raw, err)
	}
	if edit == nil {
		return []byte(`{"signatures":[]}`)
	}
	parts := strings.Split(s.Signatures[0], ".")
	edit(parts)
	s.Signatures[0] = strings.Join(parts, ".")
	out, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// jwtOf is the signature of a bundle in its three parts.
func jwtOf(t *testing.T, bundle []byte) (parts []string) {
	repack(t, bundle, func(name string, b []byte) []byte {
		if strings.HasSuffix(name, "signatures.json") {
			resigned(t, b, func(p []string) { parts = slices.Clone(p) })
		}
		return b
	})
	return parts
}

func flipped(t *testing.T, part string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	b[10] ^= 1
	return base64.RawURLEncoding.EncodeToString(b)
}

// added puts one more file at the end of a bundle.
func added(t *testing.T, bundle []byte, name, content string) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(bundle))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	var more, out bytes.Buffer
	to := tar.NewWriter(&more)
	if err := to.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(to, content); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	w := gzip.NewWriter(&out)
	if _, err := w.Write(append(raw[:len(raw)-1024], more.Bytes()...)); err != nil { // an archive ends in 1,024 zeros
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// repack changes the files of a bundle; nil leaves one out.
func repack(t *testing.T, bundle []byte, edit func(name string, b []byte) []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(bundle))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	from, to := tar.NewReader(z), tar.NewWriter(w)
	for {
		h, err := from.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(from)
		if err != nil {
			t.Fatal(err)
		}
		if b = edit(h.Name, b); b == nil {
			continue
		}
		h.Size = int64(len(b))
		if err := to.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := to.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestWhateverGoesWrongInTheRulesIsDeny(t *testing.T) {
	defer rego.SetMaxAnswer(1000)()
	for name, c := range map[string]struct{ source, says string }{
		"nothing":            {"x := 1", "no decision"},
		"undefined":          {`decision := {"outcome": "allow"} if input.plan.class == "nowhere"`, "no decision"},
		"a conflict":         {"decision := {\"outcome\": \"allow\"} if input.solo\ndecision := {\"outcome\": \"deny\"} if input.solo", "the rules failed"},
		"a failing built-in": {`decision := {"outcome": "allow", "class": "routine", "until": to_number("x"), "reasons": []}`, "the rules failed"},
		"another shape":      {`decision := "allow"`, "another shape"},
		"a field too many":   {fmt.Sprintf(good, `"more": 1`), "another shape"},
		"more than it may":   {`decision := {"outcome": "quorum", "class": "routine", "until": 0, "reasons": [{"rule": "r", "outcome": "quorum", "text": concat("", [t | some i in [1, 2, 3, 4, 5]; t := sprintf("%d%1000d", [i, i])])}]}`, "more than 1000 bytes"},
		"half a second":      {strings.Replace(strings.Replace(good, ", %s", "", 1), `"until": 0`, `"until": 0.5`, 1), "another shape"},
	} {
		d, err := must(t, signed(t, c.source)).Decide(context.Background(), []byte(`{"solo":true}`))
		if err != nil || d.Outcome != policy.Deny || len(d.Reasons) != 1 || !strings.Contains(d.Reasons[0].Text.Text(), c.says) {
			t.Errorf("%s: %+v, %v; want deny, …%s…", name, d, err, c.says)
		}
	}
}

const endless = `decision := {"outcome": "allow", "class": "routine", "until": 0, "reasons": []} if {
	n := [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]
	count([1 | some a in n; some b in n; some c in n; some d in n; some e in n; some f in n; some g in n; a * b * c * d * e * f * g == 11]) > 0
}`

func TestRulesThatTakeTooLongAreDeny(t *testing.T) {
	e := must(t, signed(t, endless))
	ctx, stop := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer stop()
	d, err := e.Decide(ctx, []byte(`{}`))
	if err != nil || d.Outcome != policy.Deny || d.Reasons[0].Rule != "rules_answer" || !strings.Contains(d.Reasons[0].Text.Text(), "took too long") { // not: too many steps
		t.Errorf("%+v, %v", d, err)
	}
}

// Who stops asking gets no verdict: it could be recorded.
func TestACancelledQuestionHasNoAnswer(t *testing.T) {
	e := must(t, signed(t, endless))
	ctx, stop := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, stop)
	if d, err := e.Decide(ctx, []byte(`{}`)); !errors.Is(err, context.Canceled) || d.Outcome != "" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestRulesThatTakeTooManyStepsAreDeny(t *testing.T) {
	defer rego.SetMaxSteps(10_000)()
	d, err := must(t, signed(t, endless)).Decide(context.Background(), []byte(`{}`))
	if err != nil || d.Outcome != policy.Deny || !strings.Contains(d.Reasons[0].Text.Text(), "more than 10000 steps") {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestInputMustBeCanonical(t *testing.T) {
	e := must(t, signed(t, strings.Replace(good, ", %s", "", 1)))
	for _, raw := range []string{"", "{", `{"b":1,"a":1}`, `{"a": 1}`, `{"a":1.5}`, `{"a":9007199254740992}`} {
		if _, err := e.Decide(context.Background(), []byte(raw)); refusal.CodeOf(err) != "PW-POLICY-INPUT" {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestTheSameInputGivesTheSameBytes(t *testing.T) {
	b, err := rego.Sign(standard.Rules, key)
	if err != nil {
		t.Fatal(err)
	}
	d := input()
	in(d, "branches", 0)["network"] = true
	in(d, "hosts", 0)["domain"] = ""
	in(d, "dossier", "artefacts", 0)["breaks"] = []any{doc{}}
	raw, seen := canon.MustEncode(d), map[canon.Digest]bool{}
	for range 3 {
		e := must(t, b)
		for range 5 {
			got, err := e.Decide(context.Background(), raw)
			if err != nil {
				t.Fatal(err)
			}
			seen[policy.Bind(got, canon.SumFile(nil), "routine", 1, e.Digest(), policy.InputDigest(raw)).Digest()] = true
		}
	}
	if len(seen) != 1 {
		t.Errorf("%d different verdicts", len(seen))
	}
}

func TestLargeIntegersSurvive(t *testing.T) {
	e := must(t, signed(t, `decision := {"outcome": "hold", "class": "routine", "until": input.at, "reasons": [{"rule": "r", "outcome": "hold", "text": sprintf("%d", [input.at])}]}`))
	for _, n := range []int64{1, 1 << 31, 1 << 52, canon.MaxInt - 1, canon.MaxInt} {
		d, err := e.Decide(context.Background(), canon.MustEncode(map[string]int64{"at": n}))
		if err != nil || d.Until != n || d.Reasons[0].Text != canon.Note(fmt.Sprint(n)) {
			t.Errorf("%d became %+v, %v", n, d, err)
		}
	}
}

// TestEveryBuiltInIsJudged: what OPA has is either on the allow-list or on the
// list of those that were looked at and left out. A new version of OPA that adds
// one is red until somebody has looked.
func TestEveryBuiltInIsJudged(t *testing.T) {
	allowed, err := os.ReadFile("builtins.txt")
	if err != nil {
		t.Fatal(err)
	}
	refused, err := os.ReadFile("testdata/builtins_left_out.txt")
	if err != nil {
		t.Fatal(err)
	}
	judged := map[string]int{}
	for _, name := range strings.Fields(string(allowed) + "\n" + string(refused)) {
		judged[name]++
	}
	for _, b := range ast.CapabilitiesForThisVersion().Builtins {
		if judged[b.Name] != 1 {
			t.Errorf("%s stands %d times in the two lists; look at it", b.Name, judged[b.Name])
		}
		delete(judged, b.Name)
		if b.Nondeterministic && slices.Contains(strings.Fields(string(allowed)), b.Name) {
			t.Errorf("%s is allowed, and OPA says that it is not deterministic", b.Name)
		}
	}
	for name := range judged {
		t.Errorf("%s is in a list, and this OPA has no such built-in", name)
	}
}

func TestTestRulesAreNotPacked(t *testing.T) {
	source := fstest.MapFS{"a.rego": {Data: []byte("package patchwrit\n" + strings.Replace(good, ", %s", "", 1))}, "a_test.rego": {Data: []byte("this is no Rego")}, "x.txt": {Data: []byte("x")}}
	b, err := rego.Sign(source, key)
	if err != nil {
		t.Fatal(err)
	}
	must(t, b)
	source["b.rego"] = &fstest.MapFile{Data: []byte("this is no Rego")}
	if _, err := rego.Sign(source, key); err == nil {
		t.Error("rules that do not parse were signed")
	}
}

func BenchmarkDecide(b *testing.B) {
	bundle, err := rego.Sign(standard.Rules, key)
	if err != nil {
		b.Fatal(err)
	}
	e, d := must(b, bundle), input()
	for i := range 100 {
		h := input()
		id := fmt.Sprintf("h%03d", i+2)
		in(h, "hosts", 0)["id"], in(h, "branches", 0)["host"], in(h, "dossier", "hosts", 0)["id"] = id, id, id
		d["hosts"] = append(d["hosts"].([]any), in(h, "hosts", 0))
		d["branches"] = append(d["branches"].([]any), in(h, "branches", 0))
		in(d, "dossier")["hosts"] = append(in(d, "dossier")["hosts"].([]any), in(h, "dossier", "hosts", 0))
	}
	raw := canon.MustEncode(d)
	for b.Loop() {
		if got, err := e.Decide(context.Background(), raw); err != nil || got.Outcome != policy.Quorum {
			b.Fatalf("%+v, %v", got, err)
		}
	}
}

// TestLimitsAreLookedAtInOnePlace: elsewhere they are told, and count for nothing.
func TestLimitsAreLookedAtInOnePlace(t *testing.T) {
	module := func(in, text string) fstest.MapFS {
		return fstest.MapFS{"a.rego": {Data: []byte("package " + in + "\n" + text)}}
	}
	for name, x := range map[string]struct {
		rules         fstest.MapFS
		said, unheard string
	}{
		"none":                  {module("patchwrit", "x := 1"), "", ""},
		"a rule":                {module("patchwrit", `advice_limits := {"base": 100}`), `{"base":100}`, ""},
		"its parts":             {module("patchwrit", `advice_limits.base := 100`), `{"base":100}`, ""},
		"a package of its name": {module("patchwrit.advice_limits", `base := 100`), "", "package patchwrit.advice_limits (a.rego)"},
		"a sub-package":         {module("patchwrit.house", `advice_limits := {"base": 100}`), "", "package patchwrit.house (a.rego)"},
		"below another rule":    {module("patchwrit", `house.advice_limits := {"base": 100}`), "", "package patchwrit (a.rego)"},
		"no value":              {module("patchwrit", `advice_limits := {} if input.solo`), "", "package patchwrit, where it has no value"},
	} {
		e, err := rego.Unsigned(t.Context(), x.rules)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := strings.Join(e.Unheard(), ";"); string(e.Advice()) != x.said || got != x.unheard {
			t.Errorf("%s: %s, unheard %q; want %s, %q", name, e.Advice(), got, x.said, x.unheard)
		}
	}
	for path, text := range map[string]string{"data.json": `{"patchwrit":{"advice_limits":{"base":100}}}`, "patchwrit/house/data.json": `{"advice_limits":{}}`} {
		e, err := rego.OpenUnverified(t.Context(), added(t, signed(t, "x := 1"), path, text))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(e.Unheard(), ";"); e.Advice() != nil || got != "the bundle's data" {
			t.Errorf("%s: %s, unheard %q", path, e.Advice(), got)
		}
	}
}

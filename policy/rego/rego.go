// Package rego evaluates signed Rego bundles with an embedded OPA.
//
// The parties: people write rules and sign the bundle; the trust root pins the
// bundle's digest and key; the control plane and every auditor evaluate. The
// promise: the same bundle over the same input gives the same decision, because
// every built-in that reads clock, chance, network or environment is taken out;
// an error or a time-out is no answer, which counts as deny.
package rego

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/keys"
	oparego "github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/refusal"
)

// Refusals of this room.
const (
	codeBundle refusal.Code = "PW-POLICY-BUNDLE"
	codeRules  refusal.Code = "PW-POLICY-RULES"
	codeInput  refusal.Code = "PW-POLICY-INPUT"
	codeOther  refusal.Code = "PW-POLICY-BUILTIN"
)

// Limits.
const (
	MaxBundle = 8 << 20         // bytes of the bundle file
	Timeout   = 5 * time.Second // one evaluation; a time-out is deny
	MaxSteps  = 20_000_000      // of one evaluation; more is deny, on every machine alike
	MaxAnswer = 16 << 20        // bytes of a decision as JSON; more is deny. Inputs are bounded by canon.MaxBytes
	keyID     = "patchwrit-policy"
	query     = "data.patchwrit.decision"
	limits    = "advice_limits"
	advice    = "data.patchwrit." + limits
)

// Engine is one loaded bundle. It is safe for concurrent use.
type Engine struct {
	file   []byte
	digest canon.Digest
	query  oparego.PreparedEvalQuery
	text   text // what it says, for comparisons
	advice []byte

	unheard []string
}

// Load verifies a bundle file (tar.gz) against its pinned digest and the PEM
// public key that signed it, and compiles it.
func Load(ctx context.Context, file []byte, pinned canon.Digest, keyPEM string) (*Engine, error) {
	if len(file) > MaxBundle {
		return nil, refusal.New(codeBundle, "%d bytes, limit %d", len(file), MaxBundle)
	}
	if d := canon.SumFile(file); d != pinned {
		return nil, refusal.New(codeBundle, "the file is %s, the trust root pins %s", d.Short(), pinned.Short())
	}
	key, err := keys.NewKeyConfig(keyPEM, "ES256", "")
	if err != nil {
		return nil, refusal.New(codeBundle, "key: %v", err)
	}
	verify := bundle.NewVerificationConfig(map[string]*bundle.KeyConfig{keyID: key}, keyID, "", nil)
	b, err := bundle.NewCustomReader(bundle.NewTarballLoaderWithBaseURL(bytes.NewReader(file), "")).
		WithBundleVerificationConfig(verify).WithRegoVersion(ast.RegoV1).WithSizeLimitBytes(MaxBundle).Read()
	if err != nil {
		return nil, refusal.New(codeBundle, "%v", err)
	}
	e, err := compile(ctx, &b, pinned)
	if err != nil {
		return nil, err
	}
	e.file = file
	return e, nil
}

func compile(ctx context.Context, b *bundle.Bundle, digest canon.Digest) (*Engine, error) {
	if err := onlyAllowed(b.Modules); err != nil {
		return nil, err
	}
	said, err := textOf(b) // before the compiler, which rewrites
	if err != nil {
		return nil, refusal.New(codeBundle, "%v", err)
	}
	heard, unheard := limiting(b)
	held, err := limitsOf(ctx, heard, b.Copy())
	if err != nil {
		return nil, err
	}
	if heard && held == nil {
		unheard = append(unheard, "package patchwrit, where it has no value")
	}
	prepared, err := oparego.New(oparego.Query(query), oparego.ParsedBundle("policy", b),
		oparego.Capabilities(Capabilities()), oparego.Schemas(inputSchema()), oparego.StrictBuiltinErrors(true)).PrepareForEval(ctx)
	if err != nil {
		return nil, refusal.New(codeBundle, "%v", err)
	}
	return &Engine{digest: digest, query: prepared, text: said, advice: held, unheard: unheard}, nil
}

// Digest is the SHA-256 of the bundle file.
func (e *Engine) Digest() canon.Digest { return e.digest }

// Advice is what the rules say as advice_limits, as JSON: how a model that advises
// is watched (room advice/conduct reads it). Nil: they say nothing. It must not be
// changed.
func (e *Engine) Advice() []byte { return e.advice }

// Unheard are the places in which the bundle says advice_limits and nobody looks:
// other packages, data. Whoever wrote them there believes that they hold.
func (e *Engine) Unheard() []string { return e.unheard }

// limiting finds advice_limits in a bundle: heard is a rule of package patchwrit.
func limiting(b *bundle.Bundle) (heard bool, unheard []string) {
	for _, m := range b.Modules {
		for _, r := range m.Parsed.Rules {
			in, name := m.Parsed.Package.Path, r.Head.Ref()
			switch at := slices.IndexFunc(in.Concat(name), func(t *ast.Term) bool {
				return t.Value.Compare(ast.String(limits)) == 0 || t.Value.Compare(ast.Var(limits)) == 0
			}); {
			case at == len(in) && in.String() == "data.patchwrit":
				heard = true
			case at >= 0:
				unheard = append(unheard, "package "+strings.TrimPrefix(in.String(), "data.")+" ("+m.Path+")")
			}
		}
	}
	if inData(b.Data) {
		unheard = append(unheard, "the bundle's data")
	}
	slices.Sort(unheard)
	return heard, slices.Compact(unheard)
}

func inData(v any) bool {
	m, _ := v.(map[string]any)
	for key, v := range m {
		if key == limits || inData(v) {
			return true
		}
	}
	return false
}

// limitsOf evaluates advice_limits once, without an input.
func limitsOf(ctx context.Context, heard bool, b bundle.Bundle) ([]byte, error) {
	if !heard {
		return nil, nil // as in most houses: nothing is compiled for it
	}
	q, err := oparego.New(oparego.Query(advice), oparego.ParsedBundle("policy", &b), oparego.Capabilities(Capabilities()), oparego.Schemas(inputSchema()), oparego.StrictBuiltinErrors(true)).PrepareForEval(ctx)
	if err != nil {
		return nil, refusal.New(codeBundle, "%v", err)
	}
	limited, stop := context.WithTimeout(ctx, Timeout)
	defer stop()
	steps := &steps{cancel: topdown.NewCancel()}
	defer context.AfterFunc(limited, steps.cancel.Cancel)()
	results, err := q.Eval(limited, oparego.EvalQueryTracer(steps), oparego.EvalExternalCancel(steps.cancel))
	switch {
	case err != nil || steps.n > maxSteps:
		return nil, refusal.New(codeBundle, "advice_limits cannot be evaluated: %v", err)
	case len(results) != 1 || len(results[0].Expressions) != 1:
		return nil, nil
	}
	return json.Marshal(results[0].Expressions[0].Value)
}

// Bundle is the bundle file itself; it must not be changed.
func (e *Engine) Bundle() []byte { return e.file }

// answer is the document data.patchwrit.decision must be.
type answer struct {
	Outcome string `json:"outcome"`
	Class   string `json:"class"`
	Until   int64  `json:"until"`
	Reasons []struct {
		Rule    string `json:"rule"`
		Outcome string `json:"outcome"`
		Text    string `json:"text"`
	} `json:"reasons"`
}

// Decide evaluates the rules over canonical input bytes. Whatever goes wrong in
// the rules is a decision to deny that says so, a time-out included; an error
// means that the input itself is not canonical, or that ctx was cancelled.
func (e *Engine) Decide(ctx context.Context, input []byte) (policy.Decision, error) {
	if err := canon.Check(input); err != nil {
		return policy.Decision{}, refusal.New(codeInput, "%v", err)
	}
	limited, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	a, err := e.evaluate(limited, input)
	if errors.Is(ctx.Err(), context.Canceled) {
		return policy.Decision{}, ctx.Err() // nobody waits; that is no word of the rules
	}
	if err != nil {
		return policy.Decision{Outcome: policy.Deny, Class: change.Critical, Reasons: []policy.Reason{
			{Rule: "rules_answer", Outcome: policy.Deny, Text: canon.NoteOf(err.Error())}}}, nil
	}
	d := policy.Decision{Outcome: policy.Outcome(a.Outcome), Class: change.Class(a.Class), Until: a.Until, Reasons: []policy.Reason{}}
	for _, r := range a.Reasons {
		d.Reasons = append(d.Reasons, policy.Reason{Rule: r.Rule, Outcome: policy.Outcome(r.Outcome), Text: canon.NoteOf(r.Text)})
	}
	return policy.Ceilings(input, d), nil
}

func (e *Engine) evaluate(ctx context.Context, input []byte) (answer, error) {
	var a answer
	value, err := ast.ValueFromReader(bytes.NewReader(input))
	if err != nil {
		return a, err
	}
	steps := &steps{cancel: topdown.NewCancel()}
	defer context.AfterFunc(ctx, steps.cancel.Cancel)() // OPA does not look at ctx when the cancel is not its own
	results, err := e.query.Eval(ctx, oparego.EvalParsedInput(value), oparego.EvalQueryTracer(steps), oparego.EvalExternalCancel(steps.cancel))
	if steps.n > maxSteps {
		return a, fmt.Errorf("the rules took more than %d steps", maxSteps)
	}
	if err := ctx.Err(); err != nil {
		return a, fmt.Errorf("the rules took too long: %w", err)
	}
	if err != nil {
		return a, fmt.Errorf("the rules failed: %w", err)
	}
	if len(results) != 1 || len(results[0].Expressions) != 1 {
		return a, errors.New("the rules gave no decision")
	}
	raw, err := json.Marshal(results[0].Expressions[0].Value)
	if err != nil {
		return a, err
	}
	if len(raw) > maxAnswer {
		return a, fmt.Errorf("the rules' decision has more than %d bytes", maxAnswer)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		return a, fmt.Errorf("the rules' decision has another shape: %w", err)
	}
	return a, nil
}

// Sign packs the .rego files of rules into a signed bundle file. The signature
// is randomised: pin the digest of the file that was stored.
func Sign(rules fs.FS, key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	b, err := unsigned(rules)
	if err != nil {
		return nil, err
	}
	pemKey := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := b.GenerateSignature(bundle.NewSigningConfig(string(pemKey), "ES256", ""), keyID, false); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := bundle.NewWriter(&out).DisableFormat(true).Write(b); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// unsigned packs the .rego files of rules, tests left out.
func unsigned(rules fs.FS) (bundle.Bundle, error) {
	b := bundle.Bundle{Manifest: bundle.Manifest{Roots: &[]string{"patchwrit"}}, Data: map[string]any{}}
	b.Manifest.SetRegoVersion(ast.RegoV1)
	err := fs.WalkDir(rules, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".rego") || strings.HasSuffix(path, "_test.rego") {
			return err
		}
		raw, err := fs.ReadFile(rules, path)
		if err != nil {
			return err
		}
		module, err := ast.ParseModuleWithOpts(path, string(raw), ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			return err
		}
		b.Modules = append(b.Modules, bundle.ModuleFile{URL: path, Path: path, Raw: raw, Parsed: module})
		return nil
	})
	return b, err
}

// PublicPEM is the key that verifies what key signs, as Load wants it.
func PublicPEM(key *ecdsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

package rego

import (
	_ "embed"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/patchwrit/patchwrit/refusal"
)

// builtins is the allow-list, one name a line, ascending: what reads no clock,
// chance, network, environment, time zone table or certificate store, and makes
// nothing large out of little. A new version of OPA adds nothing by itself.
//
//go:embed builtins.txt
var builtins string

// Variables for tests only.
var (
	maxSteps  = MaxSteps
	maxAnswer = MaxAnswer
)

// Capabilities is what a bundle may use: the built-ins of the allow-list.
func Capabilities() *ast.Capabilities {
	c, allowed := ast.CapabilitiesForThisVersion(), strings.Fields(builtins)
	c.Builtins = slices.DeleteFunc(slices.Clone(c.Builtins), func(b *ast.Builtin) bool { return !slices.Contains(allowed, b.Name) })
	c.AllowNet = []string{}
	return c
}

// onlyAllowed refuses modules that name a built-in outside the allow-list.
func onlyAllowed(modules []bundle.ModuleFile) error {
	known, allowed := map[string]bool{}, strings.Fields(builtins)
	for _, b := range ast.CapabilitiesForThisVersion().Builtins {
		known[b.Name] = !slices.Contains(allowed, b.Name)
	}
	var err error
	for _, m := range modules {
		ast.WalkRefs(m.Parsed, func(r ast.Ref) bool {
			if name := r.String(); known[name] && err == nil {
				err = refusal.New(codeOther, "%s uses %s", m.Path, name)
			}
			return err != nil
		})
	}
	return err
}

// steps counts what an evaluation does and ends it at the bound.
type steps struct {
	n      int
	cancel topdown.Cancel
}

// Enabled asks OPA to tell of each step.
func (s *steps) Enabled() bool { return true }

// TraceEvent counts one.
func (s *steps) TraceEvent(topdown.Event) {
	if s.n++; s.n > maxSteps {
		s.cancel.Cancel()
	}
}

// Config asks for no variables: only the number counts.
func (s *steps) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/refusal"
)

// codeSwapped refuses bytes of the control plane that are not what was asked for.
const codeSwapped refusal.Code = "PW-CONTROL-SWAPPED"

func swapped(format string, args ...any) error { return refusal.New(codeSwapped, format, args...) }

// openPlan opens a plan that a person named: a file, or a digest (or the
// beginning of one) at the control plane. The server is nil for a file, unless
// the person named one. Whatever way it came, it is opened here, all of it.
func openPlan(cmd *cobra.Command, plan string) (proposal.File, *server, error) {
	if _, err := os.Stat(plan); err == nil || !digits(plan) {
		f, err := planFile(plan)
		if err != nil || !cmd.Flags().Changed("server") {
			return f, nil, err
		}
		s, err := openServer(cmd)
		return f, s, err
	}
	s, err := openServer(cmd)
	if err != nil {
		return proposal.File{}, nil, err
	}
	f, err := s.planFile(cmd.Context(), plan)
	return f, s, err
}

// digits reports whether a text can be the beginning of a digest.
func digits(text string) bool {
	return len(text) >= minPrefix && len(text) <= 64 && strings.Trim(text, "0123456789abcdef") == ""
}

func planFile(path string) (proposal.File, error) {
	raw, err := readFile(path)
	if err != nil {
		return proposal.File{}, err
	}
	f, err := proposal.ReadFile(raw)
	if err != nil {
		return f, exit{exitIntegrity, err}
	}
	return f, nil
}

// plans lists the control plane's plans, the newest first.
func (s *server) plans(ctx context.Context) ([]control.Plan, error) {
	var plans []control.Plan
	err := s.get(ctx, "plans", &plans)
	slices.SortFunc(plans, func(a, b control.Plan) int {
		return cmp.Or(cmp.Compare(b.Created, a.Created), cmp.Compare(a.Digest, b.Digest))
	})
	return plans, err
}

// plan finds the one plan that a person means.
func (s *server) plan(ctx context.Context, prefix string) (control.Plan, error) {
	plans, err := s.plans(ctx)
	if err != nil {
		return control.Plan{}, err
	}
	return one(plans, "plan", prefix, func(p control.Plan) string { return string(p.Digest) })
}

// one finds what a person means by the beginning of its digest.
func one[T any](all []T, what, prefix string, digest func(T) string) (T, error) {
	var none T
	found := slices.DeleteFunc(slices.Clone(all), func(v T) bool { return !isPrefix(prefix, digest(v)) })
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return none, exit{exitFailure, fmt.Errorf("no %s begins with %q; patchwrit %[1]s ls lists them", what, prefix)}
	}
	return none, usagef("%d %ss begin with %q; give more of the digest", len(found), what, prefix)
}

// planFile fetches a plan's bytes and opens them. The digest that counts is the
// one computed here: bytes that do not open, or that are another plan than was
// asked for, are refused.
func (s *server) planFile(ctx context.Context, prefix string) (proposal.File, error) {
	d := canon.Digest(prefix)
	if !d.Valid() {
		p, err := s.plan(ctx, prefix)
		if err != nil {
			return proposal.File{}, err
		}
		d = p.Digest
	}
	if !d.Valid() {
		return proposal.File{}, swapped("it lists a plan %q", clean(string(d)))
	}
	raw, err := s.raw(ctx, http.MethodGet, "plans/"+string(d)+"/file", nil)
	if err != nil {
		return proposal.File{}, err
	}
	f, err := proposal.ReadFile(raw)
	if err != nil {
		return f, swapped("the bytes for plan %s are no whole plan: %v", d.Short(), err)
	}
	if got := f.Header.Digest(); got != d {
		return f, swapped("asked for plan %s, given plan %s", d, got)
	}
	return f, nil
}

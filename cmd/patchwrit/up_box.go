package main

import (
	"context"
	"log/slog"
	"os"
	"strings"

	"github.com/patchwrit/patchwrit/advisor/box"
	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/advisor/post"
	"github.com/patchwrit/patchwrit/canon"
)

// Where the advisor's program lies, if not beside this one, and which it must be.
const (
	advisorEnv       = "PATCHWRIT_ADVISOR"
	advisorDigestEnv = "PATCHWRIT_ADVISOR_SHA256"
)

// boxOf is how this tool asks a model over a network: there is no other way.
func boxOf(m dialect.Model, line post.Line) box.Box {
	return box.Box{Model: m, Send: line.Send, Program: os.Getenv(advisorEnv), Digest: canon.Digest(os.Getenv(advisorDigestEnv))}
}

// tellBox says on the start in what the advisor is shut in, or that nobody will
// be asked. Each asking looks again.
func tellBox(ctx context.Context, logger *slog.Logger) {
	r, err := boxOf(dialect.Model{}, post.Line{}).Try(ctx)
	if err != nil {
		logger.Warn("nobody is asked until this is repaired; plans go on without advice", "why", err)
		return
	}
	logger.Info("the advisor is shut in", "program", r.Digest.Short(), "layers", strings.Join(r.Layers, "; "))
}

// sandbox looks whether an advisor could be shut in here.
func (p *patient) sandbox(ctx context.Context) {
	r, err := boxOf(dialect.Model{}, post.Line{}).Try(ctx)
	if err != nil {
		p.add("advice sandbox", "warn", "nothing else depends on it; docs/ADVICE.md says what it needs, if a model is to be asked from here", "%s", firstLine(err))
		return
	}
	p.add("advice sandbox", "ok", "", "%s %s: %s", box.Program, r.Digest.Short(), strings.Join(r.Layers, "; "))
}

package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/advisor/dialect"
)

// adviser opens the model file of --model. Without one, and with provider
// deterministic, nobody is asked.
func (u *upFlags) adviser(cmd *cobra.Command) error {
	c, a, err := configured(cmd)
	switch {
	case err != nil:
		return err
	case c.Model.Provider == dialect.Deterministic && u.terms.Advice != 0:
		return usagef("--advice-wait lets plans wait for a model: say which with --model FILE")
	case c.Model.Provider == dialect.Deterministic:
		return nil
	}
	u.asks, u.advise = c.Model, a.Ask
	return nil
}

// tells says on the start whom the control plane asks.
func (u *upFlags) tells(ctx context.Context, logger *slog.Logger) {
	if u.advise == nil {
		return
	}
	logger.Info("a model is asked about plans; it permits nothing, and what it says counts as far as people promoted it (patchwrit model ls)",
		"provider", string(u.asks.Provider), "name", u.asks.Name, "model", u.asks.Digest().Short())
	if u.asks.Provider.Remote() {
		tellBox(ctx, logger)
	}
	if u.asks.Provider == dialect.Hostile {
		logger.Warn("it is a simulated model that means harm, for trying what holds against it")
	}
}

// Package ending lets INT and TERM end a program: the first in good order, the
// second at once, whatever the program waits for.
//
// The parties: whoever sends signals, a program's main, the kernel. The promise: by
// the time the context has ended the program has let go of both signals, so that the
// next one is the kernel's to deliver, and needs nothing of this program any more. It
// leaves what kill -9 leaves: only a program that withstands that may use it.
package ending

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Begin gives a context that ends with the first INT or TERM, and what ends it without
// one. A process that takes the signals elsewhere too keeps them.
func Begin() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go heed(ctx, signals, func() { signal.Stop(signals) }, cancel)
	return ctx, cancel
}

// heed lets go before it ends ctx: whoever has seen the end can count on the second.
func heed(ctx context.Context, signals <-chan os.Signal, letGo, cancel func()) {
	select {
	case <-signals:
	case <-ctx.Done():
	}
	letGo()
	cancel()
}

// Command patchwrit-advisor is the sandboxed half of asking a model: it puts a
// request into the words of the model's provider, and reads the provider's reply.
//
// The parties: patchwrit starts it in a box (advisor/box) with one socket and
// nothing else, and is its broker; nobody else calls it. It has no flags, reads no
// file and no environment, and knows no key. If it fails, there is no advice.
//
// The runtime need not look for a control group: there are no files.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"os"

	"github.com/patchwrit/patchwrit/advisor/pipe"
)

func main() {
	if err := pipe.Advise(os.NewFile(3, "broker")); err != nil {
		os.Exit(1) // the broker says why: it saw what came
	}
}

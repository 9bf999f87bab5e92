// Command pid1 is the first process of a test host: it collects the children
// that others leave behind and waits for the power to go. It is linked
// statically, so that it keeps no library of the host in use, and tells which
// addresses the host reaches.
//
//	pid1 wait            say "up" and wait
//	pid1 reach ADDR…     say for each HOST:PORT: open, closed, silent or no route
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "wait":
		wait()
	case len(os.Args) > 2 && os.Args[1] == "reach":
		for _, addr := range os.Args[2:] {
			fmt.Println(addr, reach(addr))
		}
	default:
		fmt.Fprintln(os.Stderr, "pid1: say wait, or reach HOST:PORT…")
		os.Exit(2)
	}
}

// wait collects what dies, for ever.
func wait() {
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	fmt.Println("up")
	for range died {
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 && !errors.Is(err, syscall.EINTR) {
				break
			}
		}
	}
}

// silence is how long an address may take to answer.
const silence = 500 * time.Millisecond

func reach(addr string) string {
	c, err := net.DialTimeout("tcp", addr, silence)
	switch {
	case err == nil:
		c.Close()
		return "open"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "closed"
	case errors.Is(err, syscall.ENETUNREACH):
		return "no route"
	}
	return "silent"
}

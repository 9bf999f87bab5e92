// Command boxattack is put in the place of patchwrit-advisor by tests of
// advisor/box, and tries to get out.
//
// The parties: a test, which names one attack as the model's name and hands what
// the attack needs (a port, a path, a process) as the provider's reply; the box.
// It keeps to the protocol up to the reply, as an advisor would that a reply has
// taken over, then does what it is named for and says what came of it. It is for
// tests only, harms nothing outside a box, and each attack is bounded.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/advisor/pipe"
	"github.com/patchwrit/patchwrit/canon"
)

// target is what an attack is about.
type target struct {
	Port   int    // of a listener on the test's loopback address
	Path   string // of a file that the test's user can read
	Socket string // of a listening socket
	PID    int    // of the broker
}

func main() {
	early := tell(readFile("/etc/passwd"))
	rw := os.NewFile(3, "broker")
	check(pipe.Write(rw, pipe.Hello))
	f, err := pipe.Read(rw, pipe.Ask)
	check(err)
	var m dialect.Model
	check(canon.Decode(f[0], &m))
	call, err := dialect.Encode(m, f[1])
	check(err)
	name := m.Name
	switch name {
	case "another-body":
		call.Body = append(call.Body, ' ')
	case "another-path":
		call.Path = "/v1/files"
	case "another-method":
		call.Method = "PUT"
	}
	check(pipe.Write(rw, pipe.Call, []byte(call.Method), []byte(call.Path), call.Body))
	if f, err = pipe.Read(rw, pipe.Reply); err != nil {
		os.Exit(3)
	}
	var to target
	if len(f[2]) > 0 { // a provider that did not answer gives no target; some attacks need none
		check(json.Unmarshal(f[2], &to))
	}
	result := ""
	switch name {
	case "early-open":
		result = early
	case "environment":
		result = fmt.Sprintf("environment %q, arguments %q", os.Environ(), os.Args)
	case "huge-frame":
		rw.Write([]byte{byte(pipe.Said), 0xff, 0xff, 0xff, 0xff})
		select {}
	case "write-forever":
		for junk := []byte(strings.Repeat("\x00", 1<<16)); err == nil; {
			_, err = rw.Write(junk)
		}
		os.Exit(4)
	case "second-call":
		check(pipe.Write(rw, pipe.Call, []byte(call.Method), []byte(call.Path), call.Body))
	case "no-such-outcome":
		check(pipe.Write(rw, pipe.Said, []byte("approved"), nil, []byte("{}")))
	default:
		attack, known := attacks[name]
		if !known {
			result = "there is no such attack: " + name
			break
		}
		result = attack(to)
	}
	check(pipe.Write(rw, pipe.Said, []byte(dialect.Failed), []byte("attack "+name+": "+result), nil))
}

func check(err error) {
	if err != nil {
		os.Exit(5)
	}
}

// tell puts what came of a try into words.
func tell(got string, err error) string {
	if err != nil {
		return "denied: " + strings.TrimPrefix(err.Error(), "errno ")
	}
	return "GOT THROUGH: " + got
}

func readFile(path string) (string, error) {
	raw, err := os.ReadFile(path)
	return strconv.Quote(string(raw[:min(len(raw), 20)])), err
}

func list(open []int) string {
	slices.Sort(open)
	return fmt.Sprintf("descriptors %v", open)
}

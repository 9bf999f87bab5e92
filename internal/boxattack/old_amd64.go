package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func call386(nr uint32) int32

// old386 asks for its process id as a 32-bit program would.
func old386() string {
	if n := call386(20); n < 0 {
		return tell("", unix.Errno(-n))
	} else {
		return tell(fmt.Sprintf("process %d", n), nil)
	}
}

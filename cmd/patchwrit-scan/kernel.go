package main

import (
	"fmt"
	"path/filepath"
	"syscall"
)

// running is the release and build (uname -r, -v) that -kernel gives, or that this
// machine runs when it is what is looked at; "" when it is not known.
func running(o options) (release, build string, err error) {
	if o.kernel != "" || filepath.Clean(o.root) != "/" {
		return o.kernel, "", nil
	}
	var u syscall.Utsname
	if err := syscall.Uname(&u); err != nil {
		return "", "", fmt.Errorf("what runs cannot be learned: %w", err)
	}
	return chars(u.Release[:]), chars(u.Version[:]), nil
}

// chars is a C string; its type differs among architectures.
func chars[T int8 | uint8](in []T) string {
	var out []byte
	for _, c := range in {
		if c == 0 {
			break
		}
		out = append(out, byte(c))
	}
	return string(out)
}

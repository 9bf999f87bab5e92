package main

import "crypto/rand"

// randomBytes never fails: crypto/rand ends the program when the system has no
// randomness.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

//go:build race

package raced

// On is whether the race detector is built in.
const On = true

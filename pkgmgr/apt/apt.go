// Package apt carries writs out with the real apt and dpkg, on the running
// system or on a root directory, and says what is there afterwards.
package apt

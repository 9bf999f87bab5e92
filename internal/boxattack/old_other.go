//go:build !amd64

package main

func old386() string { return "denied: there is no such call on this machine" }

// Package advisorconformance holds the providers' own SDKs beside our dialects.
//
// The parties: package advisor/dialect, which puts a question into a provider's
// words and reads the reply; that provider's official Go client; and one loopback
// server, which both ask and which answers both with the same bytes. The promise:
// what both send agrees, what only one of them sends is named with its reason, and
// what a reply means to the SDK's types it means to us, or we are stricter, also
// with a reason.
//
// It is a module of its own, so that no SDK comes into the product's module
// (docs/design/0004); it has tests only (make test-conformance).
package advisorconformance

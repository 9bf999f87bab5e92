// Package schema holds the JSON Schemas (draft 2020-12) of what Patchwrit writes
// and reads.
//
// The parties: people and tools that read a scan's JSON or write rules; the
// binary prints the files from here. The objects are the .json files beside this
// one. The promise: tests validate real outputs with them and walk the Go types,
// so that a field that is in one and not in the other turns a test red. No
// document is validated with them at run time.
package schema

import _ "embed"

// Scan describes what patchwrit scan -o json writes.
//
//go:embed scan.schema.json
var Scan []byte

// PolicyInput describes the document input of policy rules (policy.Input). Rules
// are compiled against it: a reference to a member that it does not have is an
// error.
//
//go:embed policy-input.schema.json
var PolicyInput []byte

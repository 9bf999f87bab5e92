// Package rpmfile reads the two older forms of rpm's package database: Packages
// (Berkeley DB, EL 8 and older) and Packages.db (ndb, SUSE).
//
// The parties: rpm wrote the file, or whoever owns the root that it lies in; room
// inventory/rpmdb opens a copy and takes what is read. The object is the value of
// each package, a header as inventory.ParseRPM reads it.
//
// The promise: each part of a file is used at most once, so that the work is
// bounded by its size, whatever it claims. A value that cannot be found is
// reported in its place and what stands beside it is read; what makes the rest of
// the file a guess ends the reading with an error that says where.
//
// It opens no file and knows nothing of what is in a header.
package rpmfile

// MaxPackages is how many packages a database may have room for. The largest real
// one seen has 5,000.
const MaxPackages = 200_000

// Take is called once for each value with rpm's number of the package. Instead of
// a value that could not be found it gets the reason. The value is valid until it
// returns. An error of its own ends the reading, and is returned as it is.
type Take func(id uint32, value []byte, bad error) error

package version

import "cmp"

// maxDebEpoch is the largest epoch dpkg reads: it keeps epochs in a C int.
const maxDebEpoch = "2147483647"

// The ranks of single bytes in a deb version. A tilde sorts before the end of a
// part, the end (or a digit, which ends a run of non-digits) before letters,
// letters before the rest. Policy §5.6.12 gives this order.
const (
	debNone  = iota // no byte of a deb version
	debTilde        // '~'
	debEnd          // end of the part, or a digit
	debFirst        // the first letter
)

// debRank gives the rank of each byte.
var debRank = func() (rank [256]uint8) {
	rank['~'] = debTilde
	for c := byte('0'); c <= '9'; c++ {
		rank[c] = debEnd
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-.:") {
		rank[c] = debFirst + uint8(i)
	}
	return rank
}()

// parseDeb reads [epoch:]upstream[-revision]. It is as strict as the Policy and
// Dpkg::Version, and stricter than dpkg, which only warns when the upstream
// version does not begin with a digit and takes "+1:" for an epoch.
func parseDeb(s string) (parts, string) {
	p, reason := split(s, maxDebEpoch)
	if reason != "" {
		return p, reason
	}
	if p.upstream == "" || !isDigit(p.upstream[0]) {
		return p, "the upstream version does not begin with a digit"
	}
	for i := range len(p.upstream) {
		if debRank[p.upstream[i]] == debNone {
			return p, "the upstream version has a character other than A-Z a-z 0-9 . + - ~ :"
		}
	}
	for i := range len(p.revision) {
		if c := p.revision[i]; debRank[c] == debNone || c == ':' {
			return p, "the revision has a character other than A-Z a-z 0-9 . + ~"
		}
	}
	return p, ""
}

// compareDeb orders by epoch, upstream version and revision. An absent revision
// equals "0".
func compareDeb(a, b parts) int {
	if c := compareDigits(a.epoch, b.epoch); c != 0 {
		return c
	}
	if c := compareDebPart(a.upstream, b.upstream); c != 0 {
		return c
	}
	return compareDebPart(a.revision, b.revision)
}

// compareDebPart orders two upstream versions or revisions: runs of non-digits
// byte by byte by rank, and runs of digits by value, in turns.
func compareDebPart(a, b string) int {
	for a != "" || b != "" {
		for {
			x, y := debHead(a), debHead(b)
			if x != y {
				return cmp.Compare(x, y)
			}
			if x == debEnd {
				break
			}
			a, b = a[1:], b[1:]
		}
		n, m := digits(a), digits(b)
		if c := compareDigits(a[:n], b[:m]); c != 0 {
			return c
		}
		a, b = a[n:], b[m:]
	}
	return 0
}

// debHead is the rank of the first byte of s, or debEnd for "".
func debHead(s string) uint8 {
	if s == "" {
		return debEnd
	}
	return debRank[s[0]]
}

// Key gives bytes for the deb version s such that
//
//	bytes.Compare(Key(a), Key(b)) == Compare(Deb, a, b)
//
// so that stores and indexes can sort and search without parsing. Equal
// versions have equal keys. Keys are for use inside one release of Patchwrit:
// the format is not kept stable. An invalid version is an *Invalid.
//
// A number is its count of significant digits and then these digits. A key is
// the epoch's number and two parts; a part is, in turns, the ranks of a run of
// non-digits with debEnd, and a number; and debEnd at last. A run that ends
// early thus meets debEnd against the other's next rank, as in compareDebPart.
func Key(s string) ([]byte, error) {
	p, reason := parseDeb(s)
	if reason != "" {
		return nil, &Invalid{Deb, s, reason}
	}
	// Runs of digits part the runs of non-digits, so a part of n bytes has at
	// most n/2+1 numbers of 2 bytes more than their digits: 2n+4 bytes with the
	// end. The epoch takes one byte more than its digits.
	key := make([]byte, 0, 2*len(s)+9)
	key = appendDebPart(appendNumber(key, p.epoch), p.upstream)
	return appendDebPart(key, p.revision), nil
}

// appendNumber appends the key of a run of digits. MaxLength keeps the count
// within a byte.
func appendNumber(key []byte, run string) []byte {
	run = significant(run)
	return append(append(key, byte(len(run))), run...)
}

// appendDebPart appends the key of an upstream version or a revision.
func appendDebPart(key []byte, s string) []byte {
	for {
		for debHead(s) != debEnd {
			key = append(key, debRank[s[0]])
			s = s[1:]
		}
		n := digits(s)
		key = appendNumber(append(key, debEnd), s[:n])
		if s = s[n:]; s == "" {
			return append(key, debEnd)
		}
	}
}

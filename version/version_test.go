package version

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// order is one row: a sign b, where sign is "<" or "=".
type order struct{ a, sign, b string }

// ordered holds what the managers' manuals say, and what experience taught.
var ordered = map[Scheme][]order{
	Deb: {
		// deb-version(7): tilde before the end, the end before letters, letters before the rest
		{"1~~", "<", "1~~a"}, {"1~~a", "<", "1~"}, {"1~", "<", "1"}, {"1", "<", "1a"}, {"1a", "<", "1+"},
		{"1Z", "<", "1a"}, {"1+", "<", "1-1-1"}, {"1-1-1", "<", "1."}, {"1+a", "<", "1."}, {"1a", "<", "1aa"},
		{"1:1+", "<", "1:1."}, {"1:1.", "<", "1:1:"},
		// numbers by value, however long; empty is zero
		{"1.9", "<", "1.10"}, {"1.0", "=", "1.00"}, {"1.", "=", "1.0"}, {"1a", "=", "1a0"}, {"1.09", "<", "1.10"}, {"007", "=", "7"},
		{"9999999999999999999", "<", "10000000000000000000"}, {"0", "<", "00000000000000000000000000000000001"},
		{"18446744073709551616", "<", "18446744073709551617"},
		// epochs
		{"9", "<", "1:1"}, {"0:1", "=", "1"}, {"00:1", "=", "1"}, {"1:0", "<", "2:0"}, {"9:1", "<", "10:0"}, {"2147483646:9", "<", "2147483647:0"},
		// revisions: the last hyphen parts them; none is 0
		{"1", "=", "1-0"}, {"1", "=", "1-00"}, {"1", "<", "1-1"}, {"1-1", "<", "1-1.1"}, {"1-2-1", "<", "1-10-1"}, {"1-a-1", "<", "1-b-0"},
		{"1.0-1~deb12u1", "<", "1.0-1"}, {"1-0~", "<", "1"}, {"1.2-9", "<", "1.2.1-1"},
		// what Debian does with them: stable updates, backports, binNMU, security, NMU, +really, pre-releases
		{"2.36-9+deb12u9", "<", "2.36-9+deb12u10"}, {"2.36-9", "<", "2.36-9+deb12u1"}, {"1.22.1-9", "<", "1.22.1-9+b1"},
		{"1.22.1-9+b1", "<", "1.22.1-9+b10"}, {"1.22.1-9+b1", "<", "1.22.1-9.1"}, {"1.0-1+b1", "<", "1.0-1+deb12u1"},
		{"1:2.3-4~bpo12+1", "<", "1:2.3-4"}, {"1:2.3-3", "<", "1:2.3-4~bpo12+1"}, {"1:2.3-4~bpo11+1", "<", "1:2.3-4~bpo12+1"},
		{"22.01+really26.01+dfsg-0+deb12u1", "<", "22.01+really26.02+dfsg-0+deb12u1"}, {"3.0.0~rc1-1", "<", "3.0.0-1"},
		{"3.0.0~alpha-1", "<", "3.0.0~beta-1"}, {"5.10.218-1", "<", "6.1.90-1"}, {"20230311", "<", "20230311+deb12u1"},
		{"1.1.1n-0+deb11u5", "<", "1.1.1w-0+deb11u1"}, {"7.88.1-10+deb12u5", "<", "7.88.1-10+deb12u12"},
		{"9.2p1-2+deb12u2", "<", "9.2p1-2+deb12u3"}, {"1:9.2p1-2", "<", "1:10.0p1-7"}, {"2.0.7-1ubuntu1", "<", "2.0.7-1ubuntu1.1"},
	},
	RPM: {
		// rpm-version(7): tilde before the end, caret after it but before anything else
		{"1.0~rc1", "<", "1.0"}, {"1.0~rc1", "<", "1.0~rc2"}, {"1.0~~", "<", "1.0~"}, {"1.0", "<", "1.0^git1"}, {"1.0^git1", "<", "1.0.1"},
		{"1.0^git1", "<", "1.0a"}, {"1.0^git1", "<", "1.0^git2"}, {"1.0^git1~pre", "<", "1.0^git1"}, {"1.0~rc1^git1", "<", "1.0"},
		{"1.0~rc1", "<", "1.0~rc1^git1"}, {"1.0^", "<", "1.0^1"},
		// digits after letters, letters after the end, separators only part
		{"1.0", "<", "1.0a"}, {"1.0a", "<", "1.0.1"}, {"1.a", "<", "1.1"}, {"1.0", "=", "1_0"}, {"1.0.", "=", "1.0"}, {"1..0", "=", "1.0"},
		{"1.0", "=", "1.00"}, {"10", "<", "10a"}, {"a", "<", "1"}, {"aB", "<", "ab"}, {"1.ab", "<", "1.abc"}, {"2a", "<", "2.0"}, {"1a1", "=", "1.a.1"},
		{"4.999", "<", "5.0"}, {"9999999999999999999", "<", "10000000000000000000"}, {"20101121", "<", "20101122"},
		// epoch and release; none of the latter is older than any
		{"9", "<", "1:1"}, {"0:1-1", "=", "1-1"}, {"1", "<", "1-1"}, {"1", "<", "1-~1"}, {"1+0", "=", "1.0"}, {"1-1", "<", "1-2"}, {"4294967294:9", "<", "4294967295:0"}, {"9:1", "<", "10:1"},
		{"1.1.1k-9.el8_7", "<", "1.1.1k-12.el8_9"}, {"3.0.7-24.el9", "<", "3.0.7-27.el9"}, {"1:1.1.1k-6.el8_5", "<", "1:1.1.1k-7.el8_6"},
		{"4.18.0-477.10.1.el8_8", "<", "4.18.0-477.27.1.el8_8"}, {"2.28-225.el8", "<", "2.28-225.el8_8.6"}, {"9.0.1403-1.fc38", "<", "9.0.1403-1.fc39"},
	},
	APK: {
		// suffixes in their order around the plain version
		{"1.0_alpha", "<", "1.0_beta"}, {"1.0_beta", "<", "1.0_pre"}, {"1.0_pre", "<", "1.0_rc"}, {"1.0_rc", "<", "1.0"}, {"1.0", "<", "1.0_cvs"},
		{"1.0_cvs", "<", "1.0_svn"}, {"1.0_svn", "<", "1.0_git"}, {"1.0_git", "<", "1.0_hg"}, {"1.0_hg", "<", "1.0_p"},
		{"1.0_rc", "<", "1.0_rc1"}, {"1.0_rc9", "<", "1.0_rc10"}, {"1.0_p9-r0", "<", "1.0_p10-r0"}, {"1_alpha_pre2", "<", "1_alpha"},
		{"1_alpha", "<", "1_alpha_git1"}, {"1_git20191002222144-r0", "<", "1_git20210530193627-r0"}, {"1_rc1-r9", "<", "1-r0"}, {"1_rc1", "=", "1_rc01"},
		// releases, letters, hashes, more numbers
		{"1.0", "<", "1.0-r0"}, {"1.0-r0", "<", "1.0-r1"}, {"1.0-r9", "<", "1.0-r10"}, {"1.0-r9", "<", "1.0.1-r0"}, {"1.0-r1", "=", "1.0-r01"},
		{"1.0-r9", "<", "1.0a"}, {"1.0a", "<", "1.0b"}, {"1.0z", "<", "1.0.0"}, {"1.0_p1", "<", "1.0a"}, {"1.0-r1", "<", "1.0~ab"},
		{"1.0~ab", "<", "1.0~b"}, {"1.0~ab-r1", "<", "1.0~ab-r2"}, {"1.0~ff", "<", "1.0_git1"}, {"1.1.1w-r0", "<", "3.0.0-r0"}, {"6b-r7", "<", "7"},
		// a number after a dot with a leading zero is text, the first never is
		{"1.9", "<", "1.10"}, {"1.09", "<", "1.9"}, {"1.01", "<", "1.1"}, {"1.001", "<", "1.01"}, {"1.0", "<", "1.00"}, {"1.099", "<", "1.1"},
		{"8.2.0015", "<", "8.2.002"}, {"6", "=", "006"}, {"010", "<", "11"}, {"0.99.3.20040818", "<", "1.0"}, {"9", "<", "10"},
		{"1", "<", "9999999999999999999"},
	},
}

func TestCompare(t *testing.T) {
	for scheme, rows := range ordered {
		for _, row := range rows {
			want := map[string]int{"<": -1, "=": 0}[row.sign]
			if got := mustCompare(t, scheme, row.a, row.b); got != want {
				t.Errorf("%s: %s %s %s, but Compare gives %d", scheme, row.a, row.sign, row.b, got)
			}
			if got := mustCompare(t, scheme, row.b, row.a); got != -want {
				t.Errorf("%s: %s %s %s, but Compare the other way gives %d", scheme, row.a, row.sign, row.b, got)
			}
		}
	}
}

func TestKeyOrdersAsCompare(t *testing.T) {
	for _, row := range ordered[Deb] {
		for _, other := range ordered[Deb] {
			for _, pair := range [][2]string{{row.a, other.a}, {row.a, other.b}, {row.b, other.b}} {
				agree(t, pair[0], pair[1])
			}
		}
	}
}

// malformed versions, each with a word of the reason that must be given.
var malformed = map[Scheme]map[string]string{
	Deb: {
		"": "digit", "v1.0": "digit", "a": "digit", "~1": "digit", "1:": "digit", "1:-1": "digit", "-1": "digit", "1:v2": "digit",
		":1": "epoch", "a:1": "epoch", "-1:1": "epoch", "+1:1": "epoch", " 1:1": "epoch", "1.0-1:2": "epoch", "2147483648:1": "above",
		"1-": "last hyphen", "1:1-": "last hyphen", "1.0 ": "character", " 1.0": "digit", "1_0": "character", "1.0\n": "character", "1^2": "character",
		"1/../2": "character", "1.0é": "character", "1.0\x00": "character", "1.0-1_2": "revision", "1:1.0-1:2": "revision", "1-~ ": "revision",
	},
	RPM: {
		"": "version", "1 2": "version", "1-2-3": "version", ".": "version", "~": "version", "1:": "version", "-1": "version", "1/2": "version", "1%{?d}": "version",
		"(none):1-1": "epoch", ":1": "epoch", "4294967296:1": "above", "1-": "last hyphen", "1-.": "release", "1-2\n": "release", "1-é": "release",
		"1-^": "release", "0:1:2": "version",
	},
	APK: {
		"": "form", "a": "form", "v1": "form", "1.": "form", ".1": "form", "1..2": "form", "1ab": "form", "1a1": "form", "1a.1": "form", "1A": "form",
		"1_": "form", "1_foo": "form", "1_rc_": "form", "1_rcx": "form", "1_rc1.2": "form", "1_rc1a": "form", "1-r": "form", "1-1": "form", "1-r1-r2": "form",
		"1-r1_rc": "form", "1-r1~ab": "form", "1~": "form", "1~xyz": "form", "1~AB": "form", "1~ab~cd": "form", "1~ab_rc1": "form", "1 ": "form",
		"10000000000000000000": "10^19", "1.10000000000000000000": "10^19", "1-r10000000000000000000": "10^19", "1_rc10000000000000000000": "10^19",
	},
	"npm": {"1.0.0": "unknown"},
	"":    {"1": "unknown"},
	"DEB": {"1": "unknown"},
}

func TestInvalid(t *testing.T) {
	long := strings.Repeat("1", MaxLength+1)
	for _, scheme := range []Scheme{Deb, RPM, APK} {
		malformed[scheme][long] = "longer"
	}
	for scheme, versions := range malformed {
		for v, word := range versions {
			_, first := Compare(scheme, v, "1")
			refused(t, first, scheme, v, word)
			refused(t, Valid(scheme, v), scheme, v, word)
			if scheme == Deb {
				_, err := Key(v)
				refused(t, err, scheme, v, word)
			}
			if _, known := ordered[scheme]; known {
				_, second := Compare(scheme, "1", v)
				refused(t, second, scheme, v, word)
			}
		}
	}
}

// refused checks that err is the refusal of v and tells a person why.
func refused(t *testing.T, err error, scheme Scheme, v, word string) {
	t.Helper()
	var invalid *Invalid
	if !errors.As(err, &invalid) {
		t.Errorf("%s %.20q: want *Invalid, got %v", scheme, v, err)
		return
	}
	if invalid.Scheme != scheme || invalid.Version != v || !strings.Contains(invalid.Reason, word) {
		t.Errorf("%s %.20q: the reason should speak of %q: %v", scheme, v, word, err)
	}
	if len(err.Error()) > 500 {
		t.Errorf("%s %.20q: error of %d bytes", scheme, v, len(err.Error()))
	}
}

func TestLongestVersionIsRead(t *testing.T) {
	for scheme, mark := range map[Scheme]string{Deb: ".", RPM: ".", APK: "."} {
		v := "1" + strings.Repeat(mark+"1", (MaxLength-1)/2)
		if len(v) != MaxLength {
			t.Fatalf("the sample is %d bytes", len(v))
		}
		if err := Valid(scheme, v); err != nil {
			t.Error(err)
		}
	}
}

// failer is what *testing.T and *rapid.T share.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// mustCompare compares two versions that are valid, or else fails the test.
func mustCompare(t failer, s Scheme, a, b string) int {
	t.Helper()
	c, err := Compare(s, a, b)
	if err != nil {
		t.Fatalf("%s %q %q: %v", s, a, b, err)
	}
	return c
}

// agree fails t unless the keys of two valid deb versions order as they do.
func agree(t failer, a, b string) {
	t.Helper()
	want := mustCompare(t, Deb, a, b)
	x, err := Key(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := Key(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := bytes.Compare(x, y); got != want {
		t.Fatalf("%q and %q compare %d, their keys %x and %x %d", a, b, want, x, y, got)
	}
}

func TestAllocations(t *testing.T) {
	worst := strings.Repeat("1a", MaxLength/2) + "-"
	for _, v := range []string{"1", "1-a", "2147483647:1-a", worst + "a", "1:2.36-9+deb12u10", "1" + strings.Repeat("a", 200)} {
		if n := testing.AllocsPerRun(100, func() { sink, _ = Key(v) }); n > 1 {
			t.Errorf("Key(%.20q) allocates %v times, want 1", v, n)
		}
	}
	for scheme, rows := range ordered {
		for _, row := range rows {
			if n := testing.AllocsPerRun(10, func() { _, _ = Compare(scheme, row.a, row.b) }); n > 0 {
				t.Errorf("%s: comparing %s with %s allocates %v times", scheme, row.a, row.b, n)
			}
		}
	}
}

var sink []byte

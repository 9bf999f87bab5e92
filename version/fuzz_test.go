package version

import "testing"

// fuzz feeds pairs of arbitrary strings to one scheme: nothing panics, what is
// valid equals itself, and orders turn round with their arguments.
func fuzz(f *testing.F, s Scheme) {
	for _, row := range ordered[s] {
		f.Add(row.a, row.b)
	}
	for v := range malformed[s] {
		f.Add(v, "1")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		errA, errB := Valid(s, a), Valid(s, b)
		ab, err := Compare(s, a, b)
		if (err == nil) != (errA == nil && errB == nil) {
			t.Fatalf("%q %q: %v, but one by one %v and %v", a, b, err, errA, errB)
		}
		if s == Deb {
			if _, err := Key(a); (err == nil) != (errA == nil) {
				t.Fatalf("%q: Valid says %v, Key %v", a, errA, err)
			}
		}
		if errA == nil && mustCompare(t, s, a, a) != 0 {
			t.Fatalf("%q is not equal to itself", a)
		}
		if err != nil {
			return
		}
		if ba := mustCompare(t, s, b, a); ab != -ba || ab < -1 || ab > 1 {
			t.Fatalf("%q and %q compare %d, the other way %d", a, b, ab, ba)
		}
		if s == Deb {
			agree(t, a, b)
		}
	})
}

func FuzzDeb(f *testing.F) { fuzz(f, Deb) }
func FuzzRPM(f *testing.F) { fuzz(f, RPM) }
func FuzzAPK(f *testing.F) { fuzz(f, APK) }

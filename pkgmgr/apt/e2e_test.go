package apt

import (
	"testing"
)

func TestOneUpgradeInARealRoot(t *testing.T) {
	old, new := hello("1.0-1"), hello("1.0-2")
	w := newWorld(t, old)
	w.offer(new)
	w.done(w.apply(pair{old, new}))
	if v := w.version("hello-pw"); v != "1.0-2 installed" {
		t.Errorf("dpkg says %q", v)
	}
}

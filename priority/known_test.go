package priority

import "testing"

func TestWorst(t *testing.T) {
	listed := Known{KEV: Yes, Automatable: No, EPSS: Measure{true, 10}, CVSS: Measure{true, 40}}
	mild := Known{KEV: No, Automatable: No, Total: No, EPSS: Measure{true, 900}}
	for _, c := range []struct {
		name string
		of   []Known
		want Known
	}{
		{"none", nil, Known{}},
		{"one", []Known{mild}, mild},
		{"the worse of two", []Known{mild, listed}, Known{KEV: Yes, Automatable: No, EPSS: Measure{true, 900}, CVSS: Measure{true, 40}}},
		{"an unknown hides a no", []Known{mild, {}}, Known{EPSS: Measure{true, 900}}},
		{"an unknown hides no yes", []Known{{}, listed}, Known{KEV: Yes, EPSS: Measure{true, 10}, CVSS: Measure{true, 40}}},
	} {
		if got := Worst(c.of); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestClassByKey(t *testing.T) {
	r, err := Standard()
	if err != nil {
		t.Fatal(err)
	}
	d := r.Decide(Known{KEV: No, Automatable: No, Total: No}.On(No))
	if c, ok := r.Class(d.Class.Key); !ok || c.Name != d.Class.Name || c.Days != d.Class.Days {
		t.Errorf("%+v %v, want %+v", c, ok, d.Class)
	}
	if c, ok := r.Class("14d"); ok {
		t.Errorf("14d is %+v", c)
	}
}

package priority

// Known is what sources say of one CVE wherever it is found. The zero value is:
// nobody has said anything.
type Known struct {
	KEV         Answer  // CISA lists it as exploited
	Automatable Answer  // SSVC: exploitation can be automated
	Total       Answer  // SSVC: technical impact is total
	EPSS        Measure // parts per million
	CVSS        Measure // base score in tenths
}

// Worst is what is known of a record that covers several CVEs: it is as urgent as
// the worst of them, and what is unknown of one is unknown of all unless another
// is worse already. Of no CVE nothing is known.
func Worst(of []Known) Known {
	if len(of) == 0 {
		return Known{}
	}
	out := of[0]
	for _, k := range of[1:] {
		out.KEV, out.Automatable, out.Total = worse(out.KEV, k.KEV), worse(out.Automatable, k.Automatable), worse(out.Total, k.Total)
		out.EPSS, out.CVSS = out.EPSS.higher(k.EPSS), out.CVSS.higher(k.CVSS)
	}
	return out
}

func worse(a, b Answer) Answer {
	for _, answer := range []Answer{Yes, Unknown} {
		if a == answer || b == answer {
			return answer
		}
	}
	return No
}

// higher is the higher of two measures; one that is missing does not count.
func (m Measure) higher(o Measure) Measure {
	if !m.Known || o.Known && o.Value > m.Value {
		return o
	}
	return m
}

// On gives the facts of a vulnerability on a host that the public reaches, or not.
func (k Known) On(exposed Answer) Facts {
	return Facts{KEV: k.KEV, Exposed: exposed, Automatable: k.Automatable, Total: k.Total}
}

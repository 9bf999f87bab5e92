package conduct

import (
	"cmp"
	"math"
	"slices"
)

// What chance does to figures. Logarithms may differ in the last bit between
// processors; what comes out is rounded to a millionth before it is compared.

// counted is k of n: one case's share of a rate.
type counted struct{ k, n float64 }

// apart gives how far the rate of now is above that of before, and the standard
// error of this by chance, if both were one rate. Whole cases vary, not claims: the
// claims of one answer stand and fall together.
func apart(before, now []counted) (rise, sigma float64) {
	k0, n0 := sum(before)
	k1, n1 := sum(now)
	if n0 == 0 || n1 == 0 {
		return 0, 0
	}
	p := (k0 + k1) / (n0 + n1)
	return k1/n1 - k0/n0, math.Sqrt(spread(before, p)/(n0*n0) + spread(now, p)/(n1*n1))
}

func sum(list []counted) (k, n float64) {
	for _, c := range list {
		k, n = k+c.k, n+c.n
	}
	return k, n
}

func spread(list []counted, p float64) (out float64) {
	for _, c := range list {
		out += (c.k - p*c.n) * (c.k - p*c.n)
	}
	return out
}

// tail is the chance of a value of the normal distribution above z.
func tail(z float64) float64 { return math.Erfc(z/math.Sqrt2) / 2 }

// chiSquare is the value that chi-square of k degrees of freedom exceeds with the
// chance tail(z) (Wilson and Hilferty).
func chiSquare(k, z float64) float64 {
	if k <= 0 {
		return 0
	}
	x := 1 - 2/(9*k) + z*math.Sqrt(2/(9*k))
	return k * x * x * x
}

// shares are how often something came, by name, in cases; each case counts one.
type shares struct {
	of    map[string]float64
	cases float64
}

// add counts one case, in equal parts for its values.
func (s *shares) add(values []string) {
	if s.of == nil {
		s.of = map[string]float64{}
	}
	if len(values) == 0 {
		return
	}
	s.cases++
	for _, v := range values {
		s.of[v] += 1 / float64(len(values))
	}
}

// bins gives both as lists of shares, over the same names: those with at least the
// share of least before, and all others together. Half a case is added to each, so
// that none is empty.
func bins(before, now shares, least float64) (p, q []float64) {
	names := []string{}
	for name, n := range before.of {
		if n >= least*before.cases {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	rest0, rest1 := before.cases, now.cases
	for _, name := range names {
		p, q = append(p, before.of[name]), append(q, now.of[name])
		rest0, rest1 = rest0-before.of[name], rest1-now.of[name]
	}
	if rest0 > 1e-6 || rest1 > 1e-6 {
		p, q = append(p, rest0), append(q, rest1)
	}
	for i := range p {
		p[i] = (p[i] + 0.5) / (before.cases + float64(len(p))/2)
		q[i] = (q[i] + 0.5) / (now.cases + float64(len(q))/2)
	}
	return p, q
}

// psi is the population stability index: the sum of (q-p) ln(q/p).
func psi(p, q []float64) (out float64) {
	for i := range p {
		out += (q[i] - p[i]) * math.Log(q[i]/p[i])
	}
	return out
}

// js is the Jensen-Shannon divergence in bits, from 0 to 1.
func js(p, q []float64) (out float64) {
	for i := range p {
		m := (p[i] + q[i]) / 2
		out += (p[i]*math.Log2(p[i]/m) + q[i]*math.Log2(q[i]/m)) / 2
	}
	return out
}

// byChance is the psi of two samples of one distribution that is exceeded with the
// chance tail(z). Js in bits is an eighth of it, by ln 2.
func byChance(bins int, before, now, z float64) float64 {
	return chiSquare(float64(bins-1), z) * (1/before + 1/now)
}

// ranks gives how many standard errors the values of now are above those of before
// (Mann and Whitney; without a correction for ties, which only makes it smaller).
func ranks(before, now []int64) float64 {
	type value struct {
		at  int64
		now bool
	}
	all := []value{}
	for _, v := range before {
		all = append(all, value{v, false})
	}
	for _, v := range now {
		all = append(all, value{v, true})
	}
	slices.SortFunc(all, func(a, b value) int { return cmp.Compare(a.at, b.at) })
	total := 0.0
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j].at == all[i].at {
			j++
		}
		for _, v := range all[i:j] {
			if v.now {
				total += float64(i+j+1) / 2
			}
		}
		i = j
	}
	n0, n1 := float64(len(before)), float64(len(now))
	if n0 == 0 || n1 == 0 {
		return 0
	}
	return (total - n1*(n1+1)/2 - n0*n1/2) / math.Sqrt(n0*n1*(n0+n1+1)/12)
}

// never is the chance that what came k of n times does not come in the next m, k of
// n being all that is known of how often it comes (Jeffreys' prior).
func never(k, n, m int) float64 {
	out := 1.0
	for i := range m {
		out *= (float64(n-k+i) + 0.5) / float64(n+i+1)
	}
	return out
}

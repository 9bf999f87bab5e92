package fleet

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/priority"
)

// exploited is a CVE that CISA lists, and of which CISA's SSVC says that an attack
// can be automated and takes everything.
const exploited = "CVE-2026-1005"

// facts serves KEV and the CVE's record, and has the CLI fill a depot from them.
func (w *town) facts() (depot string) {
	w.t.Helper()
	now := time.Now().UTC().Format("2006-01-02T15:04:05.0000Z")
	files := map[string]string{
		"/kev.json": fmt.Sprintf(`{"title":"t","catalogVersion":"2026.11.01","dateReleased":%q,"count":1,"vulnerabilities":[{"cveID":%q,"vendorProject":"v","product":"p",`+
			`"vulnerabilityName":"n","dateAdded":"2026-11-01","shortDescription":"d","requiredAction":"a","dueDate":"2026-11-04","knownRansomwareCampaignUse":"Unknown"}]}`, now, exploited),
		"/cve.json": fmt.Sprintf(`{"dataType":"CVE_RECORD","dataVersion":"5.1","cveMetadata":{"cveId":%q,"state":"PUBLISHED","dateUpdated":%q},"containers":{`+
			`"cna":{"providerMetadata":{"orgId":"o","shortName":"example","dateUpdated":%[2]q}},"adp":[{"providerMetadata":{"orgId":"134c704f-9b21-4f2e-91b3-4a467353bcc0","shortName":"CISA-ADP","dateUpdated":%[2]q},`+
			`"metrics":[{"other":{"type":"ssvc","content":{"id":%[1]q,"options":[{"Exploitation":"active"},{"Automatable":"yes"},{"Technical Impact":"total"}],"timestamp":%[2]q}}}]}]}}`, exploited, now)}
	site := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, files[r.URL.Path]) }))
	defer site.Close()
	conf, depot := w.In("facts.json"), w.In("facts")
	must(w.t, os.WriteFile(conf, fmt.Appendf(nil, `{"proxy":"none","feeds":[{"name":"kev","kind":"kev","urls":["%[1]s/kev.json"]},{"name":"cve","kind":"cve","urls":["%[1]s/cve.json"]}]}`, site.URL), 0o644))
	_, err := w.Do(w.t.Context(), "patchwrit", "feed", "update", "--feeds", depot, "--config", conf)
	must(w.t, err)
	return depot
}

// mapped is a CVE of a library that a process uses.
const mapped = "CVE-2026-1007"

// library is a version of a package with a library, whose name changes with each.
func library(version, cve, so string) debworld.Package {
	p := Fix("pw-mapped", version, cve, nil)
	p.Files["/usr/lib/pw-mapped/libpw.so."+so] = debworld.File{Content: strings.Repeat(so+"\n", 2000)}
	return p
}

// uses has a process on a host that maps the library as code and goes into a root
// directory of its own, as daemons do.
func (w *town) uses(host string) *Process {
	w.t.Helper()
	const script = `open F, "<", "/usr/lib/pw-mapped/libpw.so.1.0" or die; syscall(9, 0, 4096, 5, 2, fileno(F), 0) != -1 or die; close F; chroot "/var/lib" or die; print "mapped\n"; close STDOUT; sleep 1e6`
	log := w.In("logs", "user@"+host+".log")
	p, err := w.Machine(host).Start(Program{Name: "user@" + host, Argv: []string{"/usr/bin/perl", "-e", script}}, log)
	must(w.t, err)
	must(w.t, w.Wait(w.t.Context(), "a process maps the library on "+host, answering, func() (bool, error) {
		raw, err := os.ReadFile(log)
		return strings.Contains(string(raw), "mapped"), err
	}))
	return p
}

// clockOf asks the CLI for the clock of a CVE on a host.
func (w *town) clockOf(host, cve string) (x control.ExposureView, there bool) {
	w.t.Helper()
	raw, err := w.Do(w.t.Context(), append([]string{"patchwrit", "host", "exposure", w.ID(host), "-o", "json"}, w.Server()...)...)
	must(w.t, err)
	var all []control.ExposureView
	must(w.t, json.Unmarshal([]byte(raw), &all))
	for _, x := range all {
		if x.ID == cve {
			return x, true
		}
	}
	return x, false
}

// forensic: what is exploited, on hosts of which nobody says that the public does
// not reach them, has three days and is held until people have looked at every
// host; the control plane is killed meanwhile. The clock goes on through it all.
func (w *town) forensic() {
	depot := w.facts()
	must(w.t, w.Kill(Control))
	w.Up = append(w.Up[:4:4], "--feeds", depot)
	must(w.t, w.StartControl(w.t.Context()))
	user := w.uses(w.Machines[0].Name)
	must(w.t, w.vendor.Offer(Fix("pw-forensic", "1.1-1", exploited, nil), library("1.1-1", mapped, "1.1")))
	p := w.ends("pw-forensic", control.Held, control.Review, control.Running, control.Denied)
	if n := strings.Count(p.Why.Text(), "(forensic_hold)"); p.State != control.Held || n != len(w.Machines) || !slices.Contains(p.Packages, "pw-mapped") {
		w.t.Fatalf("the plan is %s for triage of %d hosts (%s)", p.State, n, p.Why.Text())
	}
	first := map[string]control.ExposureView{}
	for _, m := range w.Machines {
		x, ok := w.clockOf(m.Name, exploited)
		if !ok || x.Class.Key != "3DF" || x.Closed != 0 || x.Due != x.Opened+3*24*3600 || len(x.Class.Steps) == 0 || x.Class.Steps[0] != priority.HoldForTriage {
			w.t.Fatalf("%s: %+v", m.Name, x)
		}
		first[m.Name] = x
	}
	must(w.t, w.Kill(Control))
	must(w.t, w.StartControl(w.t.Context()))
	for i, m := range w.Machines {
		_, err := w.AwaitPlan(w.t.Context(), fmt.Sprintf("%d hosts are still to be looked at", len(w.Machines)-i), planning, func(q control.Plan) bool {
			return q.Digest == p.Digest && q.State == control.Held && strings.Count(q.Why.Text(), "(forensic_hold)") == len(w.Machines)-i
		})
		must(w.t, err)
		_, err = w.Do(w.t.Context(), append([]string{"patchwrit", "host", "triaged", w.ID(m.Name), "--by", "alice", "--note", "nothing foreign runs"}, w.Server()...)...)
		must(w.t, err)
	}
	w.ends("pw-forensic", control.Review)
	must(w.t, w.Approve(w.t.Context(), string(p.Digest), "ann", "bob"))
	p = w.ends("pw-forensic", control.Finished, control.Stopped, control.Denied)
	if p.State != control.Finished || w.versions("pw-forensic") != "1.1-1 1.1-1 1.1-1" {
		w.t.Errorf("the plan is %s (%s); dpkg says %s", p.State, p.Why.Text(), w.versions("pw-forensic"))
	}
	for _, m := range w.Machines {
		must(w.t, w.Wait(w.t.Context(), "a look no longer finds it on "+m.Name, planning, func() (bool, error) {
			x, ok := w.clockOf(m.Name, exploited)
			if was := first[m.Name]; !ok || x.First != was.First || x.Opened != was.Opened {
				return false, fmt.Errorf("the clock is %+v, it was %+v", x, was)
			}
			return x.Closed != 0, nil
		}))
	}
	w.effective(user)
	w.restart("1h")
}

// effective: on the host where a process still runs the library of before, the
// clock of that alone runs on, and says why, until the process has ended.
func (w *town) effective(user *Process) {
	for i, m := range w.Machines {
		must(w.t, w.Wait(w.t.Context(), "no look finds the library's fault on "+m.Name, planning, func() (bool, error) {
			x, ok := w.clockOf(m.Name, mapped)
			return ok && (x.Closed != 0) == (i != 0) && (x.Closed != 0 || x.Gone != 0 && strings.Contains(x.Waits.Text(), "deleted file")), nil
		}))
	}
	host := w.Machines[0].Name
	said, err := w.Do(w.t.Context(), append([]string{"patchwrit", "host", "exposure", w.ID(host)}, w.Server()...)...)
	must(w.t, err)
	if !strings.Contains(said, "process perl (pid ") || !strings.Contains(said, "/usr/lib/pw-mapped/libpw.so.1.0 of pw-mapped:amd64 (source pw-mapped)") {
		w.t.Errorf("why the clock of %s goes on:\n%s", mapped, said)
	}
	must(w.t, user.Kill())
	must(w.t, w.Kill(Helper(host)))
	must(w.t, w.StartHelper(w.Machines[0])) // it looks when it starts
	must(w.t, w.Wait(w.t.Context(), "the library's clock ends on "+host, planning, func() (bool, error) {
		x, _ := w.clockOf(host, mapped)
		return x.Closed != 0, nil
	}))
}

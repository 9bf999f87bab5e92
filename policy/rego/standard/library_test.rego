package patchwrit_test

import data.patchwrit

is(x) := {"is": x, "source": "test"}

# A good host, a good artefact, a plan that runs by itself.
host := {"id": "h", "level": is("L4"), "exposed": is("no")}

artefact := {
	"package": "p", "arch": "a", "to": "2", "since": 1, "cooldown": 0, "corroborated": is(""),
	"new_publisher": is("no"), "new_script": is("no"), "downgrade": is("no"), "new_vendor": is("no"),
	"new_origin": is("no"), "major": is("no"), "core": is("no"),
}

plan_of(h, a) := {
	"at": 1000, "grant": "g", "plan": {"class": "routine"},
	"hosts": [{"id": "h", "domain": "a", "labels": []}],
	"branches": [{"host": "h", "network": false, "changes": [{"op": "upgrade", "package": "p", "to": "2"}]}],
	"dossier": {"reason": "", "hosts": [{"id": "h", "causes": [{"advisories": ["C"]}]}], "artefacts": [{"package": "p", "to": "2", "chain": {"signers": ["s"]}, "breaks": []}]},
	"facts": {"hosts": [object.union(host, h)], "artefacts": [object.union(artefact, a)]},
}

says(h, a) := d if d := patchwrit.decision with input as plan_of(h, a)

rules(h, a) := {r.rule | some r in says(h, a).reasons}

rules_asked(asked) := {r.rule | some r in d.reasons} if d := patchwrit.decision with input as asked

test_good_runs_by_itself if says({}, {}).outcome == "allow"

test_level_observe if {
	says({"level": is("L0")}, {}).outcome == "deny"
	rules({"level": is("L0")}, {}) == {"autonomy_observe", "granted"}
}

test_level_people_another_reviewer if {
	says({"level": is("L1")}, {}).outcome == "quorum"
	says({"level": is("L1")}, {}).class == "sensitive"
}

test_level_people if {
	says({"level": is("L2")}, {}).outcome == "quorum"
	says({"level": is("L2")}, {}).class == "routine"
	rules({"level": is("L2")}, {}) == {"autonomy", "granted"}
}

test_level_near_deadline if {
	says({"level": is("L3")}, {}).outcome == "quorum"
	says({"level": is("L3"), "deadline": is("60D")}, {}).outcome == "quorum"
	rules({"level": is("L3")}, {}) == {"autonomy", "granted"}
	every near in ["14D", "3D", "3DF"] {
		says({"level": is("L3"), "deadline": is(near), "triage": is("done")}, {}).outcome == "allow"
	}
}

test_unknown_is_strict if {
	"unknown_fact" in rules({"level": is("")}, {})
	"unknown_fact" in rules({"exposed": is("")}, {})
	says({"exposed": is("")}, {}).outcome == "quorum"
}

# A house without sources of deadlines may use grants; one whose sources do not
# say asks people.
test_unknown_deadline if {
	silent := {"deadline": is("")}
	says(silent, {}).outcome == "quorum"
	rules(silent, {}) == {"granted", "unknown_deadline"}
	rules({"deadline": {"is": "", "source": ""}}, {}) == {"granted"}
	rules({"deadline": is("60D")}, {}) == {"granted"}
	rules_asked(object.union(plan_of(silent, {}), {"grant": ""})) == {"people_decide"}
}

test_no_facts_is_strict if {
	d := patchwrit.decision with input as object.remove(plan_of({}, {}), ["facts"])
	d.outcome == "quorum"
}

# Whatever a house wants to be known, of a host without facts it is not.
test_no_facts_is_unknown_in_all if {
	all := {"level", "exposed", "kev", "automatable", "total", "must_patch", "reboot", "deadline", "triage", "windowed"}
	d := patchwrit.decision with input as object.remove(plan_of({}, {}), ["facts"]) with patchwrit.needs_known as all
	{r.text | some r in d.reasons; r.rule == "unknown_fact"} == {sprintf("host h: %s is unknown", [name]) | some name in all}
}

test_facts_of_another_host_say_nothing if {
	bad := object.union(host, {"id": "another", "level": is("L0"), "exposed": is("yes")})
	beside := object.union(plan_of({}, {}), {"facts": {"hosts": [bad, host], "artefacts": [artefact]}})
	rules_asked(beside) == {"granted"}
	alone := object.union(plan_of({}, {}), {"facts": {"hosts": [object.union(host, {"id": "another"})], "artefacts": [artefact]}})
	rules_asked(alone) == {"granted", "unknown_fact"}
}

test_exposed if {
	rules({"exposed": is("yes")}, {}) == {"exposed", "granted"}
	says({"exposed": is("yes")}, {}).outcome == "quorum"
}

# Without a grant people decide anyway, and only that is said.
test_lanes_concern_grants_only if {
	every h in [{"exposed": is("yes")}, {"exposed": is("")}, {"level": is("")}, {"level": is("L3")}] {
		rules_asked(object.union(plan_of(h, {}), {"grant": ""})) == {"people_decide"}
	}
	rules_asked(object.union(plan_of({}, {"major": is("yes")}), {"grant": ""})) == {"people_decide"}
	rules_asked(object.union(plan_of({}, {}), {"grant": "", "plan": {"class": "sensitive"}})) == {"people_decide"}
}

test_window_closed if {
	d := says({"windowed": is("yes"), "windows": [{"from": 2000, "until": 3000}]}, {})
	d.outcome == "hold"
	d.until == 2000
	{r.rule | some r in d.reasons} == {"granted", "window"}
}

# It is held until the next one begins; one without a length is none.
test_window_next if {
	says({"windowed": is("yes"), "windows": [{"from": 10, "until": 20}, {"from": 3000, "until": 4000}, {"from": 2000, "until": 2500}]}, {}).until == 2000
	says({"windowed": is("yes"), "windows": [{"from": 1000, "until": 1000}]}, {}).until == 4600
	says({"windowed": is("yes"), "windows": []}, {}).until == 4600
}

test_window_open if says({"windowed": is("yes"), "windows": [{"from": 1000, "until": 1001}]}, {}).outcome == "allow"

test_window_over if says({"windowed": is("yes"), "windows": [{"from": 10, "until": 1000}]}, {}).until == 4600

test_cooldown if {
	says({}, {"cooldown": 1500}).outcome == "hold"
	says({}, {"cooldown": 1500}).until == 1500
	says({}, {"cooldown": 1000}).outcome == "allow"
	rules({}, {"cooldown": 1500}) == {"cooldown", "granted"}
}

test_cooldown_of_what_the_plan_does_not_bring if {
	rules({}, {"package": "q", "cooldown": 1500}) == {"granted"}
	rules({}, {"to": "3", "cooldown": 1500}) == {"granted"}
}

frozen(h, until) := object.union(plan_of(h, {}), {"hosts": [{"id": "h", "domain": "a", "labels": [{"key": "freeze_until", "value": until}]}]})

test_freeze if {
	d := patchwrit.decision with input as frozen({"due": 1}, "1700")
	d.outcome == "hold"
	d.until == 1700
	rules_asked(frozen({}, "1700")) == {"freeze", "granted"}
}

# Of two holds the later end counts; what is no hold has none.
test_until if {
	closed := {"windowed": is("yes"), "windows": [{"from": 2000, "until": 3000}]}
	every freeze, until in {"1700": 2000, "2500": 2500} {
		d := patchwrit.decision with input as frozen(closed, freeze)
		d.until == until
	}
	denied := patchwrit.decision with input as frozen({"level": is("L0")}, "1700")
	[denied.outcome, denied.until] == ["deny", 0]
	says({}, {}).until == 0
}

test_forensic if {
	says({"deadline": is("3DF")}, {}).outcome == "hold"
	says({"triage": is("needed")}, {}).outcome == "hold"
	says({"deadline": is("3DF"), "triage": is("none")}, {}).outcome == "hold"
	says({"deadline": is("3DF"), "triage": is("done")}, {}).outcome == "allow"
	says({"deadline": is("3DF"), "due": 1}, {}).outcome == "hold"
	rules({"deadline": is("3DF")}, {}) == {"forensic_hold", "granted"}
}

test_data_tags if {
	every tag in ["gdpr", "pci", "else"] {
		says({"data": [tag]}, {}).outcome == "quorum"
		says({"data": [tag]}, {}).class == "sensitive"
		rules({"data": [tag]}, {}) == {"data_tag", "granted"}
	}
	says({"data": ["none"]}, {}).outcome == "allow"
	says({"data": ["none"]}, {}).class == "routine"
}

test_health_data_needs_a_window if {
	says({"data": ["hipaa"]}, {}).outcome == "hold"
	rules({"data": ["hipaa"]}, {}) == {"data_tag", "data_window", "granted"}
	says({"data": ["hipaa"], "windowed": is("yes"), "windows": [{"from": 1, "until": 2000}]}, {}).outcome == "quorum"
}

test_each_trigger_alone if {
	names := ["new_publisher", "new_script", "downgrade", "new_vendor", "new_origin", "major", "core"]
	count(patchwrit.triggers) == count(names)
	every name in names {
		rules({}, {name: is("yes")}) == {"granted", sprintf("nonstandard_%s", [name])}
		says({}, {name: is("yes")}).outcome == "quorum"
		says({}, {name: is("")}).outcome == "quorum"
	}
}

test_overdue_is_not_held if {
	closed := {"windowed": is("yes"), "windows": []}
	says(object.union(closed, {"due": 1000}), {}).outcome == "quorum"
	"overdue" in rules(object.union(closed, {"due": 1000}), {})
	says(object.union(closed, {"due": 1001}), {}).outcome == "hold"
	says(object.union(closed, {"due": 0}), {}).outcome == "hold"
	says(object.union(closed, {"deferred": 3}), {}).outcome == "quorum"
	says(object.union(closed, {"deferred": 2}), {}).outcome == "hold"
	says({"due": 1}, {"cooldown": 1500}).outcome == "quorum"
	rules(closed, {}) == {"granted", "window"}
	rules(object.union(closed, {"due": 1000}), {}) == {"granted", "overdue"}
}

# A house may want more to be known: then a grant counts only where it is.
test_more_must_be_known if {
	more := {"exposed", "level", "deadline", "triage"}
	good := {"deadline": is("60D"), "triage": is("none")}
	d := patchwrit.decision with input as plan_of(good, {}) with patchwrit.needs_known as more
	d.outcome == "allow"
	every name, _ in good {
		e := patchwrit.decision with input as plan_of(object.union(good, {name: is("")}), {}) with patchwrit.needs_known as more
		e.outcome == "quorum"
		sprintf("host h: %s is unknown", [name]) in {r.text | some r in e.reasons}
	}
}

changed(edits) := json.patch(plan_of({}, {}), edits)

spoken(edits) := {[r.rule, r.outcome] | some r in d.reasons} if d := patchwrit.decision with input as changed(edits)

class_of(edits) := d.class if d := patchwrit.decision with input as changed(edits)

set(path, value) := {"op": "replace", "path": path, "value": value}

test_people_decide_without_a_grant if spoken([set("/grant", "")]) == {["people_decide", "quorum"]}

test_above_grants if {
	every class in ["sensitive", "critical"] {
		spoken([set("/plan/class", class)]) == {["above_grants", "quorum"]}
		class_of([set("/plan/class", class)]) == class
	}
}

test_cause if {
	spoken([set("/dossier/hosts/0/causes/0/advisories", [])]) == {["granted", "allow"], ["cause", "deny"]}
	spoken([set("/dossier/hosts/0/causes", [])]) == {["granted", "allow"], ["cause", "deny"]}
}

test_provenance if spoken([set("/dossier/artefacts/0/chain/signers", [])]) == {["granted", "allow"], ["provenance", "deny"]}

test_breaks if spoken([set("/dossier/artefacts/0/breaks", [{}])]) == {["granted", "allow"], ["abi_break", "deny"]}

test_network if {
	spoken([set("/branches/0/network", true)]) == {["granted", "allow"], ["network", "quorum"]}
	class_of([set("/branches/0/network", true)]) == "sensitive"
}

test_unknown_host if spoken([set("/hosts/0/domain", "")]) == {["granted", "allow"], ["known_host", "deny"]}

going_down := [set("/grant", ""), set("/branches/0/changes/0/op", "downgrade")]

test_rollback_by_people if {
	why := set("/dossier/reason", "it broke")
	spoken(array.concat(going_down, [why])) == {["people_decide", "quorum"], ["downgrade", "quorum"]}
	class_of(array.concat(going_down, [why])) == "critical"
	no_advisory := set("/dossier/hosts/0/causes/0/advisories", [])
	spoken(array.concat(going_down, [why, no_advisory])) == {["people_decide", "quorum"], ["downgrade", "quorum"]}
}

test_down_without_a_reason if spoken(going_down) == {["people_decide", "quorum"], ["downgrade", "quorum"], ["rollback", "deny"]}

test_down_beside_other_work if {
	other := {"op": "add", "path": "/branches/0/changes/1", "value": {"op": "upgrade", "package": "q", "to": "3"}}
	["rollback", "deny"] in spoken(array.concat(going_down, [other, set("/dossier/reason", "it broke")]))
}

test_down_under_a_grant if {
	["rollback", "deny"] in spoken([set("/branches/0/changes/0/op", "downgrade"), set("/dossier/reason", "it broke")])
}

test_reopens if {
	cause := {"key": "p:a", "advisories": ["C"], "reopens": ["CVE-1"]}
	spoken([set("/dossier/hosts/0/causes/0", cause)]) == {["granted", "allow"], ["security_floor", "quorum"]}
	none := object.union(cause, {"reopens": []})
	spoken([set("/dossier/hosts/0/causes/0", none)]) == {["granted", "allow"]}
}

test_freeze_over if {
	over := set("/hosts/0/labels", [{"key": "freeze_until", "value": "1000"}, {"key": "role", "value": "1700"}])
	spoken([over]) == {["granted", "allow"]}
}

# House rules may compare any fact of a host of which nobody told anything.
test_an_unknown_host_has_every_fact if {
	f := patchwrit.unknown_host
	[f.id, f.group, f.data, f.windows, f.due, f.deferred] == ["", "", [], [], 0, 0]
	f.level == {"is": "", "source": ""}
	count(f) == 16
}

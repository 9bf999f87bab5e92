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

test_good_runs_by_itself if says({}, {}).outcome == "allow"

test_level_observe if says({"level": is("L0")}, {}).outcome == "deny"

test_level_people_another_reviewer if {
	says({"level": is("L1")}, {}).outcome == "quorum"
	says({"level": is("L1")}, {}).class == "sensitive"
}

test_level_people if {
	says({"level": is("L2")}, {}).outcome == "quorum"
	says({"level": is("L2")}, {}).class == "routine"
}

test_level_near_deadline if {
	says({"level": is("L3")}, {}).outcome == "quorum"
	says({"level": is("L3"), "deadline": is("60D")}, {}).outcome == "quorum"
	says({"level": is("L3"), "deadline": is("14D")}, {}).outcome == "allow"
}

test_unknown_is_strict if {
	"unknown_fact" in rules({"level": is("")}, {})
	"unknown_fact" in rules({"exposed": is("")}, {})
	says({"exposed": is("")}, {}).outcome == "quorum"
}

test_no_facts_is_strict if {
	d := patchwrit.decision with input as object.remove(plan_of({}, {}), ["facts"])
	d.outcome == "quorum"
}

test_exposed if rules({"exposed": is("yes")}, {}) == {"exposed", "granted"}

test_window_closed if {
	d := says({"windowed": is("yes"), "windows": [{"from": 2000, "until": 3000}]}, {})
	d.outcome == "hold"
	d.until == 2000
}

test_window_open if says({"windowed": is("yes"), "windows": [{"from": 1000, "until": 1001}]}, {}).outcome == "allow"

test_window_over if says({"windowed": is("yes"), "windows": [{"from": 10, "until": 1000}]}, {}).until == 4600

test_cooldown if {
	says({}, {"cooldown": 1500}).outcome == "hold"
	says({}, {"cooldown": 1500}).until == 1500
	says({}, {"cooldown": 1000}).outcome == "allow"
}

test_freeze if {
	d := patchwrit.decision with input as object.union(plan_of({"due": 1}, {}), {"hosts": [{"id": "h", "domain": "a", "labels": [{"key": "freeze_until", "value": "1700"}]}]})
	d.outcome == "hold"
	d.until == 1700
}

test_forensic if {
	says({"deadline": is("3DF")}, {}).outcome == "hold"
	says({"triage": is("needed")}, {}).outcome == "hold"
	says({"deadline": is("3DF"), "triage": is("none")}, {}).outcome == "hold"
	says({"deadline": is("3DF"), "triage": is("done")}, {}).outcome == "allow"
	says({"deadline": is("3DF"), "due": 1}, {}).outcome == "hold"
}

test_data_tags if {
	every tag in ["gdpr", "pci", "else"] {
		says({"data": [tag]}, {}).outcome == "quorum"
		says({"data": [tag]}, {}).class == "sensitive"
	}
	says({"data": ["none"]}, {}).outcome == "allow"
}

test_health_data_needs_a_window if {
	says({"data": ["hipaa"]}, {}).outcome == "hold"
	says({"data": ["hipaa"], "windowed": is("yes"), "windows": [{"from": 1, "until": 2000}]}, {}).outcome == "quorum"
}

test_each_trigger_alone if {
	every name, _ in patchwrit.triggers {
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
	says(object.union(closed, {"deferred": 3}), {}).outcome == "quorum"
	says(object.union(closed, {"deferred": 2}), {}).outcome == "hold"
	says({"due": 1}, {"cooldown": 1500}).outcome == "quorum"
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

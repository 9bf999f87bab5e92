# The standard rules. A rule adds a reason; the strictest reason decides.
# Rules see input only: no clock, no network (input.at is the time).
package patchwrit

rank := {"allow": 0, "quorum": 1, "hold": 2, "deny": 3}

classes := {"routine": 1, "sensitive": 2, "critical": 3}

# The decision: the strictest outcome that any rule asks for.
decision := {
	"outcome": outcome,
	"class": class,
	"until": until,
	"reasons": [r | some r in reasons],
}

outcome := [o | some o, n in rank; n == max({rank[r.outcome] | some r in reasons})][0]

# The class a quorum must meet is never below the plan's.
class := [c | some c, n in classes; n == max({classes[input.plan.class]} | class_wanted)][0]

class_wanted contains 3 if some r in reasons_downgrade

class_wanted contains 2 if some r in reasons_network

# A rollback is a person's plan: it has a reason and does nothing but go down.
rollback if {
	input.dossier.reason != ""
	every b in input.branches {
		every c in b.changes { c.op == "downgrade" }
	}
}

default until := 0

until := max({h.until | some h in holds}) if outcome == "hold"

reasons contains r if some r in reasons_grant

reasons contains r if some r in reasons_people

reasons contains r if some r in reasons_cause

reasons contains r if some r in reasons_provenance

reasons contains r if some r in reasons_breaks

reasons contains r if some r in reasons_downgrade

reasons contains r if some r in reasons_rollback

reasons contains r if some r in reasons_reopens

reasons contains r if some r in reasons_network

reasons contains r if some r in reasons_unknown_host

# Under a grant a routine plan may run by itself; hosts check the grant.
reasons_grant contains {"rule": "granted", "outcome": "allow", "text": "routine, and a grant is named"} if {
	input.grant != ""
	input.plan.class == "routine"
}

reasons_people contains {"rule": "people_decide", "outcome": "quorum", "text": sprintf("no grant: the quorum for %s decides", [input.plan.class])} if {
	input.grant == ""
}

reasons_people contains {"rule": "above_grants", "outcome": "quorum", "text": sprintf("a %s plan needs people even under a grant", [input.plan.class])} if {
	input.grant != ""
	input.plan.class != "routine"
}

# Every host must have an advisory that asks for one of its changes, or a
# person's reason to go back.
reasons_cause contains {"rule": "cause", "outcome": "deny", "text": sprintf("host %s: no advisory asks for any change", [h.id])} if {
	not rollback
	some h in input.dossier.hosts
	count([a | some c in h.causes; some a in c.advisories]) == 0
}

# Every new artefact must lead back to at least one vendor signature.
reasons_provenance contains {"rule": "provenance", "outcome": "deny", "text": sprintf("%s %s: no vendor signature", [f.package, f.to])} if {
	some f in input.dossier.artefacts
	count(f.chain.signers) == 0
}

# A change that breaks a program on the host is not a patch.
reasons_breaks contains {"rule": "abi_break", "outcome": "deny", "text": sprintf("%s %s: %d programs would miss symbols", [f.package, f.to, count(f.breaks)])} if {
	some f in input.dossier.artefacts
	count(f.breaks) > 0
}

reasons_downgrade contains {"rule": "downgrade", "outcome": "quorum", "text": sprintf("%s goes down to %s: the critical and the rollback quorum decide", [c.package, c.to])} if {
	some b in input.branches
	some c in b.changes
	c.op == "downgrade"
}

# Nothing goes down without a reason, beside other work, or under a grant.
reasons_rollback contains {"rule": "rollback", "outcome": "deny", "text": sprintf("%s goes down in a plan that is no rollback", [c.package])} if {
	not rollback
	some b in input.branches
	some c in b.changes
	c.op == "downgrade"
}

reasons_rollback contains {"rule": "rollback", "outcome": "deny", "text": "no grant lets anything go down"} if {
	input.grant != ""
	some b in input.branches
	some c in b.changes
	c.op == "downgrade"
}

# The security floor: what a rollback opens again stands in the verdict.
reasons_reopens contains {"rule": "security_floor", "outcome": "quorum", "text": sprintf("host %s: %s would be open again: %s", [h.id, c.key, concat(" ", c.reopens)])} if {
	some h in input.dossier.hosts
	some c in h.causes
	count(object.get(c, "reopens", [])) > 0
}

reasons_network contains {"rule": "network", "outcome": "quorum", "text": sprintf("host %s: maintainer scripts want the network", [b.host])} if {
	some b in input.branches
	b.network
}

# A host labelled freeze_until=UNIXTIME is left alone until then.
freezes contains {"host": h.id, "until": t} if {
	some h in input.hosts
	some l in h.labels
	l.key == "freeze_until"
	t := to_number(l.value)
	t > input.at
}

reasons_unknown_host contains {"rule": "known_host", "outcome": "deny", "text": sprintf("host %s is not in the trust root", [h.id])} if {
	some h in input.hosts
	h.domain == ""
}

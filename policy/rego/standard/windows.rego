package patchwrit

# Windows, freezes and cooldowns hold a plan. Windows and cooldowns are soft:
# overdue work is not held by them, people decide about it (starvation.rego).
window_open(f) if {
	some w in f.windows
	w.from <= input.at
	input.at < w.until
}

window_next(f) := next if {
	next := min([w.from | some w in f.windows; w.from > input.at]) # there is none of no window
} else := again

soft_holds contains {"rule": "window", "host": id, "until": window_next(f), "text": sprintf("host %s is outside its window", [id])} if {
	some id, f in fact_of
	f.windowed.is == "yes"
	not window_open(f)
}

soft_holds contains {"rule": "cooldown", "host": b.host, "until": a.cooldown, "text": sprintf("%s %s is new: it waits until others have tried it", [a.package, a.to])} if {
	some a in facts_artefacts
	a.cooldown > input.at
	some b in input.branches
	some c in b.changes
	c.package == a.package
	c.to == a.to
}

hard_holds contains {"rule": "freeze", "host": f.host, "until": f.until, "text": sprintf("host %s is frozen", [f.host])} if {
	some f in freezes
}

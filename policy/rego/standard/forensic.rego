package patchwrit

# Forensic hold: in the class "3 days & forensic investigation" of BOD 26-04
# somebody looks for a compromise before the change destroys the traces.
triage_wanted(f) if f.triage.is == "needed"

triage_wanted(f) if {
	f.deadline.is == "3DF"
	f.triage.is != "done"
}

hard_holds contains {"rule": "forensic_hold", "host": id, "until": again, "text": sprintf("host %s: look for a compromise first (deadline class 3DF)", [id])} if {
	some id, f in fact_of
	triage_wanted(f)
}

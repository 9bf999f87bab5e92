package patchwrit

# "Non-standard" updates (requirements row 51): each trigger alone takes the
# plan out of the automatic lane. An answer that is not "no" is a trigger.
triggers := {
	"new_publisher": "its publisher was not seen before",
	"new_script": "it brings a new maintainer script",
	"downgrade": "it goes down",
	"new_vendor": "its vendor changes",
	"new_origin": "it comes from another repository",
	"major": "it is a new major version",
	"core": "it is kernel, boot, libc, ssh, sudo, pam or as critical",
}

reasons contains {"rule": sprintf("nonstandard_%s", [name]), "outcome": "quorum", "text": sprintf("%s %s: %s", [a.package, a.to, text])} if {
	input.grant != ""
	some a in facts_artefacts
	some name, text in triggers
	a[name].is != "no"
}
